/* SPDX-License-Identifier: Apache-2.0
 *
 * module.h: the parts of the C module tamis._tamis.
 *
 *   module.c     the module and its Session type: find, bind, run
 *   arrays.c     Python objects to and from tamis_tensor
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

extern PyType_Spec tm_python_session_spec;
PyObject *tm_python_compile(PyObject *module, PyObject *arguments, PyObject *keywords);

#endif
