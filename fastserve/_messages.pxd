# WebSocket messages (RFC 6455, RFC 7692): bytes from a client to messages, messages to bytes; no I/O.

cimport cython
from libc.stdint cimport uint8_t

from fastserve._buffer cimport Buffer
from fastserve._deflate cimport Deflate
from fastserve._frames cimport CLIENT_HEAD_LIMIT, CONTROL_SIZE_LIMIT, FrameHead
from fastserve._growing cimport GrowingBytes
from fastserve._utf8 cimport Utf8

cdef enum CloseCode:
    CLOSE_NORMAL = 1000
    CLOSE_GOING_AWAY = 1001
    CLOSE_PROTOCOL_ERROR = 1002
    CLOSE_NO_STATUS = 1005          # never on the wire: the close frame had no code
    CLOSE_ABNORMAL = 1006           # never on the wire: there was no close frame
    CLOSE_INVALID_DATA = 1007
    CLOSE_TOO_BIG = 1009
    CLOSE_INTERNAL_ERROR = 1011
    CLOSE_SERVICE_RESTART = 1012

cdef enum:
    CLOSE_REASON_LIMIT = 123        # bytes of UTF-8

cdef enum Incoming:
    INCOMING_MORE                   # everything was taken, and nothing is whole yet
    INCOMING_TEXT
    INCOMING_BINARY
    INCOMING_PING
    INCOMING_PONG
    INCOMING_CLOSE
    INCOMING_FAILED


@cython.final
cdef class MessageReader:
    # The outcome of the last read.
    cdef object value               # TEXT: str; BINARY, PING, PONG: bytes. The caller may take it and set None
    # CLOSE: what the peer said, 1005 where it said nothing; FAILED: the code to close with (1002, 1007, 1009).
    cdef int close_code
    cdef str close_reason           # CLOSE: the peer's words; FAILED: ours. "" else
    cdef readonly Py_ssize_t held   # bytes of memory that the unfinished message takes

    # The connection.
    cdef Py_ssize_t _max_size       # bytes of one message, also inflated
    cdef Deflate _deflate           # or None
    cdef int _base_rules            # FrameRule bits while no message is under way
    cdef bint _ended                # CLOSE or FAILED was the answer
    # The message under way.
    cdef GrowingBytes _payload      # unmasked and inflated; made when a message first comes in pieces
    cdef int _opcode                # OPCODE_TEXT or OPCODE_BINARY; OPCODE_CONTINUATION while there is no message
    cdef int _rules                 # FrameRule bits for the next frame
    cdef bint _compressed
    cdef Py_ssize_t _room           # bytes of payload that further frames of it may have
    cdef Utf8 _utf8
    # The frame under way.
    cdef FrameHead _frame
    cdef bint _in_payload
    cdef Py_ssize_t _taken          # bytes of its payload read so far
    cdef int _head_size             # bytes of a head that was cut
    cdef uint8_t[CLIENT_HEAD_LIMIT] _head
    cdef uint8_t[CONTROL_SIZE_LIMIT] _control

    # Take bytes up to the end of one message or control frame; `used` says how many. INCOMING_MORE: all of them. After
    # INCOMING_CLOSE and INCOMING_FAILED bytes are taken and ignored (INCOMING_MORE). Raises MemoryError.
    cdef Incoming read(self, const char* data, Py_ssize_t size, Py_ssize_t* used) except <Incoming> -1
    # Whether it stands between two messages of a connection without compression: as good as new.
    cdef bint at_rest(self) noexcept
    cdef Py_ssize_t _complete_head(self, const uint8_t* data, Py_ssize_t size) except -2
    cdef int _begin_data(self) noexcept
    cdef void _end_message(self) noexcept
    cdef Incoming _fail(self, int code, str reason) except <Incoming> -1
    cdef void _end(self) noexcept
    cdef Incoming _take_whole(self, const uint8_t* source) except <Incoming> -1
    cdef Incoming _take(self, const uint8_t* source, Py_ssize_t size) except <Incoming> -1
    cdef GrowingBytes _collected(self)
    cdef int _collect(self, const uint8_t* source, Py_ssize_t size) except -2
    cdef Incoming _take_compressed(self, const uint8_t* source, Py_ssize_t size, bint last) except <Incoming> -1
    cdef Incoming _deliver(self, bytes payload) except <Incoming> -1
    cdef Incoming _message_whole(self) except <Incoming> -1
    cdef Incoming _control_whole(self) except <Incoming> -1
    cdef Incoming _close_whole(self, const char* payload, Py_ssize_t size) except <Incoming> -1


# Writes whole messages as one unmasked frame each, behind what `output` holds.
@cython.final
cdef class MessageWriter:
    cdef Deflate _deflate           # or None

    # Compressed where that was negotiated and pays. Raises UnicodeEncodeError for a lone surrogate.
    cdef int write_text(self, Buffer output, str text) except -1
    # `data` is bytes, bytearray or a contiguous memoryview; else TypeError or BufferError.
    cdef int write_binary(self, Buffer output, object data) except -1
    # OPCODE_PING or OPCODE_PONG, at most CONTROL_SIZE_LIMIT bytes: else ValueError.
    cdef int write_control(self, Buffer output, int opcode, const char* data, Py_ssize_t size) except -1
    # CLOSE_NO_STATUS sends no code and no reason. A reason over CLOSE_REASON_LIMIT bytes is cut at a character. Raises
    # ValueError for a code that may not be sent, UnicodeEncodeError for a lone surrogate.
    cdef int write_close(self, Buffer output, int code, str reason) except -1
    # The head alone of an uncompressed message whose `size` bytes the caller sends next.
    cdef int write_head(self, Buffer output, int opcode, Py_ssize_t size) except -1
    # Whether a message of so many bytes would be compressed (and so cannot be sent by write_head).
    cdef bint compresses(self, Py_ssize_t size) noexcept
    cdef int _write(self, Buffer output, int opcode, const char* data, Py_ssize_t size) except -1
    cdef int _write_deflated(self, Buffer output, int opcode, object data) except -1


# Whether the code may stand in a close frame (RFC 6455 section 7.4).
cdef bint close_code_valid(int code) noexcept
