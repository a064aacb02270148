# What every protocol shares: the stream below it, the worker around it, the connection itself.
#
#   Stream       the transport as a protocol sees it; implemented in fastserve/transport
#   Connection   a protocol on one stream; the transport calls it
#   WorkerState  what all connections of a worker share; completed by _worker.Worker

from libc.stdint cimport int64_t

from fastserve._buffer cimport Buffer
from fastserve._exchange cimport AccessLog, Endpoint, Exchange, Handler, ServedList
from fastserve._head cimport HeadMemory
from fastserve.protocol._forwarded cimport Forwarding
from fastserve.protocol._response cimport ResponseWriter
from fastserve.protocol._timers cimport Clock, TimerEntry, TimerWheel


cdef class Stream:
    # Who is told, until lost() has been called. An upgrade puts another in its place in the middle of a call: call it
    # through a local reference.
    cdef Connection connection
    cdef readonly bint blocked      # bytes wait for the kernel; Connection.drained() follows when none do any more
    cdef readonly bint resumed      # another worker has served it before: it begins between two requests
    cdef bint proxied               # it began with a header of the PROXY protocol: another worker would not know of it
    cdef Endpoint facts             # what endpoint() answers; made at the first question

    # Send bytes, or keep a copy of what the kernel does not take. A broken stream swallows them.
    cdef int write(self, const char* data, Py_ssize_t size) except -1
    # Send `data` and then `body`, which belongs to the bytes object `owner`, without copying what is taken at once.
    cdef int write_body(self, const char* data, Py_ssize_t size, bytes owner, const char* body,
                        Py_ssize_t body_size) except -1
    # Whether write_file() can be used.
    cdef bint sends_files(self) noexcept
    # Send `count` bytes of the file `fd` from `offset` on, without their passing through our memory. The descriptor is
    # the caller's again on return. A file that turns out to be shorter breaks the stream.
    cdef int write_file(self, int fd, int64_t offset, int64_t count) except -1
    cdef Py_ssize_t pending(self) except -1     # bytes that wait for the kernel
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    # End our half of the conversation once everything is sent; the peer may go on.
    cdef int shutdown(self) except -1
    # Close once everything is sent. Connection.lost() follows.
    cdef int close(self) except -1
    # Close now, with a reset; what was not sent is lost. Connection.lost() follows.
    cdef int abort(self) except -1
    # Bytes from the peer wait in the kernel: closing now would reset the connection.
    cdef bint readable(self) noexcept
    # Streams of this kind can change their worker.
    cdef bint movable(self) noexcept
    # Let another worker serve the connection: the peer does not notice. Only while nothing is pending in our memory,
    # either way; what the kernel holds goes along. `fresh`: no request has come yet. True: Connection.lost() follows.
    # False: not now, and nothing has changed.
    cdef bint hand_on(self, bint fresh) except -1
    cdef Endpoint endpoint(self)


cdef class Connection(TimerEntry):
    cdef Stream stream              # None once lost() has been called
    cdef WorkerState worker
    # The client has to take something by then; in seconds on the worker's clock, FOREVER while nothing waits for it.
    cdef double write_deadline
    cdef Py_ssize_t stalled         # bytes pending when the write deadline was set

    cdef int opened(self, Stream stream) except -1
    # Bytes from the peer, valid during the call only.
    cdef int received(self, const char* data, Py_ssize_t size) except -1
    # The peer has ended its half.
    cdef int ended(self) except -1
    # The stream has handed everything to the kernel after having been blocked.
    cdef int drained(self) except -1
    # The stream is gone. `reason` is an exception or None.
    cdef int lost(self, object reason) except -1

    # Who is at the two ends, as the request in progress has it; None once the stream is gone.
    cdef Endpoint endpoint(self)

    # The worker stops, or has a surplus, in the way its fields say: finish what runs, leave when idle. May be called
    # again and again.
    cdef int drain(self) except -1
    # Make the worker's write buffer this connection's, so that it can append to it.
    cdef int claim_output(self) except -1
    # Move output that belongs to this connection out of the worker's write buffer.
    cdef int release_output(self) except -1
    # Send what the write buffer holds, which was this connection's.
    cdef int send_output(self) except -1
    # Set the write deadline if the client does not take what was sent.
    cdef int watch_writing(self) except -1
    # The write deadline has passed: another one if the client has taken something, else the connection is aborted.
    cdef int write_overdue(self, double now) except -1
    # Put the earliest deadline on the wheel.
    cdef int arm(self) except -1
    # Go on after the response ended outside of our own calls. Called by the event loop.
    cdef int proceed(self) except -1


cdef class WorkerState:
    cdef readonly object loop
    cdef Handler handler
    cdef Forwarding forwarding          # reads what trusted proxies say of a request; None when off
    cdef AccessLog access_log           # None when off
    cdef Clock clock
    cdef TimerWheel wheel
    cdef double now                     # the clock at the latest event
    cdef readonly set open_connections
    cdef ServedList in_progress         # whose application has not ended in its first step
    cdef void* handling                 # Exchange in its first step, borrowed: it joins them if it is not done then
    cdef readonly bint draining
    cdef readonly bint handing_on       # draining: connections change their worker where they can
    cdef long surplus                   # while not draining: connections that other workers should have
    cdef double idle_grace              # draining otherwise: seconds that a connection is kept after becoming idle
    # Scratch: one of each per worker, used by one connection at a time.
    cdef HeadMemory head
    cdef ResponseWriter writer
    cdef Buffer output
    cdef Connection output_owner        # whose bytes `output` holds, or None
    # Limits, in bytes or items; 0 is none.
    cdef readonly long limit_request_body
    cdef readonly long limit_concurrency
    cdef public long request_limit
    # Timeouts in seconds; FOREVER is none.
    cdef double timeout_header
    cdef double timeout_keep_alive
    cdef double timeout_body
    cdef double timeout_write
    cdef double timeout_request
    # Counters.
    cdef readonly long total_requests   # final responses completed
    cdef readonly long rejected         # requests the server itself answered with 4xx or 5xx
    cdef public object on_idle          # called when the last connection has closed; None or a callable
    cdef public object on_limit         # called once when total_requests reaches request_limit
    cdef dict upgrades                  # lower-case token (bytes) -> Upgrade

    cdef Connection new_connection(self)
    cdef int opened(self, Connection connection) except -1
    cdef int closed(self, Connection connection) except -1
    cdef int count_response(self) except -1
    # A request was rejected by the server itself: count it and tell the log, at a bounded rate.
    cdef int note_rejection(self, Connection connection, int status, str reason, bytes sample) except -1
    # Something about a request that is worth a warning, at the same bounded rate.
    cdef int note(self, Connection connection, str message) except -1
    cdef int call_soon(self, Connection connection) except -1
    cdef int call_failed(self, Connection connection, object error) except -1


cdef class Upgrade:
    # What becomes of a request whose client asks for another protocol (RFC 9110 section 7.8).
    #
    # Returns the connection that takes the stream over at once, and writes the 101 response itself, in opened(). Or
    # None: then the request is served as HTTP, unless it has been rejected meanwhile. With `exchange.websocket` set
    # the protocol may change while it is served.
    #
    # A request with a body (exchange.request_complete is False) is there to be rejected; no stream is taken over.
    cdef Connection accept(self, Connection connection, Exchange exchange)
