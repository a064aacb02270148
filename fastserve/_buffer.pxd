# The owner of byte memory: one growable buffer class. With _head the only code that calls malloc and free.

cimport cython


@cython.final
cdef class Buffer:
    cdef char* data             # the first byte held; moves when the buffer grows or is consumed
    cdef Py_ssize_t size        # bytes held
    cdef Py_ssize_t capacity    # bytes that fit behind `data` before it must grow
    cdef char* _memory          # start of the allocation, at or before `data`

    # Make room for `extra` bytes behind those held. Raises MemoryError.
    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef int append(self, const char* source, Py_ssize_t size) except -1
    # Drop the first `size` bytes; memory is kept. `size` is at most self.size.
    cdef void consume(self, Py_ssize_t size) noexcept
    # Drop everything after the first `size` bytes.
    cdef void truncate(self, Py_ssize_t size) noexcept
    # Give back memory beyond `limit` bytes of capacity; only valid while nothing is held.
    cdef int shrink(self, Py_ssize_t limit) except -1
    cdef bytes to_bytes(self, Py_ssize_t start)


cdef Buffer new_buffer(Py_ssize_t capacity)
