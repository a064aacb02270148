"""ASGI 3.0 over a WebSocket (WebSocket specification 2.5).

WebSocketCycle is one call of an application. Its `receive` answers in this order: websocket.connect, the messages in
the order of their arrival, and one websocket.disconnect; who asks for more after that waits until its task ends. Its
`send` validates messages and hands them to the WebSocket; the awaitable it returns is a finished one unless the client
is slow.

Errors of the application are told in uvicorn's words. What it sends when the client is gone raises ClientDisconnected,
an OSError; that it closes what is closed already is no error.
"""

from urllib.parse import quote

from cpython.dict cimport PyDict_CheckExact, PyDict_Copy, PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem
from cpython.object cimport PyObject

from fastserve._exchange cimport RESPONSE_COMPLETE, Endpoint, Exchange
from fastserve._websocket cimport WEBSOCKET_CLOSING, WEBSOCKET_CONNECTING, WEBSOCKET_OPEN, WebSocket
from fastserve.gateway._awaitables cimport NOT_YET, READY
from fastserve.gateway._binding cimport fastserve_bind
from fastserve.gateway._cycle cimport MESSAGE, RECEIVE, ROOM, Cycle
from fastserve.gateway._task cimport TaskDriver
from fastserve.gateway._text cimport fastserve_equal

from fastserve.errors import ClientDisconnected

cdef extern from "Python.h":
    str PyUnicode_FromObject(object text)

cdef enum:
    NORMAL = 1000   # close codes
    ABNORMAL = 1006
    FAILED = 1011

cdef enum:
    INFO = 20       # logging's level

cdef tuple NO_FIELDS = ()
# Cycles whose application asks for more after the end: they live until their task is cancelled.
cdef set LEFT_WAITING = set()
cdef str TYPE = "type"
cdef str BYTES = "bytes"
cdef str TEXT = "text"
cdef str CONNECT = "websocket.connect"
cdef str RECEIVED = "websocket.receive"
cdef str DISCONNECT = "websocket.disconnect"
cdef str ACCEPT = "websocket.accept"
cdef str SEND = "websocket.send"
cdef str CLOSE = "websocket.close"
cdef str RESPONSE_START = "websocket.http.response.start"
cdef str RESPONSE_BODY = "websocket.http.response.body"
cdef str SOURCE = "_asgi_websocket.pyx"     # where a line of the log comes from


cdef dict with_shared_keys(dict items):
    class Keys:
        pass

    # Each new instance is lent a little less room for more attributes.
    for _ in range(64):
        instance = Keys()
        for key, value in items.items():
            setattr(instance, key, value)
    return vars(instance)


cdef dict TEXT_MESSAGE = with_shared_keys({TYPE: RECEIVED, TEXT: None})
cdef dict BYTES_MESSAGE = with_shared_keys({TYPE: RECEIVED, BYTES: None})


cdef object _read(dict message, WebSocketParts* parts):
    # Fills `parts`, answers the message's type. Literal keys are interned: most are found by their address.
    cdef Py_ssize_t position = 0
    cdef PyObject* key
    cdef PyObject* value
    parts.kind = parts.data = parts.text = NULL
    while PyDict_Next(message, &position, &key, &value):
        if key is <PyObject*> TYPE:
            parts.kind = value
        elif key is <PyObject*> TEXT:
            parts.text = value
        elif key is <PyObject*> BYTES:
            parts.data = value
        else:
            parts.kind = PyDict_GetItemWithError(message, TYPE)
            parts.text = PyDict_GetItemWithError(message, TEXT)
            parts.data = PyDict_GetItemWithError(message, BYTES)
            break
    if parts.kind is NULL:
        raise KeyError(TYPE)
    return <object> parts.kind


cdef int serve(object application, dict scope, Exchange exchange, TaskDriver tasks, object logger) except -1:
    cdef WebSocketCycle cycle = WebSocketCycle.__new__(WebSocketCycle)
    cycle.served = <WebSocket> exchange.websocket
    cycle.driver = tasks
    cycle.logger = logger
    cycle.scope = scope
    exchange.responder = cycle
    cycle.call(application, scope, fastserve_bind(RECEIVE, cycle), fastserve_bind(SEND_MESSAGE, cycle))
    return 0


