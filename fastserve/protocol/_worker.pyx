"""All connections of one worker: made, counted, told to end, and shown to whoever asks what is running.

The worker owns the clock, the timer wheel and its ticking, the scratch memory that one connection at a time uses, and
the log of rejected requests, which is rate-limited so that a scanner cannot fill a disk.
"""

import logging
from urllib.parse import quote

from fastserve._buffer cimport new_buffer
from fastserve._exchange cimport Endpoint, Exchange, Handler, Responder, Served, ServedList
from fastserve._head cimport HeadMemory
from fastserve._parser cimport HeadLimits
from fastserve.protocol._connection cimport Connection, Upgrade, WorkerState
from fastserve.protocol._forwarded cimport Forwarding
from fastserve.protocol._http1 cimport Http1Connection
from fastserve.protocol._proxy_protocol cimport ProxyProtocolConnection
from fastserve.protocol._response cimport ResponseWriter
from fastserve.protocol._timers cimport FOREVER, Clock, TimerWheel, time_limit

from fastserve.protocol._timers import TICK
from fastserve.types import RunningRequest

cdef double STALL = 0.5         # seconds a tick may be late before the event loop counts as having stood still

cdef enum:
    WARNINGS_SHOWN = 10         # lines about requests in one second; the rest is only counted


