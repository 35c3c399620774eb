/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays in and out. A C-contiguous array of a type that the buffer protocol knows is used in place; others
 * are converted first: by numpy.asarray (lists, strided arrays, torch tensors), byte views (bfloat16 and
 * float8 of ml_dtypes, which the protocol does not know), packing (4- and 2-bit integers, one a byte in
 * ml_dtypes), or records of pointers (strings).
 */
#include "module.h"

#include <string.h>

enum {
    CATEGORY_NONE,
    CATEGORY_FLOAT,
    CATEGORY_SIGNED,
    CATEGORY_UNSIGNED,
    CATEGORY_BOOL,
    CATEGORY_COMPLEX,
    CATEGORY_RAW,
    CATEGORY_STRING
};

typedef struct type_row {
    const char *name;  /* in tensor(...) */
    const char *dtype; /* NumPy's or ml_dtypes' */
    int category;
    int bits;
} type_row;

static const type_row type_rows[TAMIS_TYPE_COUNT] = {
    [TAMIS_TYPE_FLOAT] = {"float", "float32", CATEGORY_FLOAT, 32},
    [TAMIS_TYPE_UINT8] = {"uint8", "uint8", CATEGORY_UNSIGNED, 8},
    [TAMIS_TYPE_INT8] = {"int8", "int8", CATEGORY_SIGNED, 8},
    [TAMIS_TYPE_UINT16] = {"uint16", "uint16", CATEGORY_UNSIGNED, 16},
    [TAMIS_TYPE_INT16] = {"int16", "int16", CATEGORY_SIGNED, 16},
    [TAMIS_TYPE_INT32] = {"int32", "int32", CATEGORY_SIGNED, 32},
    [TAMIS_TYPE_INT64] = {"int64", "int64", CATEGORY_SIGNED, 64},
    [TAMIS_TYPE_STRING] = {"string", "object", CATEGORY_STRING, 128},
    [TAMIS_TYPE_BOOL] = {"bool", "bool", CATEGORY_BOOL, 8},
    [TAMIS_TYPE_FLOAT16] = {"float16", "float16", CATEGORY_FLOAT, 16},
    [TAMIS_TYPE_DOUBLE] = {"double", "float64", CATEGORY_FLOAT, 64},
    [TAMIS_TYPE_UINT32] = {"uint32", "uint32", CATEGORY_UNSIGNED, 32},
    [TAMIS_TYPE_UINT64] = {"uint64", "uint64", CATEGORY_UNSIGNED, 64},
    [TAMIS_TYPE_COMPLEX64] = {"complex64", "complex64", CATEGORY_COMPLEX, 64},
    [TAMIS_TYPE_COMPLEX128] = {"complex128", "complex128", CATEGORY_COMPLEX, 128},
    [TAMIS_TYPE_BFLOAT16] = {"bfloat16", "bfloat16", CATEGORY_RAW, 16},
    [TAMIS_TYPE_FLOAT8E4M3FN] = {"float8e4m3fn", "float8_e4m3fn", CATEGORY_RAW, 8},
    [TAMIS_TYPE_FLOAT8E4M3FNUZ] = {"float8e4m3fnuz", "float8_e4m3fnuz", CATEGORY_RAW, 8},
    [TAMIS_TYPE_FLOAT8E5M2] = {"float8e5m2", "float8_e5m2", CATEGORY_RAW, 8},
    [TAMIS_TYPE_FLOAT8E5M2FNUZ] = {"float8e5m2fnuz", "float8_e5m2fnuz", CATEGORY_RAW, 8},
    [TAMIS_TYPE_UINT4] = {"uint4", "uint4", CATEGORY_RAW, 4},
    [TAMIS_TYPE_INT4] = {"int4", "int4", CATEGORY_RAW, 4},
    [TAMIS_TYPE_FLOAT4E2M1] = {"float4e2m1", "float4_e2m1fn", CATEGORY_RAW, 4},
    [TAMIS_TYPE_FLOAT8E8M0] = {"float8e8m0", "float8_e8m0fnu", CATEGORY_RAW, 8},
    [TAMIS_TYPE_UINT2] = {"uint2", "uint2", CATEGORY_RAW, 2},
    [TAMIS_TYPE_INT2] = {"int2", "int2", CATEGORY_RAW, 2},
};

