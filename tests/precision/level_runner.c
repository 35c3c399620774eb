/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs an artifact with one input and one output, both float32, at a level of the tester's choice, also at
 * one that the CPU does not have or the system does not report:
 *
 *     level_runner ARTIFACT LEVEL PIECES INPUT OUTPUT DIM...
 *
 * Parallel loops are cut into PIECES as by so many threads, which run one after the other, the last one
 * first: threads of the pool block signals. PIECES 0: each unit of each loop runs alone over the memory as it
 * was before the loop, and what it changes no other unit may change: else threads could meet there.
 *
 * Instructions of AMX and AVX_VNNI that the CPU refuses come here as SIGILL and are carried out by the words
 * of the manual, so that code for matrix units is tested on every machine with AVX-512, that for dot products
 * on all. Exit code 77: the CPU lacks another instruction of the level.
 */
#define _GNU_SOURCE
#include "tamis/runtime.h"

#include <dlfcn.h>
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- AMX in software ---- */

typedef struct tile {
    int rows, bytes; /* 0: not configured */
    uint8_t line[16][64];
} tile;

static _Thread_local tile tiles[8];

static void lacks_instruction(void) {
    _exit(77);
}

/* Number of a register in machine code -> its place in the context. */
static int64_t *general(ucontext_t *context, int number) {
    static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (int64_t *)&context->uc_mcontext.gregs[places[number]];
}

typedef struct instruction {
    int opcode, prefix, reg, rm, vvvv, size;
    bool memory;
    uint8_t *address; /* base and displacement, and without a tile's stride the index */
    int64_t stride;
} instruction;

static instruction decode(ucontext_t *context, const uint8_t *code, bool strided) {
    if (code[0] != 0xc4 || (code[1] & 0x1f) != 2)
        lacks_instruction();
    instruction i = {.opcode = code[3],
                     .prefix = code[2] & 3,
                     .vvvv = ~(code[2] >> 3) & 15,
                     .reg = (code[4] >> 3 & 7) | (~code[1] >> 4 & 8),
                     .rm = (code[4] & 7) | (~code[1] >> 2 & 8),
                     .memory = code[4] >> 6 != 3,
                     .size = 5};
    if (!i.memory)
        return i;
    int mode = code[4] >> 6, base = i.rm;
    int64_t index = 0, displacement = 0;
    if ((code[4] & 7) == 4) {
        uint8_t sib = code[i.size++];
        int number = (sib >> 3 & 7) | (~code[1] >> 3 & 8);
        index = number == 4 ? 0 : *general(context, number) << (sib >> 6);
        base = (sib & 7) | (~code[1] >> 2 & 8);
    }
    if (mode == 1)
        displacement = (int8_t)code[i.size++];
    bool absolute = mode == 0 && (base & 7) == 5;
    if (mode == 2 || absolute) {
        int32_t wide;
        memcpy(&wide, code + i.size, 4);
        displacement = wide;
        i.size += 4;
    }
    int64_t start = absolute ? (int64_t)(intptr_t)(code + i.size) : *general(context, base);
    i.address = (uint8_t *)(intptr_t)(start + displacement + (strided ? 0 : index));
    i.stride = index;
    return i;
}

/* The two halves of each word of a line. */
static void widen(const uint8_t *line, int words, float *even, float *odd) {
    for (int i = 0; i < words; i++) {
        uint32_t word, high;
        memcpy(&word, line + 4 * i, 4);
        high = word & 0xffff0000u;
        word <<= 16;
        memcpy(&even[i], &word, 4);
        memcpy(&odd[i], &high, 4);
    }
}

/* Even and odd k are summed on their own, then both are added. The mode is set so that subnormals are zero,
 * as the manual says; it ends with the signal. */
