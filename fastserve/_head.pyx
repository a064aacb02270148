"""The memory of a request head: a RequestHead and its array of field spans, allocated together and freed together.

One per worker is enough as scratch, since nearly every head arrives whole; a connection that must wait in the middle
of a head keeps a copy of its own (copy_from). Spans are offsets, so a copy stays true while the input moves.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastserve._parser cimport FieldSpan, reset_head


cdef class HeadMemory:
    """Room for one request head of at most `fields` field lines, ready for parse_head().

    The limits (bytes) are those of the head; `fields` is the third of them. Raises MemoryError.
    """

    def __cinit__(self, uint32_t fields=100, *, uint32_t limit_request_line=8192, uint32_t limit_request_head=65536):
        self.capacity = fields
        self.head.fields = <FieldSpan*>calloc(fields if fields else 1, sizeof(FieldSpan))
        if self.head.fields is NULL:
            raise MemoryError
        self.head.limits.request_line = limit_request_line
        self.head.limits.head = limit_request_head
        self.head.limits.fields = fields
        reset_head(&self.head)

    def __dealloc__(self):
        free(self.head.fields)

    cdef int copy_from(self, HeadMemory other) noexcept:
        cdef FieldSpan* fields = self.head.fields
        if other.head.limits.fields > self.capacity:
            return -1
        self.head = other.head
        self.head.fields = fields
        memcpy(fields, other.head.fields, other.head.field_count * sizeof(FieldSpan))
        return 0
