/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads an artifact through tamis/runtime.h, runs it on files with raw numbers, writes the first output, and
 * reports as JSON how long loading took and how much memory the process has.
 *
 *     measure MODEL.so OUTPUT [DIMS FILE]...      an argument pair for each input, e.g. 1,100,2 x.f32
 */
#include <tamis/runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 20, MOST_INPUTS = 8 };

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

static void *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        rewind(file);
        data = malloc((size_t)size + 1);
        if (data != NULL && fread(data, 1, (size_t)size, file) != (size_t)size) {
            free(data);
            data = NULL;
        }
    }
    if (file != NULL)
        fclose(file);
    return data;
}

static int read_dims(const char *text, int64_t *dims) {
    int rank = 0;
    for (char *end; *text != 0 && rank < TAMIS_MAX_RANK; text = *end == ',' ? end + 1 : end)
        dims[rank++] = strtoll(text, &end, 10);
    return rank;
}

static long kilobytes(const char *field) {
    char line[256];
    long value = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtol(line + strlen(field) + 1, NULL, 10);
    if (status != NULL)
        fclose(status);
    return value;
}

static int write_output(const char *path, const tamis_tensor *tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor->rank; i++)
        count *= (size_t)tensor->dims[i];
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return fail("cannot write the output");
    size_t written = fwrite(tensor->data, sizeof(float), count, file);
    return fclose(file) != 0 || written != count ? fail("cannot write the output") : 0;
}

int main(int argc, char **argv) {
    tamis_model *model;
    tamis_session *session;
    tamis_error error;
    void *inputs[MOST_INPUTS] = {NULL};
    if (argc < 5 || argc > 3 + 2 * MOST_INPUTS)
        return fail("measure MODEL.so OUTPUT [DIMS FILE]...");
    tamis_session_options options;
    tamis_session_options_init(&options);
    options.threads = 1;
    double start = milliseconds();
    if (tamis_model_load(argv[1], &model, &error) != 0 ||
        tamis_session_create(model, &options, &session, &error) != 0)
        return fail(error.message);
    double loaded = milliseconds();
    const tamis_artifact *artifact = tamis_model_artifact(model);
    for (int i = 0; i < artifact->input_count && 4 + 2 * i < argc; i++) {
        int64_t dims[TAMIS_MAX_RANK];
        int rank = read_dims(argv[3 + 2 * i], dims);
        inputs[i] = read_file(argv[4 + 2 * i]);
        if (inputs[i] == NULL)
            return fail("cannot read an input");
        if (tamis_session_set_input(session, i, (tamis_type)artifact->inputs[i].type, rank, dims, inputs[i],
                                    &error) != 0)
            return fail(error.message);
    }
    for (int run = 0; run < RUNS; run++)
        if (tamis_session_run(session, &error) != 0)
            return fail(error.message);
    if (write_output(argv[2], tamis_session_output(session, 0)) != 0)
        return 1;
    printf("{\"load_ms\": %.3f, \"memory_kb\": %ld, \"anonymous_kb\": %ld}\n", loaded - start,
           kilobytes("VmRSS:"), kilobytes("RssAnon:"));
    tamis_session_destroy(session);
    tamis_model_destroy(model);
    for (int i = 0; i < MOST_INPUTS; i++)
        free(inputs[i]);
    return 0;
}
