# HTTP/1.1 on one connection (RFC 9112): heads and bodies in, responses out, in order.

cimport cython
from libc.stdint cimport int64_t

from fastserve._buffer cimport Buffer
from fastserve._exchange cimport AccessLog, Endpoint, Exchange
from fastserve._head cimport HeadMemory
from fastserve._parser cimport ChunkedBody
from fastserve.protocol._connection cimport Connection
from fastserve.protocol._response cimport HeadFacts


cdef enum ReadState:
    READ_HEAD           # between requests, or inside a head
    READ_LENGTH         # inside a body with Content-Length
    READ_CHUNKED        # inside a chunked body
    READ_NOTHING        # the request is complete, its response is not: further bytes wait in `input`
    READ_DISCARD        # the last response is sent, the client is still talking: whatever comes is dropped
    READ_CLOSED


@cython.final
cdef class Http1Connection(Connection):
    cdef Endpoint _endpoint         # of the stream, asked for once
    # Reading.
    cdef ReadState reading
    cdef Buffer input               # bytes from the first one that could not be used yet; None when there are none
    cdef Buffer late                # bytes that arrived inside _consume(), by way of a nested event loop; or None
    cdef HeadMemory partial         # where the parser stands in the incomplete head at input's start, or None
    cdef int64_t body_left          # READ_LENGTH: body bytes that have not arrived
    cdef int64_t body_size          # body bytes that have
    cdef int64_t dropped            # bytes dropped since the last response was sent
    cdef ChunkedBody chunked
    cdef bint body_dropped          # the response is complete: what is left of the request body is dropped
    cdef bint expects_continue      # 100 Continue is due at the first want_body()
    cdef bint paused                # we asked the stream to stop reading
    cdef bint peer_ended            # the peer will send nothing more
    # Answering.
    cdef Http1Exchange exchange     # the one being read or answered, or None
    cdef bint persistent            # serve another request after this one
    cdef bint running               # inside _run(): the loop there goes on by itself
    cdef bint finishing             # close() or the like has been asked for
    cdef bint resuming              # proceed() is scheduled
    cdef Connection successor       # has taken the stream over; None again once it has the bytes behind the request
    # Deadlines, in seconds on the worker's clock; FOREVER when off.
    cdef double read_deadline
    cdef double request_deadline
    cdef double idle_since          # when the connection was opened or the last response was complete

    cdef int _run(self, const char* data, Py_ssize_t size) except -1
    cdef Py_ssize_t _consume(self, const char* data, Py_ssize_t size) except -2
    cdef int _run_input(self) except -1
    cdef Py_ssize_t _read_head(self, const char* data, Py_ssize_t size) except -2
    cdef Py_ssize_t _read_body(self, const char* data, Py_ssize_t size) except -2
    cdef Py_ssize_t _read_chunks(self, const char* data, Py_ssize_t size) except -2
    cdef int _deliver(self, const char* data, Py_ssize_t size) except -1
    cdef int _end_body(self) except -1
    cdef int _detach(self, Http1Exchange exchange) except -1
    cdef int _try_upgrade(self) except -1
    cdef int _hand_over(self) except -1
    # Another connection takes over the stream, and what the client has sent behind the request.
    cdef int switch_to(self, Connection successor) except -1
    cdef int _pass_on(self, const char* data, Py_ssize_t size) except -1
    cdef int _split_authority(self, Http1Exchange exchange, const char** target, Py_ssize_t* size) except -1
    cdef int _after_run(self) except -1
    cdef int _overdue(self, int status, str reason) except -1
    cdef bytes _sample(self)
    # The exchange of a request that is rejected before its head is complete, with what is known of it.
    cdef int _open_rejected(self, HeadMemory memory, const char* data) except -1
    cdef int _open_exchange(self, HeadMemory memory, const char* data) except -1
    cdef int _dispatch(self) except -1
    cdef int _settle(self) except -1
    cdef int _reject(self, int status, str reason, bytes sample) except -1
    # The same, with more fields in the response.
    cdef int reject(self, int status, str reason, bytes sample, list fields) except -1
    cdef int _respond(self, Http1Exchange exchange, int status, bytes text, list fields) except -1
    # Close once everything is sent; lingering when the client is still sending, so that it can read the response.
    cdef int _finish(self) except -1
    cdef bint _is_idle(self) noexcept
    # The worker stops, and nobody takes the connection over: the next response is the last.
    cdef bint _is_last(self) noexcept
    # Idle, in a worker that stops: leave, now or when it is time.
    cdef int _refuse_websocket(self) except -1
    cdef int _leave(self) except -1
    cdef int _pause(self) except -1
    cdef int _resume(self) except -1


@cython.final
cdef class Http1Exchange(Exchange):
    cdef Http1Connection connection  # None once the exchange has no way to the client any more
    cdef Py_ssize_t head_start      # where this head begins in the worker's output, -1 when it is not there
    cdef bytes held                 # the head, moved out of there when a step ended before the first body byte
    cdef HeadFacts facts
    cdef unsigned char bodiless     # HEAD, 204, 304: body bytes are counted, not sent
    cdef unsigned char chunked      # our framing
    cdef unsigned char announced_trailers
    cdef int64_t sent               # body bytes

    # The first bytes of the body are here, `size` of them; `more` may follow.
    cdef int _commit(self, bint more, int64_t size) except -1
    cdef int _complete(self) except -1
    # Tell a log that is told at the end.
    cdef int _note(self, AccessLog log) except -1
    cdef int _drop_head(self) noexcept
    cdef int _interim(self, bytes message) except -1
