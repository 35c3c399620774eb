/* SPDX-License-Identifier: Apache-2.0
 *
 * The module tamis._tamis: `Session`, an artifact loaded and ready to run, `compile`, and `Error`.
 *
 *     session = Session(path, threads, strict, seed)
 *     session.inputs                      [(name, "tensor(float)", ["batch", 4]), ...]
 *     session.run(None, {"x": array})     list of new arrays
 *     session.adapter({"lora_A": array})  weights in the place of slots, third argument of run()
 *
 * run() lets other threads go on while the model runs. A tamis_session belongs to one call at a time, so
 * calls that overlap take another one from the idle list, or make it.
 */
#include "module.h"

#include <stdlib.h>
#include <string.h>

PyObject *tm_python_error;

PyObject *tm_python_fail(int code, const char *message) {
    PyObject *error = PyObject_CallFunction(tm_python_error, "s", message);
    PyObject *number = PyLong_FromLong(code);
    if (error != NULL && number != NULL && PyObject_SetAttrString(error, "code", number) == 0)
        PyErr_SetObject(tm_python_error, error);
    Py_XDECREF(number);
    Py_XDECREF(error);
    return NULL;
}

enum { MAX_IDLE = 16 };

typedef struct session_object {
    PyObject_HEAD tamis_model *model;
    const tamis_artifact *artifact;
    tamis_session_options options;
    tamis_session *idle[MAX_IDLE];
    int idle_count;
    PyObject *input_names, *output_names; /* tuples */
} session_object;

static PyObject *names_of(const tamis_port *ports, int32_t count) {
    PyObject *names = PyTuple_New(count);
    for (int32_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyUnicode_InternFromString(ports[i].name);
        if (name == NULL || PyTuple_SetItem(names, i, name) != 0)
            Py_CLEAR(names);
    }
    return names;
}

static int session_init(PyObject *self, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"path", "threads", "strict", "seed", NULL};
    session_object *session = (session_object *)self;
    PyObject *path = NULL;
    int threads = 0, strict = 0;
    unsigned long long seed = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O&|ipK", names, PyUnicode_FSConverter, &path,
                                     &threads, &strict, &seed))
        return -1;
    if (session->model != NULL) {
        Py_DECREF(path);
        PyErr_SetString(PyExc_RuntimeError, "a session is made once");
        return -1;
    }
    tamis_error error;
    int code = tamis_model_load(PyBytes_AsString(path), &session->model, &error);
    Py_DECREF(path);
    if (code != 0) {
        tm_python_fail(error.code, error.message);
        return -1;
    }
    session->artifact = tamis_model_artifact(session->model);
    tamis_session_options_init(&session->options);
    session->options.threads = threads;
    session->options.strict_math = strict;
    session->options.seed = seed;
    session->input_names = names_of(session->artifact->inputs, session->artifact->input_count);
    session->output_names = names_of(session->artifact->outputs, session->artifact->output_count);
    return session->input_names != NULL && session->output_names != NULL ? 0 : -1;
}

