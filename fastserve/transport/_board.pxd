# The memory that a supervisor and its workers share: what each worker is doing, and who takes connections for a slot.

cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Board:
    cdef readonly int fd            # the memfd, -1 once closed
    cdef readonly int slots
    cdef readonly int cells         # both 0 once closed: every access finds its number out of range
    cdef object _memory             # mmap.mmap
    cdef int64_t[::1] _words
    cdef unsigned char[::1] _texts
    cdef Py_ssize_t _first          # index of the first cell's first word

    # Below: numbers out of range read as nobody, 0 or 0.0, and change nothing.
    cdef int cell_of(self, Py_ssize_t slot) noexcept            # -1: nobody
    cdef bint takes(self, Py_ssize_t cell, double now) noexcept  # ready, with a fresh heartbeat at `now`
    cdef int64_t connections_of(self, Py_ssize_t cell) noexcept
    cdef int generation_of(self, Py_ssize_t cell) noexcept      # 0 to 127; another one after each clear()
    cdef void add_connection(self, Py_ssize_t cell, int64_t change) noexcept
    # The same, if the cell has not been cleared since `generation` was read.
    cdef void add_passed(self, Py_ssize_t cell, int generation, int64_t change) noexcept

    cdef int64_t* _cell(self, Py_ssize_t cell) except NULL
