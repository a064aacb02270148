"""The worker's own epoll: sockets without the event loop's transports.

The hub's epoll instance is one descriptor of the loop (`add_reader`), whatever loop that is. When it is readable, one
batch of events is handled here: bounded in number and in time, so that the loop's own work is not starved; epoll is
level-triggered, what is left over is reported again. Events point at streams by borrowed pointers. A stream that closes
leaves the epoll set at once, but is kept until its batch is over, so that a stale event finds it closed, not freed;
only then its connection is told (`lost`).

A connection can change its worker while it is idle: its descriptor leaves the epoll set first (the set would go on
reporting it, by a pointer to nothing, for as long as any process has it open), then it is passed on and closed here.

A new connection is read from before it joins the set: the request is usually there already, and a client that asks once
and leaves is served without epoll ever hearing of it.
"""

import logging
import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport (
    EAGAIN,
    ECONNABORTED,
    EINTR,
    EMFILE,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPERM,
    EPROTO,
    errno,
)
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close as close_fd

from fastserve._buffer cimport Buffer, new_buffer
from fastserve._exchange cimport Endpoint
from fastserve.protocol._connection cimport Connection, Stream, WorkerState
from fastserve.transport._balance cimport FINISHED, NOTHING, Balancer, Passed, Received, receive_passed
from fastserve.transport._peer cimport peer_uid
from fastserve.transport._socket cimport (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    MSG_NOSIGNAL,
    MSG_PEEK,
    RECEIVE_SIZE,
    SHUT_WR,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOL_SOCKET,
    accept4,
    getpeername,
    getsockname,
    getsockopt,
    iovec,
    msghdr,
    recv,
    reset_when_closed,
    send,
    send_both,
    sendmsg,
    shutdown as shut_down,
    sockaddr,
    socklen_t,
)

cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data:
        uint64_t u64

    cdef struct epoll_event:
        uint32_t events
        epoll_data data

    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int size, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLEXCLUSIVE

cdef extern from "<netdb.h>" nogil:
    int getnameinfo(const sockaddr* address, socklen_t size, char* host, socklen_t host_size, char* service,
                    socklen_t service_size, int flags)
    int NI_NUMERICHOST, NI_NUMERICSERV

cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int out, int fd, int64_t* offset, size_t count)

cdef enum:
    BATCH_EVENTS = 256          # events handled before the loop gets its turn
    BATCH_ACCEPTS = 64          # connections accepted from one source before others get theirs
    FILE_AT_ONCE = 4194304      # bytes of a file sent before other connections get their turn
    SEND_PIECES = 64            # pieces of a queue that go out with one sendmsg
    TAG_SOURCE = 1              # in the event's pointer: a Source, not a NativeStream

cdef double BATCH_SECONDS = 0.010
cdef double ACCEPT_PAUSE = 1.0  # seconds without accepting after the process ran out of descriptors or memory


