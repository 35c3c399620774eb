/* SPDX-License-Identifier: Apache-2.0
 *
 * integers.c: tamis compile --integers=faster: is a quantised model faster in integers or in floats here?
 *
 * Both are compiled and run in turns on the same random inputs, one thread each, and the median of the turns'
 * ratios counts, as the quantiser does it for its own models. Small models gain nothing from products of
 * bytes, and pay for each value that is rounded.
 */
#include "quantize/choose.h"
#include "tools/tool.h"

#include <stdlib.h>

#define SLOWER 1.02
#define TURNS 15
#define TURN_NS 4e6

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values) {
    qsort(values, TURNS, sizeof *values, by_size);
    return values[TURNS / 2];
}

static tm_code run(const tool_engine *engine, int calls, double *out_ns) {
    tamis_error error;
    double start = tm_thread_ns();
    for (int i = 0; i < calls; i++)
        if (tamis_session_run(engine->session, &error) != 0)
            return tool_report(engine->tool, (tm_code)error.code, NULL, NULL, "%s", error.message);
    *out_ns = (tm_thread_ns() - start) / calls;
    return TM_OK;
}

static tm_code create(tool *tool, const char *model, const tool_compile *compile, bool floats,
                      const tool_sizes *sizes, tool_engine *out) {
    static const tool_engine_options options = {.threads = 1};
    tool_compile own = *compile;
    own.options.emit = TAMIS_EMIT_SO;
    own.options.without_integers = floats;
    own.options.profile = false;
    own.options.print_after = NULL;
    own.options.weights_file = NULL;
    own.options.map = NULL;
    TM_TRY(tool_engine_create(tool, model, &own, &options, out));
    tool_value *inputs = TM_NEW_ARRAY(&tool->arena, tool_value, out->input_count + 1);
    tm_code code = tool_make_inputs(out, NULL, sizes, 0, inputs);
    if (code == TM_OK)
        code = tool_engine_bind(out, inputs);
    if (code != TM_OK)
        tool_engine_destroy(out);
    return code;
}

/* engines[0] in integers, engines[1] in floats: times of a call. */
static tm_code compare(tool_engine *engines, double *out_times, double *out_ratio) {
    double times[2][TURNS], ratios[TURNS], first[2];
    for (int i = 0; i < 2; i++)
        TM_TRY(run(&engines[i], 2, &first[i]));
    double longer = first[0] > first[1] ? first[0] : first[1];
    int calls = longer > TURN_NS ? 1 : (int)(TURN_NS / (longer > 1000 ? longer : 1000));
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < 2; i++)
            TM_TRY(run(&engines[i], calls, &times[i][turn]));
        ratios[turn] = times[0][turn] / (times[1][turn] > 1 ? times[1][turn] : 1);
    }
    *out_ratio = median(ratios);
    out_times[0] = median(times[0]);
    out_times[1] = median(times[1]);
    return TM_OK;
}

/* A model without quantisers is the same in both. */
static bool are_alike(const tool_engine *engines) {
    const tamis_artifact *a = tamis_model_artifact(engines[0].loaded),
                         *b = tamis_model_artifact(engines[1].loaded);
    const char *x = a->node_names, *y = b->node_names;
    bool alike = a->node_count == b->node_count && a->value_count == b->value_count &&
                 a->weights_bytes == b->weights_bytes && a->weights_hash == b->weights_hash;
    for (int32_t i = 0; alike && i < a->node_count; i++) {
        alike = strcmp(x, y) == 0;
        x += strlen(x) + 1;
        y += strlen(y) + 1;
    }
    return alike;
}

tm_code tool_choose_integers(tool *tool, const char *model, tool_compile *compile, const tool_sizes *sizes) {
    tool_engine engines[2];
    double times[2] = {0}, ratio = 0;
    TM_TRY(create(tool, model, compile, false, sizes, &engines[0]));
    tm_code code = create(tool, model, compile, true, sizes, &engines[1]);
    bool alike = code == TM_OK && are_alike(engines);
    if (code == TM_OK) {
        code = alike ? TM_OK : compare(engines, times, &ratio);
        tool_engine_destroy(&engines[1]);
    }
    tool_engine_destroy(&engines[0]);
    TM_TRY(code);
    if (alike) {
        fprintf(stderr, "integers: none that floats would take the place of\n");
        return TM_OK;
    }
    compile->options.without_integers = ratio > SLOWER;
    fprintf(stderr, "integers: a call takes %.1f us, in floats %.1f us; %s are kept\n", times[0] / 1e3,
            times[1] / 1e3, ratio > SLOWER ? "floats" : "integers");
    return TM_OK;
}
