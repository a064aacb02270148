# A bytes object that grows while it is filled, and is handed out without a copy.

cdef class GrowingBytes:
    cdef char* data             # the first byte held; moves when it grows. NULL while nothing was reserved
    cdef Py_ssize_t size        # bytes held
    cdef Py_ssize_t capacity    # bytes that fit before it must grow: the memory it takes
    cdef object _bytes          # the object under way, nobody else's; None while nothing was reserved

    # Make room for `extra` bytes behind those held: for `whole` bytes in all at once, while that is at most four
    # times what there is then, so that an announcement alone costs nothing. Raises MemoryError.
    cdef int reserve(self, Py_ssize_t extra, Py_ssize_t whole) except -1
    # What is held, as bytes; nothing is held after that.
    cdef bytes finish(self)
    # Drop what is held, and its memory.
    cdef void clear(self) noexcept