cdef class Hub:
    """One epoll instance inside `loop`, for the connections of `worker`. Make it after any fork.

    balancer: counts the connections, and passes some of them to other workers; None where there are none.
    """

    def __init__(self, worker: WorkerState, loop, balancer: Balancer | None = None):
        self.fd = -1
        self.worker = worker
        self.balancer = balancer
        self.loop = loop
        self.memory = new_buffer(RECEIVE_SIZE)
        self.streams = set()
        self.sources = []
        self.listeners = {}
        self.ended = []
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno))
        loop.add_reader(self.fd, self._run)

    def __dealloc__(self):
        if self.fd >= 0:
            close_fd(self.fd)

    def listen(self, sock: socket.socket, index: int = 0) -> NativeListener:
        """Accept connections on `sock`, which listens already; it stays the caller's to close.

        index: of the bind that the socket belongs to, 0 to 255; the same number in every worker.
        """
        cdef NativeListener listener = NativeListener(self, sock, index)
        self.listeners[index] = listener
        self.sources.append(listener)
        listener.resume()
        return listener

    def receive_on(self, sock: socket.socket) -> NativeChannel:
        """Serve the connections that other workers pass on; `sock`, the receive end of a channel, stays the caller's.

        The binds they were accepted on are recognised once `listen` has been called for them.
        """
        cdef NativeChannel channel = NativeChannel(self, sock)
        self.sources.append(channel)
        channel.resume()
        return channel

    def close(self) -> None:
        """Stop accepting and reset what is open. The connections are told before this returns."""
        cdef Source source
        cdef NativeStream stream
        if self.fd < 0:
            return
        for source in list(self.sources):
            # What is queued would only be accepted to be reset; another worker may be there for it.
            source.close(False)
        for stream in list(self.streams):
            stream.abort()
        self._tell_ended()
        self.loop.remove_reader(self.fd)
        close_fd(self.fd)
        self.fd = -1
        self.listeners = {}

    def _run(self) -> None:
        """Handle one batch of events; called by the loop."""
        cdef epoll_event[BATCH_EVENTS] events
        cdef int count = epoll_wait(self.fd, events, BATCH_EVENTS, 0)
        cdef int index
        cdef uint64_t owner
        cdef NativeStream stream
        cdef Source source
        cdef double end = self.worker.clock.now() + BATCH_SECONDS
        self.batching = True
        try:
            for index in range(count):
                owner = events[index].data.u64
                if owner & TAG_SOURCE:
                    source = <Source> <void*> <uintptr_t> (owner & ~<uint64_t> TAG_SOURCE)
                    if source.accepting:
                        source.accept_some(True)
                else:
                    stream = <NativeStream> <void*> <uintptr_t> owner
                    if stream.fd >= 0:
                        stream.ready(events[index].events)
                if index & 15 == 15 and self.worker.clock.now() > end:
                    break
        finally:
            self.batching = False
            if self.ended:
                self._tell_ended()

    def _tell_ended(self) -> None:
        """Tell the connections of closed streams, and let go of them."""
        cdef list ended = self.ended
        cdef NativeStream stream
        cdef Connection connection
        self.scheduled = False
        self.ended = []
        for stream in ended:
            connection = stream.connection
            stream.connection = None
            if connection is not None:
                try:
                    connection.lost(stream.reason)
                except BaseException as error:
                    self.worker.call_failed(connection, error)

    cdef int _control(self, int operation, int fd, uint32_t events, void* owner, int tag) except -1:
        cdef epoll_event event
        event.events = events
        event.data.u64 = <uint64_t> <uintptr_t> owner | <uint64_t> tag
        if epoll_ctl(self.fd, operation, fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    cdef int adopt(self, NativeStream stream, int fd, bint counted) except -1:
        cdef Connection connection
        stream.hub = self
        stream.fd = fd
        stream.reading = True
        self.streams.add(stream)
        if self.balancer is not None and not counted:
            self.balancer.count(1)
        connection = stream.connection = self.worker.new_connection()
        try:
            connection.opened(stream)
            if stream.fd >= 0:
                stream.receive()
            if stream.fd >= 0:
                stream._update()
        except BaseException as error:
            self.worker.call_failed(connection, error)
            if connection.stream is None and stream.fd >= 0:
                stream._close(True)
        return 0

    cdef int end(self, NativeStream stream) except -1:
        self.streams.discard(stream)
        if self.balancer is not None:
            self.balancer.count(-1)
        self.ended.append(stream)
        if not self.batching and not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self._tell_ended)
        return 0


