/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a model with the signature of T2 that is linked in as an object: floats from a file, floats to a file.
 * The tests link it for other processors too and start it under an emulator.
 *
 *     runner COUNT INPUT OUTPUT
 */
#include "t2.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef TELL_VECTORS /* in place of the C library's, which asks the kernel */
unsigned long getauxval(unsigned long type) {
    enum { AT_HWCAP = 16 };
    return type == AT_HWCAP ? 1ul << ('v' - 'a') : 0;
}
#endif

enum { INPUT = 100 * 2, OUTPUT = 14 };

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int64_t count = strtoll(argv[1], NULL, 10);
    int64_t bytes = t2_workspace_bytes(count);
    if (count <= 0 || bytes < 0)
        return 3;
    float *x = malloc((size_t)count * INPUT * sizeof(float));
    float *y = malloc((size_t)count * OUTPUT * sizeof(float));
    void *workspace = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64 + 64);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    if (x == NULL || y == NULL || workspace == NULL || in == NULL || out == NULL)
        return 4;
    if (fread(x, INPUT * sizeof(float), (size_t)count, in) != (size_t)count)
        return 5;
    int32_t code = t2_run(workspace, count, x, y);
    if (code != 0) {
        fprintf(stderr, "t2_run: code %d\n", (int)code);
        return 6;
    }
    if (fwrite(y, OUTPUT * sizeof(float), (size_t)count, out) != (size_t)count)
        return 7;
    fclose(in);
    free(x);
    free(y);
    free(workspace);
    return fclose(out) != 0;
}
