# The parsers as C callers see them, reached from tests: raw pointers, chosen sizes, memory that ends at a guard page.
#
# Every input is copied to the end of guarded memory, or to its front. The input also moves with every call, as it may.

from libc.string cimport memset

from fastserve._fields cimport build_fields, method_name
from fastserve._head cimport HeadMemory
from fastserve._parser cimport (
    HEAD_CHUNKED,
    HEAD_EXPECT_CONTINUE,
    HEAD_KEEP_ALIVE,
    HEAD_TE_TRAILERS,
    HEAD_UPGRADE,
    ChunkedBody,
    Reason,
    Span,
    parse_chunked,
    parse_head,
    reason_code,
    reason_status,
    reason_text,
    reset_chunked,
    reset_head,
)
from tests.parser._guarded cimport Guarded

cdef Guarded guarded = Guarded()


cdef class RawHead:
    """parse_head() with a memory of its own; `fields` and the limits as for HeadMemory."""

    cdef HeadMemory memory
    cdef bytes seen

    def __init__(self, fields=100, request_line=8192, head=65536):
        self.memory = HeadMemory(fields, limit_request_line=request_line, limit_request_head=head)

    def parse(self, bytes data, bint front=False) -> int:
        """One call over `data`, all bytes of the head so far; its result."""
        cdef const char* start = (<Guarded>guarded).put(data, front)
        cdef Py_ssize_t result
        result = parse_head(&self.memory.head, start, len(data))
        guarded.forget(len(data), front)
        self.seen = data
        return result

    def repeat(self, list heads, int count, bint build=True) -> None:
        """Parse whole heads in turn, `count` in all, to measure; with the list of fields each time if `build`."""
        cdef int i
        cdef int number = len(heads)
        cdef bytes data
        for i in range(count):
            data = heads[i % number]
            reset_head(&self.memory.head)
            if parse_head(&self.memory.head, data, len(data)) <= 0:
                raise ValueError("not a whole head")
            if build:
                build_fields(&self.memory.head, data)

    def reset(self):
        reset_head(&self.memory.head)

    def moved(self, fields=None) -> RawHead:
        """A copy in other memory; this one is spoiled. None when there is not enough room."""
        cdef RawHead other = RawHead(self.memory.capacity if fields is None else fields)
        if other.memory.copy_from(self.memory) < 0:
            return None
        memset(self.memory.head.fields, 0xA5, self.memory.capacity * 20)
        reset_head(&self.memory.head)
        return other

    @property
    def position(self) -> int:
        return self.memory.head.position

    def accepted(self) -> dict:
        """What the head says, after a positive result."""
        cdef const char* data = self.seen
        head = self.memory.head
        flags = head.flags
        return {
            "method": method_name(data + head.method.start, head.method.size),
            "target": self.seen[head.target.start:head.target.start + head.target.size],
            "minor": head.minor,
            "keep_alive": bool(flags & HEAD_KEEP_ALIVE),
            "chunked": bool(flags & HEAD_CHUNKED),
            "expect_continue": bool(flags & HEAD_EXPECT_CONTINUE),
            "upgrade": bool(flags & HEAD_UPGRADE),
            "te_trailers": bool(flags & HEAD_TE_TRAILERS),
            "content_length": None if head.content_length < 0 else head.content_length,
            "fields": build_fields(&self.memory.head, data),
        }

    def known(self) -> list:
        """The number of each field's name in the table of well-known names, 0 for others."""
        return [self.memory.head.fields[i].known for i in range(self.memory.head.field_count)]

    def rejected(self) -> tuple:
        """(status, reason, offset), after -1."""
        cdef Reason reason = self.memory.head.reason
        assert reason_text(reason)
        return reason_status(reason), reason_code(reason).decode(), self.memory.head.error_offset


cdef class RawChunked:
    """parse_chunked() with its limits."""

    cdef ChunkedBody body

    def __init__(self, extensions=4096, trailers=8192, trailer_fields=100):
        self.body.limits.extensions = extensions
        self.body.limits.trailers = trailers
        self.body.limits.trailer_fields = trailer_fields
        reset_chunked(&self.body)

    def parse(self, bytes data, bint front=False) -> tuple:
        """One call: (result, the piece of body data)."""
        cdef const char* start = (<Guarded>guarded).put(data, front)
        cdef Py_ssize_t result
        cdef Span piece
        result = parse_chunked(&self.body, start, len(data), &piece)
        guarded.forget(len(data), front)
        return result, data[piece.start:piece.start + piece.size]

    @property
    def done(self) -> bool:
        return bool(self.body.done)

    def rejected(self) -> tuple:
        return reason_status(self.body.reason), reason_code(self.body.reason).decode(), self.body.error_offset
