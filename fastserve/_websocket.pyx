"""One WebSocket as the gateway sees it: its phase, and the queue of messages received.

What is particular to a protocol (accepting, sending, closing) are virtual methods that the protocol's subclass fills
in. Denying the opening handshake is not: that is a response of its exchange.
"""

from cpython.bytes cimport PyBytes_GET_SIZE

from fastserve._exchange cimport Exchange, Served

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    int PyUnicode_KIND(object text) noexcept

cdef list FORBIDDEN = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"0")]


cdef inline Py_ssize_t _memory_of(object message) noexcept:
    if type(message) is bytes:
        return PyBytes_GET_SIZE(message) + MESSAGE_OVERHEAD
    return PyUnicode_GET_LENGTH(message) * PyUnicode_KIND(message) + MESSAGE_OVERHEAD


cdef class WebSocket(Served):
    """One WebSocket. Protocols and gateways do the rest."""

    cdef int push(self, object message) except -1:
        if self._first is None:
            self._first = message
        elif self._rest is None:
            self._rest = [message]
        else:
            self._rest.append(message)
        self.queued += 1
        self.queued_size += _memory_of(message)
        return 0

    cdef object take(self):
        cdef object message = self._first
        if message is None:
            return None
        if self._rest is None:
            self._first = None
        else:
            self._first = self._rest.pop(0)
            if not self._rest:
                self._rest = None
        self.queued -= 1
        self.queued_size -= _memory_of(message)
        return message

    cdef int over(self, int code, str reason) except -1:
        if self.phase < WEBSOCKET_CLOSING:
            self.close_code = code
            self.close_reason = reason
        self.phase = WEBSOCKET_CLOSED
        return 0

    cdef int accept(self, object subprotocol, object fields) except -1:
        raise NotImplementedError

    cdef int send(self, object message) except -1:
        raise NotImplementedError

    cdef int close(self, int code, str reason) except -1:
        if self.phase == WEBSOCKET_CONNECTING:
            self.exchange.start(403, FORBIDDEN, False)
            self.exchange.body(b"", False)
            self.over(1006, "")
        return 0

    cdef bint detached(self) noexcept:
        return self.exchange is None or self.exchange.detached

    cdef bint writable(self) noexcept:
        return self.exchange is None or self.exchange.writable()

    cdef int flush(self) except -1:
        return 0 if self.exchange is None else self.exchange.flush()

    cdef int end(self, int code) except -1:
        if self.phase == WEBSOCKET_OPEN:
            return self.close(code, "")
        if self.exchange is not None:
            # Of one that is answered, or has no way to the client any more, this does nothing.
            self.exchange.fail()
        return self.over(1006, "") if self.phase == WEBSOCKET_CONNECTING else 0

    cdef int stepped(self) except -1:
        return 0 if self.exchange is None else self.exchange.stepped()

    cdef int finished(self) except -1:
        cdef Exchange exchange = self.exchange
        Served.finished(self)
        return 0 if exchange is None else exchange.finished()

    cdef str label(self):
        return "WebSocket"