static void session_dealloc(PyObject *self) {
    session_object *session = (session_object *)self;
    for (int i = 0; i < session->idle_count; i++)
        tamis_session_destroy(session->idle[i]);
    tamis_model_destroy(session->model);
    Py_XDECREF(session->input_names);
    Py_XDECREF(session->output_names);
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static tamis_session *take_session(session_object *self) {
    if (self->idle_count > 0)
        return self->idle[--self->idle_count];
    tamis_session *session = NULL;
    tamis_error error;
    if (tamis_session_create(self->model, &self->options, &session, &error) != 0)
        tm_python_fail(error.code, error.message);
    return session;
}

static void return_session(session_object *self, tamis_session *session) {
    if (self->idle_count < MAX_IDLE)
        self->idle[self->idle_count++] = session;
    else
        tamis_session_destroy(session);
}

/* ---- adapters ---- */

static const char adapter_name[] = "tamis adapter";

/* The session object, which the capsule's context holds, keeps the model. */
static void adapter_dealloc(PyObject *capsule) {
    tamis_adapter_destroy(PyCapsule_GetPointer(capsule, adapter_name));
    Py_XDECREF((PyObject *)PyCapsule_GetContext(capsule));
}

static int set_slot(const session_object *self, tamis_adapter *adapter, PyObject *name, PyObject *array) {
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (text == NULL)
        return -1;
    int slot = tamis_model_find_slot(self->model, text);
    if (slot < 0) {
        PyErr_Format(PyExc_ValueError, "the model has no slot %R: compile it with slots=[...]", name);
        return -1;
    }
    tm_python_item item;
    tamis_error error;
    memset(&item, 0, sizeof item);
    int code = tm_python_take(array, &self->artifact->weight_slots[slot], &item);
    if (code == 0) {
        code = tamis_adapter_set(adapter, slot, (tamis_type)item.tensor.type, item.tensor.rank,
                                 item.tensor.dims, item.tensor.data, &error);
        if (code != 0)
            tm_python_fail(error.code, error.message);
    }
    tm_python_release(&item);
    return code == 0 ? 0 : -1;
}

static PyObject *session_adapter(PyObject *self, PyObject *weights) {
    session_object *session = (session_object *)self;
    tamis_adapter *adapter = NULL;
    tamis_error error;
    PyObject *name, *array;
    Py_ssize_t at = 0;
    if (!PyDict_Check(weights)) {
        PyErr_SetString(PyExc_TypeError, "an adapter is made of a dict of arrays");
        return NULL;
    }
    if (tamis_adapter_create(session->model, &adapter, &error) != 0)
        return tm_python_fail(error.code, error.message);
    while (PyDict_Next(weights, &at, &name, &array)) {
        Py_INCREF(name); /* what set_slot calls may change the dict */
        Py_INCREF(array);
        int code = set_slot(session, adapter, name, array);
        Py_DECREF(name);
        Py_DECREF(array);
        if (code != 0) {
            tamis_adapter_destroy(adapter);
            return NULL;
        }
    }
    PyObject *capsule = PyCapsule_New(adapter, adapter_name, adapter_dealloc);
    if (capsule == NULL)
        tamis_adapter_destroy(adapter);
    else
        PyCapsule_SetContext(capsule, Py_NewRef(self));
    return capsule;
}

/* None: the artifact's own weights. */
static int use_adapter(tamis_session *session, PyObject *capsule) {
    tamis_adapter *adapter = NULL;
    tamis_error error;
    if (capsule != Py_None && (adapter = PyCapsule_GetPointer(capsule, adapter_name)) == NULL)
        return -1;
    if (tamis_session_set_adapter(session, adapter, &error) == 0)
        return 0;
    tm_python_fail(error.code, error.message);
    return -1;
}

/* ---- inputs ---- */

typedef struct call {
    session_object *owner;
    tamis_session *session;
    tm_python_room room;
    tm_python_result *results;
    bool *wanted; /* outputs asked for */
} call;

static int bind_input(call *c, int input, PyObject *object) {
    const tamis_port *port = &c->owner->artifact->inputs[input];
    tamis_tensor value;
    tamis_error error;
    if (tm_python_take_value(&c->room, port, object, &value) != 0)
        return -1;
    int code = port->kind == TAMIS_KIND_TENSOR
                   ? tamis_session_set_input(c->session, input, (tamis_type)port->type, value.rank,
                                             value.dims, value.data, &error)
                   : tamis_session_set_input_value(c->session, input, &value, &error);
    if (code == 0)
        return 0;
    tm_python_fail(error.code, error.message);
    return -1;
}

/* ---- outputs ---- */

static bool writes_directly(const tamis_artifact *artifact, int output) {
    const tamis_port *port = &artifact->outputs[output];
    return port->kind == TAMIS_KIND_TENSOR && !port->late && tm_python_is_plain(port->type);
}

static int make_results(call *c) {
    const tamis_artifact *artifact = c->owner->artifact;
    for (int32_t i = 0; i < artifact->output_count; i++) {
        void *data = NULL;
        int64_t bytes = 0;
        if (c->wanted[i] && writes_directly(artifact, i)) {
            const tamis_tensor *value = tamis_session_output(c->session, i);
            if (tm_python_make(value->type, value->rank, value->dims, &c->results[i]) != 0)
                return -1;
            data = c->results[i].view.buf;
            bytes = c->results[i].view.len;
        }
        tamis_session_set_output(c->session, i, data, bytes, NULL);
    }
    return 0;
}

static PyObject *give_output(call *c, int output) {
    const tamis_port *port = &c->owner->artifact->outputs[output];
    if (c->results[output].array != NULL)
        return tm_python_finish(&c->results[output], port->type);
    return tm_python_give_value(tamis_session_output(c->session, output));
}

static PyObject *give_outputs(call *c, PyObject *order) {
    const tamis_artifact *artifact = c->owner->artifact;
    Py_ssize_t count = order != NULL ? PySequence_Size(order) : artifact->output_count;
    PyObject *list = PyList_New(0);
    for (Py_ssize_t k = 0; list != NULL && k < count; k++) {
        Py_ssize_t i = k;
        if (order != NULL) {
            PyObject *name = PySequence_GetItem(order, k);
            i = name != NULL ? PySequence_Index(c->owner->output_names, name) : -1;
            Py_XDECREF(name);
        }
        PyObject *array = i >= 0 ? give_output(c, (int)i) : NULL;
        if (array == NULL || PyList_Append(list, array) != 0)
            Py_CLEAR(list);
        Py_XDECREF(array);
    }
    return list;
}

/* ---- a call ---- */

static int run_call(call *c, PyObject *const *objects) {
    tamis_error error;
    for (int32_t i = 0; i < c->owner->artifact->input_count; i++)
        if (bind_input(c, i, objects[i]) != 0)
            return -1;
    int code = tamis_session_prepare(c->session, &error);
    if (code == 0) {
        if (make_results(c) != 0)
            return -1;
        PyThreadState *state = PyEval_SaveThread();
        code = tamis_session_run(c->session, &error);
        PyEval_RestoreThread(state);
    }
    if (code != 0) {
        tm_python_fail(error.code, error.message);
        return -1;
    }
    return 0;
}

/* `objects` in the order of the inputs; `order`: names of the wanted outputs, or NULL for all. */
static PyObject *run_objects(session_object *self, PyObject *const *objects, const bool *wanted,
                             PyObject *order, PyObject *adapter) {
    const tamis_artifact *artifact = self->artifact;
    size_t outputs = (size_t)artifact->output_count, result_bytes = outputs * sizeof(tm_python_result);
    int64_t records = 0;
    for (int32_t i = 0; i < artifact->input_count; i++)
        records += tm_python_count_records(objects[i], &artifact->inputs[i]);
    size_t room_bytes = tm_python_room_bytes(artifact->input_count, records);
    char small[4096], *memory = small;
    if (room_bytes + result_bytes > sizeof small &&
        (memory = PyMem_Malloc(room_bytes + result_bytes)) == NULL)
        return PyErr_NoMemory();
    call c = {.owner = self,
              .results = (tm_python_result *)(void *)(memory + room_bytes),
              .wanted = (bool *)(uintptr_t)wanted};
    tm_python_room_init(&c.room, memory, artifact->input_count, records);
    memset(c.results, 0, result_bytes);
    PyObject *list = NULL;
    c.session = take_session(self);
    if (c.session != NULL) {
        if (use_adapter(c.session, adapter) == 0 && run_call(&c, objects) == 0)
            list = give_outputs(&c, order);
        return_session(self, c.session);
    }
    tm_python_room_release(&c.room);
    for (size_t i = 0; i < outputs; i++)
        tm_python_drop(&c.results[i]);
    if (memory != small)
        PyMem_Free(memory);
    return list;
}

/* Which outputs `names` (None: all) asks for; -1: exception. */
static int mark_wanted(session_object *self, PyObject *names, bool *wanted) {
    int32_t count = self->artifact->output_count;
    memset(wanted, names == Py_None, (size_t)count);
    Py_ssize_t asked = names != Py_None ? PySequence_Size(names) : 0;
    for (Py_ssize_t k = 0; k < asked; k++) {
        PyObject *name = PySequence_GetItem(names, k);
        Py_ssize_t i = name != NULL ? PySequence_Index(self->output_names, name) : -1;
        if (i < 0) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "the model has no output %R", name);
            Py_XDECREF(name);
            return -1;
        }
        wanted[i] = true;
        Py_DECREF(name);
    }
    return asked < 0 ? -1 : 0;
}

