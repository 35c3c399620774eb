/* SPDX-License-Identifier: Apache-2.0
 *
 * image.c: ImageDecoder, by the host's decode_image.
 *
 * Decoders of image formats are libraries of their own, which freestanding code cannot call; so this is the
 * one operator that needs more of its host than memory and threads. Bytes that are no image give an image of
 * 0 by 0 pixels, as the standard wants; a host without a decoder is an error.
 */
#include "runtime/kernel.h"

typedef struct target {
    tm_run *run;
    const tm_call *call;
    int64_t channels;
} target;

static void *give(void *context, int64_t height, int64_t width) {
    const target *t = context;
    const int64_t dims[3] = {height, width, t->channels};
    return tm_output(t->run, t->call, 0, 3, dims) == 0 ? tm_out(t->run, t->call, 0)->data : NULL;
}

int32_t tm_k_ImageDecoder(tm_run *run, const tm_call *call) {
    const tm_attrs_ImageDecoder *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0);
    const tamis_pixels pixels = tm_is(a, a->pixel_format, "Grayscale") ? TAMIS_PIXELS_GRAY
                                : tm_is(a, a->pixel_format, "BGR")     ? TAMIS_PIXELS_BGR
                                                                       : TAMIS_PIXELS_RGB;
    target t = {run, call, pixels == TAMIS_PIXELS_GRAY ? 1 : 3};
    if (run->host->decode_image == NULL)
        return tm_fail(run, call, TM_RUN_IMAGE, 0, 0);
    int32_t code = run->host->decode_image(run->host->user, x->data, tm_count(x), pixels, give, &t);
    if (code == TM_RUN_VALUE)
        code = give(&t, 0, 0) != NULL ? 0 : run->code;
    return code == 0 ? 0 : tm_fail(run, call, (tm_run_code)code, tm_count(x), 0);
}