cdef class Worker(WorkerState):
    """The connections of one worker.

    handler: answers the exchanges. loop: the running event loop. default_fields: (name, value) pairs on every response.
    Limits are bytes or counts and timeouts seconds; None is no limit. access_log: where responses are noted, or None.
    `on_limit` is called once, when `total_requests` comes to `request_limit` (0: never). forwarding:
    reads what trusted proxies say of requests, or None. proxy_protocol: the TrustedPeers whose connections begin with a
    header of the PROXY protocol, or None. clock: a replacement for the monotonic clock, for tests; ticking is then up
    to the test.
    """

    cdef object _proxies            # TrustedPeers that begin with the PROXY protocol, or None
    cdef object _logger
    cdef object _ticker
    cdef double _tick_due
    cdef double _shown_since
    cdef long _shown
    cdef long _hidden

    def __init__(
        self,
        handler: Handler,
        loop,
        *,
        default_fields=(),
        date_header=True,
        limit_request_line=8192,
        limit_request_head=65536,
        limit_request_fields=100,
        limit_request_body=None,
        limit_concurrency=None,
        timeout_header=10.0,
        timeout_keep_alive=5.0,
        timeout_body=60.0,
        timeout_write=60.0,
        timeout_request=None,
        access_log=None,
        request_limit=0,
        forwarding: Forwarding | None = None,
        proxy_protocol=None,
        clock=None,
        logger=None,
    ):
        cdef HeadLimits limits
        self.loop = loop
        self.forwarding = forwarding
        self._proxies = proxy_protocol
        self.handler = handler
        self.access_log = access_log
        self.clock = clock if clock is not None else Clock()
        self.now = self.clock.now()
        self.wheel = TimerWheel(self.now, self._start_ticking if clock is None else None)
        self.open_connections = set()
        self.in_progress = ServedList()
        limits.request_line = limit_request_line
        limits.head = limit_request_head
        limits.fields = limit_request_fields
        self.head = HeadMemory(limit_request_fields)
        self.head.head.limits = limits
        self.writer = ResponseWriter(list(default_fields), date_header)
        self.output = new_buffer(16384)
        self.limit_request_body = limit_request_body or 0
        self.limit_concurrency = limit_concurrency or 0
        self.request_limit = request_limit
        self.timeout_header = time_limit(timeout_header)
        self.timeout_keep_alive = time_limit(timeout_keep_alive)
        self.timeout_body = time_limit(timeout_body)
        self.timeout_write = time_limit(timeout_write)
        self.timeout_request = time_limit(timeout_request)
        self.upgrades = {}
        self._logger = logger if logger is not None else logging.getLogger("fastserve.error")

    # --- for connections and transports

    cdef Connection new_connection(self):
        cdef Http1Connection connection = Http1Connection.__new__(Http1Connection)
        cdef ProxyProtocolConnection first
        connection.worker = self
        if self._proxies is None:
            return connection
        first = ProxyProtocolConnection.__new__(ProxyProtocolConnection)
        first.worker = self
        first.trusted = self._proxies
        first.successor = connection
        return first

    cdef int closed(self, Connection connection) except -1:
        self.open_connections.discard(connection)
        if not self.open_connections and self.on_idle is not None:
            self.on_idle()
        return 0

    cdef int count_response(self) except -1:
        self.total_requests += 1
        if self.total_requests == self.request_limit and self.on_limit is not None:
            self.on_limit()
        return 0

    cdef int note_rejection(self, Connection connection, int status, str reason, bytes sample) except -1:
        cdef str peer
        cdef Endpoint endpoint
        self.rejected += 1
        if status == 503:
            return self.note(connection, reason)
        endpoint = connection.endpoint()
        peer = "" if endpoint is None else endpoint.peer()
        if sample:
            return self.note(connection, f"Invalid HTTP request received. {peer} - {status}: {reason}: {sample!a:.300}")
        return self.note(connection, f"Invalid HTTP request received. {peer} - {status}: {reason}")

    cdef int note(self, Connection connection, str message) except -1:
        if self.now - self._shown_since >= 1.0:
            self._tell_hidden()
            self._shown_since = self.now
            self._shown = 0
        self._shown += 1
        if self._shown > WARNINGS_SHOWN:
            self._hidden += 1
        else:
            self._logger.warning("%s", message)
        return 0

    cdef int _tell_hidden(self) except -1:
        if self._hidden:
            self._logger.warning("%d more warnings about requests were not shown.", self._hidden)
            self._hidden = 0
        return 0

    cdef int call_failed(self, Connection connection, object error) except -1:
        # A defect of ours or of a handler: this connection ends, the others do not notice.
        if not isinstance(error, Exception):
            raise error
        self._logger.error("Exception on a connection", exc_info=error)
        if connection.stream is not None:
            connection.stream.abort()
        return 0

    # --- time

    def _start_ticking(self) -> None:
        if self._ticker is None:
            self._tick_due = self.clock.now() + TICK
            self._ticker = self.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        if self.clock.now() > self._tick_due + STALL:
            # Timers may come before sockets (uvloop's do): what has arrived meanwhile is read before anything expires.
            self._ticker = self.loop.call_later(TICK, self._tick)
            self._tick_due = FOREVER
            return
        try:
            self.advance()
        finally:
            if self.wheel.linked or self._is_handing_on():
                self._start_ticking()

    def advance(self) -> None:
        """Expire the deadlines that have passed; called by the event loop, or by a test that moved its clock."""
        self.now = self.clock.now()
        self.wheel.advance(self.now)
        if self._is_handing_on():
            self._drain_connections()

    cdef bint _is_handing_on(self) noexcept:
        return self.handing_on and len(self.open_connections) > 0

    # --- for the server

    def warn(self, message: str) -> None:
        """Log a warning about a client, at the same bounded rate as rejected requests."""
        self.now = self.clock.now()
        self.note(None, message)

    def refuse(self, message: str) -> None:
        """Count a request that was answered with 503 in the application's place, and log why."""
        self.rejected += 1
        self.warn(message)

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.open_connections)

    @property
    def tasks(self) -> int:
        """Number of requests whose application is still running."""
        return self.in_progress.size

    def add_upgrade(self, protocol: bytes, upgrade: Upgrade) -> None:
        """Offer connections whose client sends `Upgrade: protocol` (lower case) to `upgrade`."""
        self.upgrades[protocol] = upgrade

    def running(self, limit: int = 0) -> list[RunningRequest]:
        """Describe the requests whose application is still running, oldest first; ages are in seconds.

        limit: only so many of the oldest; 0 is all.
        """
        cdef Served served
        cdef double now = self.clock.precise()
        cdef list all_served = self.in_progress.snapshot()
        if self.handling is not NULL and not (<Exchange> self.handling).application_done:
            all_served.insert(0, <Exchange> self.handling)
        # The newest are first in the list.
        all_served = all_served[-limit:]
        cdef list described = [
            RunningRequest(
                served.label(),
                quote(served.raw_path, safe="/%"),
                served.endpoint.peer(),
                now - served.started,
                None if served.responder is None else served.responder.thread(),
            )
            for served in all_served
        ]
        return sorted(described, key=_age, reverse=True)

    def drain(self, hand_on: bool = False, idle_grace: float = 0.0) -> None:
        """Let go of the connections, each as soon as it is idle; requests that come until then are answered.

        hand_on: pass connections to other workers, without the clients noticing. Where nobody takes one it is tried
        again with every tick. Connections that cannot be passed on close with their next response, or when they have
        been idle for as long as any connection may.

        Without hand_on the next response says `Connection: close`, and a connection closes when it has been idle for
        `idle_grace` seconds: at once, if it has been for longer.

        May be called again, to go from the one to the other.
        """
        self.draining = True
        self.handing_on = hand_on
        self.idle_grace = idle_grace
        self.now = self.clock.now()
        self._drain_connections()
        if self._is_handing_on() and self.wheel.on_first is not None:
            self._start_ticking()
        if not self.open_connections and self.on_idle is not None:
            self.on_idle()

    def shed(self, count: int) -> None:
        """Pass `count` connections to other workers, idle ones now and others when they become idle.

        Replaces what an earlier call has left to do; ends at the first connection that nobody takes.
        """
        cdef Connection connection
        if self.draining:
            return
        self.now = self.clock.now()
        self.surplus = max(0, min(<long> count, len(self.open_connections)))
        if self.surplus:
            for connection in list(self.open_connections):
                if not self.surplus:
                    break
                self._drain_one(connection)

    cdef int _drain_connections(self) except -1:
        cdef Connection connection
        for connection in list(self.open_connections):
            self._drain_one(connection)
        return 0

    cdef int _drain_one(self, Connection connection) except -1:
        try:
            return connection.drain()
        except BaseException as error:
            return self.call_failed(connection, error)

    def disconnect(self) -> int:
        """Tell every running request that its client is gone (http.disconnect); return how many were told."""
        cdef Served served
        cdef Responder responder
        cdef list all_served = self.in_progress.snapshot()
        for served in all_served:
            served.disconnected = True
            responder = served.responder
            if responder is not None:
                responder.disconnected()
        return len(all_served)

    def cancel(self) -> int:
        """Cancel the task of every running request; return how many there were."""
        cdef Served served
        cdef Responder responder
        cdef list all_served = self.in_progress.snapshot()
        for served in all_served:
            responder = served.responder
            if responder is not None:
                responder.cancel()
        return len(all_served)

    def abort(self) -> int:
        """Reset every connection; return how many there were."""
        cdef Connection connection
        cdef list connections = list(self.open_connections)
        for connection in connections:
            if connection.stream is not None:
                connection.stream.abort()
        return len(connections)

    def close(self) -> None:
        """Stop ticking. The worker takes no connections after that."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.wheel.on_first = None
        self._tell_hidden()


def _age(request: RunningRequest) -> float:
    return request.age
