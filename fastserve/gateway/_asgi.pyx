"""ASGI 3.0 over an exchange (HTTP specification 2.5).

AsgiGateway builds the scope and starts the application; AsgiCycle is one such call. Its `send` validates messages and
hands them to the exchange; the awaitable it returns is a finished one unless the client is slow. Its `receive` returns
what is there and waits only when nothing is.

Errors of the application are told in uvicorn's words: they are raised where `send` is called, and what goes wrong with
the call as a whole is logged here, with its traceback, and answered with 500 when nothing is on the wire yet.
"""

import logging
from urllib.parse import unquote

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_CheckExact, PyDict_Copy, PyDict_GetItemWithError, PyDict_Next
from cpython.ref cimport PyObject, _Py_REFCNT
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy

from fastserve._exchange cimport (
    RESPONSE_BODY,
    RESPONSE_COMPLETE,
    RESPONSE_EXPECTED,
    RESPONSE_STARTED,
    RESPONSE_TRAILERS,
    Endpoint,
    Exchange,
    Handler,
)
from fastserve._live cimport COUNTING
from fastserve._websocket cimport WebSocket
from fastserve.gateway._asgi_websocket cimport serve, with_shared_keys
from fastserve.gateway._awaitables cimport NOT_YET, READY
from fastserve.gateway._binding cimport fastserve_bind
from fastserve.gateway._cycle cimport MESSAGE, RECEIVE, ROOM, Cycle
from fastserve.gateway._task cimport TaskDriver
from fastserve.gateway._text cimport fastserve_equal

cdef extern from *:
    """
    /* Whether only one variable refers to each, and nothing weakly; the cycle is in its two methods besides. */
    static inline int fastserve_forgotten(PyObject *cycle, PyObject *receive, PyObject *send) {
        return Py_REFCNT(receive) == 1 && Py_REFCNT(send) == 1 && Py_REFCNT(cycle) == 3 &&
            ((PyCFunctionObject *)receive)->m_weakreflist == NULL &&
            ((PyCFunctionObject *)send)->m_weakreflist == NULL;
    }

    /* Changes whenever the dictionary does, and no two contents share one. Deprecated without a successor; where there
       is none no scope is ever used again. */
    #if PY_VERSION_HEX < 0x030E0000
    #define FASTSERVE_HAS_VERSIONS 1
    static inline uint64_t fastserve_version(PyObject *dict) {
        _Pragma("GCC diagnostic push")
        _Pragma("GCC diagnostic ignored \\"-Wdeprecated-declarations\\"")
        return ((PyDictObject *)dict)->ma_version_tag;
        _Pragma("GCC diagnostic pop")
    }
    #else
    #define FASTSERVE_HAS_VERSIONS 0
    #define fastserve_version(dict) ((uint64_t)0)
    #endif
    """
    bint fastserve_forgotten(object cycle, object receive, object send) noexcept
    const bint HAS_VERSIONS "FASTSERVE_HAS_VERSIONS"
    uint64_t fastserve_version(PyObject* dictionary) noexcept

cdef dict ASGI = {"version": "3.0", "spec_version": "2.5"}
cdef dict WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
cdef dict EXTENSIONS = {"http.response.trailers": {}, "http.response.early_hint": {}}
# The items of a scope in their order. From "asgi" on each request has its own value.
cdef tuple SCOPE_KEYS = (
    "type", "http_version", "server", "client", "scheme", "method", "root_path", "path", "raw_path", "query_string",
    "asgi", "headers", "state", "extensions",
)

cdef bytes EMPTY = b""
cdef tuple NO_FIELDS = ()
cdef str TYPE = "type"
cdef str STATUS = "status"
cdef str HEADERS = "headers"
cdef str TRAILERS = "trailers"
cdef str BODY = "body"
cdef str MORE_BODY = "more_body"
cdef str RESPONSE_START = "http.response.start"
cdef str RESPONSE_BODY_MESSAGE = "http.response.body"
cdef str RESPONSE_TRAILERS_MESSAGE = "http.response.trailers"
cdef str EARLY_HINT = "http.response.early_hint"


