"""A stream without a socket: bytes go in and come out by method calls.

For tests of protocols and gateways and for benchmarks of the core alone. Together with a ManualClock everything a
connection does is determined by what the caller does.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from fastserve._exchange cimport Endpoint
from fastserve.protocol._connection cimport Connection, Stream, WorkerState


@cython.final
cdef class MemoryStream(Stream):
    """One connection of `worker`, played by the caller.

    endpoint: who the two ends are said to be. capacity: bytes the imagined kernel takes before it blocks; None is no
    bound. What the connection does is seen in `closed`, `aborted`, `shut` (our half ended) and `paused`.

    To move it to another worker: with `taker` None the stream cannot, else the callable `taker(fresh)` says whether
    some worker takes it. `handed_on`: one did; the caller is to call `lose`. `unread`: bytes wait in the imagined
    kernel. resumed: another worker had it before.
    """

    cdef WorkerState worker
    cdef bytearray _sent
    cdef bytearray _waiting
    cdef public object capacity
    cdef readonly bint closed
    cdef readonly bint aborted
    cdef readonly bint shut
    cdef readonly bint paused
    cdef readonly int writes        # calls that would have been send(2)
    cdef public bint files          # it sends them by itself
    cdef public object taker
    cdef public bint unread
    cdef readonly bint handed_on
    cdef bint _gone

    def __init__(
        self,
        worker: WorkerState,
        endpoint: Endpoint | None = None,
        capacity: int | None = None,
        resumed: bool = False,
    ):
        cdef Connection connection
        self.worker = worker
        self.facts = endpoint if endpoint is not None else Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8000))
        self.capacity = capacity
        self.resumed = resumed
        self._sent = bytearray()
        self._waiting = bytearray()
        # It may give way to another while it opens.
        connection = self.connection = worker.new_connection()
        connection.opened(self)

    # --- the peer

    def feed(self, data: bytes) -> None:
        """Receive `data` in one read."""
        cdef bytes piece = data
        cdef Connection connection = self.connection
        if connection is not None:
            connection.received(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))

    def end(self) -> None:
        """Receive the end of the peer's half."""
        cdef Connection connection = self.connection
        if connection is not None:
            connection.ended()

    def lose(self, reason: BaseException | None = None) -> None:
        """Lose the connection, as after a reset or after close() has done its work."""
        cdef Connection connection = self.connection
        self.connection = None
        self._gone = True
        if connection is not None:
            connection.lost(reason)

    def take(self) -> bytes:
        """Return what has been sent since the last call."""
        cdef bytes data = bytes(self._sent)
        self._sent.clear()
        return data

    def drain(self) -> None:
        """Let the imagined kernel take everything that waits; the connection is told."""
        cdef Connection connection = self.connection
        self._sent += self._waiting
        self._waiting.clear()
        if self.blocked:
            self.blocked = False
            if connection is not None:
                connection.drained()

    @property
    def waiting(self) -> int:
        """Bytes the imagined kernel has not taken."""
        return len(self._waiting)

    # --- the protocol

    cdef int _accept(self, bytes data) except -1:
        cdef Py_ssize_t room = PyBytes_GET_SIZE(data)
        if self.closed or self.aborted or self.handed_on or self._gone:
            return 0
        self.writes += 1
        if self.blocked:
            room = 0
        elif self.capacity is not None:
            room = min(room, max(0, self.capacity - len(self._sent)))
        self._sent += data[:room]
        if room < len(data):
            self._waiting += data[room:]
            self.blocked = True
        return 0

    cdef int write(self, const char* data, Py_ssize_t size) except -1:
        return self._accept(data[:size])

    cdef int write_body(self, const char* data, Py_ssize_t size, bytes owner, const char* body,
                        Py_ssize_t body_size) except -1:
        return self._accept(data[:size] + body[:body_size])

    cdef bint sends_files(self) noexcept:
        return self.files

    cdef int write_file(self, int fd, int64_t offset, int64_t count) except -1:
        cdef bytes data = os.pread(fd, count, offset)
        if len(data) < count:
            self.aborted = True
            return 0
        return self._accept(data)

    cdef Py_ssize_t pending(self) except -1:
        return len(self._waiting)

    cdef int pause_reading(self) except -1:
        self.paused = True
        return 0

    cdef int resume_reading(self) except -1:
        self.paused = False
        return 0

    cdef int shutdown(self) except -1:
        self.shut = True
        return 0

    cdef int close(self) except -1:
        self.closed = True
        return 0

    cdef int abort(self) except -1:
        self.aborted = True
        return 0

    cdef bint readable(self) noexcept:
        return self.unread

    cdef bint movable(self) noexcept:
        return self.taker is not None and not self.proxied

    cdef bint hand_on(self, bint fresh) except -1:
        if self.taker is None or self.proxied or self.blocked or not self.taker(fresh):
            return False
        self.handed_on = True
        return True

    cdef Endpoint endpoint(self):
        return self.facts
