# HTTP/1.1 request heads and chunked bodies: bytes in, spans out (RFC 9112).
#
# What belongs here: the grammar, its limits, and the reasons for which input is rejected. What does not: sockets,
# Python objects, allocation, callbacks. Every function is `noexcept nogil` and may be called again with more bytes.
#
# Calling convention of both parsers: a positive result is the number of bytes consumed, 0 asks for more bytes,
# -1 is a rejection: `reason` and `error_offset` of the struct then say why and where.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "_reasons.h" nogil:
    # Each has its own status and text: reason_status(), reason_text(). The table is _reasons.h.
    cdef enum Reason:
        REASON_NONE
        REASON_TLS_HANDSHAKE
        REASON_HTTP2_PREFACE
        REASON_EMPTY_LINES
        REASON_BAD_METHOD
        REASON_MISSING_TARGET
        REASON_BAD_TARGET_BYTE
        REASON_BAD_TARGET
        REASON_BAD_ASTERISK
        REASON_BAD_SCHEME
        REASON_BAD_AUTHORITY
        REASON_HTTP09
        REASON_BAD_VERSION
        REASON_UNSUPPORTED_VERSION
        REASON_REQUEST_LINE_TOO_LONG
        REASON_BARE_LF
        REASON_BARE_CR
        REASON_LEADING_SPACE
        REASON_OBS_FOLD
        REASON_EMPTY_NAME
        REASON_SPACE_BEFORE_COLON
        REASON_MISSING_COLON
        REASON_BAD_NAME_BYTE
        REASON_BAD_VALUE_BYTE
        REASON_TOO_MANY_FIELDS
        REASON_HEAD_TOO_LARGE
        REASON_MISSING_HOST
        REASON_DUPLICATE_HOST
        REASON_BAD_HOST
        REASON_BAD_CONTENT_LENGTH
        REASON_CONTENT_LENGTH_OVERFLOW
        REASON_REPEATED_CONTENT_LENGTH
        REASON_CONFLICTING_CONTENT_LENGTH
        REASON_LENGTH_AND_ENCODING
        REASON_ENCODING_IN_HTTP10
        REASON_BAD_TRANSFER_ENCODING
        REASON_CHUNKED_NOT_LAST
        REASON_DUPLICATE_CHUNKED
        REASON_UNKNOWN_CODING
        REASON_BAD_CHUNK_SIZE
        REASON_CHUNK_SIZE_OVERFLOW
        REASON_BAD_CHUNK_EXTENSION
        REASON_CHUNK_EXTENSIONS_TOO_LARGE
        REASON_CHUNK_BARE_LF
        REASON_CHUNK_BARE_CR
        REASON_MISSING_CHUNK_END
        REASON_TOO_MUCH_FRAMING
        REASON_TRAILER_BARE_LF
        REASON_TRAILER_BARE_CR
        REASON_BAD_TRAILER
        REASON_TOO_MANY_TRAILERS
        REASON_TRAILERS_TOO_LARGE
        REASON_COUNT


cdef struct Span:
    uint32_t start          # offset from the first byte of the head
    uint32_t size


cdef struct FieldSpan:
    Span name
    Span value              # without the white space around it
    uint32_t known          # number of the well-known field name (_fields), 0 for any other


cdef enum HeadFlag:
    HEAD_KEEP_ALIVE = 1         # the connection persists after this exchange, as far as the client is concerned
    HEAD_CHUNKED = 2            # Transfer-Encoding: chunked
    HEAD_EXPECT_CONTINUE = 4    # Expect: 100-continue (never set for HTTP/1.0)
    HEAD_UPGRADE = 8            # Upgrade with Connection: upgrade (never set for HTTP/1.0)
    HEAD_TE_TRAILERS = 16       # TE: trailers
    HEAD_FORWARDED = 32         # Forwarded or an X-Forwarded field: what a proxy says of the client, true or not


cdef struct HeadLimits:
    uint32_t request_line       # bytes, without the CRLF: beyond it 414
    uint32_t head               # bytes in all, request line and final CRLF included: beyond it 431
    uint32_t fields             # number of field lines: beyond it 431


cdef struct RequestHead:
    # Result, valid once parse_head() has returned a positive number.
    Span method
    Span target
    uint32_t minor              # 0 or 1: HTTP/1.minor
    uint32_t flags              # HeadFlag
    int64_t content_length      # -1 when there is no Content-Length
    uint32_t field_count
    FieldSpan* fields           # the caller's array of limits.fields elements
    HeadLimits limits           # the caller's
    # Rejection.
    Reason reason
    uint32_t error_offset       # offset of the offending byte from the first byte of the head
    # Where to go on. Private to the parser; plain data without pointers into the input, so that the struct may be
    # copied and the input may move between calls.
    uint32_t state
    uint32_t position
    uint32_t mark
    uint32_t seen
    Span name                   # of the field being read


cdef struct ChunkLimits:
    uint32_t extensions         # bytes of chunk extensions in the whole body
    uint32_t trailers           # bytes of the trailer section
    uint32_t trailer_fields     # number of trailer field lines


cdef struct ChunkedBody:
    ChunkLimits limits          # the caller's
    uint32_t done               # 1 once the final CRLF has been consumed
    Reason reason
    uint32_t error_offset       # offset of the offending byte in the data of that call
    # Where to go on; private.
    uint32_t state
    uint64_t remaining
    uint64_t overhead
    uint64_t received
    uint32_t extension_bytes
    uint32_t trailer_bytes
    uint32_t trailer_count
    uint32_t mark


# Begin a new head. `fields` and `limits` are kept.
cdef void reset_head(RequestHead* head) noexcept nogil

# `data` is the head from its first byte, `size` all bytes at hand so far (they only ever grow between calls).
# Empty lines (CRLF) before the request line are skipped as RFC 9112 section 2.2 allows: at most one.
cdef Py_ssize_t parse_head(RequestHead* head, const char* data, Py_ssize_t size) noexcept nogil

cdef void reset_chunked(ChunkedBody* body) noexcept nogil

# Consumes framing and at most one run of body data; `piece` is that run as offsets into `data` (size 0: none).
# Returns the bytes consumed, which may be all of `size` with more to come (done == 0), or -1. Never 0 for size > 0.
cdef Py_ssize_t parse_chunked(ChunkedBody* body, const char* data, Py_ssize_t size, Span* piece) noexcept nogil

cdef int reason_status(Reason reason) noexcept nogil
cdef const char* reason_text(Reason reason) noexcept nogil
# The name of the enum member without REASON_: "BARE_LF".
cdef const char* reason_code(Reason reason) noexcept nogil
