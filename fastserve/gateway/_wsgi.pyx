"""WSGI (PEP 3333) in the event loop.

The application is called where its request is complete, inside the read callback: no thread, no task, nothing handed
over. While it runs nothing else does, so this is for applications that answer at once. All of a call, also what of it
comes later, runs in a contextvars.Context of its own. The thread seems to have no running event loop meanwhile: Django
refuses its database where there is one, and `asyncio.run` and `async_to_sync` could not do their work.

`start_response` hands status and fields to the exchange, which checks them and keeps the head until there are body
bytes; until then a second call, with exc_info, takes the first one's place. Whatever the application yields goes out
before it is asked for more, as PEP 3333 wants it; only where more cannot be asked for (a list, the iterator of one, a
declared length that is reached) everything leaves in one write. When the client is slow, or the iterator has had the
loop for some time, it is continued later.

`write` cannot make the application wait for a slow client, since the loop would wait with it. What the client has not
taken goes to a temporary file, is sent from there before anything else, and has a bound; beyond it, `write` raises.
"""

import io
import logging
import os
import stat
import tempfile
from asyncio import _get_running_loop, _set_running_loop
from http import HTTPStatus
from urllib.parse import quote

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from fastserve._exchange cimport RESPONSE_COMPLETE, Exchange, Handler
from fastserve.gateway._binding cimport fastserve_bind
from fastserve.gateway._environ cimport EnvironBuilder
from fastserve.gateway._threads cimport Work
from fastserve.gateway._wsgi_input cimport RequestBody, empty_input

cdef extern from "time.h" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* time)
    int CLOCK_MONOTONIC

cdef extern from *:
    """
    static PyObject *fastserve_call(PyObject *callable, PyObject *environ, PyObject *start_response) {
        PyObject *arguments[3] = {NULL, environ, start_response};
        return PyObject_Vectorcall(callable, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }

    static inline int fastserve_has_length(PyObject *object) {
        PyTypeObject *type = Py_TYPE(object);
        return (type->tp_as_sequence != NULL && type->tp_as_sequence->sq_length != NULL) ||
            (type->tp_as_mapping != NULL && type->tp_as_mapping->mp_length != NULL);
    }
    """
    object fastserve_call(object callable, object environ, object start_response)
    bint fastserve_has_length(object thing) noexcept
    PyObject* PyIter_Next(object iterator) except? NULL
    Py_ssize_t PyObject_Size(object thing) except -1
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    STATUSES_KEPT = 256
    SPOOL_IN_MEMORY = 262144    # bytes of a response written too fast that are not yet in a file
    BLOCK = 65536               # bytes read from there at a time

cdef double SLICE = 0.005       # seconds that an iterator has the loop for, at one time
cdef bytes EMPTY = b""
cdef object LIST_ITERATOR = type(iter([]))
cdef object TUPLE_ITERATOR = type(iter(()))


cdef double now() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef bytes _encoded(object text):
    return bytes(text) if isinstance(text, bytes) else text.encode("latin-1")


cdef bytes checked_piece(object piece):
    if type(piece) is bytes:
        return <bytes> piece
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(f"A WSGI application's response must consist of bytes, not {type(piece).__name__}.")


cdef tuple rest_of_file(object result):
    cdef object file = result.filelike
    cdef int fd
    try:
        fd = file.fileno()
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return None
        # What a buffered file has read ahead is not lost: its own position counts.
        offset = file.tell() if hasattr(file, "tell") else os.lseek(fd, 0, os.SEEK_CUR)
    except (AttributeError, OSError, TypeError, ValueError):
        return None
    if facts.st_size <= offset:
        # What the kernel makes up when it is read, as in /proc, has no size.
        return None
    return fd, offset, facts.st_size - offset


cdef bint is_made(object pieces) noexcept:
    return type(pieces) is LIST_ITERATOR or type(pieces) is TUPLE_ITERATOR


cdef bint is_single(object result) noexcept:
    if not fastserve_has_length(result):
        return False
    try:
        return PyObject_Size(result) == 1
    except Exception:
        return False


class FileWrapper:
    """`wsgi.file_wrapper`: the rest of a file as a response, in blocks of `block_size` bytes.

    Returned as it is by the application, a file of the system is sent by the kernel where that is possible.
    """

    def __init__(self, filelike, block_size: int = 65536):
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        """Return itself."""
        return self

    def __next__(self) -> bytes:
        """Return the next block."""
        block = self.filelike.read(self.block_size)
        if block:
            return block
        raise StopIteration


