"""A bytes object that grows while it is filled, and is handed out without a copy.

What comes in pieces and goes to Python whole would be copied once more from a Buffer. Here the pieces are written into
the object itself: nobody else knows it until finish(), which CPython allows for (_PyBytes_Resize), and large ones grow
by moving pages instead of copying bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, _PyBytes_Resize
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from fastserve._live cimport COUNTING, LIVE_BUFFER, count_live

cdef extern from "Python.h":
    # The declaration in cpython.bytes owns the object, and one whose size is to change may have no second owner.
    PyObject* PyBytes_FromStringAndSize(const char* data, Py_ssize_t size) except NULL

cdef Py_ssize_t SMALLEST = 256


cdef class GrowingBytes:
    """Bytes that will be one object."""

    def __dealloc__(self):
        self.clear()

    cdef int reserve(self, Py_ssize_t extra, Py_ssize_t whole) except -1:
        cdef Py_ssize_t needed = self.size + extra
        cdef Py_ssize_t total
        if needed <= self.capacity:
            return 0
        total = whole if needed <= whole <= 4 * needed else 2 * needed
        if total < SMALLEST:
            total = SMALLEST
        if self._bytes is NULL:
            self._bytes = PyBytes_FromStringAndSize(NULL, total)
            if COUNTING:
                count_live(LIVE_BUFFER, 1)
        else:
            try:
                _PyBytes_Resize(&self._bytes, total)
            except MemoryError:
                # The object is gone, and the pointer to it with it.
                self._forget()
                raise
        self.data = PyBytes_AS_STRING(<object> self._bytes)
        self.capacity = total
        return 0

    cdef bytes finish(self):
        cdef bytes result
        if self._bytes is NULL:
            return b""
        if self.size != self.capacity:
            try:
                _PyBytes_Resize(&self._bytes, self.size)
            except MemoryError:
                self._forget()
                raise
        result = <bytes> self._bytes
        self.clear()
        return result

    cdef void clear(self) noexcept:
        if self._bytes is not NULL:
            Py_XDECREF(self._bytes)
            self._forget()

    cdef void _forget(self) noexcept:
        if COUNTING:
            count_live(LIVE_BUFFER, -1)
        self._bytes = NULL
        self.data = NULL
        self.size = self.capacity = 0
