"""A stream over the event loop's own transports, for asyncio and uvloop alike.

The loop receives (into the worker's one buffer, `asyncio.BufferedProtocol`), this class sends by itself: one `send(2)`
from the protocol's memory, and only what the kernel does not take is copied and handed to the transport. From then on
until the transport has sent it all (`resume_writing`, its water marks are zero) everything goes through the transport,
so that bytes stay in order. Over TLS everything always does.

A TLS transport that is closed waits for the peer's close_notify, which many clients never send. Here it closes once the
peer's kernel has everything and some time has passed.
"""

import asyncio
import socket

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.errno cimport EAGAIN, EINTR, errno

from fastserve._exchange cimport Endpoint
from fastserve.protocol._connection cimport Connection, Stream, WorkerState
from fastserve.protocol._proxy_protocol cimport ProxyHeader
from fastserve.transport._peer cimport peer_uid
from fastserve.transport._socket cimport (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    RECEIVE_SIZE,
    recv,
    reset_when_closed,
    send,
    send_both,
)

from fastserve.transport.tls import tls_facts

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<linux/sockios.h>" nogil:
    unsigned long SIOCOUTQ

# Seconds for the peer's close_notify: a client that hangs up properly needs a round trip.
cdef double LINGER = 0.5


cdef class Receiver:
    """The worker's receive buffer."""

    def __init__(self):
        cdef bytearray memory = bytearray(RECEIVE_SIZE)
        self.memory = memory
        self.data = PyByteArray_AS_STRING(memory)
        self.view = memoryview(memory)