static PyObject *numpy, *numpy_empty, *numpy_asarray, *order_keywords;
static PyObject
    *dtypes[TAMIS_TYPE_COUNT]; /* NULL: ml_dtypes does not have it, results come as unsigned integers */

static PyObject *find_dtype(const type_row *row, PyObject *ml_dtypes) {
    if (row->category == CATEGORY_RAW) {
        PyObject *scalar = ml_dtypes != NULL ? PyObject_GetAttrString(ml_dtypes, row->dtype) : NULL;
        PyErr_Clear();
        if (scalar == NULL)
            return PyObject_CallMethod(numpy, "dtype", "s", row->bits > 8 ? "uint16" : "uint8");
        PyObject *dtype = PyObject_CallMethod(numpy, "dtype", "O", scalar);
        Py_DECREF(scalar);
        return dtype;
    }
    return PyObject_CallMethod(numpy, "dtype", "s", row->dtype);
}

int tm_python_arrays_init(void) {
    numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL)
        return -1;
    numpy_empty = PyObject_GetAttrString(numpy, "empty");
    numpy_asarray = PyObject_GetAttrString(numpy, "asarray");
    order_keywords = Py_BuildValue("{ss}", "order", "C");
    if (numpy_empty == NULL || numpy_asarray == NULL || order_keywords == NULL)
        return -1;
    PyObject *ml_dtypes = PyImport_ImportModule("ml_dtypes");
    PyErr_Clear();
    for (int type = 1; type < TAMIS_TYPE_COUNT; type++)
        if (type_rows[type].name != NULL && (dtypes[type] = find_dtype(&type_rows[type], ml_dtypes)) == NULL)
            return -1;
    Py_XDECREF(ml_dtypes);
    return 0;
}

const char *tm_python_type_name(int type) {
    return type > 0 && type < TAMIS_TYPE_COUNT && type_rows[type].name != NULL ? type_rows[type].name
                                                                               : "undefined";
}

/* ---- inputs ---- */

/* Category of a buffer's format, CATEGORY_NONE for records and foreign byte order. */
static int category_of(const char *format) {
    if (format == NULL)
        return CATEGORY_UNSIGNED;
    if (*format == '@' || *format == '=' || *format == '<' || *format == '|')
        format++;
    if (*format == 'Z')
        return CATEGORY_COMPLEX;
    if (format[0] != 0 && format[1] != 0)
        return CATEGORY_NONE;
    if (strchr("efd", *format) != NULL)
        return CATEGORY_FLOAT;
    if (strchr("bhilqn", *format) != NULL)
        return CATEGORY_SIGNED;
    if (strchr("BHILQN", *format) != NULL)
        return CATEGORY_UNSIGNED;
    return *format == '?' ? CATEGORY_BOOL : CATEGORY_NONE;
}

static int wrong_type(PyObject *object, const tamis_port *port) {
    PyObject *dtype = PyObject_GetAttrString(object, "dtype");
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "input '%s': expected an array of tensor(%s), found %R", port->name,
                 tm_python_type_name(port->type), dtype != NULL ? dtype : (PyObject *)Py_TYPE(object));
    Py_XDECREF(dtype);
    return -1;
}

static int take_dims(tm_python_item *item, int type, int rank, const Py_ssize_t *shape, const char *name) {
    if (rank > TAMIS_MAX_RANK) {
        PyErr_Format(PyExc_ValueError, "input '%s': rank %d is above %d", name, rank, TAMIS_MAX_RANK);
        return -1;
    }
    for (int i = 0; i < rank; i++)
        item->dims[i] = shape[i];
    item->tensor =
        (tamis_tensor){.dims = item->dims, .rank = rank, .type = (uint8_t)type, .kind = TAMIS_KIND_TENSOR};
    return 0;
}

