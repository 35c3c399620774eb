/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a model linked in as the object `model`: float32[ROWS, DEPTH] to float32[ROWS, COLUMNS], ROWS an
 * argument. The tests link it for other processors too and start it under an emulator.
 *
 *     object_runner ROWS INPUT OUTPUT        with DEPTH and COLUMNS defined when it is compiled
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int64_t rows = strtoll(argv[1], NULL, 10), bytes = model_workspace_bytes(rows);
    if (rows <= 0 || bytes < 0)
        return 3;
    float *x = malloc((size_t)rows * DEPTH * sizeof(float));
    float *y = malloc((size_t)rows * COLUMNS * sizeof(float));
    void *workspace = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64 + 64);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    if (x == NULL || y == NULL || workspace == NULL || in == NULL || out == NULL)
        return 4;
    if (fread(x, DEPTH * sizeof(float), (size_t)rows, in) != (size_t)rows)
        return 5;
    if (model_run(workspace, rows, x, y) != 0)
        return 6;
    if (fwrite(y, COLUMNS * sizeof(float), (size_t)rows, out) != (size_t)rows)
        return 7;
    fclose(in);
    free(x);
    free(y);
    free(workspace);
    return fclose(out) != 0;
}
