"""WebSocket on one connection (RFC 6455): the opening handshake, messages in both directions, the closing handshake.

The opening handshake is an HTTP request like any other to Http1Connection, which keeps the stream until the application
has accepted it; a denial is an ordinary response. With the acceptance the stream passes to WebSocketConnection.

Reading stops at the size of the queue: what the application has not taken is bounded in messages and in memory, and
what does not fit waits as bytes, here and in the kernel. All messages of one read that fit are queued before the
application is told of the first; it takes one after the other without a turn of the loop, more of the same read
included. What it sends meanwhile leaves in one send.

The closing handshake has a deadline. What comes between our close frame and the peer's is read and dropped. After a
protocol error we say why, shut our half down, and drop what still comes for a moment, so that the peer can read it.

Keepalive costs nothing per message: whatever arrives proves that the peer is there, and is noted by one store. The
timer wheel is asked only when a ping is due, or its answer.
"""

import base64
import binascii
import hashlib
import logging
import re

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from fastserve._buffer cimport Buffer, new_buffer
from fastserve._deflate cimport negotiate
from fastserve._exchange cimport OUTPUT_HIGH_WATER, Endpoint, Exchange, Responder
from fastserve._frames cimport OPCODE_BINARY, OPCODE_PING, OPCODE_PONG
from fastserve._messages cimport (
    CLOSE_ABNORMAL,
    CLOSE_INTERNAL_ERROR,
    CLOSE_SERVICE_RESTART,
    INCOMING_BINARY,
    INCOMING_FAILED,
    INCOMING_MORE,
    INCOMING_PING,
    INCOMING_PONG,
    INCOMING_TEXT,
    Incoming,
    MessageReader,
    MessageWriter,
)
from fastserve._websocket cimport WEBSOCKET_CLOSED, WEBSOCKET_CLOSING, WEBSOCKET_CONNECTING, WEBSOCKET_OPEN, WebSocket
from fastserve.protocol._connection cimport Connection, Stream, Upgrade, WorkerState
from fastserve.protocol._http1 cimport Http1Connection, Http1Exchange
from fastserve.protocol._timers cimport FOREVER, time_limit

cdef enum:
    COPY_LIMIT = 16384          # bytes of a binary message beyond this are sent from where they are
    QUEUE_HIGH_WATER = 262144   # bytes of memory that queued messages take: at more reading stops
    TRACE = 5                   # uvicorn's level below DEBUG

