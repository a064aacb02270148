# WebSocket (RFC 6455) on one connection: the opening handshake of an HTTP/1.1 request, and what follows it.

cimport cython
from fastserve._buffer cimport Buffer
from fastserve._messages cimport MessageReader, MessageWriter
from fastserve._websocket cimport WebSocket
from fastserve.protocol._connection cimport Connection, Upgrade


@cython.final
cdef class WebSocketUpgrade(Upgrade):
    # Limits and times of every WebSocket of the worker: sizes in bytes, 0 is no limit; times in seconds or FOREVER.
    cdef readonly Py_ssize_t max_size       # of one message, also inflated
    cdef readonly Py_ssize_t max_queue      # messages that wait for the application
    cdef double ping_interval
    cdef double ping_timeout
    cdef bint per_message_deflate
    # Of connections without compression: it has no state, and a reader has none between two messages.
    cdef MessageWriter writer
    cdef MessageReader reader               # for the next to read; or None
    cdef object logger


@cython.final
cdef class Http1WebSocket(WebSocket):
    cdef WebSocketUpgrade upgrade
    cdef WebSocketConnection connection     # None before accept() and after the stream is gone
    # Of the opening handshake, until it is accepted: the key as the client sent it; the Deflate and what the response
    # says of it, or None twice.
    cdef tuple offer

    # The fields of the 101 response that are ours.
    cdef list _switching(self, bytes key, bytes extensions, object subprotocol)


@cython.final
cdef class WebSocketConnection(Connection):
    cdef Http1WebSocket websocket
    cdef MessageReader reader       # None between two messages without compression: one is borrowed
    cdef MessageWriter writer
    # Bytes received that there was no room for: in `input`, or where received() was given them while it runs.
    cdef Buffer input
    cdef const char* rest
    cdef Py_ssize_t rest_size
    # When keepalive has something to do; once closing, when the peer has had time enough. FOREVER when off.
    cdef double alarm
    cdef double pinged_at           # the latest ping, or the beginning
    # Truth values in one byte each: there may be very many idle connections.
    cdef unsigned char pinged       # and nothing has been heard since it was looked at last
    cdef unsigned char heard        # bytes have come since the latest ping
    cdef unsigned char paused       # we asked the stream to stop reading
    cdef unsigned char ending       # nothing is read any more
    # The peer's last word, INCOMING_CLOSE or INCOMING_FAILED, while the application has messages that came before it.
    cdef unsigned char last

    # Read messages while there are bytes and room for them.
    cdef int _fill(self) except -1
    cdef MessageReader _borrow(self)
    # Neither waits too much for the application, nor output for the client: what it sends may want an answer.
    cdef bint _has_room(self) except -1
    # Keep what could not be read beyond received().
    cdef int _hold(self) except -1
    cdef int _resume(self) except -1
    cdef int _tell(self) except -1
    # Our close frame, in answer to the peer's or to begin with.
    cdef int _write_close(self, int code, str reason) except -1
    # Begin the closing handshake.
    cdef int _close(self, int code, str reason, double patience) except -1
    # Act on `last`.
    cdef int _conclude(self) except -1
    # Both sides have said their last word, or the peer cannot any more.
    cdef int _finish(self) except -1
    # Close without waiting for the peer's close frame (RFC 6455 section 7.1.7).
    cdef int _fail(self, int code, str reason) except -1
    cdef int _keep_alive(self, double now) except -1
    cdef int _trace(self, str event) except -1
