# One WebSocket (RFC 6455) as the gateway sees it: the counterpart of Exchange once the connection has left HTTP.
#
# The opening handshake is an exchange whose `websocket` is set before handle(). The handler either answers the request
# like any other, which denies the handshake, or calls accept(): then the exchange is over, and the WebSocket takes its
# place, with the exchange's Responder as its own. That is told of what happens: body_arrived() when a message or the
# end is there, drained(), disconnected(), cancel().

from fastserve._exchange cimport Exchange, Served


cdef enum WebSocketPhase:
    WEBSOCKET_CONNECTING            # the opening handshake has no answer yet, or not all of it
    WEBSOCKET_OPEN
    WEBSOCKET_CLOSING               # our close frame is on its way, the peer's is not here
    WEBSOCKET_CLOSED


cdef enum:
    MESSAGE_OVERHEAD = 64           # bytes that a queued message counts for besides its content


cdef class WebSocket(Served):
    cdef readonly Exchange exchange         # the opening handshake's; None once that is accepted
    cdef readonly list subprotocols         # str, as the client offers them
    cdef WebSocketPhase phase
    # From CLOSING on: what the application is told. 1005: the peer's close frame had no code, 1006: there was none.
    cdef int close_code
    cdef str close_reason
    cdef bint corked                        # what is sent leaves at the end of a call of the protocol's
    # Messages received and not taken.
    cdef int queued                         # how many
    cdef object _first                      # the oldest, str or bytes; or None
    cdef list _rest                         # those behind it, or None
    cdef Py_ssize_t queued_size             # bytes of memory

    # --- called by the protocol
    cdef int push(self, object message) except -1

    # --- called by both
    # Closed, if it is not already; code and reason count if it was not closing either.
    cdef int over(self, int code, str reason) except -1

    # --- called by the gateway
    # Nothing sent can reach the client any more.
    cdef bint detached(self) noexcept
    # Accept the handshake; `subprotocol` is a str or None, `fields` (name, value) pairs of bytes. RuntimeError for
    # fields that must not be sent; nothing has changed then.
    cdef int accept(self, object subprotocol, object fields) except -1
    # Send one message, a str or bytes-like, while OPEN. After the connection is lost they do nothing.
    cdef int send(self, object message) except -1
    # CONNECTING: deny with 403. OPEN: begin the closing handshake; ValueError for a code that must not be sent.
    cdef int close(self, int code, str reason) except -1
    # The oldest message received, str or bytes, or None.
    cdef object take(self)
    cdef bint writable(self) noexcept
    # The application is done with it: closed with this code if it is open, 500 if the handshake has no answer.
    cdef int end(self, int code) except -1