/* Gets a C-contiguous view; 0: none to be had, -1: exception. */
static int view_of(PyObject *object, tm_python_item *item) {
    if (PyObject_CheckBuffer(object) &&
        PyObject_GetBuffer(object, &item->view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) == 0) {
        item->has_view = true;
        return 1;
    }
    if (PyErr_Occurred() == NULL)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError) &&
        !PyErr_ExceptionMatches(PyExc_TypeError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* numpy.asarray(object, [dtype,] order="C"): keeps rank 0, copies only when it must. */
static PyObject *as_array(PyObject *object, PyObject *dtype) {
    PyObject *arguments = dtype != NULL ? PyTuple_Pack(2, object, dtype) : PyTuple_Pack(1, object);
    PyObject *array = arguments != NULL ? PyObject_Call(numpy_asarray, arguments, order_keywords) : NULL;
    Py_XDECREF(arguments);
    return array;
}

static bool is_aligned(const Py_buffer *view) {
    size_t alignment = view->itemsize < 8 ? (size_t)view->itemsize : 8;
    return view->len == 0 || alignment == 0 || (uintptr_t)view->buf % alignment == 0;
}

/* A list of Python numbers has no type of its own: it takes the port's. What NumPy knows as objects only
 * (None among the numbers) is no such list. */
static PyObject *list_as_array(PyObject *object, PyObject *dtype) {
    PyObject *array = as_array(object, NULL);
    PyObject *found = array != NULL ? PyObject_GetAttrString(array, "dtype") : NULL;
    int objects = found != NULL ? PyObject_RichCompareBool(found, dtypes[TAMIS_TYPE_STRING], Py_EQ) : -1;
    PyObject *typed = objects == 0 ? as_array(array, dtype) : NULL;
    if (objects > 0)
        PyErr_SetString(PyExc_TypeError, "a list of objects that are no numbers");
    Py_XDECREF(found);
    Py_XDECREF(array);
    return typed;
}

static int take_plain(PyObject *object, const tamis_port *port, tm_python_item *item) {
    const type_row *row = &type_rows[port->type];
    int got = view_of(object, item);
    if (got == 0 || (got > 0 && !is_aligned(&item->view))) {
        bool is_array = got > 0 || PyObject_HasAttrString(object, "dtype");
        PyObject *array = NULL;
        if (got > 0) {
            tm_python_release(item);
            array = PyObject_CallMethod(object, "copy", NULL);
        } else {
            array = is_array ? as_array(object, NULL) : list_as_array(object, dtypes[port->type]);
        }
        got = array != NULL ? view_of(array, item) : -1;
        Py_XDECREF(array); /* the view holds it */
    }
    if (got < 0)
        return -1;
    if (got == 0 || item->view.itemsize * 8 != row->bits || category_of(item->view.format) != row->category)
        return wrong_type(object, port);
    if (take_dims(item, port->type, item->view.ndim, item->view.shape, port->name) != 0)
        return -1;
    item->tensor.data = item->view.buf;
    return 0;
}

static int pack(tm_python_item *item, int bits) {
    size_t count = (size_t)item->view.len, each = (size_t)(8 / bits);
    const uint8_t *from = item->view.buf;
    uint8_t *to = PyMem_Calloc(count / each + 1, 1);
    if (to == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        to[i / each] |= (uint8_t)((from[i] & ((1u << bits) - 1)) << (i % each * (size_t)bits));
    item->memory = to;
    item->tensor.data = to;
    return 0;
}

/* bfloat16, float8, sub-byte: as the ml_dtypes type, or as plain integers of the same width. */
static int take_raw(PyObject *object, const tamis_port *port, tm_python_item *item) {
    const type_row *row = &type_rows[port->type];
    PyObject *array = as_array(object, NULL);
    PyObject *dtype = array != NULL ? PyObject_GetAttrString(array, "dtype") : NULL;
    int same = dtype != NULL ? PyObject_RichCompareBool(dtype, dtypes[port->type], Py_EQ) : -1;
    PyObject *bytes = NULL;
    if (same > 0)
        bytes = PyObject_CallMethod(array, "view", "s", row->bits > 8 ? "uint16" : "uint8");
    else if (same == 0)
        bytes = Py_NewRef(array);
    Py_XDECREF(dtype);
    Py_XDECREF(array);
    if (bytes == NULL)
        return -1;
    int got = view_of(bytes, item);
    Py_DECREF(bytes);
    if (got < 0)
        return -1;
    int category = got > 0 ? category_of(item->view.format) : CATEGORY_NONE;
    if ((category != CATEGORY_UNSIGNED && category != CATEGORY_SIGNED) ||
        item->view.itemsize != (row->bits > 8 ? 2 : 1))
        return wrong_type(object, port);
    if (take_dims(item, port->type, item->view.ndim, item->view.shape, port->name) != 0)
        return -1;
    item->tensor.data = item->view.buf;
    return row->bits < 8 ? pack(item, row->bits) : 0;
}

static int take_shape(PyObject *array, const tamis_port *port, tm_python_item *item) {
    Py_ssize_t shape[TAMIS_MAX_RANK];
    PyObject *dims = PyObject_GetAttrString(array, "shape");
    Py_ssize_t rank = dims != NULL ? PyTuple_Size(dims) : -1;
    for (Py_ssize_t i = 0; i < rank && i < TAMIS_MAX_RANK; i++)
        shape[i] = PyLong_AsSsize_t(PyTuple_GetItem(dims, i));
    Py_XDECREF(dims);
    return rank < 0 ? -1 : take_dims(item, port->type, (int)rank, shape, port->name);
}

static int take_strings(PyObject *object, const tamis_port *port, tm_python_item *item) {
    PyObject *array = as_array(object, dtypes[TAMIS_TYPE_STRING]);
    if (array == NULL || take_shape(array, port, item) != 0) {
        Py_XDECREF(array);
        return -1;
    }
    PyObject *flat = PyObject_CallMethod(array, "ravel", NULL);
    item->owner = flat != NULL ? PyObject_CallMethod(flat, "tolist", NULL) : NULL;
    Py_XDECREF(flat);
    Py_DECREF(array);
    Py_ssize_t count = item->owner != NULL ? PyList_Size(item->owner) : -1;
    if (count < 0)
        return -1;
    tamis_string *strings = PyMem_Calloc((size_t)count + 1, sizeof *strings);
    item->memory = strings;
    item->tensor.data = strings;
    if (strings == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *text = PyList_GetItem(item->owner, i);
        Py_ssize_t size = 0;
        char *bytes = NULL;
        if (PyBytes_Check(text))
            PyBytes_AsStringAndSize(text, &bytes, &size);
        else if (PyUnicode_Check(text))
            strings[i].data = PyUnicode_AsUTF8AndSize(text, &size);
        else
            return wrong_type(text, port);
        if (PyErr_Occurred() != NULL)
            return -1;
        if (bytes != NULL)
            strings[i].data = bytes;
        strings[i].size = size;
    }
    return 0;
}

int tm_python_take(PyObject *object, const tamis_port *port, tm_python_item *item) {
    memset(item, 0, sizeof *item);
    if (object == Py_None) { /* NumPy makes NaN of it */
        PyErr_Format(PyExc_TypeError,
                     "input '%s' is not optional: expected an array of tensor(%s), found None", port->name,
                     tm_python_type_name(port->type));
        return -1;
    }
    int category = type_rows[port->type].category;
    if (category == CATEGORY_STRING)
        return take_strings(object, port, item);
    return category == CATEGORY_RAW ? take_raw(object, port, item) : take_plain(object, port, item);
}

void tm_python_release(tm_python_item *item) {
    if (item->has_view)
        PyBuffer_Release(&item->view);
    item->has_view = false;
    Py_CLEAR(item->owner);
    PyMem_Free(item->memory);
    item->memory = NULL;
}

/* ---- results ---- */

bool tm_python_is_plain(int type) {
    return type_rows[type].category != CATEGORY_STRING && type_rows[type].bits >= 8;
}

static PyObject *shape_of(int rank, const int64_t *dims) {
    PyObject *shape = PyTuple_New(rank);
    for (int i = 0; shape != NULL && i < rank; i++) {
        PyObject *dim = PyLong_FromLongLong(dims[i]);
        if (dim == NULL || PyTuple_SetItem(shape, i, dim) != 0) {
            Py_DECREF(shape);
            return NULL;
        }
    }
    return shape;
}

int tm_python_make(int type, int rank, const int64_t *dims, tm_python_result *result) {
    memset(result, 0, sizeof *result);
    const type_row *row = &type_rows[type];
    PyObject *dtype = row->category != CATEGORY_RAW
                          ? dtypes[type]
                          : dtypes[row->bits > 8 ? TAMIS_TYPE_UINT16 : TAMIS_TYPE_UINT8];
    PyObject *shape = shape_of(rank, dims);
    result->array = shape != NULL ? PyObject_CallFunctionObjArgs(numpy_empty, shape, dtype, NULL) : NULL;
    Py_XDECREF(shape);
    if (result->array == NULL || PyObject_GetBuffer(result->array, &result->view, PyBUF_WRITABLE) != 0)
        return -1;
    result->has_view = true;
    return 0;
}

PyObject *tm_python_finish(tm_python_result *result, int type) {
    PyBuffer_Release(&result->view);
    result->has_view = false;
    PyObject *array = result->array;
    result->array = NULL;
    if (type_rows[type].category != CATEGORY_RAW)
        return array;
    PyObject *typed = PyObject_CallMethod(array, "view", "O", dtypes[type]);
    Py_DECREF(array);
    return typed;
}

void tm_python_drop(tm_python_result *result) {
    if (result->has_view)
        PyBuffer_Release(&result->view);
    result->has_view = false;
    Py_CLEAR(result->array);
}

static PyObject *give_strings(const tamis_tensor *tensor, int64_t count) {
    const tamis_string *strings = tensor->data;
    PyObject *list = PyList_New(0);
    for (int64_t i = 0; list != NULL && i < count; i++) {
        PyObject *text = PyUnicode_DecodeUTF8(strings[i].data, strings[i].size, "surrogateescape");
        if (text == NULL || PyList_Append(list, text) != 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    PyObject *flat = list != NULL ? as_array(list, dtypes[TAMIS_TYPE_STRING]) : NULL;
    PyObject *shape = flat != NULL ? shape_of(tensor->rank, tensor->dims) : NULL;
    PyObject *array = shape != NULL ? PyObject_CallMethod(flat, "reshape", "(O)", shape) : NULL;
    Py_XDECREF(list);
    Py_XDECREF(flat);
    Py_XDECREF(shape);
    return array;
}

static void unpack(const uint8_t *from, uint8_t *to, int64_t count, int type) {
    int bits = type_rows[type].bits, each = 8 / bits;
    bool is_signed = type == TAMIS_TYPE_INT4 || type == TAMIS_TYPE_INT2;
    for (int64_t i = 0; i < count; i++) {
        unsigned value = (unsigned)from[i / each] >> (i % each * bits) & ((1u << bits) - 1);
        if (is_signed && value >> (bits - 1) != 0)
            value |= 0xffu << bits;
        to[i] = (uint8_t)value;
    }
}

PyObject *tm_python_give(const tamis_tensor *tensor) {
    int64_t count = 1;
    for (int32_t i = 0; i < tensor->rank; i++)
        count *= tensor->dims[i];
    if (tensor->type == TAMIS_TYPE_STRING)
        return give_strings(tensor, count);
    tm_python_result result;
    if (tm_python_make(tensor->type, tensor->rank, tensor->dims, &result) != 0) {
        tm_python_drop(&result);
        return NULL;
    }
    if (!tm_python_is_plain(tensor->type))
        unpack(tensor->data, result.view.buf, count, tensor->type);
    else if (result.view.len > 0)
        memcpy(result.view.buf, tensor->data, (size_t)result.view.len);
    return tm_python_finish(&result, tensor->type);
}