static int find_feeds(session_object *self, PyObject *feeds, PyObject **objects) {
    int32_t count = self->artifact->input_count;
    Py_ssize_t found = 0;
    for (int32_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GetItem(self->input_names, i);
        objects[i] = PyDict_GetItemWithError(feeds, name);
        if (objects[i] != NULL)
            found++;
        else if (PyErr_Occurred() != NULL)
            return -1;
        else if (self->artifact->inputs[i].kind == TAMIS_KIND_OPTIONAL)
            objects[i] = Py_None;
        else {
            PyErr_Format(PyExc_ValueError, "input %R is missing; the model has %R", name, self->input_names);
            return -1;
        }
    }
    if (found == PyDict_Size(feeds))
        return 0;
    PyErr_Format(PyExc_ValueError, "a feed is not an input of the model, which has %R", self->input_names);
    return -1;
}

static PyObject *session_run(PyObject *self, PyObject *arguments) {
    session_object *session = (session_object *)self;
    PyObject *names, *feeds, *adapter = Py_None, *small_objects[16], **objects = small_objects, *list = NULL;
    bool small_wanted[64], *wanted = small_wanted;
    if (!PyArg_ParseTuple(arguments, "OO!|O", &names, &PyDict_Type, &feeds, &adapter))
        return NULL;
    if (session->artifact->input_count > 16)
        objects = PyMem_Calloc((size_t)session->artifact->input_count, sizeof(PyObject *));
    if (session->artifact->output_count > 64)
        wanted = PyMem_Calloc((size_t)session->artifact->output_count, 1);
    if (objects == NULL || wanted == NULL)
        PyErr_NoMemory();
    else if (mark_wanted(session, names, wanted) == 0 && find_feeds(session, feeds, objects) == 0)
        list = run_objects(session, objects, wanted, names != Py_None ? names : NULL, adapter);
    if (objects != small_objects)
        PyMem_Free(objects);
    if (wanted != small_wanted)
        PyMem_Free(wanted);
    return list;
}

