"""WebSocket frame heads (RFC 6455 section 5.2): bytes to a struct and back.

A head is judged from its first byte on: what cannot become a valid head is rejected as soon as that is certain, so the
verdict does not depend on how the bytes were cut. read_frame_head() has no memory of its own; a caller without the
whole head shows it again from the first byte, fourteen bytes at most.
"""

from libc.stdint cimport UINT8_MAX, UINT16_MAX, uint8_t, uint64_t
from libc.string cimport memcpy

# By FrameProblem.
cdef const char** _TEXTS = [
    "",
    "a reserved bit is set",
    "reserved opcode",
    "fragmented control frame",
    "compressed control frame",
    "RSV1 on a continuation frame",
    "continuation frame without a message",
    "new message inside a fragmented one",
    "frame without a mask",
    "control frame of over 125 bytes",
    "payload length in more bytes than it needs",
    "payload length with the most significant bit set",
]

cdef enum:
    RESERVED_BITS = 0x70
    OPCODE_BITS = 0x0F
    CONTROL_BIT = 0x08
    MASKED = 0x80
    LENGTH_BITS = 0x7F
    LENGTH_16 = 126
    LENGTH_64 = 127


cdef FrameProblem _judge_first(int first, int rules) noexcept nogil:
    cdef int opcode = first & OPCODE_BITS
    if first & RESERVED_BITS:
        if first & RESERVED_BITS != FRAME_RSV1 or not rules & FRAME_DEFLATE:
            return FRAME_RESERVED_BIT
        if opcode & CONTROL_BIT:
            return FRAME_COMPRESSED_CONTROL
        if opcode == OPCODE_CONTINUATION:
            return FRAME_COMPRESSED_CONTINUATION
    if opcode & CONTROL_BIT:
        if opcode > OPCODE_PONG:
            return FRAME_RESERVED_OPCODE
        if not first & FRAME_FINAL:
            return FRAME_FRAGMENTED_CONTROL
    elif opcode > OPCODE_BINARY:
        return FRAME_RESERVED_OPCODE
    elif opcode == OPCODE_CONTINUATION:
        if not rules & FRAME_CONTINUES:
            return FRAME_NOTHING_TO_CONTINUE
    elif rules & FRAME_CONTINUES:
        return FRAME_MESSAGE_UNFINISHED
    return FRAME_VALID


cdef Py_ssize_t read_frame_head(FrameHead* head, const uint8_t* data, Py_ssize_t size, int rules) noexcept nogil:
    cdef Py_ssize_t head_size = 6
    cdef uint64_t length
    cdef int i
    if size == 0:
        return 0
    head.problem = _judge_first(data[0], rules)
    if head.problem != FRAME_VALID:
        return -1
    if size == 1:
        return 0
    if not data[1] & MASKED:
        head.problem = FRAME_UNMASKED
        return -1
    length = data[1] & LENGTH_BITS
    if length >= LENGTH_16:
        if data[0] & CONTROL_BIT:
            head.problem = FRAME_LONG_CONTROL
            return -1
        if length == LENGTH_16:
            head_size = 8
            if size < 4:
                return 0
            length = <uint64_t> data[2] << 8 | data[3]
            if length < LENGTH_16:
                head.problem = FRAME_LENGTH_NOT_MINIMAL
                return -1
        else:
            head_size = 14
            if size > 2 and data[2] & 0x80:
                head.problem = FRAME_LENGTH_TOP_BIT
                return -1
            if size < 10:
                return 0
            length = 0
            for i in range(2, 10):
                length = length << 8 | data[i]
            if length <= UINT16_MAX:
                head.problem = FRAME_LENGTH_NOT_MINIMAL
                return -1
    if size < head_size:
        return 0
    head.opcode = <Opcode> (data[0] & OPCODE_BITS)
    head.final = data[0] & FRAME_FINAL != 0
    head.compressed = data[0] & FRAME_RSV1 != 0
    head.size = <Py_ssize_t> length
    memcpy(&head.key, data + head_size - 4, 4)
    return head_size


cdef Py_ssize_t write_frame_head(uint8_t* target, int first, Py_ssize_t size) noexcept nogil:
    cdef int i
    target[0] = <uint8_t> first
    if size < LENGTH_16:
        target[1] = <uint8_t> size
        return 2
    if size <= UINT16_MAX:
        target[1] = LENGTH_16
        target[2] = <uint8_t> (size >> 8)
        target[3] = <uint8_t> (size & UINT8_MAX)
        return 4
    target[1] = LENGTH_64
    for i in range(8):
        target[2 + i] = <uint8_t> (size >> (56 - 8 * i) & UINT8_MAX)
    return 10


cdef const char* frame_problem_text(FrameProblem problem) noexcept nogil:
    return _TEXTS[<int> problem]