static void multiply_bf16(tile *sums, const tile *a, const tile *b) {
    if (a->rows != sums->rows || b->bytes != sums->bytes || a->bytes / 4 != b->rows)
        lacks_instruction();
    _mm_setcsr(_mm_getcsr() | 0x8040);
    float left[2][16], right[2][16][16] = {{{0}}};
    for (int k = 0; k < b->rows; k++)
        widen(b->line[k], b->bytes / 4, right[0][k], right[1][k]);
    for (int m = 0; m < sums->rows; m++) {
        float even[16] = {0}, odd[16] = {0}, sum[16];
        widen(a->line[m], b->rows, left[0], left[1]);
        for (int k = 0; k < b->rows; k++)
            for (int n = 0; n < 16; n++) {
                even[n] = fmaf(left[0][k], right[0][k][n], even[n]);
                odd[n] = fmaf(left[1][k], right[1][k][n], odd[n]);
            }
        memcpy(sum, sums->line[m], sizeof sum);
        for (int n = 0; n < sums->bytes / 4; n++)
            sum[n] += even[n] + odd[n];
        memcpy(sums->line[m], sum, (size_t)sums->bytes);
    }
}

/* Unsigned by signed bytes, four products to a sum. */
static void multiply_bytes(tile *sums, const tile *a, const tile *b) {
    if (a->rows != sums->rows || b->bytes != sums->bytes || a->bytes / 4 != b->rows)
        lacks_instruction();
    for (int m = 0; m < sums->rows; m++)
        for (int n = 0; n < sums->bytes / 4; n++) {
            int32_t sum;
            memcpy(&sum, sums->line[m] + 4 * n, 4);
            for (int k = 0; k < b->rows * 4; k++)
                sum += a->line[m][k] * (int8_t)b->line[k / 4][4 * n + k % 4];
            memcpy(sums->line[m] + 4 * n, &sum, 4);
        }
}

static void configure(const uint8_t *from) {
    for (int i = 0; i < 8; i++) {
        memset(&tiles[i], 0, sizeof tiles[i]);
        tiles[i].bytes = from == NULL ? 0 : from[16 + 2 * i] | from[17 + 2 * i] << 8;
        tiles[i].rows = from == NULL ? 0 : from[48 + i];
    }
}

static tile *configured(int number) {
    if (number >= 8 || tiles[number].rows == 0)
        lacks_instruction();
    return &tiles[number];
}

/* ---- AVX_VNNI in software ---- */

#define XSAVE_HEADER 512
#define XSAVE_UPPER 576 /* upper halves of the vector registers */

/* A half of a vector register in the context. */
static uint8_t *half(ucontext_t *context, int number, int upper) {
    uint8_t *state = (uint8_t *)context->uc_mcontext.fpregs;
    if ((state[XSAVE_HEADER] & 4) == 0) { /* all are zero */
        memset(state + XSAVE_UPPER, 0, 16 * 16);
        state[XSAVE_HEADER] |= 4;
    }
    return upper ? state + XSAVE_UPPER + 16 * number : (uint8_t *)&context->uc_mcontext.fpregs->_xmm[number];
}

/* vpdpbusd on 256 bits: unsigned by signed bytes, four products to a sum. */
static void dot_bytes(ucontext_t *context, const instruction *i) {
    for (int word = 0; word < 8; word++) {
        int upper = word / 4, at = word % 4 * 4;
        const uint8_t *left = half(context, i->vvvv, upper) + at;
        const uint8_t *right = i->memory ? i->address + 4 * word : half(context, i->rm, upper) + at;
        int32_t sum;
        memcpy(&sum, half(context, i->reg, upper) + at, 4);
        for (int k = 0; k < 4; k++)
            sum += left[k] * (int8_t)right[k];
        memcpy(half(context, i->reg, upper) + at, &sum, 4);
    }
}