/* ---- description ---- */

static PyObject *dims_of(const tamis_port *port) {
    if (port->kind != TAMIS_KIND_TENSOR)
        return Py_NewRef(Py_None);
    PyObject *dims = PyList_New(0);
    for (int32_t i = 0; dims != NULL && i < port->rank; i++) {
        PyObject *dim = port->dims[i] >= 0 ? PyLong_FromLongLong(port->dims[i])
                                           : PyUnicode_FromString(port->dim_texts[i]);
        if (dim == NULL || PyList_Append(dims, dim) != 0)
            Py_CLEAR(dims);
        Py_XDECREF(dim);
    }
    return dims;
}

static PyObject *describe(const tamis_port *ports, int32_t count) {
    PyObject *list = PyList_New(0);
    for (int32_t i = 0; list != NULL && i < count; i++) {
        PyObject *dims = dims_of(&ports[i]);
        PyObject *type = tm_python_type_text(&ports[i]);
        PyObject *row =
            dims != NULL && type != NULL ? Py_BuildValue("(sOO)", ports[i].name, type, dims) : NULL;
        if (row == NULL || PyList_Append(list, row) != 0)
            Py_CLEAR(list);
        Py_XDECREF(type);
        Py_XDECREF(dims);
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *session_inputs(PyObject *self, void *closure) {
    (void)closure;
    const tamis_artifact *artifact = ((session_object *)self)->artifact;
    return describe(artifact->inputs, artifact->input_count);
}

static PyObject *session_outputs(PyObject *self, void *closure) {
    (void)closure;
    const tamis_artifact *artifact = ((session_object *)self)->artifact;
    return describe(artifact->outputs, artifact->output_count);
}

static PyObject *session_slots_list(PyObject *self, void *closure) {
    (void)closure;
    const tamis_artifact *artifact = ((session_object *)self)->artifact;
    return describe(artifact->weight_slots, artifact->weight_slot_count);
}

static PyObject *session_about(PyObject *self, void *closure) {
    (void)closure;
    const tamis_artifact *a = ((session_object *)self)->artifact;
    return Py_BuildValue("{ssssssslss}", "name", a->name, "producer", a->producer, "target", a->target,
                         "weights_bytes", (long)a->weights_bytes, "manifest",
                         a->manifest != NULL ? a->manifest : "");
}

static PyMethodDef session_methods[] = {
    {"run", session_run, METH_VARARGS, "run(output_names or None, feeds, adapter=None) -> list of arrays"},
    {"adapter", session_adapter, METH_O, "adapter({slot: array}) -> weights for run()"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef session_getters[] = {
    {"inputs", session_inputs, NULL, "list of (name, type, dims)", NULL},
    {"outputs", session_outputs, NULL, "list of (name, type, dims)", NULL},
    {"slots", session_slots_list, NULL, "list of (name, type, dims)", NULL},
    {"about", session_about, NULL, "fields of the artifact's header", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot session_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t)"An artifact loaded and ready to run."},
    {Py_tp_init, session_init},
    {Py_tp_dealloc, session_dealloc},
    {Py_tp_methods, session_methods},
    {Py_tp_getset, session_getters},
    {0, NULL},
};

PyType_Spec tm_python_session_spec = {
    .name = "tamis._tamis.Session",
    .basicsize = sizeof(session_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = session_slots,
};

/* ---- module ---- */

static PyObject *set_threads(PyObject *module, PyObject *argument) {
    (void)module;
    long threads = PyLong_AsLong(argument);
    if (PyErr_Occurred() != NULL)
        return NULL;
    tamis_set_threads((int)threads);
    return Py_NewRef(Py_None);
}

static PyMethodDef module_methods[] = {
    {"compile", (PyCFunction)(void (*)(void))tm_python_compile, METH_VARARGS | METH_KEYWORDS,
     "compile(model, output, ...): see tamis.compile"},
    {"set_threads", set_threads, METH_O, "set_threads(n): threads of the pool, 0 automatic"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "tamis._tamis",
    .m_doc = "The C part of the package tamis.",
    .m_size = -1,
    .m_methods = module_methods,
};

PyMODINIT_FUNC PyInit__tamis(void);
PyMODINIT_FUNC PyInit__tamis(void) {
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL || tm_python_arrays_init() != 0)
        return NULL;
    tm_python_error = PyErr_NewExceptionWithDoc("tamis.Error",
                                                "A model, artifact or run that failed; `code` is its number.",
                                                PyExc_RuntimeError, NULL);
    PyObject *session = PyType_FromSpec(&tm_python_session_spec);
    if (tm_python_error == NULL || session == NULL ||
        PyModule_AddObjectRef(module, "Error", tm_python_error) != 0 ||
        PyModule_AddIntConstant(module, "ABI_VERSION", TAMIS_ABI_VERSION) != 0 ||
        PyModule_AddObjectRef(module, "Session", session) != 0) {
        Py_DECREF(module);
        return NULL;
    }
    Py_DECREF(session);
    return module;
}
