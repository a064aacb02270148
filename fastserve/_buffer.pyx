"""Byte memory: a growable buffer that is appended to at the end and consumed from the front.

Used for input that cannot be parsed yet, for the worker's receive and write buffers and for whatever else must own raw
bytes. Pointers into a buffer are valid until the next `reserve` or `append`.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from fastserve._live cimport COUNTING, LIVE_BUFFER, count_live

cdef Py_ssize_t SMALLEST = 256


cdef class Buffer:
    """Bytes [data, data + size) of an allocation that grows by doubling."""

    def __cinit__(self):
        if COUNTING:
            count_live(LIVE_BUFFER, 1)

    def __dealloc__(self):
        free(self._memory)
        if COUNTING:
            count_live(LIVE_BUFFER, -1)

    cdef int reserve(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t needed = self.size + extra
        cdef Py_ssize_t total
        cdef char* memory
        if needed <= self.capacity:
            return 0
        total = self.capacity + (self.data - self._memory)
        if self._memory is not NULL and needed <= total and self.data - self._memory >= total // 2:
            # Mostly consumed: moving the rest to the front is cheaper than growing, and amortised by the consumption.
            memmove(self._memory, self.data, self.size)
            self.data = self._memory
            self.capacity = total
            return 0
        total = max(SMALLEST, total)
        while total < needed:
            total *= 2
        memory = <char*> malloc(total)
        if memory is NULL:
            raise MemoryError()
        if self.size:
            memcpy(memory, self.data, self.size)
        free(self._memory)
        self._memory = self.data = memory
        self.capacity = total
        return 0

    cdef int append(self, const char* source, Py_ssize_t size) except -1:
        if size > self.capacity - self.size:
            self.reserve(size)
        if size:
            memcpy(self.data + self.size, source, size)
            self.size += size
        return 0

    cdef void consume(self, Py_ssize_t size) noexcept:
        self.size -= size
        if self.size == 0:
            self.capacity += self.data - self._memory
            self.data = self._memory
        else:
            self.data += size
            self.capacity -= size

    cdef void truncate(self, Py_ssize_t size) noexcept:
        self.size = size

    cdef int shrink(self, Py_ssize_t limit) except -1:
        if self.size == 0 and self.capacity > limit:
            free(self._memory)
            self._memory = self.data = NULL
            self.capacity = 0
        return 0

    cdef bytes to_bytes(self, Py_ssize_t start):
        return PyBytes_FromStringAndSize(self.data + start, self.size - start)


cdef Buffer new_buffer(Py_ssize_t capacity):
    cdef Buffer buffer = Buffer.__new__(Buffer)
    buffer.reserve(capacity)
    return buffer
