"""Request fields as Python objects: spans to the list of (name, value) tuples that ASGI and WSGI start from.

Names in the table of _names.h are shared bytes objects. Values repeat too: a browser sends the same user-agent,
accept and sec-* with every request. So for names marked SHARED the last (name, value) tuple is kept, one for each
name, and handed out again while the bytes are the same. Tuples of bytes cannot change, the list is always new;
nothing that belongs to one client (cookies, credentials, tokens) is ever kept, and nothing longer than
SHARED_VALUE_SIZE.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_InternFromString
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from fastserve._chars cimport char_lower
from fastserve._names cimport NAME_COUNT, NAME_OTHER, known_names
from fastserve._parser cimport FieldSpan, RequestHead

cdef enum:
    SHARED_VALUE_SIZE = 256

cdef extern from *:
    """
    static PyObject *shared_names[NAME_COUNT];
    static PyObject *last_fields[NAME_COUNT];       /* the tuple, or NULL */
    static PyObject *last_values[NAME_COUNT];       /* its second element, borrowed from it */
    """
    PyObject** shared_names
    PyObject** last_fields
    PyObject** last_values


cdef object other_name(const uint8_t* name, Py_ssize_t size):
    cdef bytes lower = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(lower)
    cdef Py_ssize_t i
    for i in range(size):
        target[i] = char_lower(name[i])
    return lower


cdef object build_field(const FieldSpan* field, const char* data):
    cdef uint32_t known = field.known
    cdef object name
    cdef object value = PyBytes_FromStringAndSize(data + field.value.start, field.value.size)
    cdef tuple result
    if known == NAME_OTHER:
        name = other_name(<const uint8_t*>data + field.name.start, field.name.size)
    else:
        name = <object>shared_names[known]
    result = PyTuple_New(2)
    Py_INCREF(name)
    PyTuple_SET_ITEM(result, 0, name)
    Py_INCREF(value)
    PyTuple_SET_ITEM(result, 1, value)
    if known_names[known].shared and field.value.size <= SHARED_VALUE_SIZE:
        Py_XDECREF(last_fields[known])
        Py_INCREF(result)
        last_fields[known] = <PyObject*>result
        last_values[known] = <PyObject*>value
    return result


cdef list build_fields(const RequestHead* head, const char* data):
    cdef Py_ssize_t count = head.field_count
    cdef Py_ssize_t i
    cdef const FieldSpan* field
    cdef PyObject* value
    cdef object item
    cdef list fields = PyList_New(count)
    for i in range(count):
        field = &head.fields[i]
        value = last_values[field.known]
        if (value is not NULL and PyBytes_GET_SIZE(<object>value) == field.value.size
                and memcmp(PyBytes_AS_STRING(<object>value), data + field.value.start, field.value.size) == 0):
            item = <object>last_fields[field.known]
        else:
            item = build_field(field, data)
        Py_INCREF(item)
        PyList_SET_ITEM(fields, i, item)
    return fields


cdef list registered_methods = [
    PyUnicode_InternFromString(name) for name in (
        b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"QUERY",
        b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"REPORT", b"SEARCH", b"PURGE",
    )
]
cdef dict methods_by_bytes = {name.encode(): name for name in registered_methods}
cdef str GET = registered_methods[0]
cdef str POST = registered_methods[1]
cdef str HEAD = registered_methods[2]


cdef str method_name(const char* data, Py_ssize_t size):
    if size == 3 and memcmp(data, b"GET", 3) == 0:
        return GET
    if size == 4 and memcmp(data, b"POST", 4) == 0:
        return POST
    cdef object name = methods_by_bytes.get(PyBytes_FromStringAndSize(data, size))
    if name is None:
        name = PyUnicode_DecodeASCII(data, size, NULL)
    return name


cdef int share_names() except -1:
    cdef int number
    cdef bytes name
    for number in range(1, NAME_COUNT):
        name = known_names[number].text[:known_names[number].size]
        Py_INCREF(name)
        shared_names[number] = <PyObject*>name
    return 0


share_names()