cdef class Source:
    """Where a hub gets new connections from; made by Hub.listen() and Hub.receive_on()."""

    def __init__(self, hub: Hub, sock: socket.socket):
        self.hub = hub
        self.socket = sock
        self.fd = sock.fileno()
        sock.setblocking(False)

    def resume(self) -> None:
        """Accept (again)."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if not self.accepting and self.socket is not None:
            # Exclusive: of several workers that share a socket, one is woken for each connection.
            self.hub._control(EPOLL_CTL_ADD, self.fd, EPOLLIN | EPOLLEXCLUSIVE, <void*> self, TAG_SOURCE)
            self.accepting = True

    def pause(self) -> None:
        """Stop accepting for now; connections wait in the kernel's queue."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.accepting:
            self.accepting = False
            self.hub._control(EPOLL_CTL_DEL, self.fd, 0, NULL, 0)

    def close(self, accept_queued: bool = True) -> None:
        """Stop accepting for good. The socket itself is left to its owner.

        accept_queued: take what has come by now, since it would be reset when the socket is closed. False where the
        socket lives on elsewhere, and what waits in it is left to whoever serves it next.
        """
        if self.socket is None:
            return
        while accept_queued and self.accepting and self.accept_some(False) == BATCH_ACCEPTS:
            pass
        self.pause()
        self.socket = None
        self.hub.sources.remove(self)
        # An event of the present batch may still point here: stay for this turn of the loop.
        self.hub.loop.call_soon(self.resume)

    cdef int accept_some(self, bint divert) except -1:
        raise NotImplementedError

    cdef int _exhausted(self, int error) except -1:
        # Connections stay in the kernel's queue; trying again at once would only spin.
        logging.getLogger("fastserve.error").error(
            "Cannot accept connections: %s. Trying again every %d s.", os.strerror(error), <int> ACCEPT_PAUSE)
        self.pause()
        self.timer = self.hub.loop.call_later(ACCEPT_PAUSE, self._retry)
        return 0

    def _retry(self) -> None:
        self.timer = None
        self.resume()


