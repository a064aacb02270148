"""One request and its response, and the interfaces on both sides of it.

The body queue lives here because every protocol needs the same one: pieces are queued as they arrive, taken all at
once, and reading pauses above a high-water mark until they are. What is particular to a protocol (emitting
bytes, pausing the connection) are virtual methods that the protocol's subclass fills in.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from fastserve._live cimport COUNTING, LIVE_EXCHANGE, LIVE_RESPONDER, count_live

cdef bytes EMPTY = b""


cdef class Endpoint:
    """Who is at the two ends of a connection.

    client: (host, port) of the peer, or None on a Unix socket. server: (host, port) of this end, or (path, None).
    scheme: "http" or "https", or what a proxy says. peer_uid: the user at the other end of a Unix socket, -1 for other
    sockets. prefix: what a proxy has taken off the paths, in place of the root path. tls: what is known of the
    connection's TLS, as ASGI's `tls` extension has it.
    """

    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        scheme: str = "http",
        peer_uid: int = -1,
        prefix: bytes | None = None,
        tls: dict | None = None,
    ):
        self.client = client
        self.server = server
        self.scheme = scheme
        self.peer_uid = peer_uid
        self.prefix = prefix
        self.tls = tls

    cdef str peer(self):
        cdef str host
        if self._peer is None:
            if self.client is None:
                self._peer = ""
            else:
                # What a proxy calls a host may be anything; one line of a log stays one line.
                host = self.client[0]
                if not host.isprintable():
                    host = host.encode("unicode_escape").decode("ascii")
                self._peer = f"{host}:{self.client[1]}"
        return self._peer


cdef class Responder:
    """The gateway's side of a running exchange; every method does nothing here."""

    def __cinit__(self):
        if COUNTING:
            count_live(LIVE_RESPONDER, 1)

    def __dealloc__(self):
        if COUNTING:
            count_live(LIVE_RESPONDER, -1)

    cdef int body_arrived(self) except -1:
        return 0

    cdef int disconnected(self) except -1:
        return 0

    cdef int abandoned(self) except -1:
        return 0

    cdef int drained(self) except -1:
        return 0

    cdef int cancel(self) except -1:
        return 0

    cdef str thread(self):
        return None


cdef class Handler:
    """What answers exchanges. Derive in Cython; from Python use PythonHandler."""

    cdef int handle(self, Exchange exchange) except -1:
        raise NotImplementedError


cdef class Served:
    """What an application is called for."""

    cdef int flush(self) except -1:
        return 0

    cdef int stepped(self) except -1:
        return 0

    cdef int finished(self) except -1:
        self.application_done = True
        self.responder = None
        if self._list is not None:
            self._list.unlink(self)
        return 0

    cdef str label(self):
        return ""


cdef class ServedList:
    """Those whose application is still running."""

    cdef void link(self, Served served) noexcept:
        served._list = self
        served._previous = NULL
        served._next = self._first
        if self._first is not NULL:
            (<Served> self._first)._previous = <void*> served
        self._first = <void*> served
        self.size += 1

    cdef void unlink(self, Served served) noexcept:
        if served._previous is NULL:
            self._first = served._next
        else:
            (<Served> served._previous)._next = served._next
        if served._next is not NULL:
            (<Served> served._next)._previous = served._previous
        served._previous = served._next = NULL
        served._list = None
        self.size -= 1

    cdef list snapshot(self):
        cdef list running = []
        cdef void* current = self._first
        while current is not NULL:
            running.append(<Served> current)
            current = (<Served> current)._next
        return running


cdef class Exchange(Served):
    """A request and its response. Attributes describe the request; protocols and gateways do the rest."""

    def __cinit__(self):
        if COUNTING:
            count_live(LIVE_EXCHANGE, 1)

    def __dealloc__(self):
        if COUNTING:
            count_live(LIVE_EXCHANGE, -1)

    cdef int reset(self) except -1:
        self.method = None
        self.target = self.raw_path = self.query = self._first = self.response_head = self.reason = None
        self.fields = self._rest = None
        self.endpoint = None
        self.responder = None
        self.queued = 0
        self.status = 0
        self.phase = RESPONSE_EXPECTED
        self.accepts_trailers = self.request_complete = self.disconnected = self.detached = False
        self.committed = self.application_done = self.text_fields = self.measure = False
        return 0

    cdef int feed(self, const char* data, Py_ssize_t size) except -1:
        cdef bytes piece = PyBytes_FromStringAndSize(data, size)
        if self._first is None:
            self._first = piece
        elif self._rest is None:
            self._rest = [piece]
        else:
            self._rest.append(piece)
        self.queued += size
        return 0

    cdef int end_of_request(self) except -1:
        self.request_complete = True
        return 0

    cdef bytes take(self):
        cdef bytes piece = self._first
        if piece is None:
            return EMPTY
        if self._rest is not None:
            self._rest.insert(0, piece)
            piece = EMPTY.join(self._rest)
            self._rest = None
        self._first = None
        self.queued = 0
        return piece

    cdef int want_body(self) except -1:
        return 0

    cdef int start(self, int status, object fields, bint trailers) except -1:
        raise NotImplementedError

    cdef int body(self, object data, bint more) except -1:
        raise NotImplementedError

    cdef int trailers(self, object fields, bint more) except -1:
        raise NotImplementedError

    cdef int inform(self, int status, object fields) except -1:
        raise NotImplementedError

    cdef bint retract(self) except -1:
        return False

    cdef int64_t left(self) noexcept:
        return -1

    cdef bint send_file(self, int fd, int64_t offset, int64_t count) except -1:
        return False

    cdef bint sends_files(self) noexcept:
        return False

    cdef bint writable(self) noexcept:
        return True

    cdef int push(self) except -1:
        return self.flush()

    cdef int fail(self) except -1:
        raise NotImplementedError

    cdef int finished(self) except -1:
        self.websocket = None
        return Served.finished(self)

    cdef str label(self):
        return self.method if self.websocket is None else "WebSocket"

    @property
    def http_version(self) -> str:
        """"1.0" or "1.1"."""
        return "1.1" if self.minor else "1.0"


