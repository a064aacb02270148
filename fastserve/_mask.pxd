# Unmasking of client frames, vectorised (see _mask.h). Only _messages includes it, and tests: the set in use is a
# variable of the including module.

from libc.stdint cimport uint8_t, uint32_t


cdef extern from "_mask.h" nogil:
    ctypedef bint (*UnmaskFunction)(uint8_t* target, const uint8_t* source, size_t size, uint32_t key) noexcept nogil

    ctypedef struct MaskSet:
        const char* name
        UnmaskFunction unmask

    enum:
        MASK_SETS

    const MaskSet[] mask_sets
    const MaskSet mask
    void mask_use(const MaskSet* set) noexcept
    bint mask_set_available(const MaskSet* candidate) noexcept
    # The key for what follows `offset` bytes of the payload.
    uint32_t mask_key_at(uint32_t key, size_t offset) noexcept
