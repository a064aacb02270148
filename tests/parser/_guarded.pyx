# Memory for one input that ends, or begins, at a page nobody may touch.

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, mmap, mprotect, munmap

cdef enum:
    PAGE = 4096
    ROOM = 64 * PAGE


cdef class Guarded:
    """A readable region between two pages that nobody may touch."""

    def __cinit__(self):
        cdef void* address = mmap(NULL, ROOM + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if address == MAP_FAILED:
            raise MemoryError
        self.region = <uint8_t*>address
        if mprotect(self.region, PAGE, PROT_NONE) or mprotect(self.region + PAGE + ROOM, PAGE, PROT_NONE):
            raise OSError("mprotect")

    def __dealloc__(self):
        if self.region is not NULL:
            munmap(self.region, ROOM + 2 * PAGE)

    cdef const char* put(self, bytes data, bint front) except NULL:
        cdef Py_ssize_t size = len(data)
        cdef uint8_t* start = self.region + PAGE
        if size > ROOM:
            raise ValueError("too long for the guarded region")
        if not front:
            start += ROOM - size
        memcpy(start, <const char*>data, size)
        return <const char*>start

    cdef int forget(self, Py_ssize_t size, bint front) noexcept:
        memset(self.region + PAGE + (0 if front else ROOM - size), 0xA5, size)
        return 0