cdef class LoopStream(Stream):
    """One connection of the event loop, as the loop sees it (asyncio.BufferedProtocol) and as the protocol does."""

    def __init__(self, worker: WorkerState, receiver: Receiver, header: ProxyHeader | None = None):
        self.worker = worker
        self.receiver = receiver
        self.header = header
        self.fd = -1
        self.tls_fd = -1

    # --- called by the event loop

    def connection_made(self, transport) -> None:
        """Begin: the loop has accepted a connection."""
        cdef Connection connection
        sock = transport.get_extra_info("socket")
        self.transport = transport
        self.reading = True
        if transport.get_extra_info("sslcontext") is not None:
            self.tls_fd = sock.fileno()
            # At 0 a TLS transport would say at every write that it is full.
            transport.set_write_buffer_limits(1, 0)
        else:
            if sock is not None:
                self.fd = sock.fileno()
            transport.set_write_buffer_limits(0)
        # It may give way to another while it opens.
        connection = self.connection = self.worker.new_connection()
        try:
            connection.opened(self)
        except BaseException as error:
            self.worker.call_failed(self.connection, error)

    def get_buffer(self, size: int) -> memoryview:
        """Lend the memory that the next read goes to."""
        if self.receiver.lent:
            # A nested event loop inside an application: what it is looking at must stay as it is.
            self.private = bytearray(RECEIVE_SIZE)
            return memoryview(self.private)
        return self.receiver.view

    def buffer_updated(self, size: int) -> None:
        """Take the bytes that were read into the buffer."""
        cdef bytearray private = self.private
        if private is not None:
            self.private = None
            self._deliver(PyByteArray_AS_STRING(private), size)
            return
        self.receiver.lent = True
        try:
            self._deliver(self.receiver.data, size)
        finally:
            self.receiver.lent = False

    cdef int _deliver(self, const char* data, Py_ssize_t size) except -1:
        cdef Connection connection = self.connection
        if connection is None or self.closing:
            return 0
        try:
            connection.received(data, size)
        except BaseException as error:
            self.worker.call_failed(connection, error)
        return 0

    def eof_received(self) -> bool:
        """Note that the peer has ended its half; the transport stays open for our answers."""
        cdef Connection connection = self.connection
        try:
            connection.ended()
        except BaseException as error:
            self.worker.call_failed(connection, error)
        return self.fd >= 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """End: the transport is closed."""
        cdef Connection connection = self.connection
        self.transport = None
        self.closing = True
        self.fd = -1
        self.tls_fd = -1
        self.blocked = False
        if self.lingering is not None:
            self.lingering.cancel()
            self.lingering = None
        self.connection = None
        if connection is not None:
            try:
                connection.lost(exc)
            except BaseException as error:
                self.worker.call_failed(connection, error)

    def pause_writing(self) -> None:
        """Note that the transport holds bytes that the kernel has not taken."""
        self.blocked = True

    def resume_writing(self) -> None:
        """Note that the transport holds no bytes any more."""
        cdef Connection connection = self.connection
        self.blocked = False
        if connection is not None:
            try:
                connection.drained()
            except BaseException as error:
                self.worker.call_failed(connection, error)
        if self.closing and self.tls_fd >= 0 and self.lingering is None:
            self._close_transport()

    # --- called by the protocol

    cdef int _close_transport(self) except -1:
        self.transport.close()
        if self.transport is not None and self.tls_fd >= 0:
            self.lingering = self.worker.loop.call_later(LINGER, self.linger)
        return 0

    def linger(self) -> None:
        """End a TLS connection whose peer has not answered the end, once it has received everything."""
        cdef int waiting = 0
        if self.transport is None:
            return
        if ioctl(self.tls_fd, SIOCOUTQ, &waiting) == 0 and waiting:
            self.lingering = self.worker.loop.call_later(LINGER, self.linger)
            return
        self.transport.abort()

    cdef Py_ssize_t _sent(self, Py_ssize_t result) except -1:
        # What a send(2) has done: the bytes taken, or all of them pretended when the peer is gone.
        if result >= 0:
            return result
        if errno in (EAGAIN, EINTR):
            return 0
        # EPIPE, ECONNRESET and the like. The transport would notice at its next read; it may have stopped reading.
        self.abort()
        return 0

    cdef int write(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t taken = 0
        if self.closing:
            return 0
        if self.fd >= 0 and not self.blocked:
            taken = send(self.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT)
            if taken == size:
                return 0
            taken = self._sent(taken)
            if self.closing:
                return 0
        self.transport.write(PyBytes_FromStringAndSize(data + taken, size - taken))
        return 0

    cdef int write_body(self, const char* data, Py_ssize_t size, bytes owner, const char* body,
                        Py_ssize_t body_size) except -1:
        cdef Py_ssize_t taken = 0
        if self.closing:
            return 0
        if self.fd >= 0 and not self.blocked:
            taken = send_both(self.fd, data, size, body, body_size)
            if taken == size + body_size:
                return 0
            taken = self._sent(taken)
            if self.closing:
                return 0
        if taken < size:
            self.transport.write(PyBytes_FromStringAndSize(data + taken, size - taken))
            taken = size
        if taken == size:
            self.transport.write(owner)
        else:
            self.transport.write(memoryview(owner)[taken - size:])
        return 0

    cdef Py_ssize_t pending(self) except -1:
        return self.transport.get_write_buffer_size() if self.blocked and self.transport is not None else 0

    cdef int pause_reading(self) except -1:
        if self.reading and not self.closing:
            self.reading = False
            self.transport.pause_reading()
        return 0

    cdef int resume_reading(self) except -1:
        if not self.reading and not self.closing:
            self.reading = True
            self.transport.resume_reading()
        return 0

    cdef int shutdown(self) except -1:
        if not self.closing:
            if self.transport.can_write_eof():
                try:
                    self.transport.write_eof()
                except OSError:
                    # asyncio's asks the socket at once, which the peer may have reset; connection_lost() follows.
                    return 0
            else:
                return self.close()
        return 0

    cdef int close(self) except -1:
        if not self.closing:
            self.closing = True
            if self.tls_fd < 0:
                self.transport.close()
            elif not self.blocked:
                self._close_transport()
            # Else in resume_writing: TLS transports give what they still have to send a time of their own.
        return 0

    cdef int abort(self) except -1:
        if self.transport is not None:
            if self.fd >= 0 and not self.closing:
                reset_when_closed(self.fd)
            self.closing = True
            self.transport.abort()
        return 0

    cdef bint readable(self) noexcept:
        cdef char byte
        return self.fd >= 0 and recv(self.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0

    cdef Endpoint endpoint(self):
        if self.facts is None:
            self.facts = describe(self.transport)
            if self.header is not None and not self.header.local:
                self.facts = Endpoint(self.header.client, self.header.server, self.facts.scheme, tls=self.facts.tls)
                return self.facts
            if self.facts.client is None and self.transport.get_extra_info("socket") is not None:
                self.facts.peer_uid = peer_uid(self.transport.get_extra_info("socket").fileno())
        return self.facts


cdef Endpoint describe(object transport):
    # Who is at both ends. A Unix socket's client has no address, its server is (path, None).
    client = server = None
    sock = transport.get_extra_info("socket")
    peer = transport.get_extra_info("peername")
    name = transport.get_extra_info("sockname")
    family = sock.family if sock is not None else None
    if family in (socket.AF_INET, socket.AF_INET6):
        if isinstance(peer, (tuple, list)) and len(peer) >= 2:
            client = (str(peer[0]), int(peer[1]))
        if isinstance(name, (tuple, list)) and len(name) >= 2:
            server = (str(name[0]), int(name[1]))
    elif family == socket.AF_UNIX and name:
        server = (name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name), None)
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return Endpoint(client, server)
    return Endpoint(client, server, "https", tls=tls_facts(tls))


class LoopProtocol(LoopStream, asyncio.BufferedProtocol):
    """LoopStream under the name by which event loops recognise that it brings its own buffer."""

    __slots__ = ()


def protocol_factory(worker: WorkerState):
    """Return a callable that makes the protocol of each connection, for loop.create_server and its like.

    It takes what a header of the PROXY protocol has said of the connection, or nothing. All streams of one factory
    share one receive buffer of 256 KiB.
    """
    receiver = Receiver()

    def make(header: ProxyHeader | None = None) -> LoopProtocol:
        return LoopProtocol(worker, receiver, header)

    return make
