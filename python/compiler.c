/* SPDX-License-Identifier: Apache-2.0
 *
 * compile(): the compiler library's call. libtamis (with what it needs) is loaded by the first
 * compilation, not by `import tamis`, so that programs which only run artifacts start fast and need the
 * runtime only.
 */
#include "module.h"

#include "tamis/tune.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void (*options_init)(tamis_compile_options *);
    int (*compile_file)(const char *, const char *, const tamis_compile_options *, tamis_result **);
    int (*compile_memory)(const void *, size_t, const char *, const tamis_compile_options *, tamis_result **);
    void (*destroy)(tamis_result *);
    const char *(*text)(const tamis_result *);
    const char *(*log)(const tamis_result *);
    const char *(*warnings)(const tamis_result *);
    void (*tune_options_init)(tamis_tune_options *);
    int (*tune_file)(const char *, const char *, const tamis_compile_options *, const tamis_tune_options *,
                     tamis_result **);
    int (*tune_memory)(const void *, size_t, const char *, const tamis_compile_options *,
                       const tamis_tune_options *, tamis_result **);
} library;

/* Function pointers by name, without a cast that ISO C does not have. */
static bool find(void *handle, const char *name, void *out_function) {
    void *symbol = dlsym(handle, name);
    memcpy(out_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static int load_library(void) {
    if (library.options_init != NULL)
        return 0;
    /* The name is looked for along the run path of this module. */
    void *handle = dlopen("libtamis.so.0", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        const char *reason = dlerror();
        PyErr_Format(PyExc_ImportError, "the compiler library libtamis cannot be loaded: %s",
                     reason != NULL ? reason : "?");
        return -1;
    }
    if (find(handle, "tamis_compile_file", &library.compile_file) &&
        find(handle, "tamis_compile_memory", &library.compile_memory) &&
        find(handle, "tamis_result_destroy", &library.destroy) &&
        find(handle, "tamis_result_text", &library.text) && find(handle, "tamis_result_log", &library.log) &&
        find(handle, "tamis_result_warnings", &library.warnings) &&
        find(handle, "tamis_tune_options_init", &library.tune_options_init) &&
        find(handle, "tamis_tune_file", &library.tune_file) &&
        find(handle, "tamis_tune_memory", &library.tune_memory) &&
        find(handle, "tamis_compile_options_init", &library.options_init))
        return 0;
    PyErr_SetString(PyExc_ImportError, "the compiler library libtamis is of another version");
    return -1;
}

/* {"batch": 1, "seq": (1, 512)} */
static int take_dims(PyObject *dict, tamis_dim_fact *facts) {
    PyObject *key, *value;
    Py_ssize_t at = 0, i = 0;
    while (PyDict_Next(dict, &at, &key, &value)) {
        tamis_dim_fact *fact = &facts[i++];
        fact->name = PyUnicode_AsUTF8AndSize(key, NULL);
        if (PyTuple_Check(value)) {
            long long low, high;
            if (!PyArg_ParseTuple(value, "LL", &low, &high))
                return -1;
            fact->low = low;
            fact->high = high;
        } else {
            fact->low = fact->high = PyLong_AsLongLong(value);
        }
        if (fact->name == NULL || PyErr_Occurred() != NULL)
            return -1;
    }
    return 0;
}

static int take_emit(const char *text, tamis_emit *out) {
    static const char *const names[] = {"so", "obj", "lib", "asm", "llvm", "ir", "onnx"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], text) == 0) {
            *out = (tamis_emit)i;
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "emit is so, obj, lib, asm, llvm, ir or onnx, not '%s'", text);
    return -1;
}

static int take_precision(const char *text, tamis_precision *out) {
    *out = strcmp(text, "bf16") == 0 ? TAMIS_PRECISION_BF16 : TAMIS_PRECISION_F32;
    if (*out == TAMIS_PRECISION_BF16 || strcmp(text, "f32") == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "precision is f32 or bf16, not '%s'", text);
    return -1;
}

