/* SPDX-License-Identifier: Apache-2.0
 *
 * target.c: the table of targets.
 *
 * A level is a set of CPU features that kernels and regions are compiled for; the artifact carries one or
 * several and picks the best that the CPU has. Names that LLVM does not know never reach it: an unknown CPU
 * silently gives soft-float code on aarch64 and ends the process on riscv64.
 */
#include "codegen/target.h"

#include <string.h>

/* Bits of runtime/support_cpu.c and support_units.c. */
enum { CPU_V3 = 1, CPU_V4 = 2, CPU_DOT = 4, CPU_AMX = 8, CPU_VNNI = 16, CPU_AVX_VNNI = 32 }; /* of x86-64 */
enum { CPU_SVE_256 = 4, CPU_SVE_512 = 8, CPU_DOTPROD = 16, CPU_I8MM = 32 };                  /* of aarch64 */
enum { CPU_RVV = 4 };                                                                        /* of riscv64 */
#define V4_FEATURES "-prefer-256-bit"
#define VNNI_FEATURES V4_FEATURES ",+avx512vnni"
#define DOT_FEATURES VNNI_FEATURES ",+avx512bf16"
#define AMX_FEATURES DOT_FEATURES ",+amx-tile,+amx-bf16,+amx-int8"
#define SVE_FEATURES "+v8.2a,+neon,+fp-armv8,+sve"
#define DOTPROD_FEATURES "+v8.2a,+neon,+fp-armv8,+dotprod"

static const tm_target targets[] = {
    {.triple = "x86_64-linux-gnu",
     .elf_machine = 62,
     .initialize = "X86",
     .argument_bits = 512,
     .levels = {{"x86-64-v3", "x86-64-v3", "", 256, 16, false, CPU_V3, 0, "v3", "v3"},
                {"x86-64-v4", "x86-64-v4", V4_FEATURES, 512, 32, false, CPU_V3 | CPU_V4, 0, "v4", "v4"},
                {"x86-64-v3-vnni", "x86-64-v3", "+avxvnni", 256, 16, false, CPU_V3 | CPU_AVX_VNNI,
                 TM_UNIT_BYTES, "v3", "v3_vnni"},
                {"x86-64-v4-vnni", "x86-64-v4", VNNI_FEATURES, 512, 32, false, CPU_V3 | CPU_V4 | CPU_VNNI,
                 TM_UNIT_BYTES, "v4", "v4_vnni"},
                {"x86-64-v4-dot", "x86-64-v4", DOT_FEATURES, 512, 32, false, CPU_V3 | CPU_V4 | CPU_DOT,
                 TM_UNIT_BYTES | TM_UNIT_DOT, "v4", "v4_dot"},
                {"x86-64-v4-amx", "x86-64-v4", AMX_FEATURES, 512, 32, false,
                 CPU_V3 | CPU_V4 | CPU_DOT | CPU_AMX, TM_UNIT_BYTES | TM_UNIT_DOT | TM_UNIT_TILES, "v4",
                 "v4_amx"}},
     .level_count = 6,
     .default_levels = 2},
    {.triple = "aarch64-linux-gnu",
     .elf_machine = 183,
     .initialize = "AArch64",
     .argument_bits = 128,
     .levels = {{"armv8-a", "generic", "+neon,+fp-armv8", 128, 32, false, 0, 0, "generic", "generic"},
                {"armv8.2-a+sve256", "generic", SVE_FEATURES, 256, 32, true, CPU_SVE_256, 0, "generic",
                 "sve256"},
                {"armv8.2-a+sve512", "generic", SVE_FEATURES, 512, 32, true, CPU_SVE_512, 0, "generic",
                 "sve512"},
                {"armv8.2-a+dotprod", "generic", DOTPROD_FEATURES, 128, 32, false, CPU_DOTPROD, TM_UNIT_BYTES,
                 "generic", "dotprod"},
                {"armv8.2-a+i8mm", "generic", DOTPROD_FEATURES ",+i8mm", 128, 32, false,
                 CPU_DOTPROD | CPU_I8MM, TM_UNIT_BYTES | TM_UNIT_MIXED, "generic", "i8mm"}},
     .level_count = 5,
     .default_levels = 2},
    {.triple = "riscv64-linux-gnu",
     .elf_machine = 243,
     .elf_flags = 5, /* RVC, double-float ABI */
     .abi = "lp64d",
     .initialize = "RISCV",
     .argument_bits = 128,
     .levels = {{"rv64gc", "generic-rv64", "+m,+a,+f,+d,+c", 0, 32, false, 0, 0, "generic", "generic"},
                {"rv64gcv", "generic-rv64", "+m,+a,+f,+d,+c,+v", 128, 32, false, CPU_RVV, 0, "v", "v"}},
     .level_count = 2,
     .default_levels = 2},
};