# The items of a WebSocket's scope, and two of them: what is particular to one is set in a copy.
cdef dict WEBSOCKET_SCOPE = with_shared_keys(
    {"type": "websocket"} | dict.fromkeys([
        "http_version", "server", "client", "scheme", "root_path", "path", "raw_path", "query_string", "asgi",
        "headers", "subprotocols", "state", "extensions",
    ])
)
cdef tuple WEBSOCKET_COMMON = (
    "http_version", "server", "client", "root_path", "path", "raw_path", "query_string",
)
cdef dict WEBSOCKET_ASGI = with_shared_keys(ASGI)
cdef dict WEBSOCKET_EXTENSIONS = with_shared_keys({"websocket.http.response": {}})


cdef dict _plain(object message):
    # The message as a dictionary, if it is some other mapping.
    cdef dict plain
    if PyDict_CheckExact(message):
        return <dict> message
    plain = {TYPE: message[TYPE]}
    for key in (STATUS, HEADERS, TRAILERS, BODY, MORE_BODY, "links", "more_trailers"):
        value = message.get(key, NOT_YET)
        if value is not NOT_YET:
            plain[key] = value
    return plain


cdef object _read(dict message, MessageParts* parts):
    # Fills `parts`, answers the message's type. Literal keys are interned: going through the few there are finds each
    # by its address, in the place of a lookup for each one that there may be.
    cdef Py_ssize_t position = 0
    cdef PyObject* key
    cdef PyObject* value
    parts.kind = parts.status = parts.headers = parts.trailers = parts.body = parts.more_body = NULL
    while PyDict_Next(message, &position, &key, &value):
        if key is <PyObject*> TYPE:
            parts.kind = value
        elif key is <PyObject*> BODY:
            parts.body = value
        elif key is <PyObject*> STATUS:
            parts.status = value
        elif key is <PyObject*> HEADERS:
            parts.headers = value
        elif key is <PyObject*> MORE_BODY:
            parts.more_body = value
        elif key is <PyObject*> TRAILERS:
            parts.trailers = value
        else:
            parts.kind = PyDict_GetItemWithError(message, TYPE)
            parts.status = PyDict_GetItemWithError(message, STATUS)
            parts.headers = PyDict_GetItemWithError(message, HEADERS)
            parts.trailers = PyDict_GetItemWithError(message, TRAILERS)
            parts.body = PyDict_GetItemWithError(message, BODY)
            parts.more_body = PyDict_GetItemWithError(message, MORE_BODY)
            break
    if parts.kind is NULL:
        raise KeyError(TYPE)
    return <object> parts.kind


cdef inline object _or(PyObject* value, object default):
    return default if value is NULL else <object> value


cdef str _decode_path(bytes raw):
    # Percent-decoded as UTF-8; bytes that are not are replaced, as urllib and so uvicorn do.
    cdef const char* data = PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    cdef str text = PyUnicode_DecodeASCII(data, size, NULL)
    if memchr(data, c"%", size) is NULL:
        return text
    return unquote(text)


cdef class ScopeTemplate:
    """What the scopes of a connection have in common."""


