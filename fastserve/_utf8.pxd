# UTF-8 checked as it arrives (see _utf8.h). Only _messages includes it, and tests: the set in use is a variable of the
# including module.

from libc.stdint cimport uint8_t


cdef extern from "_utf8.h" nogil:
    # Plain data; all zero before the first byte.
    ctypedef struct Utf8:
        uint8_t missing     # bytes until the character under way is whole; 0 between characters

    ctypedef size_t (*AsciiRunFunction)(const uint8_t* data, size_t size) noexcept nogil

    ctypedef struct Utf8Set:
        const char* name
        AsciiRunFunction ascii_run

    enum:
        UTF8_SETS

    const Utf8Set[] utf8_sets
    const Utf8Set utf8
    void utf8_use(const Utf8Set* set) noexcept
    bint utf8_set_available(const Utf8Set* candidate) noexcept
    void utf8_reset(Utf8* state) noexcept
    # Go on with `size` bytes: the offset of the first byte that cannot stand where it does, or `size`.
    size_t utf8_check(Utf8* state, const uint8_t* data, size_t size) noexcept
