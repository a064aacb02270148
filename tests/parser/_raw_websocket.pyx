# The WebSocket codec as C callers see it, reached from tests: chosen vector code, memory that ends at a guard page.

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from fastserve._frames cimport (
    SERVER_HEAD_LIMIT,
    FrameHead,
    frame_problem_text,
    read_frame_head,
    write_frame_head,
)
from fastserve._mask cimport MASK_SETS, mask_key_at, mask_set_available, mask_sets
from fastserve._messages cimport (
    INCOMING_BINARY,
    INCOMING_CLOSE,
    INCOMING_FAILED,
    INCOMING_MORE,
    INCOMING_PING,
    INCOMING_PONG,
    INCOMING_TEXT,
    Incoming,
    MessageReader,
    close_code_valid,
)
from fastserve._utf8 cimport UTF8_SETS, Utf8, utf8_check, utf8_reset, utf8_set_available, utf8_sets, utf8_use
from tests.parser._guarded cimport Guarded

cdef Guarded guarded = Guarded()
cdef Guarded written = Guarded()

cdef dict NAMES = {
    <int> INCOMING_TEXT: "text",
    <int> INCOMING_BINARY: "binary",
    <int> INCOMING_PING: "ping",
    <int> INCOMING_PONG: "pong",
    <int> INCOMING_CLOSE: "close",
    <int> INCOMING_FAILED: "failed",
}


def mask_names() -> list:
    return [mask_sets[i].name.decode() for i in range(MASK_SETS) if mask_set_available(&mask_sets[i])]


def utf8_names() -> list:
    return [utf8_sets[i].name.decode() for i in range(UTF8_SETS) if utf8_set_available(&utf8_sets[i])]


def unmask(name, bytes data, bytes key, size_t offset=0, bint front=False, bint in_place=False) -> tuple:
    """(what was written, whether it went beyond ASCII); source and target are guarded."""
    cdef const uint8_t* source = <const uint8_t*> guarded.put(data, front)
    cdef uint8_t* target = <uint8_t*> source
    cdef uint32_t word
    cdef bint beyond
    cdef int i
    memcpy(&word, <const char*> key, 4)
    if not in_place:
        target = <uint8_t*> written.put(bytes(len(data)), front)
    for i in range(MASK_SETS):
        if mask_sets[i].name == name.encode():
            beyond = mask_sets[i].unmask(target, source, len(data), mask_key_at(word, offset))
            if not in_place and memcmp(source, <const char*> data, len(data)) != 0:
                raise AssertionError("the source was written to")
            return target[:len(data)], bool(beyond)
    raise LookupError(name)


def check_utf8(name, list pieces, bint front=False) -> tuple:
    """(offset of the first byte that cannot stand there, or None, bytes missing at the end)."""
    cdef Utf8 state
    cdef bytes piece
    cdef size_t valid
    cdef Py_ssize_t before = 0
    cdef int i
    for i in range(UTF8_SETS):
        if utf8_sets[i].name == name.encode():
            utf8_use(&utf8_sets[i])
    utf8_reset(&state)
    for piece in pieces:
        valid = utf8_check(&state, <const uint8_t*> guarded.put(piece, front), len(piece))
        if valid != <size_t> len(piece):
            return before + valid, 0
        before += len(piece)
    return None, state.missing


def frame_head(bytes data, int rules=0, bint front=False) -> object:
    """0 for more, the problem in words, or (size of the head, opcode, final, compressed, size of the payload, key)."""
    cdef FrameHead head
    cdef Py_ssize_t size = read_frame_head(&head, <const uint8_t*> guarded.put(data, front), len(data), rules)
    if size == 0:
        return 0
    if size < 0:
        return frame_problem_text(head.problem).decode()
    return size, <int> head.opcode, bool(head.final), bool(head.compressed), head.size, (<char*> &head.key)[:4]


def server_head(int first, Py_ssize_t size) -> bytes:
    cdef uint8_t[SERVER_HEAD_LIMIT] target
    cdef Py_ssize_t written_size = write_frame_head(target, first, size)
    return target[:written_size]


def valid_close_codes(codes) -> list:
    return [code for code in codes if close_code_valid(code)]


cdef class RawReader:
    """A MessageReader whose input is guarded, and moves with every call."""

    cdef MessageReader reader

    def __init__(self, max_size=0, deflate=None):
        self.reader = MessageReader(max_size, deflate)

    def feed(self, bytes data, bint front=False) -> list:
        """As MessageReader.feed()."""
        cdef const char* start
        cdef Py_ssize_t used
        cdef Incoming incoming
        cdef list found = []
        while data:
            start = guarded.put(data, front)
            incoming = self.reader.read(start, len(data), &used)
            guarded.forget(len(data), front)
            if not 0 < used <= len(data):
                raise AssertionError(f"{used} of {len(data)} bytes used")
            if incoming == INCOMING_MORE:
                if used != len(data):
                    raise AssertionError("more was asked for, but not all taken")
            elif incoming == INCOMING_CLOSE or incoming == INCOMING_FAILED:
                found.append((NAMES[<int> incoming], self.reader.close_code, self.reader.close_reason))
            else:
                found.append((NAMES[<int> incoming], self.reader.value))
            data = data[used:]
        return found

    @property
    def held(self) -> int:
        return self.reader.held