static int take_integers(const char *text, bool *out_without) {
    *out_without = strcmp(text, "float") == 0;
    if (*out_without || strcmp(text, "keep") == 0)
        return 0;
    PyErr_Format(PyExc_ValueError, "integers is keep or float, not '%s'", text);
    return -1;
}

static int take_storage(const char *weights, const char *storage, tamis_compile_options *options) {
    static const char *const names[] = {"exact", "float16", "bfloat16"};
    options->coded_weights = strcmp(weights, "coded") == 0;
    if (!options->coded_weights && strcmp(weights, "mapped") != 0) {
        PyErr_Format(PyExc_ValueError, "weights is mapped or coded, not '%s'", weights);
        return -1;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], storage) == 0) {
            options->storage = (tamis_storage)i;
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "storage is exact, float16 or bfloat16, not '%s'; compress() takes auto",
                 storage);
    return -1;
}

/* Options that are words. */
typedef struct words {
    const char *precision, *integers, *weights, *storage;
} words;

static int take_words(const words *words, tamis_compile_options *options) {
    if (take_precision(words->precision, &options->precision) != 0 ||
        take_integers(words->integers, &options->without_integers) != 0)
        return -1;
    return take_storage(words->weights, words->storage, options);
}

static int check_level(int level) {
    if (level >= 0 && level <= 3)
        return 0;
    PyErr_Format(PyExc_ValueError, "level is 0, 1, 2 or 3, not %d", level);
    return -1;
}

/* Of a list of str; the strings live as long as the list. */
static int take_names(PyObject *list, const char **names) {
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        names[i] = PyUnicode_AsUTF8AndSize(PyList_GetItem(list, i), NULL);
        if (names[i] == NULL)
            return -1;
    }
    return 0;
}

/* Takes the result over. What was passed over becomes a Python warning, which may be an error. */
static PyObject *finish(int code, tamis_result *result) {
    PyObject *answer = NULL;
    if (result == NULL)
        return tm_python_fail(code, "out of memory");
    if (code != 0)
        tm_python_fail(code, library.text(result));
    else if (library.warnings(result)[0] == 0 ||
             PyErr_WarnEx(PyExc_UserWarning, library.warnings(result), 1) == 0)
        answer = PyUnicode_FromString(library.log(result));
    library.destroy(result);
    return answer;
}

/* Compiles into `output`; or with `tune` measures schedules, and `output` is the file of them. */
static PyObject *run_compiler(PyObject *model, const char *output, const tamis_compile_options *options,
                              const tamis_tune_options *tune) {
    tamis_result *result = NULL;
    int code;
    if (PyBytes_Check(model)) {
        char *data;
        Py_ssize_t bytes;
        if (PyBytes_AsStringAndSize(model, &data, &bytes) != 0)
            return NULL;
        PyThreadState *state = PyEval_SaveThread();
        code = tune != NULL ? library.tune_memory(data, (size_t)bytes, output, options, tune, &result)
                            : library.compile_memory(data, (size_t)bytes, output, options, &result);
        PyEval_RestoreThread(state);
        return finish(code, result);
    }
    PyObject *path = NULL;
    if (!PyUnicode_FSConverter(model, &path))
        return NULL;
    const char *name = PyBytes_AsString(path);
    PyThreadState *state = PyEval_SaveThread();
    code = tune != NULL ? library.tune_file(name, output, options, tune, &result)
                        : library.compile_file(name, output, options, &result);
    PyEval_RestoreThread(state);
    Py_DECREF(path);
    return finish(code, result);
}