cdef class WsgiGateway(Handler):
    """Answers exchanges by calling a WSGI application in the event loop.

    root_path: where the application is mounted: SCRIPT_NAME. multiprocess: whether other processes serve it as well.
    limit_spool: bytes of responses in temporary files. logger: told of the application's errors.
    """

    def __init__(self, application, loop, *, root_path="", multiprocess=False, limit_spool=2**28, logger=None):
        self.limit_spool = limit_spool
        self.application = application
        self.loop = loop
        self.environs = EnvironBuilder(
            root_path, multithread=False, multiprocess=multiprocess, file_wrapper=FileWrapper)
        self.logger = logger if logger is not None else logging.getLogger("fastserve.error")
        self.statuses = {}

    cdef int handle(self, Exchange exchange) except -1:
        cdef LoopCall call = LoopCall.__new__(LoopCall)
        call.gateway = self
        call.exchange = exchange
        exchange.responder = call
        exchange.text_fields = exchange.measure = True
        if exchange.request_complete:
            return call.run()
        call.body = RequestBody()
        call.waiting = True
        exchange.want_body()
        return call.body_arrived()

    cdef tuple parse_status(self, object status):
        cdef tuple found = self.statuses.get(status)
        cdef int code
        cdef str text, reason
        if found is not None:
            return found
        if not isinstance(status, str):
            raise TypeError(f"A status must be str, not {type(status).__name__}.")
        text = str(status)
        reason = text[4:]
        if not (text[:3].isascii() and text[:3].isdigit()) or text[3:4] not in ("", " "):
            raise ValueError(f"A status must be three digits, a space and a phrase, not {text!r}.")
        code = int(text[:3])
        try:
            usual = HTTPStatus(code).phrase
        except ValueError:
            usual = None
        found = (code, None if not reason or reason == usual else reason.encode("latin-1"))
        if len(self.statuses) < STATUSES_KEPT:
            self.statuses[text] = found
        return found

    cdef int failed(self, str where, object error) except -1:
        self.logger.error("Exception in WSGI application: %s\n", where, exc_info=error)
        return 0


cdef class WsgiCall(Work):
    """One call of a WSGI application; as a callable, what start_response returns: write."""

    cdef dict environ(self):
        cdef Exchange exchange = self.exchange
        cdef dict environ = self.gateway.environs.build(exchange)
        cdef Py_ssize_t size = exchange.queued
        if self.body is not None and not self.waiting:
            size = self.body.size
            environ["wsgi.input"] = self.body.open()
        elif exchange.queued:
            environ["wsgi.input"] = io.BytesIO(exchange.take())
        else:
            environ["wsgi.input"] = empty_input()
        if size and "CONTENT_LENGTH" not in environ:
            # It came in chunks. Many programs read nothing where they find no length.
            environ["CONTENT_LENGTH"] = str(size)
        environ["wsgi.early_hints"] = fastserve_bind(EARLY_HINTS, self)
        return environ

    # --- what the application calls

    def start_response(self, status, headers, exc_info=None):
        """Take the response's status ("200 OK") and fields, (name, value) tuples of str; return `write`.

        exc_info: of an exception that the call is the answer to: what an earlier call gave is replaced, and where that
        is on its way already, the exception is raised. Raises what else there is to be said about the arguments.
        """
        cdef tuple parsed
        if self.started:
            if exc_info is None:
                raise AssertionError("start_response was called again without exc_info.")
            try:
                if self.sent():
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        parsed = self.gateway.parse_status(status)
        self.begin(parsed[0], parsed[1], headers)
        self.started = True
        return self

    def __call__(self, data, /) -> None:
        """Send body bytes at once: `write` of PEP 3333."""
        cdef bytes piece = checked_piece(data)
        if not self.started:
            raise AssertionError("write was called before start_response.")
        if piece:
            self.put(piece)

    def early_hints(self, headers, /) -> None:
        """Send a response 103 with these fields, (name, value) tuples of str or bytes, as long as the response has not
        begun.
        """
        self.hint([(_encoded(name), _encoded(value)) for name, value in headers])

    # --- for those who run it

    cdef int hint(self, list fields) except -1:
        raise NotImplementedError

    cdef int begin(self, int status, bytes reason, object fields) except -1:
        raise NotImplementedError

    cdef bint sent(self) noexcept:
        return False

    cdef int put(self, bytes piece) except -1:
        raise NotImplementedError

    cdef int run(self) except -1:
        raise NotImplementedError

    cdef bint collect(self) except -1:
        cdef Exchange exchange = self.exchange
        try:
            if exchange.queued:
                self.body.add(exchange.take())
            if not exchange.request_complete:
                return False
            self.body.end()
        except OSError as error:
            self.gateway.logger.error(
                "The body of %s cannot be kept in a temporary file: %s", request_line(exchange), error)
            self.lose_body(error)
            return False
        self.waiting = False
        return True

    cdef int lose_body(self, object error) except -1:
        cdef Exchange exchange = self.exchange
        self.exchange = None
        self.discard_body()
        exchange.fail()
        exchange.finished()
        return exchange.stepped()

    cdef int give_up(self) except -1:
        cdef Exchange exchange = self.exchange
        self.exchange = None
        self.discard_body()
        if exchange.detached:
            return exchange.finished()
        exchange.start(400, [("content-type", "text/plain; charset=utf-8"), ("connection", "close")], False)
        exchange.body(b"request body was cut short\n", False)
        exchange.finished()
        return exchange.stepped()

    cdef int discard_body(self) except -1:
        self.waiting = False
        if self.body is not None:
            self.body.discard()
            self.body = None
        return 0

    cdef int body_arrived(self) except -1:
        if self.waiting and self.collect():
            return self.run()
        return 0