cdef double CLOSE_TIMEOUT = 10.0    # seconds for the peer's close frame
cdef double DRAIN_TIMEOUT = 2.0     # the same when the worker stops
cdef double LINGER = 2.0            # seconds for the peer to read why we close
cdef bytes GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
cdef bytes PING = b"ping"
cdef object TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
cdef tuple NOTHING = (None, None)
cdef frozenset OURS = frozenset((b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-extensions"))
cdef list UPGRADE_REQUIRED = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
]


cdef bint _is_nonce(bytes key) except -1:
    # 16 bytes in base64 (RFC 6455 section 4.1).
    if PyBytes_GET_SIZE(key) != 24:
        return False
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        return False


cdef class WebSocketUpgrade(Upgrade):
    """Offers WebSocket to HTTP requests that ask for it.

    max_size: bytes of one message, also inflated. max_queue: messages that wait for the application. Both: 0 is no
    limit. ping_interval, ping_timeout: seconds; None or 0 is none. per_message_deflate: compress where the client
    offers it (RFC 7692).
    """

    def __init__(
        self,
        *,
        max_size=16777216,
        max_queue=32,
        ping_interval=20.0,
        ping_timeout=20.0,
        per_message_deflate=True,
        logger=None,
    ):
        self.max_size = max_size
        self.max_queue = max_queue
        self.ping_interval = time_limit(ping_interval)
        self.ping_timeout = time_limit(ping_timeout)
        self.per_message_deflate = per_message_deflate
        self.writer = MessageWriter()
        self.logger = logger if logger is not None else logging.getLogger("fastserve.error")

    cdef Connection accept(self, Connection connection, Exchange exchange):
        # RFC 6455 section 4.2.1. That Connection says upgrade the parser has seen, and that it is HTTP/1.1.
        cdef Http1Connection http = <Http1Connection> connection
        cdef Http1WebSocket websocket
        cdef list keys = []
        cdef list versions = []
        cdef list extensions = []
        cdef list subprotocols = []
        cdef tuple agreed = NOTHING
        cdef bint names_protocols = False
        cdef str problem = None
        for name, value in exchange.fields:
            if name == b"sec-websocket-key":
                keys.append(value)
            elif name == b"sec-websocket-version":
                versions.append(value)
            elif name == b"sec-websocket-extensions":
                extensions.append(value)
            elif name == b"sec-websocket-protocol":
                names_protocols = True
                subprotocols += [token for part in value.split(b",") if (token := part.strip(b" \t"))]
        if exchange.method != "GET":
            problem = "the method of a WebSocket handshake is GET"
        elif not exchange.request_complete:
            problem = "a WebSocket handshake has no body"
        elif versions != [b"13"]:
            http.reject(426, "the version of a WebSocket handshake is 13", b"", UPGRADE_REQUIRED)
            return None
        elif len(keys) != 1 or not _is_nonce(keys[0]):
            problem = "the Sec-WebSocket-Key of a WebSocket handshake is 16 bytes in base64"
        elif names_protocols and not (subprotocols and all([TOKEN.fullmatch(token) for token in subprotocols])):
            problem = "the Sec-WebSocket-Protocol of a WebSocket handshake is a list of tokens"
        elif extensions:
            try:
                agreed = negotiate(extensions)
            except ValueError:
                problem = "the Sec-WebSocket-Extensions of a WebSocket handshake are malformed"
        if problem is not None:
            http._reject(400, problem, b"")
            return None
        websocket = Http1WebSocket.__new__(Http1WebSocket)
        websocket.exchange = exchange
        websocket.endpoint = exchange.endpoint
        websocket.raw_path = exchange.raw_path
        websocket.started = exchange.started
        websocket.upgrade = self
        websocket.subprotocols = [token.decode("ascii") for token in subprotocols]
        websocket.offer = (keys[0], *(agreed if self.per_message_deflate else NOTHING))
        exchange.websocket = websocket
        return None


cdef class Http1WebSocket(WebSocket):
    """A WebSocket that began as an HTTP/1.1 request."""

    cdef list _switching(self, bytes key, bytes extensions, object subprotocol):
        cdef list fields = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", base64.b64encode(hashlib.sha1(key + GUID).digest())),
        ]
        if extensions is not None:
            fields.append((b"sec-websocket-extensions", extensions))
        if subprotocol:
            fields.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        return fields

    cdef int accept(self, object subprotocol, object fields) except -1:
        cdef Http1Exchange exchange = <Http1Exchange> self.exchange
        cdef Http1Connection http = exchange.connection
        cdef WebSocketConnection connection
        cdef WorkerState worker
        cdef Stream stream
        cdef Buffer early
        cdef Py_ssize_t begin
        cdef list all_fields
        if http is None:
            return 0
        worker = http.worker
        key, deflate, extensions = self.offer
        all_fields = self._switching(key, extensions, subprotocol)
        for field in fields:
            name = field[0]
            if isinstance(name, bytes) and name.lower() in OURS:
                raise RuntimeError(f"Field {name!r} is the server's in the answer to a WebSocket handshake.")
            all_fields.append(field)
        http.claim_output()
        begin = worker.output.size
        try:
            worker.writer.write_switch(worker.output, all_fields)
        except BaseException:
            worker.output.truncate(begin)
            raise

        connection = WebSocketConnection.__new__(WebSocketConnection)
        connection.websocket = self
        if deflate is None:
            connection.writer = self.upgrade.writer
        else:
            connection.reader = MessageReader(self.upgrade.max_size, deflate)
            connection.writer = MessageWriter(deflate)
        self.connection = connection
        self.phase = WEBSOCKET_OPEN
        self.offer = None
        # What is corked is the successor's now: the 101 response and responses before it.
        worker.output_owner = connection
        stream = http.stream
        http.switch_to(connection)
        # There may be very many idle connections, and nothing more to ask of the exchange.
        self.exchange = None
        self.responder = exchange.responder
        exchange.finished()
        worker.in_progress.link(self)
        connection.opened(stream)
        if not http.running:
            # Else it passes on what it holds when it is done.
            early = http.input
            if early is None:
                http._pass_on(NULL, 0)
            else:
                http._pass_on(early.data, early.size)
        return 0

    cdef int send(self, object message) except -1:
        cdef WebSocketConnection connection = self.connection
        cdef Buffer output
        cdef Py_ssize_t begin, size
        if connection is None:
            return 0
        connection.claim_output()
        output = connection.worker.output
        begin = output.size
        try:
            if isinstance(message, str):
                connection.writer.write_text(output, message)
            else:
                size = PyBytes_GET_SIZE(message) if type(message) is bytes else 0
                if size <= COPY_LIMIT or connection.writer.compresses(size):
                    connection.writer.write_binary(output, message)
                else:
                    connection.writer.write_head(output, OPCODE_BINARY, size)
                    connection.stream.write_body(
                        output.data, output.size, <bytes> message, PyBytes_AS_STRING(message), size)
                    output.truncate(0)
                    connection.watch_writing()
        except BaseException:
            output.truncate(min(begin, output.size))
            raise
        return connection.release_output() if output.size > OUTPUT_HIGH_WATER else 0

    cdef int close(self, int code, str reason) except -1:
        if self.phase == WEBSOCKET_CONNECTING:
            return WebSocket.close(self, code, reason)
        if self.phase != WEBSOCKET_OPEN or self.connection is None:
            return 0
        return self.connection._close(code, reason, CLOSE_TIMEOUT)

    cdef object take(self):
        cdef WebSocketConnection connection = self.connection
        cdef object message
        if connection is None:
            return WebSocket.take(self)
        if self.queued == 0:
            if connection.rest_size:
                connection._fill()
            elif connection.last != INCOMING_MORE:
                connection._conclude()
        message = WebSocket.take(self)
        if self.queued == 0 and connection.paused and connection.rest_size == 0 and connection._has_room():
            connection._resume()
        return message

    cdef bint detached(self) noexcept:
        return self.connection is None and WebSocket.detached(self)

    cdef bint writable(self) noexcept:
        cdef WebSocketConnection connection = self.connection
        if connection is None:
            return WebSocket.writable(self)
        if connection.stream is None or not connection.stream.blocked:
            return True
        try:
            return connection.stream.pending() <= OUTPUT_HIGH_WATER
        except BaseException:
            return True

    cdef int flush(self) except -1:
        cdef WebSocketConnection connection = self.connection
        if connection is None:
            return WebSocket.flush(self)
        if self.corked:
            return 0
        connection.worker.now = connection.worker.clock.now()
        return connection.release_output()

    cdef int stepped(self) except -1:
        if self.connection is None:
            return WebSocket.stepped(self)
        return self.flush()


