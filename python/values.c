/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of any kind in and out: arrays, lists for sequences, None for an optional without element, dicts for
 * maps. A Python value that is no array becomes a tree of records as tamis_session_set_input_value takes it,
 *
 *     [{"a": 1.5}]   ->   list of 1 (map of 2 (keys: array of strings, values: array of floats))
 *
 * laid out in memory whose size is counted first, so that a call needs one block or none.
 */
#include "module.h"

/* What a value has to be: its kind and, for lists, that of their items. */
typedef struct form {
    int kind, item;
} form;

static form form_of(const tamis_port *port) {
    return (form){port->kind, port->item};
}

static form item_form(form of) {
    return (form){of.item, of.item == TAMIS_KIND_TENSOR ? TAMIS_KIND_NONE : TAMIS_KIND_TENSOR};
}

static bool is_list(PyObject *object) {
    return PyList_Check(object) || PyTuple_Check(object);
}

/* How many records the items of the value take, all levels counted; most arrays are among them. */
static int64_t count_records(PyObject *object, form expected) {
    int64_t count = 0;
    if (expected.kind == TAMIS_KIND_TENSOR)
        return 0;
    if (expected.kind == TAMIS_KIND_MAP)
        return 2;
    if (expected.kind == TAMIS_KIND_OPTIONAL)
        return object == Py_None ? 0 : 1 + count_records(object, item_form(expected));
    for (Py_ssize_t i = 0; is_list(object) && i < PySequence_Size(object); i++) {
        PyObject *item = PySequence_GetItem(object, i);
        count += 1 + (item != NULL ? count_records(item, item_form(expected)) : 0);
        Py_XDECREF(item);
    }
    PyErr_Clear();
    return count;
}

static int wrong_kind(const tamis_port *port, const char *expected, PyObject *object) {
    PyErr_Format(PyExc_TypeError, "input '%s': expected %s, found %R", port->name, expected,
                 (PyObject *)Py_TYPE(object));
    return -1;
}

static int take_tensor(tm_python_room *room, const tamis_port *port, PyObject *object, tamis_tensor *out) {
    tm_python_item *item = &room->items[room->item_count++];
    if (tm_python_take(object, port, item) != 0)
        return -1;
    *out = item->tensor;
    return 0;
}

/* Room for `count` records; the list of them. NULL with an exception: converting an array ran Python code
 * that made a list longer than it was. */
static tamis_tensor *add_records(tm_python_room *room, int64_t count, int kind, tamis_tensor *out_list) {
    if (count > room->record_capacity - room->record_count) {
        PyErr_SetString(PyExc_RuntimeError, "an input changed while it was read");
        return NULL;
    }
    tamis_tensor *records = &room->records[room->record_count];
    int64_t *length = &room->lengths[room->record_count];
    *out_list = (tamis_tensor){.data = records, .dims = length, .rank = 1, .kind = (uint8_t)kind};
    if (count > 0)
        *length = count;
    else
        out_list->dims = &room->lengths[-1]; /* the entry before all others is 0 */
    room->record_count += count;
    return records;
}

static int take_map(tm_python_room *room, const tamis_port *port, PyObject *object, tamis_tensor *out) {
    if (!PyDict_Check(object))
        return wrong_kind(port, "a dict", object);
    tamis_tensor *records = add_records(room, PyDict_Size(object) > 0 ? 2 : 0, TAMIS_KIND_MAP, out);
    if (records == NULL || PyDict_Size(object) == 0)
        return records != NULL ? 0 : -1;
    tamis_port key_port = *port;
    key_port.type = port->key;
    PyObject *keys = PyDict_Keys(object), *values = PyDict_Values(object);
    int code = keys != NULL && values != NULL ? 0 : -1;
    if (code == 0)
        code = take_tensor(room, &key_port, keys, &records[0]);
    if (code == 0)
        code = take_tensor(room, port, values, &records[1]);
    Py_XDECREF(keys);
    Py_XDECREF(values);
    return code;
}

static int take_value(tm_python_room *room, const tamis_port *port, PyObject *object, form expected,
                      tamis_tensor *out) {
    if (expected.kind == TAMIS_KIND_TENSOR)
        return take_tensor(room, port, object, out);
    if (expected.kind == TAMIS_KIND_MAP)
        return take_map(room, port, object, out);
    if (expected.kind == TAMIS_KIND_OPTIONAL) {
        tamis_tensor *element = add_records(room, object != Py_None, TAMIS_KIND_OPTIONAL, out);
        if (element == NULL || object == Py_None)
            return element != NULL ? 0 : -1;
        return take_value(room, port, object, item_form(expected), element);
    }
    if (!is_list(object))
        return wrong_kind(port, expected.item == TAMIS_KIND_MAP ? "a list of dicts" : "a list of arrays",
                          object);
    Py_ssize_t count = PySequence_Size(object);
    tamis_tensor *items = add_records(room, count, TAMIS_KIND_SEQUENCE, out);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = items != NULL ? PySequence_GetItem(object, i) : NULL;
        int code = item != NULL ? take_value(room, port, item, item_form(expected), &items[i]) : -1;
        Py_XDECREF(item);
        if (code != 0)
            return -1;
    }
    return items != NULL ? 0 : -1;
}

