# The well-known field names (see _names.h).

from libc.stdint cimport uint8_t, uint32_t


cdef extern from "_names.h" nogil:
    enum:
        NAME_OTHER
        NAME_HOST
        NAME_CONTENT_LENGTH
        NAME_TRANSFER_ENCODING
        NAME_CONNECTION
        NAME_UPGRADE
        NAME_EXPECT
        NAME_TE
        NAME_FORWARDED
        NAME_LAST_MEANINGFUL
        NAME_COUNT

    ctypedef struct KnownName:
        const char* text
        uint8_t size
        uint8_t shared

    const KnownName[] known_names
    int name_slots_fill() noexcept
    uint32_t name_lookup(const uint8_t* name, size_t size) noexcept