static void on_illegal(int number, siginfo_t *info, void *argument) {
    (void)number;
    (void)info;
    ucontext_t *context = argument;
    const uint8_t *code = (const uint8_t *)(intptr_t)context->uc_mcontext.gregs[REG_RIP];
    instruction i = decode(context, code, code[3] == 0x4b);
    if (i.opcode == 0x49 && i.prefix == 0) {
        configure(i.memory ? i.address : NULL);
    } else if (i.opcode == 0x49 && i.prefix == 3 && !i.memory) {
        memset(configured(i.reg)->line, 0, sizeof tiles[i.reg].line);
    } else if (i.opcode == 0x4b && i.memory) {
        tile *t = configured(i.reg);
        for (int row = 0; row < t->rows; row++) {
            uint8_t *at = i.address + row * i.stride;
            if (i.prefix == 2)
                memcpy(at, t->line[row], (size_t)t->bytes);
            else
                memcpy(t->line[row], at, (size_t)t->bytes);
        }
    } else if (i.opcode == 0x5c && i.prefix == 2) {
        multiply_bf16(configured(i.reg), configured(i.rm), configured(i.vvvv));
    } else if (i.opcode == 0x5e && i.prefix == 1) {
        multiply_bytes(configured(i.reg), configured(i.rm), configured(i.vvvv));
    } else if (i.opcode == 0x50 && i.prefix == 1 && (code[2] & 0x84) == 4) {
        dot_bytes(context, &i);
    } else {
        lacks_instruction();
    }
    context->uc_mcontext.gregs[REG_RIP] += i.size;
}

/* ---- the run ---- */

static int32_t chosen;
static int32_t chosen_level(void) {
    return chosen;
}

static int32_t run_pieces(void *user, int64_t count, int64_t grain, int32_t (*body)(void *, int64_t, int64_t),
                          void *argument) {
    int64_t pieces = *(const int *)user, each = ((count + pieces - 1) / pieces + grain - 1) / grain * grain;
    for (int64_t i = pieces - 1; i >= 0; i--) {
        int64_t begin = i * each < count ? i * each : count;
        int64_t end = begin + each < count ? begin + each : count;
        int32_t code = begin < end ? body(argument, begin, end) : 0;
        if (code != 0)
            return code;
    }
    return 0;
}

/* ---- units one by one ---- */

#define MOST_BLOCKS 256

typedef struct block {
    uint8_t *data, *before, *after;
    int32_t *owner; /* of each byte: the unit that changed it, counted from 1 */
    size_t bytes;
} block;

static block blocks[MOST_BLOCKS];

static void *allocate_block(void *user, size_t bytes) {
    (void)user;
    size_t rounded = (bytes + 63) / 64 * 64 + 64;
    for (int i = 0; i < MOST_BLOCKS; i++)
        if (blocks[i].data == NULL) {
            blocks[i].data = aligned_alloc(64, rounded);
            blocks[i].bytes = bytes;
            if (blocks[i].data != NULL)
                memset(blocks[i].data, 0, rounded);
            return blocks[i].data;
        }
    return NULL;
}

static void release_block(void *user, void *memory, size_t bytes) {
    (void)user;
    (void)bytes;
    for (int i = 0; i < MOST_BLOCKS && memory != NULL; i++)
        if (blocks[i].data == memory)
            blocks[i].data = NULL;
    free(memory);
}

static void *copy_of(const void *data, size_t bytes) {
    void *copy = malloc(bytes + 1);
    if (copy == NULL)
        abort();
    return memcpy(copy, data, bytes);
}

/* Takes what a unit changed and puts the memory back; a unit that changes another's bytes is an error. */
static int32_t take_changes(block *b, int32_t unit, int64_t *taken) {
    for (size_t i = 0; i < b->bytes; i++) {
        if (b->data[i] == b->before[i])
            continue;
        if (b->owner[i] != 0) {
            fprintf(stderr, "units %d and %d both store byte %zu of %zu\n", b->owner[i] - 1, unit - 1, i,
                    b->bytes);
            return 1;
        }
        b->owner[i] = unit;
        b->after[i] = b->data[i];
        b->data[i] = b->before[i];
        ++*taken;
    }
    return 0;
}

