"""HTTP/1.1 on one connection (RFC 9112).

Reading and answering are two sides of one state. Bytes are consumed in a loop (`_consume`): a head makes an exchange,
its body is fed to it, the handler is called, and when the response is complete on return the loop goes on with the next
pipelined request; all responses of the loop leave in one send. When the response is not complete, the loop ends
(`READ_NOTHING`), later bytes wait in `input`, and `stepped()` takes the loop up again.

Output is corked in the worker's one write buffer, which belongs to one connection at a time. A response's head is kept
there unsent until the first body message: only then the framing is decided, and head and body leave together.

What is called upwards may let go of what called it: a responder ends its exchange, an exchange its connection. So
responders are called through a local reference, which keeps them alive during the call.

The life of a connection after its last response: closed at once when the client has said all it wanted to say, else
`READ_DISCARD`: our half is shut down and what still comes is dropped for a while, because closing with unread input
makes the kernel reset the connection and the client may lose the response.

In a worker that stops, a connection leaves when it is idle: to another worker if there is one to take it, and goes on
there as if nothing had happened; else it closes, with a time of grace for the client that has just seen a response
without `Connection: close` and is about to use the connection again.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, _Py_REFCNT
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr

from fastserve._buffer cimport Buffer, new_buffer
from fastserve._exchange cimport (
    BODY_HIGH_WATER,
    OUTPUT_HIGH_WATER,
    RESPONSE_BODY,
    RESPONSE_COMPLETE,
    RESPONSE_EXPECTED,
    RESPONSE_STARTED,
    RESPONSE_TRAILERS,
    AccessLog,
    Endpoint,
    Exchange,
    Responder,
)
from fastserve._fields cimport HEAD, build_fields, method_name
from fastserve._head cimport HeadMemory
from fastserve._live cimport COUNTING
from fastserve._messages cimport CLOSE_SERVICE_RESTART
from fastserve._parser cimport (
    HEAD_CHUNKED,
    HEAD_EXPECT_CONTINUE,
    HEAD_FORWARDED,
    HEAD_KEEP_ALIVE,
    HEAD_TE_TRAILERS,
    HEAD_UPGRADE,
    RequestHead,
    Span,
    parse_chunked,
    parse_head,
    reason_status,
    reason_text,
    reset_chunked,
    reset_head,
)
from fastserve._websocket cimport WebSocket
from fastserve.protocol._connection cimport Connection, Stream, Upgrade, WorkerState
from fastserve.protocol._timers cimport FOREVER

cdef enum:
    COPY_LIMIT = 16384          # body bytes beyond this are sent from where they are, not copied into the output
    INPUT_HIGH_WATER = 65536    # pipelined bytes kept while a response is in progress
    DRAIN_LIMIT = 65536         # request body bytes read and dropped to keep a connection that could be closed instead
    DISCARD_LIMIT = 16777216    # bytes dropped while lingering
    VERSION_SIZE = 9            # bytes of a request line behind its target
    SAMPLE_SIZE = 64            # bytes of a rejected request that are shown in the log
    CHUNK_EXTENSIONS = 4096     # bytes of chunk extensions in one body
    TRAILER_BYTES = 16384       # bytes of a request's trailer section
    TRAILER_FIELDS = 100

cdef double LINGER = 2.0        # seconds between two reads while lingering
cdef double LINGER_LONGEST = 30.0   # seconds in all
# Seconds without output after which a client that has ended its half in the middle of a response counts as gone. One
# that only half-closed and one that closed look the same until we write; writing finds out the second at once.
cdef double ABANDONED = 1.0
cdef double UNREAD = 0.2        # seconds in which the transport brings what the kernel has received already
cdef bytes EMPTY = b""
cdef bytes ASTERISK = b"*"
cdef list TEXT_PLAIN = [(b"content-type", b"text/plain; charset=utf-8")]


cdef class Http1Connection(Connection):
    """HTTP/1.1 on one stream; made by Worker for each."""

    cdef int opened(self, Stream stream) except -1:
        cdef WorkerState worker = self.worker
        self.stream = stream
        self.reading = READ_HEAD
        self.persistent = True
        self.write_deadline = self.request_deadline = FOREVER
        worker.now = worker.clock.now()
        self.idle_since = worker.now
        self.read_deadline = worker.now + (worker.timeout_keep_alive if stream.resumed else worker.timeout_header)
        worker.opened(self)
        if worker.draining:
            return self.drain()
        return self.arm()

    # --- reading

    cdef int received(self, const char* data, Py_ssize_t size) except -1:
        self.worker.now = self.worker.clock.now()
        if self.reading >= READ_DISCARD:
            self.dropped += size
            if self.reading == READ_DISCARD and self.dropped > DISCARD_LIMIT:
                self.stream.abort()
            elif self.reading == READ_DISCARD:
                self.read_deadline = self.worker.now + LINGER
                self.arm()
            return 0
        if self.running:
            # An application runs the event loop inside its step: what _consume() is reading must stay where it is.
            if self.late is None:
                self.late = new_buffer(size)
            return self.late.append(data, size)
        if self.input is None:
            return self._run(data, size)
        self.input.append(data, size)
        if self.reading != READ_NOTHING:
            return self._run_input()
        if self.input.size > INPUT_HIGH_WATER:
            self._pause()
        return 0

    cdef int _run(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t used = self._consume(data, size)
        cdef Buffer rest
        if self.successor is not None:
            return self._pass_on(data + used, size - used)
        if used < size and self.reading < READ_DISCARD:
            rest = new_buffer(size - used)
            rest.append(data + used, size - used)
            self.input = rest
        return self._after_run()

    cdef int _run_input(self) except -1:
        cdef Buffer data = self.input
        cdef Py_ssize_t used = self._consume(data.data, data.size)
        if self.successor is not None:
            return self._pass_on(data.data + used, data.size - used)
        if self.reading < READ_DISCARD:
            data.consume(used)
            if data.size == 0:
                self.input = None
        return self._after_run()

    cdef int _after_run(self) except -1:
        if self.stream is None:
            return 0
        self.release_output()
        if self.late is not None:
            if self.input is None:
                self.input = self.late
            else:
                self.input.append(self.late.data, self.late.size)
            self.late = None
            self.worker.call_soon(self)
        if self.input is None or self.partial is not None:
            if self.reading == READ_HEAD:
                if self.peer_ended:
                    self._finish()
                else:
                    self._resume()
        elif self.input.size > INPUT_HIGH_WATER:
            self._pause()
        if (self.worker.draining or self.worker.surplus) and self._is_idle():
            return self._leave()
        return self.arm()

    cdef Py_ssize_t _consume(self, const char* data, Py_ssize_t size) except -2:
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t used
        cdef Responder responder
        self.running = True
        try:
            while position < size:
                if self.reading == READ_HEAD:
                    if self.stream.blocked:
                        # The client does not read what it asked for: no further request until it does.
                        break
                    used = self._read_head(data + position, size - position)
                    if used == 0:
                        break
                    position += used
                    if self.reading <= READ_CHUNKED and position < size:
                        position += self._read_body(data + position, size - position)
                    if self.exchange is not None and self.reading < READ_DISCARD:
                        self._dispatch()
                elif self.reading <= READ_CHUNKED:
                    position += self._read_body(data + position, size - position)
                    if self.exchange is not None:
                        responder = self.exchange.responder
                        if responder is not None and not self.body_dropped:
                            responder.body_arrived()
                        self._settle()
                else:
                    break
        finally:
            self.running = False
        return position

    cdef Py_ssize_t _read_head(self, const char* data, Py_ssize_t size) except -2:
        cdef HeadMemory memory = self.partial
        cdef Py_ssize_t used
        if memory is None:
            memory = self.worker.head
            reset_head(&memory.head)
        used = parse_head(&memory.head, data, size)
        if used > 0:
            self.partial = None
            self._open_exchange(memory, data)
            return used
        if used == 0:
            if self.partial is None:
                self.partial = HeadMemory(self.worker.head.head.limits.fields)
                self.partial.copy_from(memory)
                self.read_deadline = self.worker.now + self.worker.timeout_header
            return 0
        self.partial = None
        self._open_rejected(memory, data)
        self._reject(
            reason_status(memory.head.reason),
            f"{(<bytes> reason_text(memory.head.reason)).decode('ascii')}, at byte {memory.head.error_offset}",
            PyBytes_FromStringAndSize(data, min(size, SAMPLE_SIZE)),
        )
        return size

    cdef int _open_exchange(self, HeadMemory memory, const char* data) except -1:
        cdef WorkerState worker = self.worker
        cdef RequestHead* head = &memory.head
        cdef Http1Exchange exchange = _new_exchange()
        cdef const char* target = data + head.target.start
        cdef Py_ssize_t size = head.target.size
        cdef const char* mark
        cdef str malformed
        exchange.connection = self
        exchange.head_start = -1
        exchange.endpoint = self._endpoint
        if exchange.endpoint is None:
            exchange.endpoint = self._endpoint = self.stream.endpoint()
        exchange.method = method_name(data + head.method.start, head.method.size)
        exchange.minor = head.minor
        exchange.target = PyBytes_FromStringAndSize(target, size)
        exchange.fields = build_fields(head, data)
        exchange.accepts_trailers = head.flags & HEAD_TE_TRAILERS != 0
        exchange.started = worker.now
        if worker.access_log is not None and worker.access_log.at_end:
            exchange.started = worker.clock.precise()
        if target[0] != c"/":
            if exchange.method == "CONNECT":
                # Tunnels are for proxies; an application's 2xx answer would turn this connection into one.
                exchange.raw_path = exchange.target
                exchange.query = EMPTY
                self.exchange = exchange
                return self._reject(400, "CONNECT is not served", exchange.target[:SAMPLE_SIZE])
            self._split_authority(exchange, &target, &size)
        mark = <const char*> memchr(target, c"?", size) if size else NULL
        if mark is NULL:
            exchange.query = EMPTY
            exchange.raw_path = exchange.target if size == head.target.size else PyBytes_FromStringAndSize(target, size)
        else:
            exchange.raw_path = PyBytes_FromStringAndSize(target, mark - target)
            exchange.query = PyBytes_FromStringAndSize(mark + 1, target + size - mark - 1)
        if PyBytes_GET_SIZE(exchange.raw_path) == 0:
            exchange.raw_path = b"/"
        if head.flags & HEAD_FORWARDED and worker.forwarding is not None:
            malformed = worker.forwarding.apply(exchange)
            if malformed is not None:
                self.exchange = exchange
                return self._reject(400, malformed, exchange.target[:SAMPLE_SIZE])

        self.exchange = exchange
        self.persistent = head.flags & HEAD_KEEP_ALIVE != 0 and not (worker.draining and self._is_last())
        self.body_dropped = self.expects_continue = False
        self.body_size = 0
        self.body_left = 0
        self.read_deadline = FOREVER
        if head.flags & HEAD_CHUNKED:
            self.reading = READ_CHUNKED
            self.chunked.limits.extensions = CHUNK_EXTENSIONS
            self.chunked.limits.trailers = TRAILER_BYTES
            self.chunked.limits.trailer_fields = TRAILER_FIELDS
            reset_chunked(&self.chunked)
        elif head.content_length > 0:
            self.reading = READ_LENGTH
            self.body_left = head.content_length
            if 0 < worker.limit_request_body < head.content_length:
                return self._reject(
                    413, f"body of {head.content_length} bytes is over the limit of {worker.limit_request_body}", EMPTY)
        else:
            self.reading = READ_NOTHING
            exchange.request_complete = True
            if head.flags & HEAD_UPGRADE:
                return self._try_upgrade()
            return 0
        if head.flags & HEAD_UPGRADE:
            self._try_upgrade()
            if self.exchange is None:
                return 0
        self.expects_continue = head.flags & HEAD_EXPECT_CONTINUE != 0
        self.read_deadline = worker.now + worker.timeout_body
        return 0

    cdef int _open_rejected(self, HeadMemory memory, const char* data) except -1:
        # `memory` is None where nothing of a head has been seen.
        cdef Http1Exchange exchange = Http1Exchange.__new__(Http1Exchange)
        cdef RequestHead* head
        exchange.connection = self
        exchange.head_start = -1
        exchange.endpoint = self._endpoint if self._endpoint is not None else self.stream.endpoint()
        exchange.started = self.worker.clock.precise()
        exchange.fields = []
        exchange.query = EMPTY
        exchange.method = "-"
        exchange.minor = -1
        self.exchange = exchange
        if memory is None:
            return 0
        head = &memory.head
        if head.method.size:
            exchange.method = method_name(data + head.method.start, head.method.size)
        if head.target.size:
            exchange.target = PyBytes_FromStringAndSize(data + head.target.start, head.target.size)
            exchange.raw_path, _, exchange.query = exchange.target.partition(b"?")
            if head.error_offset > head.target.start + head.target.size + VERSION_SIZE:
                exchange.minor = head.minor
        return 0

    cdef int _split_authority(self, Http1Exchange exchange, const char** target, Py_ssize_t* size) except -1:
        # absolute-form (RFC 9112 section 3.2.2): the authority of the target replaces the Host field. The "*" of
        # OPTIONS stays as it is.
        cdef bytes whole = exchange.target
        cdef Py_ssize_t start = whole.find(b"://")
        cdef Py_ssize_t end
        cdef Py_ssize_t index
        cdef bytes authority
        if start < 0:
            return 0
        start += 3
        end = start
        while end < size[0] and target[0][end] not in (c"/", c"?"):
            end += 1
        authority = whole[start:end]
        for index in range(len(exchange.fields)):
            if exchange.fields[index][0] == b"host":
                exchange.fields[index] = (b"host", authority)
        target[0] += end
        size[0] -= end
        return 0

    cdef int _try_upgrade(self) except -1:
        cdef Http1Exchange exchange = self.exchange
        cdef Upgrade upgrade
        cdef Connection successor
        cdef Stream stream = self.stream
        for name, value in exchange.fields:
            if name != b"upgrade":
                continue
            for part in value.split(b","):
                upgrade = self.worker.upgrades.get(part.strip().lower())
                if upgrade is None:
                    continue
                if exchange.request_complete:
                    self.release_output()
                successor = upgrade.accept(self, exchange)
                if successor is not None:
                    self.switch_to(successor)
                    return successor.opened(stream)
                if self.exchange is None or exchange.websocket is not None:
                    return 0
        # With a body it goes without saying.
        return self.worker.note(self, "Unsupported upgrade request.") if exchange.request_complete else 0

    cdef int switch_to(self, Connection successor) except -1:
        cdef Stream stream = self.stream
        self._resume()
        # Before we leave: the worker must not take itself for idle in between.
        self.worker.opened(successor)
        self._hand_over()
        successor.worker = self.worker
        self.successor = successor
        stream.connection = successor
        return 0

    cdef int _hand_over(self) except -1:
        # This connection is done without being closed: the stream belongs to another one now.
        self.reading = READ_CLOSED
        self.exchange.connection = None
        self.exchange = None
        self.stream = None
        self.worker.wheel.cancel(self)
        return self.worker.closed(self)

    cdef int _pass_on(self, const char* data, Py_ssize_t size) except -1:
        # What the client sent behind its request is the new protocol's already.
        cdef Connection successor = self.successor
        cdef Buffer late = self.late
        self.successor = None
        if size and successor.stream is not None:
            successor.received(data, size)
        if late is not None and successor.stream is not None:
            successor.received(late.data, late.size)
        self.input = self.late = None
        return 0

    cdef Py_ssize_t _read_body(self, const char* data, Py_ssize_t size) except -2:
        self.read_deadline = self.worker.now + self.worker.timeout_body
        if self.reading == READ_CHUNKED:
            return self._read_chunks(data, size)
        if size > self.body_left:
            size = self.body_left
        self.body_left -= size
        self._deliver(data, size)
        if self.body_left == 0 and self.reading == READ_LENGTH:
            self._end_body()
        return size

    cdef Py_ssize_t _read_chunks(self, const char* data, Py_ssize_t size) except -2:
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t used
        cdef Span piece
        cdef const char* first = NULL
        cdef Py_ssize_t first_size = 0
        cdef Buffer gathered = None
        while position < size and not self.chunked.done:
            used = parse_chunked(&self.chunked, data + position, size - position, &piece)
            if used < 0:
                self._reject(
                    reason_status(self.chunked.reason),
                    (<bytes> reason_text(self.chunked.reason)).decode("ascii"),
                    PyBytes_FromStringAndSize(data + position, min(size - position, SAMPLE_SIZE)),
                )
                return size
            if piece.size:
                # Small chunks of one read are joined, so that they cost the application one message.
                if first is NULL:
                    first = data + position + piece.start
                    first_size = piece.size
                else:
                    if gathered is None:
                        gathered = new_buffer(size)
                        gathered.append(first, first_size)
                    gathered.append(data + position + piece.start, piece.size)
            position += used
        if gathered is not None:
            self._deliver(gathered.data, gathered.size)
        elif first is not NULL:
            self._deliver(first, first_size)
        if self.chunked.done and self.reading == READ_CHUNKED:
            self._end_body()
        return position

    cdef int _deliver(self, const char* data, Py_ssize_t size) except -1:
        self.body_size += size
        if self.body_dropped:
            self.dropped += size
            if self.dropped > DRAIN_LIMIT:
                self._finish()
            return 0
        if 0 < self.worker.limit_request_body < self.body_size:
            return self._reject(413, f"body is over the limit of {self.worker.limit_request_body} bytes", EMPTY)
        self.expects_continue = False
        self.exchange.feed(data, size)
        if self.exchange.queued > BODY_HIGH_WATER:
            self._pause()
        return 0

    cdef int _end_body(self) except -1:
        self.reading = READ_NOTHING
        self.read_deadline = FOREVER
        self.exchange.end_of_request()
        return 0

    cdef int _pause(self) except -1:
        if not self.paused and self.stream is not None:
            self.paused = True
            if self.reading != READ_HEAD:
                self.read_deadline = FOREVER
            self.stream.pause_reading()
        return 0

    cdef int _resume(self) except -1:
        if self.paused and self.stream is not None:
            self.paused = False
            if self.reading == READ_LENGTH or self.reading == READ_CHUNKED:
                self.read_deadline = self.worker.now + self.worker.timeout_body
                self.arm()
            self.stream.resume_reading()
        return 0

    # --- answering

    cdef int _dispatch(self) except -1:
        cdef WorkerState worker = self.worker
        cdef Http1Exchange exchange = self.exchange
        cdef void* outer = worker.handling
        if worker.timeout_request != FOREVER:
            self.request_deadline = worker.now + worker.timeout_request
        if worker.limit_concurrency and (
            len(worker.open_connections) >= worker.limit_concurrency
            or worker.in_progress.size >= worker.limit_concurrency
        ):
            worker.note_rejection(self, 503, "Exceeded concurrency limit.", EMPTY)
            self._respond(exchange, 503, b"Service Unavailable", TEXT_PLAIN)
            exchange.finished()
        else:
            worker.handling = <void*> exchange
            try:
                worker.handler.handle(exchange)
            finally:
                worker.handling = outer
            if not exchange.application_done:
                worker.in_progress.link(exchange)
        self._settle()
        if exchange.application_done and self.exchange is None:
            _keep_exchange(exchange)
        return 0

    cdef int _settle(self) except -1:
        # Is the exchange over, and what then?
        cdef Http1Exchange exchange = self.exchange
        if exchange is None or exchange.phase != RESPONSE_COMPLETE or self.finishing:
            return 0
        self.request_deadline = FOREVER
        if not exchange.request_complete:
            if self.body_dropped:
                return 0
            if not self.persistent or self.expects_continue or self.peer_ended or self.body_left > DRAIN_LIMIT:
                return self._finish()
            self.body_dropped = True
            self.dropped = 0
            self._resume()
            self.read_deadline = self.worker.now + self.worker.timeout_body
            return 0
        self.exchange = None
        exchange.connection = None
        if not self.persistent:
            return self._finish()
        self.reading = READ_HEAD
        self.idle_since = self.worker.now
        self.read_deadline = self.worker.now + self.worker.timeout_keep_alive
        return 0

    cdef int _respond(self, Http1Exchange exchange, int status, bytes text, list fields) except -1:
        # Answer in the application's place; nothing of its own response has been sent. Ends persistence.
        exchange.retract()
        exchange.reason = None
        exchange.text_fields = False
        self.persistent = False
        exchange.start(status, fields + [
            (b"content-length", str(len(text)).encode("ascii")),
            (b"connection", b"close"),
        ], False)
        exchange.body(text, False)
        return 0

    cdef int _detach(self, Http1Exchange exchange) except -1:
        # Nothing the application does can reach the client any more; tell it.
        cdef Responder responder = exchange.responder
        cdef AccessLog log = self.worker.access_log
        if (log is not None and log.at_end and exchange.committed and exchange.phase != RESPONSE_COMPLETE
                and exchange.connection is not None):
            exchange._note(log)
        exchange.connection = None
        exchange.disconnected = True
        exchange.detached = True
        if self.exchange is exchange:
            self.exchange = None
        if responder is not None:
            responder.disconnected()
            if exchange.committed and exchange.phase != RESPONSE_COMPLETE:
                responder.abandoned()
        return 0

    cdef int _reject(self, int status, str reason, bytes sample) except -1:
        return self.reject(status, reason, sample, TEXT_PLAIN)

    cdef int reject(self, int status, str reason, bytes sample, list fields) except -1:
        # The request is not one we serve: answer with an error if that is still possible, and close.
        cdef Http1Exchange exchange = self.exchange
        self.worker.note_rejection(self, status, reason, sample)
        if exchange.phase == RESPONSE_COMPLETE:
            self._finish()
        elif not exchange.committed:
            self._respond(exchange, status, f"{reason}\n".encode("ascii", "backslashreplace"), fields)
            self._finish()
        else:
            self.release_output()
            self.finishing = True
            self.reading = READ_CLOSED
            self.stream.abort()
        self._detach(exchange)
        return 0

    cdef int _finish(self) except -1:
        cdef bint talking
        if self.finishing or self.stream is None:
            return 0
        talking = not self.peer_ended and (
            (self.exchange is not None and not self.exchange.request_complete) or self.input is not None)
        self.release_output()
        self.finishing = True
        self.input = None
        self.partial = None
        self.request_deadline = FOREVER
        if self.exchange is not None and self.exchange.phase == RESPONSE_COMPLETE:
            self.exchange.connection = None
            self.exchange = None
        if talking:
            self.reading = READ_DISCARD
            self.dropped = 0
            self.read_deadline = self.worker.now + LINGER
            self.request_deadline = self.worker.now + LINGER_LONGEST
            self.stream.shutdown()
            self._resume()
        else:
            self.reading = READ_CLOSED
            self.read_deadline = FOREVER
            self.stream.close()
        return self.arm()

    # --- output

    cdef int release_output(self) except -1:
        cdef WorkerState worker = self.worker
        cdef Buffer output = worker.output
        cdef Http1Exchange exchange = self.exchange
        if worker.output_owner is not self:
            return 0
        worker.output_owner = None
        if exchange is not None and exchange.head_start >= 0:
            exchange.held = output.to_bytes(exchange.head_start)
            output.truncate(exchange.head_start)
            exchange.head_start = -1
        return self.send_output()

    cdef int drained(self) except -1:
        cdef Responder responder = None if self.exchange is None else self.exchange.responder
        self.worker.now = self.worker.clock.now()
        self.write_deadline = FOREVER
        if responder is not None:
            responder.drained()
        return self.proceed()

    # --- events

    cdef int proceed(self) except -1:
        self.resuming = False
        if self.running or self.stream is None:
            return 0
        self._settle()
        if self.input is not None and self.reading != READ_NOTHING and not self.finishing:
            return self._run_input()
        return self._after_run()

    cdef int ended(self) except -1:
        cdef Http1Exchange exchange = self.exchange
        cdef Responder responder
        self.worker.now = self.worker.clock.now()
        self.peer_ended = True
        if self.reading == READ_DISCARD:
            self.reading = READ_CLOSED
            self.stream.close()
        elif exchange is None:
            if self.reading == READ_HEAD and (self.input is None or self.partial is not None):
                self._finish()
        else:
            if not exchange.request_complete:
                self.persistent = False
                self.reading = READ_NOTHING
                self.read_deadline = FOREVER
                if exchange.phase == RESPONSE_COMPLETE:
                    self._finish()
            exchange.disconnected = True
            if exchange.committed and exchange.phase != RESPONSE_COMPLETE:
                self.read_deadline = self.worker.now + ABANDONED
            responder = exchange.responder
            if responder is not None:
                responder.disconnected()
        return self.arm()

    cdef int lost(self, object reason) except -1:
        cdef WorkerState worker = self.worker
        cdef Http1Exchange exchange = self.exchange
        self.stream = None
        self.reading = READ_CLOSED
        self.finishing = True
        self.input = None
        self.partial = None
        worker.wheel.cancel(self)
        if worker.output_owner is self:
            worker.output_owner = None
            worker.output.truncate(0)
        worker.closed(self)
        if exchange is not None:
            self._detach(exchange)
        return 0

    cdef Endpoint endpoint(self):
        if self.exchange is not None and self.exchange.endpoint is not None:
            return self.exchange.endpoint
        return Connection.endpoint(self)

    cdef int drain(self) except -1:
        if self.running or self.stream is None:
            return 0
        if self._is_idle():
            return self._leave()
        if self.worker.draining and self.exchange is not None and not self.exchange.committed:
            if self.exchange.websocket is not None and self.exchange.phase == RESPONSE_EXPECTED:
                return self._refuse_websocket()
            if self._is_last():
                self.persistent = False
        return 0

    cdef int _refuse_websocket(self) except -1:
        # A WebSocket that nobody has accepted until now would be closed as soon as it is: no other worker can go on.
        cdef Http1Exchange exchange = self.exchange
        cdef WebSocket websocket = exchange.websocket
        websocket.over(CLOSE_SERVICE_RESTART, "")
        self._respond(exchange, 503, b"Service Unavailable", TEXT_PLAIN)
        self._finish()
        return self._detach(exchange)

    cdef bint _is_idle(self) noexcept:
        return (self.reading == READ_HEAD and self.exchange is None and self.input is None and self.late is None
                and not self.finishing and not self.peer_ended)

    cdef bint _is_last(self) noexcept:
        return self.worker.draining and not (self.worker.handing_on and self.stream.movable())

    cdef int _leave(self) except -1:
        cdef WorkerState worker = self.worker
        cdef double end
        if worker.handing_on or not worker.draining:
            # Where nobody takes it, it goes on being served here, and is asked again.
            if not self.stream.blocked and self.stream.hand_on(self._endpoint is None and not self.stream.resumed):
                self.reading = READ_CLOSED
                self.finishing = True
                self.read_deadline = self.write_deadline = FOREVER
                worker.surplus = max(0, worker.surplus - 1)
            else:
                worker.surplus = 0
            return self.arm()
        end = self.idle_since + worker.idle_grace
        if end <= worker.now:
            if not self.stream.readable():
                return self._finish()
            end = worker.now + UNREAD
        self.read_deadline = min(self.read_deadline, end)
        return self.arm()

    cdef int arm(self) except -1:
        if self.stream is None:
            return 0
        return self.worker.wheel.set(
            self, min(self.read_deadline, self.write_deadline, self.request_deadline), self.worker.now)

    cdef int expired(self, double now) except -1:
        cdef Http1Exchange exchange = self.exchange
        cdef Responder responder
        self.worker.now = now
        if self.request_deadline <= now:
            self.request_deadline = FOREVER
            if self.reading == READ_DISCARD:
                self.reading = READ_CLOSED
                self.stream.close()
            else:
                self._overdue(504, "request took longer than its time limit")
        elif self.write_deadline <= now:
            self.write_overdue(now)
        elif self.read_deadline <= now:
            self.read_deadline = FOREVER
            if self.reading == READ_DISCARD:
                self.reading = READ_CLOSED
                self.stream.close()
            elif self.reading == READ_HEAD:
                if self.partial is not None:
                    self._open_rejected(self.partial, self.input.data)
                    self._reject(408, "request head was not complete in time", self._sample())
                elif self.stream.readable():
                    self.read_deadline = now + UNREAD
                else:
                    self._finish()
            elif exchange is not None and exchange.phase == RESPONSE_COMPLETE:
                self._finish()
            elif self.peer_ended:
                responder = None if exchange is None else exchange.responder
                if responder is not None:
                    responder.abandoned()
            elif exchange is not None:
                self._overdue(408, "request body was not complete in time")
        return self.arm()

    cdef bytes _sample(self):
        if self.input is None:
            return EMPTY
        return PyBytes_FromStringAndSize(self.input.data, min(self.input.size, SAMPLE_SIZE))

    cdef int _overdue(self, int status, str reason) except -1:
        cdef Http1Exchange exchange = self.exchange
        cdef Responder responder
        if exchange is None:
            return 0
        self._reject(status, reason, EMPTY)
        responder = exchange.responder
        if status == 504 and responder is not None:
            responder.cancel()
        return 0


cdef class Http1Exchange(Exchange):
    """An exchange on an HTTP/1.1 connection."""

    cdef bytes take(self):
        cdef bytes data = Exchange.take(self)
        if self.connection is not None and self.connection.paused and not self.request_complete:
            self.connection._resume()
        return data

    cdef int want_body(self) except -1:
        cdef Http1Connection connection = self.connection
        if connection is None or not connection.expects_continue or self.committed:
            return 0
        connection.expects_continue = False
        return self._interim(b"HTTP/1.1 100 Continue\r\n\r\n")

    cdef int _interim(self, bytes message) except -1:
        # Ahead of a head that is only held so far.
        if self.head_start >= 0:
            self.connection.release_output()
        self.connection.claim_output()
        return self.connection.worker.output.append(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))

    cdef int inform(self, int status, object fields) except -1:
        cdef Http1Connection connection = self.connection
        cdef Buffer message
        if connection is None or self.minor == 0:
            return 0
        if self.committed:
            raise RuntimeError("An interim response was sent after the final response had started.")
        message = new_buffer(512)
        connection.worker.writer.write_interim(message, status, fields)
        return self._interim(message.to_bytes(0))

    cdef int start(self, int status, object fields, bint trailers) except -1:
        cdef Http1Connection connection = self.connection
        cdef Buffer output
        if connection is None:
            self.status = status
            self.phase = RESPONSE_STARTED
            return 0
        if self.phase != RESPONSE_EXPECTED:
            raise RuntimeError("The response has already started.")
        connection.claim_output()
        output = connection.worker.output
        self.head_start = output.size
        try:
            connection.worker.writer.write_head(
                output, status, self.reason, fields, self.text_fields, &self.facts)
        except BaseException:
            self._drop_head()
            raise
        self.status = status
        self.phase = RESPONSE_STARTED
        self.announced_trailers = trailers
        self.bodiless = status == 204 or status == 304 or self.method is HEAD
        return 0

    cdef bint retract(self) except -1:
        if self.committed or self.phase > RESPONSE_STARTED:
            return False
        self._drop_head()
        self.phase = RESPONSE_EXPECTED
        return True

    cdef int64_t left(self) noexcept:
        return -1 if self.facts.content_length < 0 else self.facts.content_length - self.sent

    cdef int _drop_head(self) noexcept:
        if self.head_start >= 0 and self.connection is not None:
            self.connection.worker.output.truncate(self.head_start)
        self.head_start = -1
        self.held = None
        return 0

    cdef int _commit(self, bint more, int64_t size) except -1:
        # The first body message is here: decide the framing and end the head.
        cdef Http1Connection connection = self.connection
        cdef WorkerState worker = connection.worker
        cdef Buffer output = worker.output
        cdef bytes held = self.held
        cdef AccessLog log = worker.access_log
        cdef Py_ssize_t begin = self.head_start if held is None else output.size
        if held is not None:
            output.append(PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held))
            self.held = None
        self.head_start = -1
        if self.facts.close or (worker.draining and connection._is_last()):
            connection.persistent = False
        elif not more and not self.request_complete and (
                connection.expects_continue or connection.body_left > DRAIN_LIMIT):
            connection.persistent = False
        if not self.bodiless and self.facts.content_length < 0:
            # Clients for WebSocket alone may not know chunks.
            if (self.measure or self.websocket is not None) and not (
                    more or self.facts.chunked or self.announced_trailers):
                self.facts.content_length = size
                _append_length(output, size)
            elif self.minor == 0:
                connection.persistent = False
            else:
                self.chunked = True
        if not connection.persistent:
            if not self.facts.close:
                output.append(b"connection: close\r\n", 19)
        elif self.minor == 0 and not self.facts.connection:
            output.append(b"connection: keep-alive\r\n", 24)
        if self.chunked or (self.facts.chunked and self.method is HEAD and self.minor):
            output.append(b"transfer-encoding: chunked\r\n\r\n", 30)
        else:
            output.append(b"\r\n", 2)
        self.committed = True
        self.phase = RESPONSE_BODY
        if log is not None and self.websocket is None:
            if not log.at_end:
                log.record(self, 0, 0.0)
            elif log.wants_head:
                self.response_head = output.to_bytes(begin)
        return 0

    cdef int body(self, object data, bint more) except -1:
        cdef Http1Connection connection = self.connection
        cdef Buffer output
        cdef Py_ssize_t size
        cdef bytes content
        if type(data) is bytes:
            content = <bytes> data
        elif isinstance(data, (bytearray, memoryview, bytes)):
            content = bytes(data)
        else:
            raise RuntimeError(f"Response body must be bytes, not {type(data).__name__}.")
        size = PyBytes_GET_SIZE(content)
        if connection is None:
            if not more:
                self.phase = RESPONSE_COMPLETE
            return 0
        if self.phase != RESPONSE_STARTED and self.phase != RESPONSE_BODY:
            raise RuntimeError("Body bytes outside of a started response.")
        if not self.bodiless and self.facts.content_length >= 0:
            if self.sent + size > self.facts.content_length:
                raise RuntimeError("Response content longer than Content-Length")
            if not more and self.sent + size < self.facts.content_length:
                raise RuntimeError("Response content shorter than Content-Length")
        connection.claim_output()
        output = connection.worker.output
        if not self.committed:
            self._commit(more, size)
        self.sent += size
        if size and not self.bodiless:
            if self.chunked:
                _append_chunk_size(output, size)
            if size <= COPY_LIMIT:
                output.append(PyBytes_AS_STRING(content), size)
            else:
                connection.stream.write_body(output.data, output.size, content, PyBytes_AS_STRING(content), size)
                output.truncate(0)
                connection.watch_writing()
            if self.chunked:
                output.append(b"\r\n", 2)
        if not more:
            if self.announced_trailers:
                self.phase = RESPONSE_TRAILERS
                if self.chunked:
                    output.append(b"0\r\n", 3)
            else:
                if self.chunked:
                    output.append(b"0\r\n\r\n", 5)
                self._complete()
        elif connection.peer_ended:
            connection.read_deadline = connection.worker.now + ABANDONED
        if output.size > OUTPUT_HIGH_WATER:
            connection.release_output()
        return 0

    cdef bint sends_files(self) noexcept:
        return self.connection is not None and self.connection.stream.sends_files()

    cdef bint send_file(self, int fd, int64_t offset, int64_t count) except -1:
        cdef Http1Connection connection = self.connection
        if connection is None:
            self.phase = RESPONSE_COMPLETE
            return True
        if not connection.stream.sends_files():
            return False
        if self.phase != RESPONSE_STARTED:
            raise RuntimeError("A file outside of a started response.")
        if self.facts.content_length >= 0 and not self.bodiless:
            if count < self.facts.content_length:
                raise RuntimeError("Response content shorter than Content-Length")
            count = self.facts.content_length
        connection.claim_output()
        self._commit(False, count)
        if self.chunked:
            _append_chunk_size(connection.worker.output, count)
        self.sent += count
        if not self.bodiless and count:
            connection.release_output()
            connection.stream.write_file(fd, offset, count)
            connection.watch_writing()
            connection.claim_output()
        if self.chunked:
            connection.worker.output.append(b"\r\n0\r\n\r\n", 7)
        self._complete()
        return True

    cdef int trailers(self, object fields, bint more) except -1:
        cdef Http1Connection connection = self.connection
        cdef Buffer output
        cdef Py_ssize_t begin
        if connection is None:
            if not more:
                self.phase = RESPONSE_COMPLETE
            return 0
        if self.phase != RESPONSE_TRAILERS:
            raise RuntimeError("Trailers outside of their place at the end of a response.")
        connection.claim_output()
        output = connection.worker.output
        begin = output.size
        try:
            connection.worker.writer.write_trailers(output, fields)
        except BaseException:
            output.truncate(begin)
            raise
        if not (self.chunked and self.accepts_trailers):
            # Without chunks there is no place for them, and a client that did not ask may not expect them.
            output.truncate(begin)
        if not more:
            if self.chunked:
                output.append(b"\r\n", 2)
            self._complete()
        return 0

    cdef int _complete(self) except -1:
        cdef WorkerState worker = self.connection.worker
        cdef AccessLog log = worker.access_log
        self.phase = RESPONSE_COMPLETE
        if log is not None and log.at_end:
            self._note(log)
        return worker.count_response()

    cdef int _note(self, AccessLog log) except -1:
        # A denied handshake has its line in the error log, as one that is accepted has.
        return 0 if self.websocket is not None else log.record(
            self, 0 if self.bodiless else self.sent, self.connection.worker.clock.precise() - self.started)

    cdef bint writable(self) noexcept:
        cdef Http1Connection connection = self.connection
        if connection is None or not connection.stream.blocked:
            return True
        try:
            return connection.stream.pending() <= OUTPUT_HIGH_WATER
        except BaseException:
            return True

    cdef int flush(self) except -1:
        cdef Http1Connection connection = self.connection
        if connection is None or connection.running:
            return 0
        connection.worker.now = connection.worker.clock.now()
        connection.release_output()
        if self.phase == RESPONSE_COMPLETE and not connection.resuming:
            connection.resuming = True
            connection.worker.call_soon(connection)
        return connection.arm()

    cdef int push(self) except -1:
        cdef Http1Connection connection = self.connection
        if connection is None:
            return 0
        if connection.running:
            return connection.release_output()
        return self.flush()

    cdef int fail(self) except -1:
        cdef Http1Connection connection = self.connection
        if connection is None or self.phase == RESPONSE_COMPLETE:
            return 0
        if not self.committed:
            connection._respond(self, 500, b"Internal Server Error", TEXT_PLAIN)
        else:
            connection.release_output()
            connection._finish()
            connection._detach(self)
        return 0

    cdef int stepped(self) except -1:
        cdef Http1Connection connection = self.connection
        if connection is None or connection.running:
            return 0
        connection.worker.now = connection.worker.clock.now()
        connection.release_output()
        if self.phase == RESPONSE_COMPLETE:
            return connection.proceed()
        return connection.arm()


# An exchange that nothing refers to any more, as new; or None. Never in debug builds, which count how many live.
cdef Http1Exchange _spare = None


cdef Http1Exchange _new_exchange():
    global _spare
    cdef Http1Exchange exchange = _spare
    if exchange is None:
        return Http1Exchange.__new__(Http1Exchange)
    _spare = None
    return exchange


cdef int _keep_exchange(Http1Exchange exchange) except -1:
    # Use it again if the caller's variable is all that refers to it.
    global _spare
    if COUNTING or _Py_REFCNT(<PyObject*> exchange) != 1:
        return 0
    exchange.reset()
    exchange.held = None
    exchange.connection = None
    exchange.bodiless = exchange.chunked = exchange.announced_trailers = False
    exchange.sent = 0
    _spare = exchange
    return 0


cdef int _append_length(Buffer output, int64_t size) except -1:
    cdef char[40] text
    return output.append(text, snprintf(text, sizeof(text), "content-length: %lld\r\n", <long long> size))


cdef int _append_chunk_size(Buffer output, Py_ssize_t size) except -1:
    # chunk-size CRLF (RFC 9112 section 7.1), without leading zeros.
    cdef char[18] text
    cdef int position = 16
    text[17] = c"\n"
    text[16] = c"\r"
    while size:
        position -= 1
        text[position] = b"0123456789abcdef"[size & 15]
        size >>= 4
    return output.append(text + position, 18 - position)