cdef class WebSocketConnection(Connection):
    """The connection of a WebSocket whose handshake has been accepted."""

    cdef int opened(self, Stream stream) except -1:
        cdef WorkerState worker = self.worker
        self.stream = stream
        self.write_deadline = self.alarm = FOREVER
        worker.now = self.pinged_at = worker.clock.now()
        self._trace("connection made")
        if self.websocket.upgrade.ping_interval != FOREVER:
            self.alarm = worker.now + self.websocket.upgrade.ping_interval
        self.watch_writing()
        self.arm()
        return self.drain() if worker.draining else 0

    # --- reading

    cdef int received(self, const char* data, Py_ssize_t size) except -1:
        cdef WorkerState worker = self.worker
        worker.now = worker.clock.now()
        self.heard = True
        if self.ending or self.last != INCOMING_MORE:
            return 0
        if self.rest_size:
            # What came before waits for room in the queue.
            self._hold()
            self.input.append(data, size)
            self.rest = self.input.data
            self.rest_size = self.input.size
        else:
            self.rest = data
            self.rest_size = size
        if self.websocket.corked:
            # An application runs the event loop inside its step.
            self._hold()
            self._fill()
            return self._tell()
        self.websocket.corked = True
        try:
            self._fill()
            self._tell()
            if self.last != INCOMING_MORE:
                self._conclude()
                self._tell()
        finally:
            self.websocket.corked = False
            self._hold()
        if self.stream is None:
            return 0
        if not self.paused and (self.rest_size or not self._has_room()) and not self.ending:
            self.paused = True
            self.stream.pause_reading()
        return self.release_output()

    cdef int _tell(self) except -1:
        cdef Http1WebSocket websocket = self.websocket
        cdef Responder responder = websocket.responder
        if responder is None:
            return 0
        if websocket.phase == WEBSOCKET_CLOSED:
            return responder.disconnected()
        return responder.body_arrived() if websocket.queued else 0

    cdef bint _has_room(self) except -1:
        cdef Http1WebSocket websocket = self.websocket
        cdef Py_ssize_t limit = websocket.upgrade.max_queue
        if websocket.phase != WEBSOCKET_OPEN or self.stream is None:
            return True
        if self.stream.blocked and self.stream.pending() > OUTPUT_HIGH_WATER:
            return False
        return websocket.queued_size < QUEUE_HIGH_WATER and (limit == 0 or websocket.queued < limit)

    cdef int _hold(self) except -1:
        cdef Buffer input
        if self.rest_size == 0:
            return 0
        if self.input is None:
            input = self.input = new_buffer(self.rest_size)
            input.append(self.rest, self.rest_size)
            self.rest = input.data
        else:
            self.input.consume(self.input.size - self.rest_size)
            self.rest = self.input.data
        return 0

    cdef int _fill(self) except -1:
        cdef Http1WebSocket websocket = self.websocket
        cdef MessageReader reader = self.reader
        cdef MessageWriter writer = self.writer
        cdef Incoming incoming
        cdef Py_ssize_t used
        cdef bytes payload
        if self.rest_size == 0:
            return 0
        if reader is None:
            reader = self._borrow()
        while self.rest_size and self._has_room():
            used = 0
            incoming = reader.read(self.rest, self.rest_size, &used)
            self.rest += used
            self.rest_size -= used
            if incoming == INCOMING_MORE:
                self.rest_size = 0
            elif incoming == INCOMING_TEXT or incoming == INCOMING_BINARY:
                if websocket.phase == WEBSOCKET_OPEN:
                    websocket.push(reader.value)
                reader.value = None
            elif incoming == INCOMING_PING:
                if websocket.phase == WEBSOCKET_OPEN:
                    payload = reader.value
                    self.claim_output()
                    writer.write_control(
                        self.worker.output, OPCODE_PONG, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
                reader.value = None
            elif incoming == INCOMING_PONG:
                reader.value = None
            else:
                self.rest_size = 0
                self.reader = reader
                self.last = incoming
                if websocket.queued == 0 or websocket.phase != WEBSOCKET_OPEN:
                    self._conclude()
                elif not websocket.corked:
                    # The application has taken what came before, or has had time enough.
                    self.alarm = self.worker.now + CLOSE_TIMEOUT
                    self.arm()
        if self.rest_size == 0:
            self.input = None
        if reader.at_rest():
            websocket.upgrade.reader = reader
            self.reader = None
        else:
            self.reader = reader
        return 0

    cdef MessageReader _borrow(self):
        cdef WebSocketUpgrade upgrade = self.websocket.upgrade
        cdef MessageReader reader = upgrade.reader
        upgrade.reader = None
        return MessageReader(upgrade.max_size) if reader is None else reader

    cdef int _resume(self) except -1:
        if self.paused and self.stream is not None:
            self.paused = False
            self.stream.resume_reading()
        return 0

    # --- closing

    cdef int _write_close(self, int code, str reason) except -1:
        self.claim_output()
        return self.writer.write_close(self.worker.output, code, reason)

    cdef int _close(self, int code, str reason, double patience) except -1:
        cdef Http1WebSocket websocket = self.websocket
        self._write_close(code, reason)
        self.worker.now = self.worker.clock.now()
        websocket.close_code = code
        websocket.close_reason = reason
        websocket.phase = WEBSOCKET_CLOSING
        self.alarm = self.worker.now + patience
        # The peer's close frame may be among what has not been read, or waits for nothing else now.
        self._fill()
        if self.last != INCOMING_MORE:
            self._conclude()
        self._resume()
        return self.arm()

    cdef int _conclude(self) except -1:
        cdef Http1WebSocket websocket = self.websocket
        cdef MessageReader reader = self.reader
        cdef int last = self.last
        self.last = INCOMING_MORE
        if self.ending:
            return 0
        if last == INCOMING_FAILED:
            return self._fail(reader.close_code, reader.close_reason)
        if websocket.phase == WEBSOCKET_OPEN:
            self._write_close(reader.close_code, reader.close_reason)
        websocket.over(reader.close_code, reader.close_reason)
        return self._finish()

    cdef int _finish(self) except -1:
        self.release_output()
        self.ending = True
        self.alarm = FOREVER
        return 0 if self.stream is None else self.stream.close()

    cdef int _fail(self, int code, str reason) except -1:
        cdef Http1WebSocket websocket = self.websocket
        if websocket.phase == WEBSOCKET_OPEN:
            self._write_close(code, reason)
        websocket.over(code, reason)
        self.release_output()
        self.ending = True
        if self.stream is None:
            return 0
        if self.stream.blocked:
            # It reads nothing: neither will it read this.
            return self.stream.abort()
        self.alarm = self.worker.now + LINGER
        self.stream.shutdown()
        self._resume()
        return self.arm()

    cdef int drain(self) except -1:
        # Nobody else could go on with it. Handing connections on for balance leaves it where it is.
        if not self.worker.draining or self.stream is None or self.websocket.phase != WEBSOCKET_OPEN:
            return 0
        cdef Responder responder = self.websocket.responder
        self._close(CLOSE_SERVICE_RESTART, "", DRAIN_TIMEOUT)
        self.release_output()
        return responder.disconnected() if responder is not None else 0

    # --- events

    cdef int ended(self) except -1:
        self.worker.now = self.worker.clock.now()
        self.rest_size = 0
        if self.last != INCOMING_MORE:
            self._conclude()
            return self._tell()
        self.websocket.over(CLOSE_ABNORMAL, "")
        self._finish()
        return self._tell()

    cdef int drained(self) except -1:
        cdef Responder responder = self.websocket.responder
        self.worker.now = self.worker.clock.now()
        self.write_deadline = FOREVER
        if self.paused and not self.ending:
            self._fill()
            if self.rest_size == 0 and self._has_room():
                self._resume()
            self._tell()
            self.release_output()
        return responder.drained() if responder is not None else 0

    cdef int lost(self, object reason) except -1:
        cdef WorkerState worker = self.worker
        cdef Http1WebSocket websocket = self.websocket
        self._trace("connection lost")
        self.stream = None
        self.ending = True
        self.last = INCOMING_MORE
        self.rest_size = 0
        self.input = None
        worker.wheel.cancel(self)
        if worker.output_owner is self:
            worker.output_owner = None
            worker.output.truncate(0)
        worker.closed(self)
        websocket.over(CLOSE_ABNORMAL, "")
        websocket.connection = None
        websocket.disconnected = True
        return self._tell()

    cdef Endpoint endpoint(self):
        return self.websocket.endpoint

    # --- time

    cdef int arm(self) except -1:
        if self.stream is None:
            return 0
        return self.worker.wheel.set(self, min(self.alarm, self.write_deadline), self.worker.now)

    cdef int expired(self, double now) except -1:
        self.worker.now = now
        if self.stream is None:
            return 0
        if self.write_deadline <= now:
            self.write_overdue(now)
        elif self.alarm <= now and self.last != INCOMING_MORE:
            self._conclude()
            self._tell()
        elif self.alarm <= now:
            self.alarm = FOREVER
            if self.websocket.phase == WEBSOCKET_OPEN:
                self._keep_alive(now)
            elif self.stream.blocked:
                self.stream.abort()
            else:
                self.websocket.over(CLOSE_ABNORMAL, "")
                self._finish()
        return self.arm()

    cdef int _keep_alive(self, double now) except -1:
        cdef WebSocketUpgrade upgrade = self.websocket.upgrade
        # While we do not read, an answer may be there unread.
        if self.pinged and (self.heard or self.paused or upgrade.ping_timeout == FOREVER):
            self.pinged = False
        if self.pinged:
            if now >= self.pinged_at + upgrade.ping_timeout:
                self._trace("keepalive ping timeout")
                self._fail(CLOSE_INTERNAL_ERROR, "keepalive ping timeout")
                return self._tell()
        elif now >= self.pinged_at + upgrade.ping_interval:
            self.claim_output()
            self.writer.write_control(self.worker.output, OPCODE_PING, PyBytes_AS_STRING(PING), PyBytes_GET_SIZE(PING))
            self.release_output()
            self.pinged = True
            self.heard = False
            self.pinged_at = now
            self.alarm = now + min(upgrade.ping_interval, upgrade.ping_timeout)
            return 0
        self.alarm = self.pinged_at + (upgrade.ping_timeout if self.pinged else upgrade.ping_interval)
        return 0

    cdef int _trace(self, str event) except -1:
        cdef object logger = self.websocket.upgrade.logger
        cdef Endpoint endpoint
        if logger.isEnabledFor(TRACE):
            endpoint = self.websocket.endpoint
            prefix = f"{endpoint.peer()} - " if endpoint.client is not None else ""
            logger.log(TRACE, "%sWebSocket %s", prefix, event)
        return 0