cdef class AccessLog:
    """Where responses are noted; this one notes nothing."""

    cdef int record(self, Exchange exchange, int64_t sent, double seconds) except -1:
        return 0


@cython.final
cdef class PythonExchange(Responder):
    """An exchange as a handler written in Python sees it.

    The request: `method`, `target`, `raw_path`, `query`, `fields`, `http_version`, `endpoint`. Events: assign callables
    without parameters to `on_body` (body bytes or the end of the request arrived), `on_disconnect`, `on_writable` and
    `on_cancel`; each is called at most once per event and its exceptions end the exchange as a failure.
    """

    cdef Exchange _exchange
    cdef public object on_body
    cdef public object on_disconnect
    cdef public object on_writable
    cdef public object on_cancel

    @property
    def request(self) -> Exchange:
        """The exchange itself: the request's attributes."""
        return self._exchange

    @property
    def complete(self) -> bool:
        """Whether the whole request body has arrived (it may still wait to be read)."""
        return self._exchange.request_complete

    @property
    def writable(self) -> bool:
        """Whether the client keeps up; False asks the handler to wait for `on_writable`."""
        return self._exchange.writable()

    def read(self) -> bytes:
        """Return the body bytes that have arrived since the last call, b"" if none; sends 100 Continue when due."""
        if not self._exchange.request_complete:
            self._exchange.want_body()
        return self._exchange.take()

    def start(self, status: int, fields: list[tuple[bytes, bytes]], *, trailers: bool = False) -> None:
        """Set status and fields of the response. Raises RuntimeError for invalid ones or when already started."""
        self._exchange.start(status, fields, trailers)

    def body(self, data: bytes, *, more: bool = False) -> None:
        """Send body bytes; the last call has more=False. Raises RuntimeError against content-length or order."""
        self._exchange.body(data, more)
        self._after()

    def trailers(self, fields: list[tuple[bytes, bytes]], *, more: bool = False) -> None:
        """Send trailer fields, after start(trailers=True) and the last body()."""
        self._exchange.trailers(fields, more)
        self._after()

    def inform(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Send an interim (1xx) response, such as 103 Early Hints."""
        self._exchange.inform(status, fields)

    def fail(self) -> None:
        """Give up: 500 if nothing was sent, else the connection is closed."""
        self._exchange.fail()
        self._exchange.finished()

    cdef int _after(self) except -1:
        self._exchange.flush()
        if self._exchange.phase == RESPONSE_COMPLETE and not self._exchange.application_done:
            self._exchange.finished()
        return 0

    cdef int _notify(self, object callback) except -1:
        if callback is None:
            return 0
        try:
            callback()
        except Exception:
            if not self._exchange.application_done:
                self._exchange.fail()
                self._exchange.finished()
            raise
        finally:
            self._exchange.stepped()
        return 0

    cdef int body_arrived(self) except -1:
        return self._notify(self.on_body)

    cdef int disconnected(self) except -1:
        return self._notify(self.on_disconnect)

    cdef int drained(self) except -1:
        return self._notify(self.on_writable)

    cdef int cancel(self) except -1:
        return self._notify(self.on_cancel)


@cython.final
cdef class PythonHandler(Handler):
    """Adapts a Python callable to Handler: it is called with a PythonExchange for every request."""

    cdef object _function

    def __init__(self, function):
        self._function = function

    cdef int handle(self, Exchange exchange) except -1:
        cdef PythonExchange view = PythonExchange.__new__(PythonExchange)
        view._exchange = exchange
        exchange.responder = view
        try:
            self._function(view)
        except Exception:
            if not exchange.application_done:
                exchange.fail()
                exchange.finished()
            raise
        return 0
