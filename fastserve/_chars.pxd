# Character classes of RFC 9110, 9112 and 3986 (see _chars.h).

from libc.stdint cimport uint8_t


cdef extern from "_chars.h" nogil:
    enum:
        CHAR_TOKEN
        CHAR_TEXT
        CHAR_TARGET
        CHAR_REG_NAME
        CHAR_QUOTED
        CHAR_HEX

    bint char_is(uint8_t byte, int classes) noexcept
    int char_hex_value(uint8_t byte) noexcept
    uint8_t char_lower(uint8_t byte) noexcept
