/* SPDX-License-Identifier: Apache-2.0
 *
 * module.h: the parts of the C module tamis._tamis.
 *
 *   module.c     the module and its Session type: find, bind, run
 *   arrays.c     Python objects to and from tensors
 *   values.c     lists, dicts and None to and from sequences, maps and optionals
 *   compiler.c   compile(): loads libtamis when it is first needed
 *
 * Only CPython's limited API (3.11) is used and no NumPy header: arrays come in through the buffer protocol
 * and are made by calling numpy.empty. So one binary serves every Python and NumPy.
 */
#ifndef TAMIS_PYTHON_MODULE_H
#define TAMIS_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "tamis/runtime.h"

#include <stdbool.h>

/* The exception tamis.Error; its attribute `code` is the number of `tamis explain`. */
extern PyObject *tm_python_error;
PyObject *tm_python_fail(int code, const char *message); /* NULL */

/* One array on its way into a model, with all that keeps its bytes alive. */
typedef struct tm_python_item {
    tamis_tensor tensor;
    int64_t dims[TAMIS_MAX_RANK];
    Py_buffer view;
    bool has_view;
    PyObject *owner; /* of strings, or NULL */
    void *memory;    /* PyMem: string records, packed elements */
} tm_python_item;

int tm_python_arrays_init(void); /* finds numpy; -1: exception set */
/* Fills *item from an object for a port; -1: exception set. Release in any case. */
int tm_python_take(PyObject *object, const tamis_port *port, tm_python_item *item);
void tm_python_release(tm_python_item *item);

/* A new array for a result. */
typedef struct tm_python_result {
    PyObject *array; /* what the bytes are written to */
    Py_buffer view;
    bool has_view;
} tm_python_result;
/* True when arrays of the type can be written by the model itself (no packing, no strings). */
bool tm_python_is_plain(int type);
int tm_python_make(int type, int rank, const int64_t *dims, tm_python_result *result);
/* Copies a tensor into a new array of the right dtype; NULL: exception set. */
PyObject *tm_python_give(const tamis_tensor *tensor);
/* The array of a result that was filled; takes the reference. */
PyObject *tm_python_finish(tm_python_result *result, int type);
void tm_python_drop(tm_python_result *result);
const char *tm_python_type_name(int type); /* "float", "int64" as in ONNX Runtime's tensor(float) */

/* Memory of the inputs of one call: their arrays and, for values other than tensors, the records that
 * describe them to the runtime. */
typedef struct tm_python_room {
    tm_python_item *items;
    int64_t item_count;
    tamis_tensor *records;
    int64_t *lengths; /* one for each record, a list's only dim; before the first one, a 0 */
    int64_t record_count, record_capacity;
} tm_python_room;
/* How many records an input takes, all levels counted; the largest number of arrays besides itself. */
int64_t tm_python_count_records(PyObject *object, const tamis_port *port);
size_t tm_python_room_bytes(int64_t inputs, int64_t records);
void tm_python_room_init(tm_python_room *room, void *memory, int64_t inputs, int64_t records);
void tm_python_room_release(tm_python_room *room);
/* The value for a port as tamis_session_set_input_value takes it; -1: exception set. */
int tm_python_take_value(tm_python_room *room, const tamis_port *port, PyObject *object, tamis_tensor *out);
/* An array, a list, None or the element of an optional, a dict; NULL: exception set. */
PyObject *tm_python_give_value(const tamis_tensor *value);
/* "seq(map(int64,tensor(float)))" */
PyObject *tm_python_type_text(const tamis_port *port);

extern PyType_Spec tm_python_session_spec;
PyObject *tm_python_compile(PyObject *module, PyObject *arguments, PyObject *keywords);

#endif