static int32_t run_units(void *user, int64_t count, int64_t grain, int32_t (*body)(void *, int64_t, int64_t),
                         void *argument) {
    (void)user;
    (void)grain;
    int64_t taken = 0;
    int32_t code = 0;
    for (int k = 0; k < MOST_BLOCKS; k++) {
        block *b = &blocks[k];
        if (b->data == NULL)
            continue;
        b->before = copy_of(b->data, b->bytes);
        b->after = copy_of(b->data, b->bytes);
        b->owner = calloc(b->bytes + 1, sizeof *b->owner);
        if (b->owner == NULL)
            abort();
    }
    for (int64_t i = 0; i < count && code == 0; i++) {
        code = body(argument, i, i + 1);
        for (int k = 0; k < MOST_BLOCKS && code == 0; k++)
            if (blocks[k].before != NULL) /* else a unit's own scratch memory */
                code = take_changes(&blocks[k], (int32_t)i + 1, &taken);
    }
    for (int k = 0; k < MOST_BLOCKS; k++) {
        block *b = &blocks[k];
        if (b->before == NULL)
            continue;
        memcpy(b->data, b->after, b->bytes);
        free(b->before);
        free(b->after);
        free(b->owner);
        b->before = NULL;
    }
    fprintf(stderr, "%lld units, %lld bytes\n", (long long)count, (long long)taken);
    return code;
}

static int fail(const char *what, const tamis_error *error) {
    fprintf(stderr, "%s: %s\n", what, error != NULL ? error->message : "");
    return 2;
}

static void *read_all(const char *path, size_t bytes) {
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    FILE *file = fopen(path, "rb");
    if (data == NULL || file == NULL || fread(data, 1, bytes, file) != bytes)
        return NULL;
    fclose(file);
    return data;
}

static int run(const tamis_artifact *artifact, int pieces, const char *input, const char *output, int rank,
               const int64_t *dims) {
    tamis_error error = {0};
    tamis_model *model;
    tamis_session *session;
    tamis_session_options options;
    tamis_session_options_init(&options);
    tamis_host host = *tamis_default_host();
    host.parallel_for = pieces > 0 ? run_pieces : run_units;
    host.user = &pieces;
    if (pieces == 0)
        host.allocate = allocate_block, host.release = release_block;
    options.host = &host;
    size_t bytes = 4;
    for (int i = 0; i < rank; i++)
        bytes *= (size_t)dims[i];
    void *data = read_all(input, bytes);
    if (data == NULL || tamis_model_create(artifact, &model, &error) != 0 ||
        tamis_session_create(model, &options, &session, &error) != 0 ||
        tamis_session_set_input(session, 0, TAMIS_TYPE_FLOAT, rank, dims, data, &error) != 0 ||
        tamis_session_run(session, &error) != 0)
        return fail("run", &error);
    const tamis_tensor *answer = tamis_session_output(session, 0);
    size_t count = 1;
    for (int i = 0; i < answer->rank; i++)
        count *= (size_t)answer->dims[i];
    FILE *file = fopen(output, "wb");
    if (file == NULL || fwrite(answer->data, 4, count, file) != count || fclose(file) != 0)
        return fail(output, NULL);
    tamis_session_destroy(session);
    tamis_model_destroy(model);
    free(data);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 6)
        return 2;
    syscall(SYS_arch_prctl, 0x1023, 18); /* where tiles are there, they are to be used */
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, NULL);
    void *library = dlopen(argv[1], RTLD_NOW);
    tamis_artifact_function function;
    void *symbol = library != NULL ? dlsym(library, "tamis_artifact") : NULL;
    if (symbol == NULL)
        return fail(argv[1], NULL);
    memcpy(&function, &symbol, sizeof function);
    tamis_artifact artifact = *function();
    chosen = -1;
    for (uint32_t i = 0; i < artifact.level_count; i++)
        if (strcmp(artifact.levels[i], argv[2]) == 0)
            chosen = (int32_t)i;
    artifact.cpu_level = chosen_level;
    int64_t dims[TAMIS_MAX_RANK];
    for (int i = 6; i < argc; i++)
        dims[i - 6] = strtoll(argv[i], NULL, 10);
    return run(&artifact, atoi(argv[3]), argv[4], argv[5], argc - 6, dims);
}