const tm_target *tm_target_at(size_t i) {
    return i < sizeof(targets) / sizeof(targets[0]) ? &targets[i] : NULL;
}

static const char *native_triple(void) {
#if defined(__aarch64__)
    return "aarch64-linux-gnu";
#elif defined(__riscv)
    return "riscv64-linux-gnu";
#else
    return "x86_64-linux-gnu";
#endif
}

/* "x86_64", "x86_64-linux-gnu" and "x86_64-unknown-linux-gnu" name the same target. */
static bool triple_matches(const char *asked, const char *triple) {
    size_t arch = strcspn(triple, "-");
    if (strncmp(asked, triple, arch) != 0)
        return false;
    const char *rest = asked + arch;
    return *rest == 0 || strcmp(rest, "-linux-gnu") == 0 || strcmp(rest, "-unknown-linux-gnu") == 0 ||
           strcmp(rest, "-pc-linux-gnu") == 0 || strcmp(rest, "-linux") == 0;
}

const tm_target *tm_target_find(const char *triple) {
    if (triple == NULL)
        triple = native_triple();
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
        if (triple_matches(triple, targets[i].triple))
            return &targets[i];
    return NULL;
}

static const tm_level *find_level(const tm_target *target, const char *name, size_t size) {
    for (int i = 0; i < target->level_count; i++)
        if (strlen(target->levels[i].name) == size && memcmp(target->levels[i].name, name, size) == 0)
            return &target->levels[i];
    return NULL;
}

/* Of the units asked for, some that no level before has whose vectors are as wide? */
static bool has_more_units(const tm_target *target, int level, unsigned units) {
    unsigned have = 0;
    for (int i = 0; i < level; i++)
        if (target->levels[i].vector_bits == target->levels[level].vector_bits)
            have |= target->levels[i].units;
    return (target->levels[level].units & units & ~have) != 0;
}

tm_code tm_target_choose(tm_diagnostics *diagnostics, const char *triple, const char *cpu, unsigned units,
                         tm_target_choice *out_choice) {
    *out_choice = (tm_target_choice){.target = tm_target_find(triple)};
    if (out_choice->target == NULL)
        return tm_report(diagnostics, TM_E_UNSUPPORTED_TARGET, NULL, "`tamis targets` lists the targets",
                         "no target '%s'", triple);
    const tm_target *target = out_choice->target;
    if (cpu == NULL) {
        for (int i = 0; i < target->level_count; i++)
            if (i < target->default_levels || has_more_units(target, i, units))
                out_choice->levels[out_choice->level_count++] = target->levels[i];
        return TM_OK;
    }
    bool wanted[TM_MOST_LEVELS] = {false};
    for (const char *at = cpu; *at != 0;) {
        size_t size = strcspn(at, ",");
        const tm_level *level = find_level(target, at, size);
        if (level == NULL)
            return tm_report(diagnostics, TM_E_UNSUPPORTED_TARGET, NULL, "`tamis targets` lists the levels",
                             "target %s has no level '%.*s'", target->triple, (int)(size > 64 ? 64 : size),
                             at);
        wanted[level - target->levels] = true;
        at += size;
        at += *at == ',';
    }
    for (int i = 0; i < target->level_count; i++)
        if (wanted[i])
            out_choice->levels[out_choice->level_count++] = target->levels[i];
    if (out_choice->level_count == 0)
        return tm_report(diagnostics, TM_E_UNSUPPORTED_TARGET, NULL, NULL, "-mcpu names no level");
    return TM_OK;
}