cdef class AsgiGateway(Handler):
    """Answers exchanges by calling an ASGI 3 application.

    root_path: put before the path of every request, as uvicorn does. state: the lifespan's. task: what drives the
    application, "auto", "native" or "asyncio" (see TaskDriver). reset_contextvars: run requests in an empty context
    instead of a copy of the server's. logger: told of the application's errors.
    """

    def __init__(
        self,
        application,
        loop,
        *,
        root_path="",
        state=None,
        task="auto",
        reset_contextvars=False,
        logger=None,
    ):
        self.application = application
        self.loop = loop
        self.tasks = TaskDriver(loop, task, empty_context=reset_contextvars)
        self.root_path = root_path
        self.raw_root_path = root_path.encode("ascii", "surrogateescape")
        self.state = {} if state is None else state
        self.logger = logger if logger is not None else logging.getLogger("fastserve.error")

    cdef int handle(self, Exchange exchange) except -1:
        cdef AsgiCycle cycle = self.spare
        cdef object receive, send
        cdef dict scope
        if exchange.websocket is not None:
            return serve(self.application, self._websocket_scope(exchange), exchange, self.tasks, self.logger)
        if cycle is None:
            cycle = AsgiCycle.__new__(AsgiCycle)
            cycle.driver = self.tasks
            cycle.logger = self.logger
            receive = fastserve_bind(RECEIVE, cycle)
            send = fastserve_bind(SEND, cycle)
        else:
            receive = self.spare_receive
            send = self.spare_send
            self.spare = self.spare_receive = self.spare_send = None
        cycle.served = exchange
        exchange.responder = cycle
        scope = self._scope(exchange)
        task = cycle.call(self.application, scope, receive, send)
        if task is None or not exchange.application_done:
            return 0
        self.tasks.keep(task)
        if self._unchanged(scope):
            self.spare_scope = scope
        return self._keep(cycle, receive, send)

    cdef int _keep(self, AsgiCycle cycle, object receive, object send) except -1:
        # The request is over. Its cycle serves again if the application has let go of it; not in debug builds, which
        # count how many live.
        if COUNTING or not fastserve_forgotten(cycle, receive, send):
            return 0
        cycle.served = None
        cycle.first = None
        cycle.others = None
        cycle.body_ended = cycle.cancelled = cycle.listens = False
        self.spare = cycle
        self.spare_receive = receive
        self.spare_send = send
        return 0

    cdef dict _scope(self, Exchange exchange):
        cdef ScopeTemplate template = exchange.endpoint.cache
        cdef dict scope, asgi, state
        cdef dict extensions = None
        cdef int index
        if (
            template is None
            or template.method is not exchange.method
            or template.target != exchange.target
            or template.minor != exchange.minor
        ):
            template = self._template(exchange)
        scope = self.spare_scope
        self.spare_scope = None
        if scope is not None and self.lent_minor == exchange.minor and exchange.endpoint.tls is None and (
                self.lent_state == fastserve_version(<PyObject*> self.state)):
            for index in range(SCOPE_FIXED):
                if self.lent_values[index] is not template.values[index]:
                    scope[SCOPE_KEYS[index]] = <object> template.values[index]
        else:
            scope = PyDict_Copy(template.scope)
            # Fresh, because applications may write into them.
            asgi = PyDict_Copy(ASGI)
            state = PyDict_Copy(self.state)
            extensions = PyDict_Copy(EXTENSIONS) if exchange.minor else {}
            scope["asgi"] = asgi
            scope["state"] = state
            scope["extensions"] = extensions
            self.lent_dicts[0] = <PyObject*> asgi
            self.lent_dicts[1] = <PyObject*> state
            self.lent_dicts[2] = <PyObject*> extensions
            for index in range(SCOPE_DICTS):
                self.lent_dict_versions[index] = fastserve_version(self.lent_dicts[index])
            self.lent_state = fastserve_version(<PyObject*> self.state)
            self.lent_minor = exchange.minor
        scope[HEADERS] = exchange.fields
        if exchange.endpoint.tls is not None:
            # One more dictionary that each request has as its own: no other request gets this scope.
            extensions["tls"] = PyDict_Copy(exchange.endpoint.tls)
            self.lent = NULL
            return scope
        memcpy(self.lent_values, template.values, sizeof(self.lent_values))
        self.lent = <PyObject*> scope
        self.lent_version = fastserve_version(self.lent)
        return scope

    cdef dict _websocket_scope(self, Exchange exchange):
        # From the connection's template, which it has no use for any more unless the handshake is denied.
        cdef WebSocket websocket = exchange.websocket
        cdef Endpoint endpoint = exchange.endpoint
        cdef dict common = self._template(exchange).scope
        cdef dict extensions = PyDict_Copy(WEBSOCKET_EXTENSIONS)
        cdef dict scope = PyDict_Copy(WEBSOCKET_SCOPE)
        cdef str key
        endpoint.cache = None
        for key in WEBSOCKET_COMMON:
            scope[key] = common[key]
        scope["scheme"] = WEBSOCKET_SCHEMES.get(endpoint.scheme, endpoint.scheme)
        scope["asgi"] = PyDict_Copy(WEBSOCKET_ASGI)
        scope[HEADERS] = exchange.fields
        scope["subprotocols"] = websocket.subprotocols
        scope["state"] = PyDict_Copy(self.state)
        scope["extensions"] = extensions
        if endpoint.tls is not None:
            extensions["tls"] = PyDict_Copy(endpoint.tls)
        return scope

    cdef bint _unchanged(self, dict scope) noexcept:
        # Whether the scope is as it was handed out, with all that is in it and belongs to it alone, and only the
        # caller's variable refers to it: then nobody can tell it from a new one.
        cdef int index
        if (
            not HAS_VERSIONS
            or self.lent is not <PyObject*> scope
            or _Py_REFCNT(self.lent) != 1
            or fastserve_version(self.lent) != self.lent_version
        ):
            return False
        for index in range(SCOPE_DICTS):
            if (
                _Py_REFCNT(self.lent_dicts[index]) != 1
                or fastserve_version(self.lent_dicts[index]) != self.lent_dict_versions[index]
            ):
                return False
        return True

    cdef ScopeTemplate _template(self, Exchange exchange):
        cdef ScopeTemplate template = exchange.endpoint.cache
        cdef Endpoint endpoint = exchange.endpoint
        cdef str root_path = self.root_path
        cdef bytes raw_root_path = self.raw_root_path
        cdef Py_ssize_t position = 0
        cdef int index
        cdef PyObject* key
        if endpoint.prefix is not None:
            root_path = _decode_path(endpoint.prefix)
            raw_root_path = endpoint.prefix
        if template is None:
            template = endpoint.cache = ScopeTemplate.__new__(ScopeTemplate)
            # Every key is there from the start, so that a copy never grows.
            template.scope = dict.fromkeys(SCOPE_KEYS)
            template.scope[TYPE] = "http"
            template.scope["server"] = endpoint.server
            template.scope["client"] = endpoint.client
            template.scope["scheme"] = endpoint.scheme
            template.scope["root_path"] = root_path
        template.scope["http_version"] = "1.1" if exchange.minor else "1.0"
        template.scope["method"] = exchange.method
        template.scope["query_string"] = exchange.query
        if root_path:
            template.scope["path"] = root_path + _decode_path(exchange.raw_path)
            template.scope["raw_path"] = raw_root_path + exchange.raw_path
        else:
            template.scope["path"] = _decode_path(exchange.raw_path)
            template.scope["raw_path"] = exchange.raw_path
        template.method = exchange.method
        template.target = exchange.target
        template.minor = exchange.minor
        for index in range(SCOPE_FIXED):
            PyDict_Next(template.scope, &position, &key, &template.values[index])
        return template


