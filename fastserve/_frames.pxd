# WebSocket frame heads (RFC 6455 section 5.2): bytes to a struct and back.
#
# What belongs here: the layout of a head, and every rule that can be judged from a head alone. What does not: payloads,
# messages, Python objects, allocation. All functions are `noexcept nogil`.

from libc.stdint cimport uint8_t, uint32_t

cdef enum Opcode:
    OPCODE_CONTINUATION = 0
    OPCODE_TEXT = 1
    OPCODE_BINARY = 2
    OPCODE_CLOSE = 8
    OPCODE_PING = 9
    OPCODE_PONG = 10

cdef enum:
    FRAME_FINAL = 0x80          # bits of the first byte of a head
    FRAME_RSV1 = 0x40
    CONTROL_SIZE_LIMIT = 125    # bytes of a control frame's payload
    CLIENT_HEAD_LIMIT = 14      # bytes of the longest head with a masking key
    SERVER_HEAD_LIMIT = 10      # and without

# What the connection allows the next frame to be.
cdef enum FrameRule:
    FRAME_CONTINUES = 1         # a fragmented message is under way
    FRAME_DEFLATE = 2           # permessage-deflate was negotiated: RSV1 may be set

cdef enum FrameProblem:
    FRAME_VALID
    FRAME_RESERVED_BIT
    FRAME_RESERVED_OPCODE
    FRAME_FRAGMENTED_CONTROL
    FRAME_COMPRESSED_CONTROL
    FRAME_COMPRESSED_CONTINUATION
    FRAME_NOTHING_TO_CONTINUE
    FRAME_MESSAGE_UNFINISHED
    FRAME_UNMASKED
    FRAME_LONG_CONTROL
    FRAME_LENGTH_NOT_MINIMAL
    FRAME_LENGTH_TOP_BIT
    FRAME_PROBLEMS

cdef struct FrameHead:
    Opcode opcode
    bint final
    bint compressed             # RSV1
    uint32_t key                # the masking key as it lies in memory
    Py_ssize_t size             # bytes of the payload
    FrameProblem problem

# Read the head of a client's frame from its first byte; `size` bytes are there, `rules` are FrameRule bits. Returns the
# bytes of the head; 0 while bytes are missing and those there may begin a head; -1 with head.problem.
cdef Py_ssize_t read_frame_head(FrameHead* head, const uint8_t* data, Py_ssize_t size, int rules) noexcept nogil

# Write the head of an unmasked frame to `target`, which has room for SERVER_HEAD_LIMIT bytes; `first` is the first byte
# (opcode, FRAME_FINAL, FRAME_RSV1). Returns the bytes written.
cdef Py_ssize_t write_frame_head(uint8_t* target, int first, Py_ssize_t size) noexcept nogil

# A sentence without a full stop, in ASCII.
cdef const char* frame_problem_text(FrameProblem problem) noexcept nogil
