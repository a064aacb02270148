"""RequestParser: the parsers of _parser as a Python object, for users, tests and benchmarks.

Bytes are fed in, events are pulled out; nothing is called back and nothing is read or written anywhere. What was
fed and not yet consumed is kept in one object: the very `bytes` that came in as long as they are used up before the
next feed(), else a bytearray that grows at the end and is cut at the front, so the cost per byte is constant.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t

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
    RequestHead,
    Span,
    parse_chunked,
    parse_head,
    reason_code,
    reason_status,
    reason_text,
    reset_chunked,
    reset_head,
)

from fastserve.errors import RequestRejected

cdef enum Part:
    PART_HEAD
    PART_SIZED              # a body of `remaining` bytes
    PART_CHUNKED
    PART_END                # the end is to be reported
    PART_LAST               # nothing may follow on this connection

cdef enum:
    # feed() takes any size; one piece, whose offsets have 32 bits, never more than this.
    PIECE_SIZE = 1 << 30


@cython.final
cdef class Request:
    """The head of one request (RFC 9112 sections 3 to 6)."""

    cdef str method_text
    cdef bytes target_bytes
    cdef list field_list
    cdef uint32_t minor
    cdef uint32_t flags
    cdef int64_t length         # -1 without Content-Length

    def __init__(self):
        raise TypeError("requests come from a RequestParser")

    @property
    def method(self):
        """The method, case kept."""
        return self.method_text

    @property
    def target(self):
        """The request target as sent (RFC 9112 section 3.2)."""
        return self.target_bytes

    @property
    def version(self):
        """"1.0" or "1.1"."""
        return "1.1" if self.minor else "1.0"

    @property
    def fields(self):
        """(name, value) tuples of bytes in the order sent: names in lower case, values without white space around."""
        return self.field_list

    @property
    def content_length(self):
        """Bytes of the body, None without the field."""
        return None if self.length < 0 else self.length

    @property
    def chunked(self):
        """A chunked body follows."""
        return (self.flags & HEAD_CHUNKED) != 0

    @property
    def keep_alive(self):
        """The client means the connection to persist."""
        return (self.flags & HEAD_KEEP_ALIVE) != 0

    @property
    def expect_continue(self):
        """The client waits for 100 (Continue)."""
        return (self.flags & HEAD_EXPECT_CONTINUE) != 0

    @property
    def upgrade(self):
        """Upgrade, confirmed by Connection."""
        return (self.flags & HEAD_UPGRADE) != 0

    @property
    def te_trailers(self):
        """The client takes trailer fields in the response."""
        return (self.flags & HEAD_TE_TRAILERS) != 0

    def __repr__(self):
        return f"<Request {self.method} {self.target!r} HTTP/{self.version}, {len(self.fields)} fields>"


@cython.final
cdef class EndOfRequest:
    """The type of END, the event behind the last byte of a request."""

    def __repr__(self):
        return "END"


END = EndOfRequest()


cdef Request new_request(const RequestHead* head, const char* data):
    cdef Request request = Request.__new__(Request)
    request.method_text = method_name(data + head.method.start, head.method.size)
    request.target_bytes = PyBytes_FromStringAndSize(data + head.target.start, head.target.size)
    request.field_list = build_fields(head, data)
    request.minor = head.minor
    request.flags = head.flags
    request.length = head.content_length
    return request


@cython.final
cdef class RequestParser:
    """Reads the requests of one connection: feed() bytes, then take events until there are none.

    An event is a Request (the head), `bytes` (a piece of its body), END (behind its last byte), or None: more bytes
    are needed. Requests that follow each other (pipelining) come out one after the other. Behind a request that is
    not keep_alive nothing more is read. Behind one with `upgrade`, or a CONNECT, ask `unparsed` for the bytes of the
    other protocol instead of taking another event.

    limit_request_line: bytes of the request line (else 414). limit_request_head: bytes of the whole head (else 431).
    limit_request_fields: field lines (else 431). limit_chunk_extensions, limit_trailers: bytes per body (else 400).

        parser = RequestParser()
        parser.feed(b"GET / HTTP/1.1\\r\\nHost: example.com\\r\\n\\r\\n")
        request, end = parser
    """

    cdef HeadMemory memory
    cdef ChunkedBody body
    cdef object data            # bytes or bytearray
    cdef Py_ssize_t start       # of what is not consumed
    cdef uint64_t consumed      # bytes of this request before `start`
    cdef int64_t remaining
    cdef Part part
    cdef bint last

    def __init__(self, *, uint32_t limit_request_line=8192, uint32_t limit_request_head=65536,
                 uint32_t limit_request_fields=100, uint32_t limit_chunk_extensions=4096,
                 uint32_t limit_trailers=8192):
        self.memory = HeadMemory(limit_request_fields, limit_request_line=limit_request_line,
                                 limit_request_head=limit_request_head)
        self.body.limits.extensions = limit_chunk_extensions
        self.body.limits.trailers = limit_trailers
        self.body.limits.trailer_fields = limit_request_fields
        self.data = b""
        self.start = 0
        self.consumed = 0
        self.part = PART_HEAD
        self.last = False

    def feed(self, data) -> None:
        """Append bytes (any object with the buffer interface) that came from the peer."""
        if self.start == len(self.data):
            self.data = data if type(data) is bytes else bytes(data)
        else:
            if type(self.data) is bytes:
                self.data = bytearray(self.data[self.start:] if self.start else self.data)
            elif self.start:
                del self.data[:self.start]
            self.data += data
        self.start = 0

    @property
    def unparsed(self) -> bytes:
        """The bytes that were fed and are not part of any event so far."""
        return bytes(self.data[self.start:])

    def next_event(self):
        """The next event, None when more bytes are needed.

        Raises fastserve.errors.RequestRejected for invalid input, from then on each time.
        """
        cdef const char* data
        cdef Py_ssize_t size
        cdef Py_ssize_t result
        cdef Span piece
        cdef Request request
        cdef object event
        if self.part == PART_END:
            self.part = PART_LAST if self.last else PART_HEAD
            self.consumed = 0
            reset_head(&self.memory.head)
            return END
        if self.part == PART_LAST:
            return None
        data = PyBytes_AS_STRING(self.data) if type(self.data) is bytes else PyByteArray_AS_STRING(self.data)
        data += self.start
        size = len(self.data) - self.start
        if self.part == PART_HEAD:
            result = parse_head(&self.memory.head, data, size)
            if result < 0:
                raise self.rejection(self.memory.head.reason, self.memory.head.error_offset)
            if result == 0:
                return None
            request = new_request(&self.memory.head, data)
            self.last = not request.flags & HEAD_KEEP_ALIVE
            self.advance(result)
            if request.flags & HEAD_CHUNKED:
                self.part = PART_CHUNKED
                reset_chunked(&self.body)
            elif self.memory.head.content_length > 0:
                self.part = PART_SIZED
                self.remaining = self.memory.head.content_length
            else:
                self.part = PART_END
            return request
        if size == 0:
            return None
        size = min(size, PIECE_SIZE)
        if self.part == PART_SIZED:
            if self.remaining < size:
                size = self.remaining
            event = self.take(data, 0, size)
            self.advance(size)
            self.remaining -= size
            if self.remaining == 0:
                self.part = PART_END
            return event
        while size:
            result = parse_chunked(&self.body, data, size, &piece)
            if result < 0:
                raise self.rejection(self.body.reason, self.body.error_offset)
            event = self.take(data, piece.start, piece.size) if piece.size else None
            self.advance(result)
            if self.body.done:
                self.part = PART_END
                return self.next_event()
            if event is not None:
                return event
            data += result
            size -= result
        return None

    def __iter__(self):
        return self

    def __next__(self):
        event = self.next_event()
        if event is None:
            raise StopIteration
        return event

    cdef int advance(self, Py_ssize_t size) noexcept:
        self.start += size
        self.consumed += size
        return 0

    # A piece of the body; the object that was fed itself when it is nothing else.
    cdef object take(self, const char* data, Py_ssize_t start, Py_ssize_t size):
        if start == 0 and self.start == 0 and type(self.data) is bytes and len(self.data) == size:
            return self.data
        return PyBytes_FromStringAndSize(data + start, size)

    cdef object rejection(self, Reason reason, uint32_t offset):
        return RequestRejected(reason_status(reason), reason_text(reason).decode(), reason_code(reason).decode(),
                               self.consumed + offset)
