/* SPDX-License-Identifier: Apache-2.0
 *
 * amx.c: instructions of AMX; see amx.h.
 */
#include "codegen/llvm/amx.h"

#include "ir/tiles.h"

static LLVMValueRef number(const tm_region *r, int tile) {
    return LLVMConstInt(r->e->i8, (unsigned long long)tile, 0);
}

void tm_amx_configure(tm_region *r) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t line_bytes[16];
        uint8_t rows[16];
    } configuration = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        configuration.line_bytes[i] = TM_TILE_BYTES;
        configuration.rows[i] = TM_TILE_ROWS;
    }
    LLVMValueRef bytes = tm_emit_bytes(r->e, "tiles", &configuration, sizeof(configuration), 64);
    (void)tm_plain_intrinsic(r, "llvm.x86.ldtilecfg", &bytes, 1);
}

void tm_amx_release(tm_region *r) {
    (void)tm_plain_intrinsic(r, "llvm.x86.tilerelease", NULL, 0);
}

void tm_amx_zero(tm_region *r, int tile) {
    (void)tm_plain_intrinsic(r, "llvm.x86.tilezero", (LLVMValueRef[]){number(r, tile)}, 1);
}

void tm_amx_load(tm_region *r, int tile, LLVMValueRef from) {
    (void)tm_plain_intrinsic(r, "llvm.x86.tileloadd64",
                             (LLVMValueRef[]){number(r, tile), from, tm_int(r, TM_TILE_BYTES)}, 3);
}

void tm_amx_store(tm_region *r, int tile, LLVMValueRef to, int64_t stride) {
    (void)tm_plain_intrinsic(r, "llvm.x86.tilestored64",
                             (LLVMValueRef[]){number(r, tile), to, tm_int(r, stride)}, 3);
}

void tm_amx_multiply(tm_region *r, const char *intrinsic, int sums, int a, int b) {
    (void)tm_plain_intrinsic(r, intrinsic, (LLVMValueRef[]){number(r, sums), number(r, a), number(r, b)}, 3);
}
