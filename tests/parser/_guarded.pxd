# Memory for one input that ends, or begins, at a page nobody may touch.

from libc.stdint cimport uint8_t


cdef class Guarded:
    cdef uint8_t* region

    # A copy of `data` whose last byte is the last of a readable page, or, with `front`, whose first byte is the first
    # of one: a read outside the input is a crash, not a wrong answer.
    cdef const char* put(self, bytes data, bint front) except NULL
    # Spoil it.
    cdef int forget(self, Py_ssize_t size, bint front) noexcept