cdef class AsgiCycle(Cycle):
    """One call of an ASGI application for an exchange."""

    # --- what the application calls

    cdef object awaited(self, int kind):
        # What receive() answers: http.request with body bytes, or http.disconnect.
        cdef Exchange exchange = <Exchange> self.served
        cdef dict message
        if kind == ROOM:
            return None if exchange.writable() else NOT_YET
        if self.body_ended or exchange.committed:
            self.listens = True
        message = self._message(exchange)
        if message is None:
            exchange.want_body()
            self.flush()
            return NOT_YET
        return message

    cdef dict _message(self, Exchange exchange):
        # The next message, or None when the application has to wait for it.
        if exchange.detached or exchange.phase == RESPONSE_COMPLETE:
            return {TYPE: "http.disconnect"}
        if not self.body_ended:
            if exchange.request_complete:
                self.body_ended = True
                return {TYPE: "http.request", "body": exchange.take(), "more_body": False}
            if exchange.disconnected:
                return {TYPE: "http.disconnect"}
            if exchange.queued:
                return {TYPE: "http.request", "body": exchange.take(), "more_body": True}
        elif exchange.disconnected:
            return {TYPE: "http.disconnect"}
        return None

    def send(self, message):
        """Take a response message; return an awaitable that is finished at once unless the client is slow."""
        cdef Exchange exchange = <Exchange> self.served
        cdef MessageParts parts
        cdef dict plain = _plain(message)
        cdef object kind = _read(plain, &parts)
        if exchange.detached:
            return READY
        if exchange.phase == RESPONSE_EXPECTED:
            if fastserve_equal(kind, RESPONSE_START):
                self._start(exchange, &parts)
            elif fastserve_equal(kind, EARLY_HINT):
                self._hint(exchange, plain)
            else:
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            return READY
        if exchange.phase <= RESPONSE_BODY:
            if fastserve_equal(kind, RESPONSE_BODY_MESSAGE):
                exchange.body(_or(parts.body, EMPTY), parts.more_body is not NULL and <object> parts.more_body)
            elif fastserve_equal(kind, EARLY_HINT) and exchange.phase == RESPONSE_STARTED:
                self._hint(exchange, plain)
            else:
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        elif exchange.phase == RESPONSE_TRAILERS:
            if not fastserve_equal(kind, RESPONSE_TRAILERS_MESSAGE):
                raise RuntimeError(f"Expected ASGI message 'http.response.trailers', but got '{kind}'.")
            exchange.trailers(_or(parts.headers, NO_FIELDS), plain.get("more_trailers", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        self.flush()
        if exchange.phase == RESPONSE_COMPLETE and self.first is not None:
            # Whoever listens for a disconnect has its answer: there is nothing to come.
            self.wake(MESSAGE)
        if exchange.writable():
            return READY
        return self.wait(ROOM)

    cdef int _start(self, Exchange exchange, MessageParts* parts) except -1:
        cdef object status = _or(parts.status, None)
        if status is None:
            raise RuntimeError("ASGI message 'http.response.start' has no 'status'.")
        if not isinstance(status, int):
            raise RuntimeError(f"Response status must be an integer, not {type(status).__name__}.")
        return exchange.start(
            status, _or(parts.headers, NO_FIELDS), parts.trailers is not NULL and <object> parts.trailers)

    cdef int _hint(self, Exchange exchange, dict message) except -1:
        exchange.inform(103, [(b"link", link) for link in message.get("links", NO_FIELDS)])
        return self.flush()

    # --- what the protocol tells

    cdef int abandoned(self) except -1:
        # From specification 2.4 on, frameworks do not listen while they stream: they count on the server to end a
        # stream whose client has gone. An application that does listen has been told, and ends in its own way.
        if self.listens:
            return 0
        return self.cancel()

    # --- the end

    cdef int ended(self, object result, object exception) except -1:
        cdef Exchange exchange = <Exchange> self.served
        cdef object logger = self.logger
        if exception is not None:
            self.log_failure(exception)
            exchange.fail()
        elif result is not None:
            logger.error("ASGI callable should return None, but returned '%s'.", result)
            exchange.fail()
        elif exchange.phase == RESPONSE_EXPECTED and not exchange.disconnected:
            logger.error("ASGI callable returned without starting response.")
            exchange.fail()
        elif exchange.phase != RESPONSE_COMPLETE:
            if not exchange.disconnected:
                logger.error("ASGI callable returned without completing response.")
            exchange.fail()
        return 0


cdef object SEND = AsgiCycle.__dict__["send"]
