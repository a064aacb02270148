"""What every protocol shares: Stream, Connection and WorkerState as interfaces. See the .pxd for the contract."""

from fastserve._buffer cimport Buffer
from fastserve._exchange cimport OUTPUT_HIGH_WATER
from fastserve._live cimport COUNTING, LIVE_CONNECTION, count_live
from fastserve.protocol._timers cimport FOREVER


cdef class Stream:
    """The transport as a protocol sees it."""

    cdef int write(self, const char* data, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef int write_body(self, const char* data, Py_ssize_t size, bytes owner, const char* body,
                        Py_ssize_t body_size) except -1:
        raise NotImplementedError

    cdef bint sends_files(self) noexcept:
        return False

    cdef int write_file(self, int fd, int64_t offset, int64_t count) except -1:
        raise NotImplementedError

    cdef Py_ssize_t pending(self) except -1:
        return 0

    cdef int pause_reading(self) except -1:
        return 0

    cdef int resume_reading(self) except -1:
        return 0

    cdef int shutdown(self) except -1:
        return 0

    cdef int close(self) except -1:
        raise NotImplementedError

    cdef int abort(self) except -1:
        raise NotImplementedError

    cdef bint readable(self) noexcept:
        return False

    cdef bint movable(self) noexcept:
        return False

    cdef bint hand_on(self, bint fresh) except -1:
        return False

    cdef Endpoint endpoint(self):
        return Endpoint(None, None)


cdef class Connection(TimerEntry):
    """A protocol on one stream."""

    def __cinit__(self):
        if COUNTING:
            count_live(LIVE_CONNECTION, 1)

    def __dealloc__(self):
        if COUNTING:
            count_live(LIVE_CONNECTION, -1)

    cdef int opened(self, Stream stream) except -1:
        raise NotImplementedError

    cdef int received(self, const char* data, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef int ended(self) except -1:
        return 0

    cdef int drained(self) except -1:
        return 0

    cdef int lost(self, object reason) except -1:
        return 0

    cdef Endpoint endpoint(self):
        return None if self.stream is None else self.stream.endpoint()

    cdef int drain(self) except -1:
        return 0

    cdef int claim_output(self) except -1:
        cdef WorkerState worker = self.worker
        cdef Connection owner
        if worker.output_owner is not self:
            owner = worker.output_owner
            if owner is not None:
                owner.release_output()
            worker.output_owner = self
        return 0

    cdef int release_output(self) except -1:
        if self.worker.output_owner is not self:
            return 0
        self.worker.output_owner = None
        return self.send_output()

    cdef int send_output(self) except -1:
        cdef Buffer output = self.worker.output
        if output.size:
            if self.stream is not None:
                self.stream.write(output.data, output.size)
            output.truncate(0)
            output.shrink(4 * OUTPUT_HIGH_WATER)
            self.watch_writing()
        return 0

    cdef int watch_writing(self) except -1:
        if self.stream is not None and self.stream.blocked and self.write_deadline == FOREVER:
            self.write_deadline = self.worker.now + self.worker.timeout_write
            self.stalled = self.stream.pending()
            self.arm()
        return 0

    cdef int write_overdue(self, double now) except -1:
        cdef Py_ssize_t pending = self.stream.pending()
        if pending < self.stalled:
            self.stalled = pending
            self.write_deadline = now + self.worker.timeout_write
        else:
            self.write_deadline = FOREVER
            self.stream.abort()
        return 0

    cdef int arm(self) except -1:
        return 0

    cdef int proceed(self) except -1:
        return 0

    def _proceed(self) -> None:
        """What the event loop calls for WorkerState.call_soon()."""
        if self.stream is None:
            return
        try:
            self.proceed()
        except BaseException as error:
            self.worker.call_failed(self, error)


cdef class WorkerState:
    """What the connections of one worker share. Completed by Worker."""

    cdef Connection new_connection(self):
        raise NotImplementedError

    cdef int opened(self, Connection connection) except -1:
        self.open_connections.add(connection)
        return 0

    cdef int closed(self, Connection connection) except -1:
        self.open_connections.discard(connection)
        return 0

    cdef int count_response(self) except -1:
        self.total_requests += 1
        return 0

    cdef int note_rejection(self, Connection connection, int status, str reason, bytes sample) except -1:
        self.rejected += 1
        return 0

    cdef int note(self, Connection connection, str message) except -1:
        return 0

    cdef int call_soon(self, Connection connection) except -1:
        self.loop.call_soon(connection._proceed)
        return 0

    cdef int call_failed(self, Connection connection, object error) except -1:
        raise error


cdef class Upgrade:
    """Takes over connections for another protocol; this one declines."""

    cdef Connection accept(self, Connection connection, Exchange exchange):
        return None
