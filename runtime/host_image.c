/* SPDX-License-Identifier: Apache-2.0
 *
 * Images of the default host: libtamis_images, found and loaded when a model decodes its first image.
 *
 * Decoders of JPEG, PNG and the like are libraries that few models need. Loaded late, they cost other
 * programs neither start nor size, and the runtime itself depends on nothing but libc. The library is looked
 * for beside the one that this code stands in, in the lib folder beside the program, then where the system
 * looks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/images/images.h"
#include "runtime/runtime_internal.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char file_name[] = "libtamis_images.so.0";

/* Loads FOLDER/libtamis_images.so.0, where FOLDER/ is what `path` begins with, and `step` leads on from
 * there. */
static void *load_beside(const char *path, const char *step) {
    char real[PATH_MAX], name[PATH_MAX + 64];
    if (path == NULL || realpath(path, real) == NULL)
        return NULL;
    char *slash = strrchr(real, '/');
    if (slash == NULL)
        return NULL;
    *slash = 0;
    snprintf(name, sizeof name, "%s/%s%s", real, step, file_name);
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

static tm_images_decode *find_decoder(void) {
    Dl_info own;
    void *library = NULL;
    if (dladdr((const void *)file_name, &own) != 0)
        library = load_beside(own.dli_fname, "");
    if (library == NULL)
        library = load_beside("/proc/self/exe", "../lib/");
    if (library == NULL)
        library = dlopen(file_name, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "tamis_images_decode") : NULL;
    tm_images_decode *decode = NULL;
    memcpy(&decode, &symbol, sizeof symbol); /* C has no cast from data to code */
    return decode;
}

int32_t tm_host_decode_image(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                             void *(*give)(void *context, int64_t height, int64_t width), void *context) {
    static _Atomic(tm_images_decode *) found;
    (void)user;
    tm_images_decode *decode = atomic_load_explicit(&found, memory_order_acquire);
    if (decode == NULL) { /* threads that meet here find the same library */
        decode = find_decoder();
        atomic_store_explicit(&found, decode, memory_order_release);
    }
    return decode != NULL ? decode(file, bytes, pixels, give, context) : TM_RUN_IMAGE;
}