cdef class WebSocketCycle(Cycle):
    """One call of an ASGI application for a WebSocket."""

    # --- what the application calls

    cdef object awaited(self, int kind):
        # What receive() answers: websocket.connect, websocket.receive or websocket.disconnect.
        cdef WebSocket websocket = <WebSocket> self.served
        cdef dict message
        if kind == ROOM:
            return None if websocket.phase >= WEBSOCKET_CLOSING or websocket.writable() else NOT_YET
        message = self._message(websocket)
        if message is not None:
            return message
        if self.told and not self.served.application_done:
            # No connection refers to it any more, only the task that waits for it in vain.
            LEFT_WAITING.add(self)
        return NOT_YET

    cdef dict _message(self, WebSocket websocket):
        # The next message, or None when the application has to wait for it.
        cdef object content
        cdef dict message
        if not self.connected:
            self.connected = True
            return {TYPE: CONNECT}
        content = websocket.take()
        if content is not None:
            if type(content) is str:
                message = PyDict_Copy(TEXT_MESSAGE)
                PyDict_SetItem(message, TEXT, content)
            else:
                message = PyDict_Copy(BYTES_MESSAGE)
                PyDict_SetItem(message, BYTES, content)
            return message
        if websocket.phase >= WEBSOCKET_CLOSING and not self.told:
            self.told = True
            return {TYPE: DISCONNECT, "code": websocket.close_code, "reason": websocket.close_reason}
        return None

    def send(self, message):
        """Take a message; return an awaitable that is finished at once unless the client is slow."""
        cdef WebSocket websocket = <WebSocket> self.served
        cdef WebSocketParts parts
        cdef dict plain = <dict> message if PyDict_CheckExact(message) else dict(message)
        cdef object kind = _read(plain, &parts)
        cdef object content
        if websocket.phase == WEBSOCKET_OPEN:
            if fastserve_equal(kind, SEND):
                content = None if parts.data is NULL else <object> parts.data
                if content is None and parts.text is not NULL:
                    content = <object> parts.text
                    if content is not None and type(content) is not str:
                        content = PyUnicode_FromObject(content)
                elif isinstance(content, str):
                    raise TypeError("The 'bytes' of ASGI message 'websocket.send' must be bytes, not str.")
                if content is not None:
                    websocket.send(content)
            elif fastserve_equal(kind, CLOSE):
                self._close(plain)
            else:
                raise RuntimeError(
                    f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")
        elif websocket.phase == WEBSOCKET_CONNECTING:
            self._answer(kind, plain)
        else:
            self._send_late(kind)
            return READY
        if not websocket.corked:
            self.flush()
        if self.first is not None and websocket.phase >= WEBSOCKET_CLOSING:
            # Whoever listens has its answer.
            self.wake(MESSAGE)
        if websocket.writable():
            return READY
        return self.wait(ROOM)

    cdef int _answer(self, object kind, dict message) except -1:
        cdef WebSocket websocket = <WebSocket> self.served
        if self.denied:
            if not fastserve_equal(kind, RESPONSE_BODY):
                raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
            websocket.exchange.body(message.get("body", b""), message.get("more_body", False))
            if websocket.exchange.phase == RESPONSE_COMPLETE:
                websocket.over(ABNORMAL, "")
        elif fastserve_equal(kind, ACCEPT):
            websocket.accept(message.get("subprotocol"), message.get("headers") or NO_FIELDS)
            self._log('%s - "WebSocket %s" [accepted]', ())
        elif fastserve_equal(kind, CLOSE):
            self._close(message)
            self._log('%s - "WebSocket %s" 403', ())
        elif fastserve_equal(kind, RESPONSE_START):
            status = message["status"]
            if not 100 <= status < 600:
                raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
            websocket.exchange.start(status, message.get("headers") or NO_FIELDS, False)
            self.denied = True
            self._log('%s - "WebSocket %s" %d', (status,))
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'.")
        return 0

    cdef int _send_late(self, object kind) except -1:
        if (self.closed or self.denied) and not (<WebSocket> self.served).detached():
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        if self.closed or self.denied or not fastserve_equal(kind, CLOSE):
            raise ClientDisconnected
        return 0

    cdef int _close(self, dict message) except -1:
        code = message.get("code")
        (<WebSocket> self.served).close(NORMAL if code is None else code, message.get("reason") or "")
        self.closed = True
        return 0

    cdef int _log(self, str line, tuple more) except -1:
        cdef object logger = self.logger
        cdef dict scope = self.scope
        cdef Endpoint endpoint = self.served.endpoint
        self.scope = None
        if logger.isEnabledFor(INFO):
            path = quote(scope["path"])
            query = scope["query_string"].decode("ascii", "backslashreplace")
            arguments = (endpoint.peer(), f"{path}?{query}" if query else path, *more)
            # logger.info() would look for its caller, and make a frame object of the application on the way: one for
            # each coroutine, for as long as it lives.
            logger.handle(logger.makeRecord(logger.name, INFO, SOURCE, 0, line, arguments, None))
            # There may be very many, idle for long, and nobody asks again as a rule.
            endpoint._peer = None
        return 0

    # --- what the protocol tells

    cdef int disconnected(self) except -1:
        cdef WebSocket websocket = <WebSocket> self.served
        if websocket.phase == WEBSOCKET_CONNECTING:
            websocket.over(ABNORMAL, "")
        return Cycle.disconnected(self)

    # --- the end

    cdef int ended(self, object result, object exception) except -1:
        cdef WebSocket websocket = <WebSocket> self.served
        if self.told:
            LEFT_WAITING.discard(self)
        if exception is not None:
            if not isinstance(exception, ClientDisconnected):
                self.log_failure(exception)
            websocket.end(FAILED)
        elif websocket.phase == WEBSOCKET_CONNECTING:
            self.logger.error(
                "ASGI callable returned without completing response." if self.denied
                else "ASGI callable returned without completing handshake.")
            websocket.end(FAILED)
        else:
            if result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
            websocket.end(NORMAL)
        return 0


cdef object SEND_MESSAGE = WebSocketCycle.__dict__["send"]
