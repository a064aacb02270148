# A bytes object that grows while it is filled, and is handed out without a copy.

cimport cython
from cpython.object cimport PyObject


@cython.final
cdef class GrowingBytes:
    cdef char* data             # the first byte held; moves when it grows. NULL while there is no memory
    cdef Py_ssize_t size        # bytes held; who writes behind them raises it
    cdef Py_ssize_t capacity    # bytes that fit before it must grow: the memory it takes
    cdef PyObject* _bytes       # the object under way, with one reference, ours; NULL while there is no memory

    # Make room for `extra` bytes behind those held. `whole` is what will be held in the end, as far as is known (else
    # 0): it is made room for at once where that is at most four times what is there by then, so that an announcement
    # alone costs next to nothing. Raises MemoryError; nothing is held after that.
    cdef int reserve(self, Py_ssize_t extra, Py_ssize_t whole) except -1
    # What is held, as bytes; after that nothing is.
    cdef bytes finish(self)
    # Drop what is held, and its memory.
    cdef void clear(self) noexcept
    cdef void _forget(self) noexcept
