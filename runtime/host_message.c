/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts of the runtime's errors. A message says what is wrong in its first line and then, indented,
 * what was expected, what was found, and what to do:
 *
 *     input 0 'x': wrong dims
 *         expected f32[batch, 4]
 *         found    f32[2, 5]
 *         hint: ...
 *
 * Compiled code returns numbers only (tm_run.code, node, detail): the words are made here, so that an
 * artifact holds no text but the names of its nodes. Names come from foreign files: control bytes
 * in them are printed as `?`.
 */
#include "runtime/failure_text.h"
#include "runtime/runtime_internal.h"

#include <stdio.h>
#include <string.h>

static const int type_bits[] = {
#define TM_TYPE(number, name, text, suffix, bits) [number] = bits,
#include "tamis/types.def"
#undef TM_TYPE
};

const char *tm_host_type_text(int type) {
    return tm_failure_type_text(type);
}

int64_t tm_host_type_bytes(int type, int64_t count) {
    int64_t bits;
    if (type <= 0 || type >= TAMIS_TYPE_COUNT || count < 0 ||
        __builtin_mul_overflow(count, (int64_t)type_bits[type], &bits) || bits > INT64_MAX - 7)
        return -1;
    return (bits + 7) / 8;
}

int64_t tm_host_count(int rank, const int64_t *dims) {
    int64_t count = 1;
    bool empty = false, overflow = false;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return -1;
        empty |= dims[i] == 0;
        overflow |= __builtin_mul_overflow(count, dims[i], &count);
    }
    return empty ? 0 : overflow ? -1 : count;
}

static void append(char *out, size_t out_bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t out_bytes, const char *format, ...) {
    size_t used = strlen(out);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out + used, out_bytes - used, format, arguments);
    va_end(arguments);
}

void tm_host_print_shape(char *out, size_t out_bytes, int type, int rank, const int64_t *dims,
                         const char *const *texts) {
    out[0] = 0;
    append(out, out_bytes, "%s[", tm_host_type_text(type));
    for (int i = 0; i < rank; i++) {
        append(out, out_bytes, i == 0 ? "" : ", ");
        if (texts != NULL && texts[i] != NULL)
            append(out, out_bytes, "%s", texts[i]);
        else
            append(out, out_bytes, "%lld", (long long)dims[i]);
    }
    append(out, out_bytes, rank < 0 ? "...]" : "]");
}

/* Replaces control bytes but newline, in place; a name that needs it loses bytes, never adds any. */
static void mask_control_bytes(char *text) {
    for (; *text != 0; text++)
        if (((unsigned char)*text < 0x20 && *text != '\n') || *text == 0x7f)
            *text = '?';
}

int tm_host_fail(tamis_error *error, int code, const char *format, ...) {
    if (error == NULL)
        return code;
    error->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    mask_control_bytes(error->message);
    return code;
}

static int fail_input(tamis_error *error, const tamis_session *session) {
    const tm_run *run = &session->run;
    const tamis_artifact *artifact = session->model->artifact;
    const char *what = run->code == TM_RUN_INPUT_RANK   ? "rank"
                       : run->code == TM_RUN_INPUT_TYPE ? "type"
                                                        : "dim";
    if (run->node < 0 || run->node >= artifact->input_count)
        return tm_host_fail(error, TM_HOST_RUN,
                            "an input has the wrong %s\n    expected %lld\n    found    %lld", what,
                            (long long)run->detail[0], (long long)run->detail[1]);
    const tamis_port *port = &artifact->inputs[run->node];
    const tamis_tensor *value = &run->values[port->value];
    char expected[256], found[256];
    tm_host_print_shape(expected, sizeof expected, port->type, port->rank, port->dims, port->dim_texts);
    tm_host_print_shape(found, sizeof found, value->type, value->rank, value->dims, NULL);
    if (run->code == TM_RUN_INPUT_TYPE)
        return tm_host_fail(error, TM_HOST_RUN,
                            "input %d '%s' has the wrong type\n    expected %s\n    found    %s", run->node,
                            port->name, tm_host_type_text((int)run->detail[0]),
                            tm_host_type_text((int)run->detail[1]));
    return tm_host_fail(
        error, TM_HOST_RUN,
        "input %d '%s' has the wrong %s: %lld instead of %lld\n    expected %s\n    found    %s", run->node,
        port->name, what, (long long)run->detail[1], (long long)run->detail[0], expected, found);
}

/* The names stand one after the other; only messages look one up. */
static const char *node_name(const tamis_artifact *artifact, int32_t number) {
    const char *name = artifact->node_names;
    for (int32_t i = 0; i < number; i++)
        name += strlen(name) + 1;
    return name;
}

int tm_host_fail_run(tamis_error *error, const tamis_session *session) {
    const tm_run *run = &session->run;
    const tamis_artifact *artifact = session->model->artifact;
    if (run->code == TM_RUN_INPUT_RANK || run->code == TM_RUN_INPUT_TYPE || run->code == TM_RUN_INPUT_DIM)
        return fail_input(error, session);
    const char *node =
        run->node >= 0 && run->node < artifact->node_count ? node_name(artifact, run->node) : NULL;
    const char *name = node != NULL ? node : "the model";
    if (run->code == TM_RUN_CPU)
        return tm_host_fail(error, TM_HOST_CPU,
                            "the CPU lacks the lowest level of the artifact\n"
                            "    hint: compile with a lower -mcpu");
    char text[256];
    tm_failure_text(run->code, run->detail[0], run->detail[1], text, sizeof text);
    int code = run->code == TM_RUN_MEMORY  ? TM_HOST_OUT_OF_MEMORY
               : run->code == TM_RUN_IMAGE ? TM_HOST_UNSUPPORTED_FORM
                                           : TM_HOST_RUN;
    return tm_host_fail(error, code, "%s: %s", name, text);
}
