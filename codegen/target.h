/* SPDX-License-Identifier: Apache-2.0
 *
 * target.h: the machines tamis compiles for: a triple with its levels, lowest first.
 */
#ifndef TM_CODEGEN_TARGET_H
#define TM_CODEGEN_TARGET_H

#include "base/base.h"

#define TM_MOST_LEVELS 6

typedef struct tm_level {
    const char *name;     /* as in -mcpu: "x86-64-v3" */
    const char *cpu;      /* LLVM's CPU name */
    const char *features; /* LLVM's feature string */
    int vector_bits;      /* preferred width of a vector register; 0: scalar */
    int vector_registers;
    bool scalable;      /* the features leave the width open: each function says it (vscale_range) */
    uint32_t cpu_bits;  /* what tm_cpu_features() must report, see runtime/support_cpu.c */
    unsigned units;     /* TM_UNIT_*: products of narrow types */
    const char *folder; /* of its kernel archive: "v3"; levels may share one */
    const char *suffix; /* of its functions */
} tm_level;

#define TM_UNIT_DOT 1u   /* dot products of bfloat16 pairs in vectors (AVX512_BF16) */
#define TM_UNIT_TILES 2u /* products of tiles of bfloat16 and bytes (AMX) */
#define TM_UNIT_BYTES 4u /* dot products of four bytes in vectors (AVX512_VNNI, AVX_VNNI, dotprod) */
#define TM_UNIT_MIXED \
    8u /* the same of unsigned by signed bytes, where those of one sign are another unit (i8mm) */

typedef struct tm_target {
    const char *triple; /* "x86_64-linux-gnu" */
    uint16_t elf_machine;
    uint32_t elf_flags;
    const char *abi;        /* LLVM's target-abi, or NULL */
    const char *initialize; /* LLVM back end: "X86", "AArch64", "RISCV" */
    int argument_bits;      /* wider vectors are handed to functions in memory */
    tm_level levels[TM_MOST_LEVELS];
    int level_count;
    int default_levels; /* the first so many are the default list */
} tm_target;

/* The chosen target with the levels asked for. */
typedef struct tm_target_choice {
    const tm_target *target;
    tm_level levels[TM_MOST_LEVELS];
    int level_count;
} tm_target_choice;

/* Vectors, but 16 registers of them only. */
static inline bool tm_level_has_few_registers(const tm_level *level) {
    return level->vector_bits > 0 && level->vector_registers < 32;
}
/* Floats in a vector; without vectors, in the arrays that stand for them. */
static inline int tm_level_lanes(const tm_level *level) {
    return level->vector_bits >= 128 ? level->vector_bits / 32 : 4;
}
const tm_target *tm_target_at(size_t i);             /* NULL at the end */
const tm_target *tm_target_find(const char *triple); /* NULL: none; NULL triple: this machine */
/* `cpu`: comma-separated level names, or NULL for the default list, to which those levels come whose units
 * the model's products use (`units`) and no level before has whose vectors are as wide. Files
 * E_UNSUPPORTED_TARGET. */
TM_MUST_USE tm_code tm_target_choose(tm_diagnostics *diagnostics, const char *triple, const char *cpu,
                                     unsigned units, tm_target_choice *out_choice);

#endif