int64_t tm_python_count_records(PyObject *object, const tamis_port *port) {
    return count_records(object, form_of(port));
}

int tm_python_take_value(tm_python_room *room, const tamis_port *port, PyObject *object, tamis_tensor *out) {
    return take_value(room, port, object, form_of(port), out);
}

/* | items, one for each input and record | records | lengths, one more | */
size_t tm_python_room_bytes(int64_t inputs, int64_t records) {
    return (size_t)(inputs + records) * sizeof(tm_python_item) + (size_t)records * sizeof(tamis_tensor) +
           (size_t)(records + 1) * sizeof(int64_t);
}

void tm_python_room_init(tm_python_room *room, void *memory, int64_t inputs, int64_t records) {
    tm_python_item *items = memory;
    tamis_tensor *list = (tamis_tensor *)(void *)(items + inputs + records);
    *room = (tm_python_room){.items = items,
                             .records = list,
                             .lengths = (int64_t *)(void *)(list + records) + 1,
                             .record_capacity = records};
    room->lengths[-1] = 0;
}

void tm_python_room_release(tm_python_room *room) {
    for (int64_t i = 0; i < room->item_count; i++)
        tm_python_release(&room->items[i]);
}

/* ---- results ---- */

/* A list of Python numbers and strings, or of arrays where the tensor has more than one axis. */
static PyObject *give_list(const tamis_tensor *tensor) {
    PyObject *array = tm_python_give(tensor);
    PyObject *list = NULL;
    if (array != NULL)
        list = tensor->rank == 1 ? PyObject_CallMethod(array, "tolist", NULL) : PySequence_List(array);
    Py_XDECREF(array);
    return list;
}

static PyObject *give_map(const tamis_tensor *map) {
    int64_t count;
    const tamis_tensor *items = tamis_tensor_items(map, &count);
    PyObject *dict = PyDict_New();
    if (dict == NULL || count < 2)
        return dict;
    PyObject *keys = give_list(&items[0]), *values = give_list(&items[1]);
    Py_ssize_t entries = keys != NULL && values != NULL ? PyList_Size(keys) : -1;
    if (entries < 0)
        Py_CLEAR(dict);
    for (Py_ssize_t i = 0; dict != NULL && i < entries; i++)
        if (PyDict_SetItem(dict, PyList_GetItem(keys, i), PyList_GetItem(values, i)) != 0)
            Py_CLEAR(dict);
    Py_XDECREF(keys);
    Py_XDECREF(values);
    return dict;
}

/* An array, a list, None or the element of an optional, a dict. */
PyObject *tm_python_give_value(const tamis_tensor *value) {
    if (value->kind == TAMIS_KIND_TENSOR)
        return tm_python_give(value);
    if (value->kind == TAMIS_KIND_MAP)
        return give_map(value);
    int64_t count;
    const tamis_tensor *items = tamis_tensor_items(value, &count);
    if (value->kind == TAMIS_KIND_OPTIONAL)
        return count > 0 ? tm_python_give_value(&items[0]) : Py_NewRef(Py_None);
    PyObject *list = PyList_New(0);
    for (int64_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = tm_python_give_value(&items[i]);
        if (item == NULL || PyList_Append(list, item) != 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* ---- types ---- */

static PyObject *type_text(const tamis_port *port, form of) {
    static const char *const kinds[] = {"none", "tensor", "seq", "optional", "map"};
    if (of.kind == TAMIS_KIND_TENSOR)
        return PyUnicode_FromFormat("tensor(%s)", tm_python_type_name(port->type));
    PyObject *item = type_text(port, item_form(of)), *text = NULL;
    if (item != NULL && of.kind == TAMIS_KIND_MAP)
        text = PyUnicode_FromFormat("map(%s,%U)", tm_python_type_name(port->key), item);
    else if (item != NULL)
        text = PyUnicode_FromFormat("%s(%U)", kinds[of.kind], item);
    Py_XDECREF(item);
    return text;
}

PyObject *tm_python_type_text(const tamis_port *port) {
    return type_text(port, form_of(port));
}