/* Measures schedules into the file that options->schedules names, then compiles with it. */
static PyObject *tune_and_run(PyObject *model, const char *output, tamis_compile_options *options,
                              const tamis_dim_fact *sizes, size_t size_count) {
    static const tamis_tune_runtime runtime = TAMIS_TUNE_RUNTIME;
    tamis_tune_options tune;
    library.tune_options_init(&tune);
    tune.runtime = &runtime;
    tune.sizes = sizes;
    tune.size_count = size_count;
    PyObject *answer = run_compiler(model, options->schedules, options, &tune);
    if (answer == NULL)
        return NULL;
    Py_DECREF(answer);
    return run_compiler(model, output, options, NULL);
}

PyObject *tm_python_compile(PyObject *module, PyObject *arguments, PyObject *keywords) {
    (void)module;
    static char *names[] = {"model",    "output",       "emit",          "level",           "target",
                            "cpu",      "name",         "dims",          "strict_math",     "precision",
                            "disable",  "bisect_limit", "print_after",   "external_folder", "schedules",
                            "tune",     "sizes",        "external_data", "slots",           "weights_file",
                            "integers", "small",        "weights",       "storage",         "map",
                            NULL};
    PyObject *model, *output = NULL, *dims, *disable, *sizes, *slots, *answer = NULL;
    const char *emit, *target, *cpu, *name, *print_after, *external_folder, *schedules, *weights_file, *map;
    words words;
    int level, strict, tune, external_data, small;
    long long bisect_limit;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, keywords, "OO&sizzzO!psO!LzzzpO!pO!zspssz", names, &model, PyUnicode_FSConverter,
            &output, &emit, &level, &target, &cpu, &name, &PyDict_Type, &dims, &strict, &words.precision,
            &PyList_Type, &disable, &bisect_limit, &print_after, &external_folder, &schedules, &tune,
            &PyDict_Type, &sizes, &external_data, &PyList_Type, &slots, &weights_file, &words.integers,
            &small, &words.weights, &words.storage, &map))
        return NULL;
    tamis_compile_options options;
    tamis_dim_fact *facts = PyMem_Calloc((size_t)PyDict_Size(dims) + 1, sizeof *facts);
    tamis_dim_fact *measured = PyMem_Calloc((size_t)PyDict_Size(sizes) + 1, sizeof *measured);
    const char **disabled = PyMem_Calloc((size_t)PyList_Size(disable) + 1, sizeof *disabled);
    const char **slot_names = PyMem_Calloc((size_t)PyList_Size(slots) + 1, sizeof *slot_names);
    if (facts == NULL || disabled == NULL || measured == NULL || slot_names == NULL) {
        PyErr_NoMemory();
    } else if (check_level(level) == 0 && load_library() == 0 && take_dims(dims, facts) == 0 &&
               take_dims(sizes, measured) == 0 && take_names(disable, disabled) == 0 &&
               take_names(slots, slot_names) == 0) {
        library.options_init(&options);
        options.level = level;
        options.target = target;
        options.cpu = cpu;
        options.name = name;
        options.dims = facts;
        options.dim_count = (size_t)PyDict_Size(dims);
        options.strict_math = strict != 0;
        options.disabled_passes = disabled;
        options.disabled_pass_count = (size_t)PyList_Size(disable);
        options.bisect_limit = bisect_limit;
        options.print_after = print_after;
        options.external_folder = external_folder;
        options.schedules = schedules;
        options.external_data = external_data != 0;
        options.slots = slot_names;
        options.slot_count = (size_t)PyList_Size(slots);
        options.weights_file = weights_file;
        options.small = small != 0;
        options.map = map;
        if (take_emit(emit, &options.emit) == 0 && take_words(&words, &options) == 0)
            answer = tune ? tune_and_run(model, PyBytes_AsString(output), &options, measured,
                                         (size_t)PyDict_Size(sizes))
                          : run_compiler(model, PyBytes_AsString(output), &options, NULL);
    }
    PyMem_Free(facts);
    PyMem_Free(measured);
    PyMem_Free((void *)disabled);
    PyMem_Free((void *)slot_names);
    Py_DECREF(output);
    return answer;
}
