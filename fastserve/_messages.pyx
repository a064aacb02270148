"""WebSocket messages (RFC 6455, RFC 7692): bytes from a client to messages, messages to bytes; no I/O.

A message that is there whole, in one frame and not compressed, is unmasked once, straight into the object that the
application gets. Every other message is collected: its pieces are unmasked into a bytes object that grows with them,
or inflated and appended there, and text is checked as it comes. Either way a message fails with the first bytes that
make it invalid, and is refused on the frame head with which it becomes too long.

Memory follows what has arrived, never what was announced. A frame without payload costs none, so there may be any
number of them in a message.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from fastserve._buffer cimport Buffer, new_buffer
from fastserve._deflate cimport DEFLATE_THRESHOLD, Deflate
from fastserve._deflate import InflateError
from fastserve._frames cimport (
    CLIENT_HEAD_LIMIT,
    CONTROL_SIZE_LIMIT,
    FRAME_CONTINUES,
    FRAME_DEFLATE,
    FRAME_FINAL,
    FRAME_RSV1,
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_CONTINUATION,
    OPCODE_PING,
    OPCODE_PONG,
    OPCODE_TEXT,
    SERVER_HEAD_LIMIT,
    frame_problem_text,
    read_frame_head,
    write_frame_head,
)
from fastserve._growing cimport GrowingBytes
from fastserve._mask cimport MASK_SETS, mask, mask_key_at, mask_set_available, mask_sets, mask_use
from fastserve._utf8 cimport UTF8_SETS, utf8_check, utf8_reset, utf8_sets, utf8_use

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void* PyUnicode_DATA(object text) noexcept
    # The declaration in cpython.bytes would not take NULL for memory to be filled.
    bytes new_bytes "PyBytes_FromStringAndSize" (const char* data, Py_ssize_t size)

cdef enum:
    CONTROL_BIT = 8

cdef Py_ssize_t NO_LIMIT = (<Py_ssize_t> 1) << 61
# What every compressed message ends with, and no frame carries (RFC 7692 section 7.2.1).
cdef bytes DEFLATE_TAIL = b"\x00\x00\xff\xff"


cdef class MessageReader:
    """The messages in what a client sends.

    `max_size` is the largest message in bytes, also inflated (0: any); `deflate` the compression that was negotiated.
    `held` is the memory in bytes that the unfinished message takes.
    """

    def __init__(self, Py_ssize_t max_size=0, Deflate deflate=None):
        self._max_size = max_size if 0 < max_size < NO_LIMIT else NO_LIMIT
        self._deflate = deflate
        self._base_rules = FRAME_DEFLATE if deflate is not None else 0
        self._rules = self._base_rules
        self.close_reason = ""

    def feed(self, bytes data not None) -> list:
        """Read `data` and return what became whole, in order.

        ("text", str), ("binary", bytes), ("ping", bytes), ("pong", bytes), and as the last of all ("close", code,
        reason), with 1005 for a close frame without a code, or ("failed", code, reason) with the code to close with.
        """
        cdef const char* start = PyBytes_AS_STRING(data)
        cdef Py_ssize_t left = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t used
        cdef Incoming incoming
        cdef list found = []
        while left:
            incoming = self.read(start, left, &used)
            start += used
            left -= used
            if incoming == INCOMING_TEXT:
                found.append(("text", self.value))
            elif incoming == INCOMING_BINARY:
                found.append(("binary", self.value))
            elif incoming == INCOMING_PING:
                found.append(("ping", self.value))
            elif incoming == INCOMING_PONG:
                found.append(("pong", self.value))
            elif incoming == INCOMING_CLOSE:
                found.append(("close", self.close_code, self.close_reason))
            elif incoming == INCOMING_FAILED:
                found.append(("failed", self.close_code, self.close_reason))
        return found

    cdef Incoming read(self, const char* data, Py_ssize_t size, Py_ssize_t* used) except <Incoming> -1:
        cdef const uint8_t* source = <const uint8_t*> data
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t taken
        cdef Incoming found
        used[0] = size
        if self._ended:
            return INCOMING_MORE
        while position < size:
            if not self._in_payload:
                if self._head_size:
                    taken = self._complete_head(source + position, size - position)
                else:
                    taken = read_frame_head(&self._frame, source + position, size - position, self._rules)
                    if taken == 0:
                        self._head_size = <int> (size - position)
                        memcpy(self._head, source + position, self._head_size)
                if taken == 0:
                    return INCOMING_MORE
                if taken < 0:
                    return self._fail(1002, frame_problem_text(self._frame.problem).decode("ascii"))
                position += taken
                if not self._frame.opcode & CONTROL_BIT:
                    if self._begin_data() < 0:
                        return self._fail(1009, "message too big")
                    if (
                        self._frame.final
                        and self._frame.opcode != OPCODE_CONTINUATION
                        and self._frame.size <= size - position
                        and not self._compressed
                    ):
                        used[0] = position + self._frame.size
                        return self._take_whole(source + position)
                self._in_payload = True
                self._taken = 0
            taken = min(self._frame.size - self._taken, size - position)
            found = self._take(source + position, taken)
            position += taken
            if found != INCOMING_MORE:
                used[0] = position
                return found
        return INCOMING_MORE

    cdef bint at_rest(self) noexcept:
        return (self._opcode == OPCODE_CONTINUATION and not self._in_payload and self._head_size == 0
                and self._base_rules == 0 and not self._ended)

    cdef Py_ssize_t _complete_head(self, const uint8_t* data, Py_ssize_t size) except -2:
        """Go on with a head that was cut: the bytes used, 0 for more, -1 for a problem."""
        cdef int before = self._head_size
        cdef Py_ssize_t added = min(size, <Py_ssize_t> CLIENT_HEAD_LIMIT - before)
        cdef Py_ssize_t result
        memcpy(&self._head[before], data, added)
        result = read_frame_head(&self._frame, self._head, before + added, self._rules)
        if result == 0:
            self._head_size = <int> (before + added)
            return 0
        self._head_size = 0
        return result - before if result > 0 else -1

    cdef int _begin_data(self) noexcept:
        """A data frame begins; -1 if its message becomes too big."""
        if self._frame.opcode != OPCODE_CONTINUATION:
            self._opcode = self._frame.opcode
            self._compressed = self._frame.compressed
            self._room = self._max_size
            if self._compressed:
                # Deflate can make data longer: by an eighth and some at worst.
                self._room += (self._max_size >> 3) + (self._max_size >> 6) + 1024
            utf8_reset(&self._utf8)
            self._rules |= FRAME_CONTINUES
        if self._frame.size > self._room:
            return -1
        self._room -= self._frame.size
        return 0

    cdef void _end_message(self) noexcept:
        self._opcode = OPCODE_CONTINUATION
        self._rules = self._base_rules
        self.held = 0

    cdef Incoming _fail(self, int code, str reason) except <Incoming> -1:
        self._end()
        self.close_code = code
        self.close_reason = reason
        return INCOMING_FAILED

    cdef void _end(self) noexcept:
        """Nothing more is read: give everything back."""
        self._ended = True
        self._end_message()
        self._payload = None
        self._deflate = None
        self.value = None

    cdef Incoming _take_whole(self, const uint8_t* source) except <Incoming> -1:
        """A message in one frame, not compressed, and all of it is here."""
        cdef Py_ssize_t size = self._frame.size
        cdef object value
        self._end_message()
        if self._frame.opcode == OPCODE_BINARY:
            value = new_bytes(NULL, size)
            if size:
                mask.unmask(<uint8_t*> PyBytes_AS_STRING(value), source, size, self._frame.key)
            self.value = value
            return INCOMING_BINARY
        value = PyUnicode_New(size, 127)
        if size and mask.unmask(<uint8_t*> PyUnicode_DATA(value), source, size, self._frame.key):
            # Not ASCII, so not a str yet; but its memory holds the UTF-8 by now.
            try:
                value = PyUnicode_DecodeUTF8(<char*> PyUnicode_DATA(value), size, NULL)
            except UnicodeDecodeError:
                return self._fail(1007, "invalid UTF-8")
        self.value = value
        return INCOMING_TEXT

    cdef Incoming _take(self, const uint8_t* source, Py_ssize_t size) except <Incoming> -1:
        """The next `size` bytes of the frame under way, up to all that are missing."""
        cdef bint last
        if self._frame.opcode & CONTROL_BIT:
            mask.unmask(&self._control[self._taken], source, size, mask_key_at(self._frame.key, self._taken))
            self._taken += size
            return self._control_whole() if self._taken == self._frame.size else INCOMING_MORE
        last = self._taken + size == self._frame.size
        if last:
            self._in_payload = False
        if self._compressed:
            return self._take_compressed(source, size, last and self._frame.final)
        if size and self._collect(source, size) < 0:
            return self._fail(1007, "invalid UTF-8")
        self._taken += size
        return self._message_whole() if last and self._frame.final else INCOMING_MORE

    cdef GrowingBytes _collected(self):
        if self._payload is None:
            self._payload = GrowingBytes.__new__(GrowingBytes)
        return self._payload

    cdef int _collect(self, const uint8_t* source, Py_ssize_t size) except -2:
        """Append what is not compressed; -1 for text that is not UTF-8."""
        cdef GrowingBytes payload = self._collected()
        cdef uint8_t* target
        cdef bint beyond_ascii
        payload.reserve(size, payload.size + self._frame.size - self._taken if self._frame.final else 0)
        self.held = payload.capacity
        target = <uint8_t*> payload.data + payload.size
        beyond_ascii = mask.unmask(target, source, size, mask_key_at(self._frame.key, self._taken))
        payload.size += size
        if self._opcode == OPCODE_TEXT and (beyond_ascii or self._utf8.missing):
            if utf8_check(&self._utf8, target, size) != <size_t> size:
                return -1
        return 0

    cdef Incoming _take_compressed(self, const uint8_t* source, Py_ssize_t size, bint last) except <Incoming> -1:
        """`last`: with these bytes the message is whole."""
        cdef GrowingBytes payload
        cdef Py_ssize_t inflated_size
        cdef Py_ssize_t before = self._payload.size if self._payload is not None else 0
        cdef bytes piece
        cdef bytes inflated
        if size == 0 and not last:
            return INCOMING_MORE
        piece = new_bytes(NULL, size + (4 if last else 0))
        mask.unmask(<uint8_t*> PyBytes_AS_STRING(piece), source, size, mask_key_at(self._frame.key, self._taken))
        self._taken += size
        if last:
            memcpy(PyBytes_AS_STRING(piece) + size, PyBytes_AS_STRING(DEFLATE_TAIL), 4)
        try:
            inflated = self._deflate.inflate(
                piece,
                self._max_size - before if self._max_size != NO_LIMIT else -1,
                self._payload.data if before else NULL,
                before,
            )
        except InflateError as error:
            return self._fail(1002, str(error))
        if inflated is None:
            return self._fail(1009, "message too big")
        if last:
            self._deflate.inflated()
            if before == 0:
                return self._deliver(inflated)
        inflated_size = PyBytes_GET_SIZE(inflated)
        if inflated_size:
            payload = self._collected()
            payload.reserve(inflated_size, before + inflated_size if last else 0)
            self.held = payload.capacity
            memcpy(payload.data + before, PyBytes_AS_STRING(inflated), inflated_size)
            payload.size += inflated_size
            if self._opcode == OPCODE_TEXT:
                if utf8_check(&self._utf8, <uint8_t*> payload.data + before, inflated_size) != <size_t> inflated_size:
                    return self._fail(1007, "invalid UTF-8")
        return self._message_whole() if last else INCOMING_MORE

    cdef Incoming _deliver(self, bytes payload) except <Incoming> -1:
        """A compressed message that was inflated at once."""
        if self._opcode == OPCODE_BINARY:
            self._end_message()
            self.value = payload
            return INCOMING_BINARY
        try:
            self.value = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL)
        except UnicodeDecodeError:
            return self._fail(1007, "invalid UTF-8")
        self._end_message()
        return INCOMING_TEXT

    cdef Incoming _message_whole(self) except <Incoming> -1:
        """All of the message has been collected."""
        cdef GrowingBytes payload = self._payload
        cdef int opcode = self._opcode
        if opcode == OPCODE_BINARY:
            self._end_message()
            self.value = payload.finish() if payload is not None else b""
            return INCOMING_BINARY
        if self._utf8.missing:
            return self._fail(1007, "invalid UTF-8")
        self._end_message()
        if payload is None or payload.size == 0:
            self.value = ""
        else:
            self.value = PyUnicode_DecodeUTF8(payload.data, payload.size, NULL)
            payload.clear()
        return INCOMING_TEXT

    cdef Incoming _control_whole(self) except <Incoming> -1:
        cdef const char* payload = <const char*> self._control
        cdef Py_ssize_t size = self._frame.size
        self._in_payload = False
        if self._frame.opcode == OPCODE_CLOSE:
            return self._close_whole(payload, size)
        self.value = PyBytes_FromStringAndSize(payload, size)
        return INCOMING_PING if self._frame.opcode == OPCODE_PING else INCOMING_PONG

    cdef Incoming _close_whole(self, const char* payload, Py_ssize_t size) except <Incoming> -1:
        cdef int code = CLOSE_NO_STATUS
        cdef str reason = ""
        if size == 1:
            return self._fail(1002, "close frame with half a code")
        if size:
            code = self._control[0] << 8 | self._control[1]
            if not close_code_valid(code):
                return self._fail(1002, "invalid close code")
            try:
                reason = PyUnicode_DecodeUTF8(payload + 2, size - 2, NULL)
            except UnicodeDecodeError:
                return self._fail(1007, "invalid UTF-8 in the close reason")
        self._end()
        self.close_code = code
        self.close_reason = reason
        return INCOMING_CLOSE


cdef class MessageWriter:
    """Messages to a client, each as one unmasked frame; `deflate` is the compression that was negotiated."""

    def __init__(self, Deflate deflate=None):
        self._deflate = deflate

    def text(self, str data not None) -> bytes:
        """The frame of a text message. Raises UnicodeEncodeError for a lone surrogate."""
        cdef Buffer output = new_buffer(0)
        self.write_text(output, data)
        return output.to_bytes(0)

    def binary(self, data) -> bytes:
        """The frame of a binary message; `data` is bytes-like and contiguous, else TypeError or BufferError."""
        cdef Buffer output = new_buffer(0)
        self.write_binary(output, data)
        return output.to_bytes(0)

    def ping(self, bytes data not None) -> bytes:
        """A ping frame. Raises ValueError for more than 125 bytes."""
        cdef Buffer output = new_buffer(0)
        self.write_control(output, OPCODE_PING, data, len(data))
        return output.to_bytes(0)

    def pong(self, bytes data not None) -> bytes:
        """A pong frame. Raises ValueError for more than 125 bytes."""
        cdef Buffer output = new_buffer(0)
        self.write_control(output, OPCODE_PONG, data, len(data))
        return output.to_bytes(0)

    def close(self, int code, str reason not None="") -> bytes:
        """A close frame, without code and reason for 1005; a reason over 123 bytes is cut at a character.

        Raises ValueError for a code that may not be sent, UnicodeEncodeError for a lone surrogate.
        """
        cdef Buffer output = new_buffer(0)
        self.write_close(output, code, reason)
        return output.to_bytes(0)

    def head(self, Py_ssize_t size) -> bytes:
        """The head alone of an uncompressed binary message of `size` bytes."""
        cdef Buffer output = new_buffer(0)
        self.write_head(output, OPCODE_BINARY, size)
        return output.to_bytes(0)

    cdef int write_text(self, Buffer output, str text) except -1:
        cdef Py_ssize_t size
        # The str keeps its UTF-8: one that is sent to many is encoded once.
        cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
        if self.compresses(size):
            return self._write_deflated(output, OPCODE_TEXT, PyMemoryView_FromMemory(<char*> data, size, PyBUF_READ))
        return self._write(output, OPCODE_TEXT, data, size)

    cdef int write_binary(self, Buffer output, object data) except -1:
        cdef Py_buffer view
        if type(data) is bytes:
            if self.compresses(PyBytes_GET_SIZE(data)):
                return self._write_deflated(output, OPCODE_BINARY, data)
            return self._write(output, OPCODE_BINARY, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self.compresses(view.len):
                return self._write_deflated(output, OPCODE_BINARY, data)
            return self._write(output, OPCODE_BINARY, <const char*> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef int write_control(self, Buffer output, int opcode, const char* data, Py_ssize_t size) except -1:
        if size > CONTROL_SIZE_LIMIT:
            raise ValueError("a control frame has at most 125 bytes of payload")
        return self._write(output, opcode, data, size)

    cdef int write_close(self, Buffer output, int code, str reason) except -1:
        cdef uint8_t[CONTROL_SIZE_LIMIT] payload
        cdef Py_ssize_t size
        cdef const char* text
        if code == CLOSE_NO_STATUS:
            return self._write(output, OPCODE_CLOSE, NULL, 0)
        if not close_code_valid(code):
            raise ValueError(f"not a close code that may be sent: {code}")
        text = PyUnicode_AsUTF8AndSize(reason, &size)
        if size > CLOSE_REASON_LIMIT:
            size = CLOSE_REASON_LIMIT
            # The first byte that is left out must begin a character.
            while <uint8_t> text[size] & 0xC0 == 0x80:
                size -= 1
        payload[0] = <uint8_t> (code >> 8)
        payload[1] = <uint8_t> (code & 0xFF)
        memcpy(payload + 2, text, size)
        return self._write(output, OPCODE_CLOSE, <const char*> payload, size + 2)

    cdef int write_head(self, Buffer output, int opcode, Py_ssize_t size) except -1:
        output.reserve(SERVER_HEAD_LIMIT)
        output.size += write_frame_head(<uint8_t*> output.data + output.size, FRAME_FINAL | opcode, size)
        return 0

    cdef bint compresses(self, Py_ssize_t size) noexcept:
        return self._deflate is not None and size >= DEFLATE_THRESHOLD

    cdef int _write(self, Buffer output, int opcode, const char* data, Py_ssize_t size) except -1:
        output.reserve(size + SERVER_HEAD_LIMIT)
        output.size += write_frame_head(<uint8_t*> output.data + output.size, FRAME_FINAL | opcode, size)
        if size:
            memcpy(output.data + output.size, data, size)
            output.size += size
        return 0

    cdef int _write_deflated(self, Buffer output, int opcode, object data) except -1:
        cdef bytes first
        cdef bytes second
        cdef Py_ssize_t size
        first, second = self._deflate.deflate(data)
        size = PyBytes_GET_SIZE(first) + PyBytes_GET_SIZE(second) - PyBytes_GET_SIZE(DEFLATE_TAIL)
        # The head and the first part may not leave without the second.
        output.reserve(size + PyBytes_GET_SIZE(DEFLATE_TAIL) + SERVER_HEAD_LIMIT)
        output.size += write_frame_head(<uint8_t*> output.data + output.size, FRAME_FINAL | FRAME_RSV1 | opcode, size)
        output.append(PyBytes_AS_STRING(first), PyBytes_GET_SIZE(first))
        output.append(PyBytes_AS_STRING(second), PyBytes_GET_SIZE(second))
        output.truncate(output.size - PyBytes_GET_SIZE(DEFLATE_TAIL))
        return 0


cdef bint close_code_valid(int code) noexcept:
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def implementations() -> list:
    """The names of the vector code that this build has and this processor runs, slowest first; the last is in use."""
    cdef int i
    return [mask_sets[i].name.decode() for i in range(MASK_SETS) if mask_set_available(&mask_sets[i])]


def use_implementation(name: str) -> None:
    """Unmask and check UTF-8 by the named code in this process; for tests and measurements.

    Raises ValueError for a name that implementations() does not have.
    """
    cdef int i
    if name not in implementations():
        raise ValueError(f"no such implementation here: {name}")
    for i in range(MASK_SETS):
        if mask_sets[i].name == name.encode():
            mask_use(&mask_sets[i])
    for i in range(UTF8_SETS):
        if utf8_sets[i].name == name.encode():
            utf8_use(&utf8_sets[i])


use_implementation(implementations().pop())
