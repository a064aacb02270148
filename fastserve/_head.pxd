# The memory of a request head: who owns the array of field spans.

cimport cython
from libc.stdint cimport uint32_t

from fastserve._parser cimport RequestHead


@cython.final
cdef class HeadMemory:
    cdef RequestHead head
    cdef uint32_t capacity     # elements of head.fields

    # Takes over another's head, finished or half read, with its fields and limits. -1, and nothing has changed, when
    # those limits allow more fields than there is room for here.
    cdef int copy_from(self, HeadMemory other) noexcept