cdef object call_application(WsgiCall call, dict environ):
    return fastserve_call(call.gateway.application, environ, fastserve_bind(START_RESPONSE, call))


cdef str request_line(Exchange exchange):
    return f"{exchange.method} {quote(exchange.raw_path, safe='/%')}"


cdef object EARLY_HINTS = WsgiCall.__dict__["early_hints"]
cdef object START_RESPONSE = WsgiCall.__dict__["start_response"]


cdef class LoopCall(WsgiCall):
    """One call of a WSGI application in the event loop."""

    cdef int run(self) except -1:
        # Once for all the steps that are made now: asyncio asks for the process's id each time.
        cdef object loop = _get_running_loop()
        _set_running_loop(None)
        try:
            return self.begin_call()
        finally:
            _set_running_loop(loop)

    cdef int begin_call(self) except -1:
        cdef object result
        try:
            environ = self.environ()
            self.context = PyContext_CopyCurrent()
            PyContext_Enter(self.context)
            try:
                result = call_application(self, environ)
                if type(result) is not list and type(result) is not tuple:
                    self.result = result
                    self.pieces = iter(result)
            finally:
                PyContext_Exit(self.context)
            return self.answer(result)
        except BaseException as error:
            return self.finish(error)

    cdef int answer(self, object result) except -1:
        cdef list pieces
        cdef Py_ssize_t index, last
        if type(result) is list:
            pieces = <list> result
        elif type(result) is tuple:
            pieces = list(result)
        elif is_made(self.pieces):
            pieces = list(self.pieces)
        else:
            if type(result) is FileWrapper:
                if self.send_file(result):
                    return self.finish(None)
                self.is_file = True
            self.single = is_single(result)
            return self.go_on()
        if self.spool is not None:
            self.pieces = iter(pieces)
            return self.go_on()
        last = len(pieces) - 1
        for index in range(last):
            self.send(pieces[index], True)
        self.send(pieces[last] if last >= 0 else EMPTY, False)
        if self.result is not None:
            # The client need not wait for what close() does.
            self.exchange.push()
        return self.finish(None)

    cdef bint send_file(self, object result) except -1:
        cdef Exchange exchange = self.exchange
        cdef tuple file
        if not self.started or exchange.committed or not exchange.sends_files():
            return False
        file = rest_of_file(result)
        return file is not None and exchange.send_file(file[0], file[1], file[2])

    cdef int send(self, object piece, bint more) except -1:
        cdef bytes content = checked_piece(piece)
        cdef Exchange exchange = self.exchange
        if not self.started:
            raise AssertionError("The WSGI application has not called start_response.")
        if more and PyBytes_GET_SIZE(content) == 0:
            return 0
        return exchange.body(content, more)

    cdef int go_on(self) except -1:
        cdef Exchange exchange = self.exchange
        cdef double until = 0.0
        cdef PyObject* item
        cdef object piece
        cdef bint last
        cdef bint first = True
        if self.spool is not None and not exchange.writable():
            return 0
        while not exchange.detached:
            if self.spool is not None:
                piece = self.take_kept()
                last = False
            elif self.ended:
                if exchange.phase != RESPONSE_COMPLETE:
                    self.send(EMPTY, False)
                break
            else:
                self.stepping = True
                PyContext_Enter(self.context)
                try:
                    item = PyIter_Next(self.pieces)
                finally:
                    PyContext_Exit(self.context)
                    self.stepping = False
                if item is NULL:
                    self.ended = True
                    continue
                piece = <object> item
                Py_DECREF(piece)
                if not piece:
                    checked_piece(piece)
                    continue
                if self.spool is not None:
                    # The step has written, and that comes first.
                    self.keep(checked_piece(piece))
                    if exchange.writable():
                        continue
                    return 0
                if self.is_file and self.started and 0 <= exchange.left() < len(piece):
                    piece = piece[:exchange.left()]
                    if not piece:
                        break
                last = self.single
            if exchange.phase == RESPONSE_COMPLETE:
                raise RuntimeError("Response content longer than Content-Length")
            last = last or exchange.method == "HEAD" or (
                self.started and exchange.left() == len(piece))
            self.send(piece, not last)
            exchange.push()
            if exchange.method == "HEAD":
                # Nothing of what it would yield is ever seen.
                break
            if exchange.phase != RESPONSE_COMPLETE and not exchange.writable():
                return 0
            if first:
                first = False
                until = now() + SLICE
            elif now() > until:
                self.gateway.loop.call_soon(self._resume)
                return 0
        return self.finish(None)

    cdef int step(self) except -1:
        cdef object loop = _get_running_loop()
        _set_running_loop(None)
        try:
            return self.go_on()
        except BaseException as error:
            return self.finish(error)
        finally:
            _set_running_loop(loop)

    cdef int give_in(self) except -1:
        """End a call that is between two steps."""
        cdef object loop = _get_running_loop()
        _set_running_loop(None)
        try:
            return self.finish(None)
        finally:
            _set_running_loop(loop)

    def _resume(self) -> None:
        """Go on with the iterator; called by the event loop."""
        cdef Exchange exchange = self.exchange
        if exchange is not None:
            self.step()
            exchange.stepped()

    cdef int drained(self) except -1:
        if self.pieces is not None and not self.stepping:
            return self.step()
        return 0

    cdef int abandoned(self) except -1:
        return self.disconnected()

    cdef int cancel(self) except -1:
        # Between two pieces it can be ended; inside of the application nobody can call this.
        if self.waiting:
            return self.give_up()
        if self.pieces is not None and not self.stepping:
            return self.give_in()
        return 0

    cdef int disconnected(self) except -1:
        if self.waiting:
            return self.give_up()
        if self.pieces is not None and self.exchange.detached and not self.stepping:
            return self.give_in()
        return 0

    cdef int begin(self, int status, bytes reason, object fields) except -1:
        cdef Exchange exchange = self.exchange
        if exchange is None:
            raise RuntimeError("The request is over.")
        if self.started:
            exchange.retract()
        exchange.reason = reason
        return exchange.start(status, fields, False)

    cdef bint sent(self) noexcept:
        return self.exchange is None or self.exchange.committed

    cdef int put(self, bytes piece) except -1:
        if self.exchange is None:
            raise RuntimeError("The request is over.")
        if self.spool is not None or not self.exchange.writable():
            return self.keep(piece)
        self.send(piece, True)
        return self.exchange.push()

    cdef int keep(self, bytes piece) except -1:
        cdef WsgiGateway gateway = self.gateway
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece)
        if self.exchange.detached:
            return 0
        if gateway.spooled + size > gateway.limit_spool:
            raise ConnectionError(f"Clients have not taken {gateway.spooled} bytes that were written for them.")
        if self.spool is None:
            self.spool = tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY)
        self.spool.seek(0, os.SEEK_END)
        self.spool.write(piece)
        self.spool_end += size
        gateway.spooled += size
        return 0

    cdef bytes take_kept(self):
        cdef bytes piece
        self.spool.seek(self.spool_sent)
        piece = self.spool.read(BLOCK)
        self.spool_sent += PyBytes_GET_SIZE(piece)
        self.gateway.spooled -= PyBytes_GET_SIZE(piece)
        if self.spool_sent >= self.spool_end or not piece:
            self.drop_kept()
        return piece

    cdef int drop_kept(self) except -1:
        cdef object spool = self.spool
        if spool is not None:
            self.gateway.spooled -= self.spool_end - self.spool_sent
            self.spool = None
            self.spool_end = self.spool_sent = 0
            spool.close()
        return 0

    cdef int hint(self, list fields) except -1:
        if self.exchange is None or self.exchange.committed:
            return 0
        self.exchange.inform(103, fields)
        return self.exchange.push()

    cdef object close(self, object error):
        cdef object result = self.result
        self.result = self.pieces = None
        if result is None:
            return error
        PyContext_Enter(self.context)
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except BaseException as failure:
            if error is None:
                return failure
            self.gateway.failed("in close()", failure)
        finally:
            PyContext_Exit(self.context)
        return error

    cdef int finish(self, object error) except -1:
        cdef Exchange exchange = self.exchange
        if exchange is None:
            return 0
        error = self.close(error)
        self.exchange = None
        self.discard_body()
        self.drop_kept()
        if error is not None:
            self.gateway.failed(request_line(exchange), error)
            exchange.fail()
        elif exchange.phase != RESPONSE_COMPLETE:
            exchange.fail()
        exchange.finished()
        if error is not None and isinstance(error, KeyboardInterrupt):
            raise error
        return 0
