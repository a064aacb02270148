"""ASGI 3.0 over a WebSocket (WebSocket specification 2.5).

WebSocketCycle is one call of an application. Its `receive` answers in this order: websocket.connect, the messages in
the order of their arrival, and one websocket.disconnect; who asks for more after that waits until its task ends. Its
`send` validates messages and hands them to the WebSocket; the awaitable it returns is a finished one unless the client
is slow.

Errors of the application are told in uvicorn's words. What it sends when the client is gone raises ClientDisconnected,
an OSError; that it closes what is closed already is no error.
"""

from asyncio import CancelledError
from urllib.parse import quote

from cpython.dict cimport PyDict_CheckExact, PyDict_Copy, PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem
from cpython.object cimport PyObject

from fastserve._exchange cimport RESPONSE_COMPLETE, Exchange
from fastserve._websocket cimport WEBSOCKET_CLOSING, WEBSOCKET_CONNECTING, WEBSOCKET_OPEN, WebSocket
from fastserve.gateway._awaitables cimport NOT_YET, READY, Awaited
from fastserve.gateway._task cimport TaskDriver, as_coroutine
from fastserve.gateway._text cimport fastserve_equal

from fastserve.errors import ClientDisconnected

cdef extern from "Python.h":
    str PyUnicode_FromObject(object text)

cdef enum AwaitedKind:
    MESSAGE         # receive() has something to answer
    ROOM            # the client keeps up

cdef enum:
    NORMAL = 1000   # close codes
    ABNORMAL = 1006
    FAILED = 1011

cdef tuple NO_FIELDS = ()
# Cycles whose application asks for more after the end: they live until their task is cancelled.
cdef set LEFT_WAITING = set()
cdef str TYPE = "type"
cdef str BYTES = "bytes"
cdef str TEXT = "text"
cdef str CONNECT = "websocket.connect"
cdef str RECEIVE = "websocket.receive"
cdef str DISCONNECT = "websocket.disconnect"
cdef str ACCEPT = "websocket.accept"
cdef str SEND = "websocket.send"
cdef str CLOSE = "websocket.close"
cdef str RESPONSE_START = "websocket.http.response.start"
cdef str RESPONSE_BODY = "websocket.http.response.body"


cdef dict with_shared_keys(dict items):
    class Keys:
        pass

    # Each new instance is lent a little less room for more attributes.
    for _ in range(64):
        instance = Keys()
        for key, value in items.items():
            setattr(instance, key, value)
    return vars(instance)


cdef dict TEXT_MESSAGE = with_shared_keys({TYPE: RECEIVE, TEXT: None})
cdef dict BYTES_MESSAGE = with_shared_keys({TYPE: RECEIVE, BYTES: None})


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
    cdef WebSocket websocket = exchange.websocket
    cycle.websocket = websocket
    cycle.exchange = exchange
    cycle.logger = logger
    cycle.scope = scope
    cycle.driver = tasks
    exchange.responder = cycle
    try:
        coroutine = as_coroutine(application(scope, cycle.receive, cycle.send))
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        cycle._ended(None, error)
        return websocket.stepped()
    cycle.first_step = True
    task = tasks.start(coroutine, cycle)
    cycle.first_step = False
    if not exchange.application_done:
        cycle.task = task
    return 0


cdef class WebSocketCycle(Awaited):
    """One call of an ASGI application for a WebSocket."""

    # --- what the application calls

    def receive(self):
        """Return an awaitable of the next message: websocket.connect, websocket.receive or websocket.disconnect."""
        return self.wait(MESSAGE)

    cdef object awaited(self, int kind):
        cdef dict message
        if kind == ROOM:
            return None if self.websocket.phase >= WEBSOCKET_CLOSING or self.websocket.writable() else NOT_YET
        message = self._message()
        if message is not None:
            return message
        if self.told and not self.exchange.application_done:
            # No connection refers to it any more, only the task that waits for it in vain.
            LEFT_WAITING.add(self)
        return NOT_YET

    cdef dict _message(self):
        # The next message, or None when the application has to wait for it.
        cdef WebSocket websocket = self.websocket
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
        cdef WebSocket websocket = self.websocket
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
        self._flush()
        if self.first is not None and websocket.phase >= WEBSOCKET_CLOSING:
            # Whoever listens has its answer.
            self.wake(MESSAGE)
        if websocket.writable():
            return READY
        return self.wait(ROOM)

    cdef int _answer(self, object kind, dict message) except -1:
        cdef WebSocket websocket = self.websocket
        if self.denied:
            if not fastserve_equal(kind, RESPONSE_BODY):
                raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
            self.exchange.body(message.get("body", b""), message.get("more_body", False))
            if self.exchange.phase == RESPONSE_COMPLETE:
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
            self.exchange.start(status, message.get("headers") or NO_FIELDS, False)
            self.denied = True
            self._log('%s - "WebSocket %s" %d', (status,))
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'.")
        return 0

    cdef int _send_late(self, object kind) except -1:
        if (self.closed or self.denied) and not self.exchange.detached:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        if self.closed or self.denied or not fastserve_equal(kind, CLOSE):
            raise ClientDisconnected
        return 0

    cdef int _close(self, dict message) except -1:
        code = message.get("code")
        self.websocket.close(NORMAL if code is None else code, message.get("reason") or "")
        self.closed = True
        return 0

    cdef int _log(self, str line, tuple more) except -1:
        cdef dict scope = self.scope
        self.scope = None
        if self.logger.isEnabledFor(20):
            path = quote(scope["path"])
            query = scope["query_string"].decode("ascii", "backslashreplace")
            self.logger.info(line, self.exchange.endpoint.peer(), f"{path}?{query}" if query else path, *more)
        return 0

    cdef int _flush(self) except -1:
        # Inside a step of our own task what is corked leaves when the step is over; from elsewhere it leaves now.
        if self.websocket.corked or self.first_step or (
                self.task is not None and self.driver.current() is self.task and self.driver.native):
            return 0
        return self.websocket.flush()

    # --- what the protocol tells

    cdef int body_arrived(self) except -1:
        return self.wake(MESSAGE) if self.first is not None else 0

    cdef int drained(self) except -1:
        return self.wake(ROOM) if self.first is not None else 0

    cdef int disconnected(self) except -1:
        if self.websocket.phase == WEBSOCKET_CONNECTING:
            self.websocket.over(ABNORMAL, "")
        self.drained()
        return self.body_arrived()

    cdef int cancel(self) except -1:
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        return 0

    # --- the end

    cdef int task_suspended(self) except -1:
        return self.websocket.stepped()

    cdef int task_finished(self, object result, object exception) except -1:
        self._ended(result, exception)
        return self.websocket.stepped()

    cdef int _ended(self, object result, object exception) except -1:
        cdef WebSocket websocket = self.websocket
        self.task = None
        if self.told:
            LEFT_WAITING.discard(self)
        if exception is not None:
            if not (isinstance(exception, ClientDisconnected) or (
                    self.cancelled and isinstance(exception, CancelledError))):
                self.logger.error("Exception in ASGI application\n", exc_info=exception)
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
        return self.exchange.finished()
