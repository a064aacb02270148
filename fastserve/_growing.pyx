"""A bytes object that grows while it is filled, and is handed out without a copy."""


cdef class GrowingBytes:
    """Bytes under way."""

    cdef int reserve(self, Py_ssize_t extra, Py_ssize_t whole) except -1:
        raise NotImplementedError

    cdef bytes finish(self):
        raise NotImplementedError

    cdef void clear(self) noexcept:
        self.size = 0