cdef class NativeListener(Source):
    """A listening socket in the hub's epoll set; made by Hub.listen()."""

    def __init__(self, hub: Hub, sock: socket.socket, index: int = 0):
        Source.__init__(self, hub, sock)
        self.index = index
        self.family = sock.family
        name = sock.getsockname()
        if self.family == AF_UNIX:
            self.server = (os.fsdecode(name) if isinstance(name, bytes) else name, None)
        else:
            # Linux hands these on to what is accepted: one call here in the place of one for each connection.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if name[0] not in ("0.0.0.0", "::"):
                self.server = (name[0], name[1])

    cdef int accept_some(self, bint divert) except -1:
        cdef NativeStream stream
        cdef Balancer balancer = self.hub.balancer if divert else None
        cdef sockaddr_in6 peer
        cdef socklen_t size
        cdef int count = 0
        cdef int fd
        while count < BATCH_ACCEPTS:
            memset(&peer, 0, sizeof(peer))
            size = sizeof(peer)
            fd = accept4(self.fd, <sockaddr*> &peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                count += 1
                if balancer is not None and balancer.divert(fd, self.index):
                    close_fd(fd)
                else:
                    stream = NativeStream.__new__(NativeStream)
                    stream.listener = self
                    stream.index = self.index
                    memcpy(&stream.peer, &peer, sizeof(peer))
                    self.hub.adopt(stream, fd, False)
                if not self.accepting:
                    break
            elif errno in (ECONNABORTED, EINTR, EPROTO, EPERM):
                continue
            elif errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                self._exhausted(errno)
                break
            else:
                break
        return count


cdef class NativeChannel(Source):
    """The receive end of a channel in the hub's epoll set; made by Hub.receive_on()."""

    cdef int accept_some(self, bint divert) except -1:
        cdef NativeStream stream
        cdef Balancer balancer = self.hub.balancer
        cdef Passed passed
        cdef Received received
        cdef socklen_t size
        cdef int count = 0
        cdef int spare
        cdef bint counted
        while count < BATCH_ACCEPTS:
            # A message is taken from the channel even if there is no room for its descriptor, which is lost then.
            spare = fcntl(self.fd, F_DUPFD_CLOEXEC, 0)
            if spare < 0:
                self._exhausted(errno)
                break
            close_fd(spare)
            received = receive_passed(self.fd, &passed)
            if received == NOTHING:
                break
            if received == FINISHED:
                self.pause()
                break
            count += 1
            counted = balancer is not None and balancer.settle(&passed)
            if passed.fd < 0:
                if counted:
                    balancer.count(-1)
                logging.getLogger("fastserve.error").error("A connection was lost on its way from another worker.")
                continue
            stream = NativeStream.__new__(NativeStream)
            stream.listener = self.hub.listeners.get(passed.index)
            stream.index = passed.index
            stream.resumed = passed.idle
            memset(&stream.peer, 0, sizeof(sockaddr_in6))
            size = sizeof(sockaddr_in6)
            getpeername(passed.fd, <sockaddr*> &stream.peer, &size)
            self.hub.adopt(stream, passed.fd, counted)
            if not self.accepting:
                break
        return count


cdef class FilePart:
    """A part of a file that is yet to be sent."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close_fd(self.fd)


cdef class NativeStream(Stream):
    """One accepted socket; made by a listener."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close_fd(self.fd)

    # --- called by the hub

    cdef int ready(self, uint32_t events) except -1:
        cdef Connection connection = self.connection
        cdef int error = 0
        cdef socklen_t size = sizeof(error)
        try:
            if events & EPOLLOUT:
                self._send_queue()
            if self.fd < 0:
                return 0
            if self.reading and not self.read_ended:
                if events & (EPOLLIN | EPOLLERR | EPOLLHUP):
                    self.receive()
            elif events & (EPOLLERR | EPOLLHUP):
                # Nobody reads: a reset is seen here only. An end of both halves is reported for ever; it can wait.
                getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &error, &size)
                if error:
                    self._failed(error)
                elif not events & EPOLLOUT:
                    self._leave()
        except BaseException as failure:
            self.hub.worker.call_failed(connection, failure)
        return 0

    cdef int receive(self) except -1:
        cdef Hub hub = self.hub
        cdef Connection connection = self.connection
        cdef Buffer memory = hub.memory
        cdef Py_ssize_t size
        cdef bint outer = hub.lent
        if outer:
            # A nested event loop inside an application: what it is looking at must stay as it is.
            memory = new_buffer(RECEIVE_SIZE)
        size = recv(self.fd, memory.data, RECEIVE_SIZE, 0)
        if size > 0:
            hub.lent = True
            try:
                connection.received(memory.data, size)
            finally:
                hub.lent = outer
        elif size == 0:
            self.read_ended = True
            self._update()
            connection.ended()
        elif errno != EAGAIN and errno != EINTR:
            self._failed(errno)
        return 0

    cdef int _send_queue(self) except -1:
        cdef Connection connection = self.connection
        if not self.queue:
            return 0
        if type(self.queue[0]) is FilePart:
            self._send_part(<FilePart> self.queue[0])
        else:
            self._send_pieces()
        if self.fd < 0 or self.queue:
            return 0
        self.queue = None
        self.blocked = False
        if self.shutting:
            shut_down(self.fd, SHUT_WR)
        if self.closing:
            return self._close(False)
        self._update()
        return connection.drained()

    cdef int _send_pieces(self) except -1:
        cdef iovec[SEND_PIECES] parts
        cdef msghdr message
        cdef Py_ssize_t taken
        cdef int count = 0
        cdef object piece
        for piece in self.queue:
            if count == SEND_PIECES or type(piece) is not bytes:
                break
            parts[count].iov_base = PyBytes_AS_STRING(<bytes> piece)
            parts[count].iov_len = PyBytes_GET_SIZE(<bytes> piece)
            count += 1
        parts[0].iov_base = <char*> parts[0].iov_base + self.sent
        parts[0].iov_len -= self.sent
        memset(&message, 0, sizeof(message))
        message.msg_iov = parts
        message.msg_iovlen = count
        taken = sendmsg(self.fd, &message, MSG_NOSIGNAL)
        if taken < 0:
            if errno != EAGAIN and errno != EINTR:
                self._failed(errno)
            return 0
        self.queued -= taken
        taken += self.sent
        # What has been gathered is at the front, and nothing else has been taken from.
        while count and taken >= PyBytes_GET_SIZE(<bytes> self.queue[0]):
            taken -= PyBytes_GET_SIZE(<bytes> self.queue[0])
            count -= 1
            del self.queue[0]
        self.sent = taken
        return 0

    cdef int _send_part(self, FilePart part) except -1:
        cdef int64_t before = part.count
        if self._send_file(part.fd, &part.offset, &part.count):
            self.queued -= before - part.count
            if part.count == 0:
                del self.queue[0]
        return 0

    cdef bint _send_file(self, int fd, int64_t* offset, int64_t* count) except -1:
        cdef Py_ssize_t taken
        cdef int64_t limit = FILE_AT_ONCE
        while count[0] and limit > 0:
            taken = sendfile(self.fd, fd, offset, <size_t> min(count[0], limit))
            if taken > 0:
                count[0] -= taken
                limit -= taken
            elif taken == 0:
                # The file has become shorter: the response cannot be completed, and must not seem to be.
                self.reason = EOFError("a file was shorter than its response")
                self._close(True)
                return False
            elif errno == EAGAIN:
                break
            elif errno != EINTR:
                self._failed(errno)
                return False
        return True

    # --- called by the protocol

    cdef int write(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t taken = 0
        if self.fd < 0 or self.closing:
            return 0
        if not self.blocked:
            taken = send(self.fd, data, size, MSG_NOSIGNAL)
            if taken == size:
                return 0
            if taken < 0:
                if errno != EAGAIN and errno != EINTR:
                    return self._failed(errno)
                taken = 0
        return self._keep(PyBytes_FromStringAndSize(data + taken, size - taken), 0)

    cdef int write_body(self, const char* data, Py_ssize_t size, bytes owner, const char* body,
                        Py_ssize_t body_size) except -1:
        cdef Py_ssize_t taken = 0
        if self.fd < 0 or self.closing:
            return 0
        if not self.blocked:
            taken = send_both(self.fd, data, size, body, body_size)
            if taken == size + body_size:
                return 0
            if taken < 0:
                if errno != EAGAIN and errno != EINTR:
                    return self._failed(errno)
                taken = 0
        if taken < size:
            self._keep(PyBytes_FromStringAndSize(data + taken, size - taken), 0)
            return self._keep(owner, 0)
        return self._keep(owner, taken - size)

    cdef bint sends_files(self) noexcept:
        return True

    cdef int write_file(self, int fd, int64_t offset, int64_t count) except -1:
        cdef FilePart part
        if self.fd < 0 or self.closing:
            return 0
        if not self.blocked and not self._send_file(fd, &offset, &count):
            return 0
        if count == 0:
            return 0
        part = FilePart.__new__(FilePart)
        part.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        if part.fd < 0:
            return self._failed(errno)
        part.offset = offset
        part.count = count
        if self.queue is None:
            self.queue = []
            self.sent = 0
        self.queue.append(part)
        self.queued += count
        if not self.blocked:
            self.blocked = True
            self._update()
        return 0

    cdef int _keep(self, bytes data, Py_ssize_t taken) except -1:
        # Wait with `data`, of which the first `taken` bytes are gone already: possible only for the first in the queue.
        if PyBytes_GET_SIZE(data) == taken:
            return 0
        if self.queue is None:
            self.queue = []
            self.sent = taken
        self.queue.append(data)
        self.queued += PyBytes_GET_SIZE(data) - taken
        if not self.blocked:
            self.blocked = True
            self._update()
        return 0

    cdef Py_ssize_t pending(self) except -1:
        return self.queued

    cdef int pause_reading(self) except -1:
        self.reading = False
        return self._update()

    cdef int resume_reading(self) except -1:
        self.reading = True
        return self._update()

    cdef int shutdown(self) except -1:
        if self.fd >= 0:
            self.shutting = True
            if not self.blocked:
                shut_down(self.fd, SHUT_WR)
        return 0

    cdef int close(self) except -1:
        if self.fd < 0 or self.closing:
            return 0
        if self.blocked:
            self.closing = True
            self.reading = False
            return self._update()
        return self._close(False)

    cdef int abort(self) except -1:
        return self._close(True)

    cdef bint movable(self) noexcept:
        return self.hub.balancer is not None and not self.proxied

    cdef bint readable(self) noexcept:
        cdef char byte
        return self.fd >= 0 and recv(self.fd, &byte, 1, MSG_PEEK) > 0

    cdef bint hand_on(self, bint fresh) except -1:
        cdef Balancer balancer = self.hub.balancer
        if balancer is None or self.proxied or self.fd < 0 or self.blocked:
            return False
        if self.closing or self.shutting or self.read_ended:
            return False
        if not balancer.may_hand_on():
            return False
        self._leave()
        if not balancer.hand_on(self.fd, self.index, fresh):
            self._update()
            return False
        close_fd(self.fd)
        self.fd = -1
        self.hub.end(self)
        return True

    cdef Endpoint endpoint(self):
        cdef Endpoint facts = self.facts
        cdef sockaddr_in6 name
        cdef socklen_t size = sizeof(name)
        if facts is None:
            server = None if self.listener is None else self.listener.server
            client = None
            if self.listener is None or self.listener.family != AF_UNIX:
                client = _address(<sockaddr*> &self.peer)
                if server is None and getsockname(self.fd, <sockaddr*> &name, &size) == 0:
                    server = _address(<sockaddr*> &name)
            facts = self.facts = Endpoint(client, server)
            if client is None:
                facts.peer_uid = peer_uid(self.fd)
        return facts

    # --- the descriptor

    cdef int _update(self) except -1:
        cdef uint32_t interest = 0
        if self.fd < 0:
            return 0
        if self.reading and not self.read_ended:
            interest = EPOLLIN
        if self.blocked:
            interest |= EPOLLOUT
        if not self.registered:
            self.hub._control(EPOLL_CTL_ADD, self.fd, interest, <void*> self, 0)
            self.registered = True
        elif interest != self.interest:
            self.hub._control(EPOLL_CTL_MOD, self.fd, interest, <void*> self, 0)
        self.interest = interest
        return 0

    cdef int _leave(self) except -1:
        # No events at all, not even those that epoll reports unasked; until the next _update().
        if self.registered:
            self.registered = False
            self.hub._control(EPOLL_CTL_DEL, self.fd, 0, NULL, 0)
        return 0

    cdef int _failed(self, int error) except -1:
        self.reason = OSError(error, os.strerror(error))
        return self._close(False)

    cdef int _close(self, bint reset) except -1:
        if self.fd < 0:
            return 0
        if reset:
            reset_when_closed(self.fd)
        self._leave()
        close_fd(self.fd)
        self.fd = -1
        self.blocked = False
        self.queue = None
        self.queued = 0
        return self.hub.end(self)


cdef object _address(const sockaddr* address):
    # (host, port), or None for what is no IP address. A link-local IPv6 host has its zone.
    cdef char[128] host
    cdef char[8] port
    if address.sa_family != AF_INET and address.sa_family != AF_INET6:
        return None
    if getnameinfo(address, sizeof(sockaddr_in6), host, sizeof(host), port, sizeof(port),
                   NI_NUMERICHOST | NI_NUMERICSERV) != 0:
        return None
    return ((<bytes> host).decode("ascii"), int(<bytes> port))
