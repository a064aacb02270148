"""WSGI (PEP 3333) in threads: the loop reads requests and writes responses, threads call the application.

A request is read as a whole before it waits for a thread, and what the application yields is put into the call's
outbox, so no client can occupy a thread by being slow: beyond OUTBOX_SIZE bytes that the client has not taken, the rest
goes to a temporary file, and only when there is too much in such files, or no room, does the thread wait. A list or
tuple of pieces is in memory as it is, and is not copied.

Calls wait in order. Where too many wait, or one has waited too long, it is answered with 503 in the application's
place. A client that leaves ends the iteration over the response, with close(); what the application is in the middle of
is never interrupted.

With `Expect: 100-continue` the application is called at once, and the client is asked for the body when the application
reads from it. A thread waits for a client only there, as far as LATE_CALLS allows, and where there is too much in
temporary files; another works in its place.

The thread has the call's fields for itself, but for those that say otherwise, and never touches the exchange: that is
the loop's. Both act under the interpreter's lock, and no statement that matters gives it up in the middle.
"""

import os
import tempfile

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t

from fastserve._chars cimport CHAR_TEXT, CHAR_TOKEN, char_is, char_lower
from fastserve._exchange cimport RESPONSE_COMPLETE, RESPONSE_EXPECTED, Exchange
from fastserve.gateway._threads cimport Slot, Threads
from fastserve.gateway._wsgi cimport (
    WsgiCall,
    WsgiGateway,
    call_application,
    checked_piece,
    is_made,
    is_single,
    now,
    request_line,
    rest_of_file,
)
from fastserve.gateway._wsgi_input cimport RequestBody

from fastserve.errors import RequestIncomplete
from fastserve.gateway._wsgi import FileWrapper

cdef extern from *:
    int PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text) noexcept
    void* PyUnicode_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    PyObject* PyIter_Next(object iterator) except? NULL
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    OUTBOX_SIZE = 262144            # bytes of a response in memory that the client has not taken
    BLOCK = 65536                   # bytes read from there at a time
    LATE_CALLS = 14                 # calls that may read a body which has not been sent yet

cdef bytes EMPTY = b""
cdef list NOTHING = []              # stays empty: what is looked through, and not appended to


class LateInput:
    """`wsgi.input` of a body that the client has not sent yet: the first read asks for it, and waits for all of it."""

    def __init__(self, fetch):
        self._fetch = fetch
        self._file = None

    def _body(self):
        if self._file is None:
            self._file = self._fetch()
        return self._file

    def read(self, size=-1, /) -> bytes:
        """Return up to `size` bytes, all there are if it is negative or None."""
        return self._body().read(size)

    def readinto(self, buffer, /) -> int:
        """Read bytes into `buffer`; return how many."""
        return self._body().readinto(buffer)

    def readline(self, size=-1, /) -> bytes:
        """Return the next line, or the first `size` bytes of it."""
        return self._body().readline(size)

    def readlines(self, hint=-1, /) -> list[bytes]:
        """Return lines, until they have `hint` bytes."""
        return self._body().readlines(hint)

    def __iter__(self):
        """Return the lines."""
        return iter(self._body())

    def close(self) -> None:
        """Do nothing: the file is the server's."""


cdef class ThreadedGateway(WsgiGateway):
    """Answers exchanges by calling a WSGI application in `threads` threads.

    limit_queue: calls that may wait for a thread. timeout_queue: seconds that one may; None is for ever. The other
    parameters are those of WsgiGateway.
    """

    def __init__(
        self,
        application,
        loop,
        threads,
        *,
        root_path="",
        multiprocess=False,
        limit_queue=1024,
        timeout_queue=30.0,
        limit_spool=2**28,
        logger=None,
    ):
        WsgiGateway.__init__(
            self, application, loop, root_path=root_path, multiprocess=multiprocess, limit_spool=limit_spool,
            logger=logger)
        self.environs.constant["wsgi.multithread"] = True
        self.limit_queue = limit_queue
        self.timeout_queue = timeout_queue or 0.0
        self.threads = Threads(threads, loop, self.logger)

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return self.threads.waiting

    @property
    def busy(self) -> int:
        """How many threads call the application."""
        return self.threads.busy

    def close(self, timeout: float = 1.0) -> None:
        """End the threads that have nothing to do; the others are named in the log and left."""
        cdef Slot slot
        cdef ThreadCall call
        if self.sweeper is not None:
            self.sweeper.cancel()
            self.sweeper = None
        for slot in self.threads.end(timeout):
            call = <ThreadCall> slot.work
            if call is not None and call.exchange is not None:
                self.logger.error(
                    "Thread %s has not come back from the application after %.1f s: %s; it is left behind.",
                    slot.name, now() - call.since, request_line(call.exchange))

    cdef int handle(self, Exchange exchange) except -1:
        cdef ThreadCall call = ThreadCall.__new__(ThreadCall)
        call.gateway = self
        call.exchange = exchange
        call.outbox = []
        call.sending = NOTHING
        call.spool = call.file = -1
        call.sends_files = exchange.sends_files()
        call.left = -1
        call.bodiless = call.is_head = exchange.method == "HEAD"
        exchange.responder = call
        exchange.text_fields = exchange.measure = True
        if exchange.request_complete:
            return call.run()
        call.body = RequestBody()
        call.waiting = True
        if exchange.minor and not exchange.queued and _expects(exchange.fields) and self.late_calls < LATE_CALLS:
            call.late = True
            self.late_calls += 1
            return call.run()
        exchange.want_body()
        return call.body_arrived()

    cdef int enqueue(self, ThreadCall call) except -1:
        # Of a burst, those that a free thread is about to take do not wait.
        if (
            self.threads.waiting >= self.limit_queue
            and self.threads.waiting >= self.limit_queue + len(self.threads.slots) - self.busy
        ):
            return self.refuse(call, f"{self.threads.waiting} requests wait for a thread already")
        call.since = now()
        if self.timeout_queue and self.sweeper is None:
            self.sweeper = self.loop.call_later(self.timeout_queue, self._sweep)
        return self.threads.put(call)

    def _sweep(self) -> None:
        """Answer those that have waited too long; called by the loop."""
        cdef ThreadCall call
        cdef Exchange exchange
        cdef double present = now()
        self.sweeper = None
        while self.threads.first is not None:
            call = <ThreadCall> self.threads.first
            if present < call.since + self.timeout_queue:
                self.sweeper = self.loop.call_later(call.since + self.timeout_queue - present, self._sweep)
                return
            self.threads.remove(call)
            exchange = call.exchange
            self.refuse(call, f"a request has waited {present - call.since:.0f} s for a thread")
            exchange.stepped()

    cdef int refuse(self, ThreadCall call, str reason) except -1:
        cdef Exchange exchange = call.exchange
        self.refused += 1
        if self.on_refused is not None:
            self.on_refused(f"Service unavailable: {reason}; {self.threads.busy} threads are busy.")
        call.exchange = None
        call.prepared = None
        call.discard_body()
        if call.late:
            self.late_calls -= 1
        if not exchange.detached:
            exchange.start(503, [("content-type", "text/plain; charset=utf-8"), ("retry-after", "1")], False)
            exchange.body(b"Service Unavailable", False)
        return exchange.finished()


cdef bint _expects(list fields) except -1:
    # Only a body of known length can be announced to the application before it is here.
    cdef bint expects = False
    cdef bint measured = False
    for name, value in fields:
        if name == b"expect":
            expects = (<bytes> value).lower() == b"100-continue"
        elif name == b"content-length":
            measured = True
    return expects and measured


cdef bint _is_made_of(str text, int kind) except -1:
    cdef Py_ssize_t index
    cdef const unsigned char* data
    if PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        return False
    data = <const unsigned char*> PyUnicode_DATA(text)
    for index in range(PyUnicode_GET_LENGTH(text)):
        if not char_is(data[index], kind):
            return False
    return True


cdef int64_t _length(str value) except -1:
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(value)
    cdef const unsigned char* data = <const unsigned char*> PyUnicode_DATA(value)
    cdef int64_t length = 0
    cdef Py_ssize_t index
    # The value has been found to be of one byte for each character.
    if 0 < size <= 18:
        for index in range(size):
            if not c"0" <= data[index] <= c"9":
                break
            length = 10 * length + data[index] - c"0"
        else:
            return length
    raise RuntimeError("Invalid Content-Length.")


cdef bint _is_content_length(str name) noexcept:
    # The name has been found to be a token: one byte for each character.
    cdef const unsigned char* data = <const unsigned char*> PyUnicode_DATA(name)
    cdef const char* wanted = "content-length"
    cdef int index
    if PyUnicode_GET_LENGTH(name) != 14:
        return False
    for index in range(14):
        if char_lower(data[index]) != <unsigned char> wanted[index]:
            return False
    return True


cdef int64_t _check_fields(list fields) except -2:
    # As the protocol will, so that the application hears of it; returns the Content-Length, -1 without one.
    cdef int64_t length = -1
    cdef object field
    cdef str name, value
    for field in fields:
        if type(field) is tuple and len(<tuple> field) == 2:
            name_given = (<tuple> field)[0]
            value_given = (<tuple> field)[1]
        else:
            name_given, value_given = field
        if not isinstance(name_given, str) or not isinstance(value_given, str):
            raise RuntimeError(
                "Response header names and values must be str, "
                f"not {type(name_given).__name__} and {type(value_given).__name__}.")
        name = name_given if type(name_given) is str else str(name_given)
        value = value_given if type(value_given) is str else str(value_given)
        if not name or not _is_made_of(name, CHAR_TOKEN):
            raise RuntimeError(f"Invalid HTTP header name: {name!r}.")
        if not _is_made_of(value, CHAR_TEXT):
            raise RuntimeError(f"Invalid HTTP header value: {name}: {value!r}.")
        if _is_content_length(name):
            length = _length(value)
    return length


cdef class ThreadCall(WsgiCall):
    """One call of a WSGI application in a thread."""

    # --- in the loop

    cdef int run(self) except -1:
        self.prepared = self.environ()
        if self.late:
            self.prepared["wsgi.input"] = LateInput(self._fetch)
        return (<ThreadedGateway> self.gateway).enqueue(self)

    cdef int body_arrived(self) except -1:
        if not self.waiting or not self.collect():
            return 0
        if self.late:
            return (<ThreadedGateway> self.gateway).threads.release(self)
        return self.run()

    cdef int lose_body(self, object error) except -1:
        if not self.late:
            return WsgiCall.lose_body(self, error)
        # The application hears of it where it reads.
        self.lost = error
        self.discard_body()
        return (<ThreadedGateway> self.gateway).threads.release(self)

    cdef int disconnected(self) except -1:
        if self.waiting and not self.late:
            return self.give_up()
        # A client that has only ended its half still reads.
        if self.exchange is not None and (self.exchange.detached or self.waiting):
            return self.abandoned()
        return 0

    cdef int abandoned(self) except -1:
        cdef Exchange exchange = self.exchange
        self.gone = True
        self.waiting = False
        if exchange is None:
            return 0
        if self.queued:
            (<ThreadedGateway> self.gateway).threads.remove(self)
            self.over = True
        if self.over:
            self.conclude()
            return exchange.stepped()
        return (<ThreadedGateway> self.gateway).threads.release(self)

    cdef int cancel(self) except -1:
        cdef Exchange exchange = self.exchange
        if exchange is None:
            return 0
        if self.waiting and not self.late:
            return self.give_up()
        if self.queued:
            (<ThreadedGateway> self.gateway).threads.remove(self)
            (<ThreadedGateway> self.gateway).refuse(self, "the server stops")
            return exchange.stepped()
        if self.waiting:
            return self.abandoned()
        # What it is in the middle of may end yet; what it yields without end does now.
        self.ending = True
        return (<ThreadedGateway> self.gateway).threads.release(self)

    cdef int drained(self) except -1:
        return self.attend()

    cdef int listen(self) except -1:
        cdef Exchange exchange = self.exchange
        if exchange is None:
            return 0
        self.attend()
        return exchange.stepped()

    cdef int attend(self) except -1:
        cdef Exchange exchange = self.exchange
        try:
            return self.deliver()
        except Exception as error:
            # The application's, as far as only the protocol could find out.
            self.gateway.failed(request_line(exchange), error)
            self.gone = True
            exchange.fail()
            if self.over:
                return self.conclude()
            return (<ThreadedGateway> self.gateway).threads.release(self)

    cdef int deliver(self) except -1:
        cdef Exchange exchange = self.exchange
        cdef bint over
        if exchange is None:
            return 0
        if self.asked and self.waiting and self.held:
            exchange.want_body()
            exchange.push()
        if self.hints is not None:
            hints = self.hints
            self.hints = None
            if not exchange.committed:
                for fields in hints:
                    exchange.inform(103, fields)
                exchange.push()
        # Before the outbox is looked into: what is put there later is told of later.
        over = self.over
        if not self.gone and (self.under_way or self.whole) and exchange.phase != RESPONSE_COMPLETE:
            if exchange.phase == RESPONSE_EXPECTED:
                exchange.reason = self.reason
                exchange.start(self.status, self.fields, False)
            if self.file >= 0:
                exchange.send_file(self.file, self.file_offset, self.file_size)
            elif not self.send_some():
                over = False
        if self.held and not self.waiting and self.has_room():
            (<ThreadedGateway> self.gateway).threads.release(self)
        return self.conclude() if over else 0

    cdef bint send_some(self) except -1:
        # Returns whether all that is there has been handed on.
        cdef Exchange exchange = self.exchange
        cdef bytes piece
        cdef bint more
        while exchange.writable():
            piece = self.next_piece()
            if piece is None:
                break
            more = not self.whole or self.has_more()
            exchange.body(piece, more)
            if not more:
                return True
        else:
            return False
        if self.whole:
            exchange.body(EMPTY, False)
        return True

    cdef bint has_more(self) noexcept:
        return self.position < len(self.sending) or len(self.outbox) > 0 or self.spool_sent < self.spool_end

    cdef bytes next_piece(self):
        # What is in the outbox came before what is in the file. Reading lets the thread go on meanwhile.
        cdef bytes piece
        if self.position == len(self.sending) and len(self.outbox):
            self.sending = self.outbox
            self.outbox = NOTHING if self.over else []
            self.position = 0
        if self.position < len(self.sending):
            piece = <bytes> self.sending[self.position]
            self.sending[self.position] = None
            self.position += 1
            self.size -= PyBytes_GET_SIZE(piece)
            return piece
        if self.spool_sent == self.spool_end:
            return None
        piece = os.pread(self.spool, min(BLOCK, self.spool_end - self.spool_sent), self.spool_sent)
        if not piece:
            raise RuntimeError("A temporary file is shorter than what was written into it.")
        self.spool_sent += PyBytes_GET_SIZE(piece)
        (<ThreadedGateway> self.gateway).spooled -= PyBytes_GET_SIZE(piece)
        return piece

    cdef int conclude(self) except -1:
        # The application has ended, and nothing of what it gave is left.
        cdef Exchange exchange = self.exchange
        self.exchange = None
        self.prepared = None
        self.outbox = self.sending = NOTHING
        self.position = 0
        self.discard_body()
        if self.late:
            (<ThreadedGateway> self.gateway).late_calls -= 1
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
        if self.spool >= 0:
            (<ThreadedGateway> self.gateway).spooled -= self.spool_end - self.spool_sent
            self.spool_sent = self.spool_end
            os.close(self.spool)
            self.spool = -1
        if exchange.phase != RESPONSE_COMPLETE:
            exchange.fail()
        return exchange.finished()

    # --- in the thread

    cdef int perform(self) except -1:
        cdef Exchange exchange = self.exchange
        # What a request leaves behind in context variables is not for the thread's next one.
        cdef object context = PyContext_CopyCurrent()
        PyContext_Enter(context)
        try:
            if exchange is not None and not self.gone:
                self.attempt()
        except RequestIncomplete:
            # No fault of the application's, which may have left it to us.
            pass
        except BaseException as error:
            self.gateway.failed(request_line(exchange), error)
        finally:
            PyContext_Exit(context)
        self.over = True
        return (<ThreadedGateway> self.gateway).threads.tell(self)

    cdef int attempt(self) except -1:
        cdef dict environ = self.prepared
        cdef object result
        self.prepared = None
        result = call_application(self, environ)
        environ = None
        if type(result) is list or type(result) is tuple:
            return self.give_all(result)
        try:
            if type(result) is FileWrapper:
                self.is_file = True
                if self.give_file(result):
                    return 0
            return self.stream(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    cdef int give_all(self, object pieces) except -1:
        # They are in memory as they are.
        cdef object piece
        cdef bytes content
        for piece in pieces:
            content = checked_piece(piece)
            if PyBytes_GET_SIZE(content) and self.account(content):
                self.size += PyBytes_GET_SIZE(content)
                self.outbox.append(content)
        return self.finish()

    cdef bint give_file(self, object result) except -1:
        cdef tuple file
        if not self.started or self.under_way or not self.sends_files:
            return False
        file = rest_of_file(result)
        if file is None:
            return False
        if self.left > file[2] and not self.bodiless:
            raise RuntimeError("Response content shorter than Content-Length")
        # The application may close its own.
        self.file = os.dup(file[0])
        self.file_offset = file[1]
        self.file_size = file[2]
        self.whole = True
        return True

    cdef int stream(self, object result) except -1:
        cdef bint single
        cdef object pieces = iter(result)
        cdef object piece
        cdef bytes content
        cdef PyObject* item
        if is_made(pieces):
            self.give_all(pieces)
            # The client need not wait for what close() does.
            return (<ThreadedGateway> self.gateway).threads.tell(self)
        single = is_single(result)
        while not (self.gone or self.ending):
            item = PyIter_Next(pieces)
            if item is NULL:
                return 0 if self.whole else self.finish()
            piece = <object> item
            Py_DECREF(piece)
            content = checked_piece(piece)
            if PyBytes_GET_SIZE(content) == 0:
                continue
            if self.is_file and 0 <= self.left < PyBytes_GET_SIZE(content):
                content = content[:self.left]
                if not content:
                    return 0
            if self.whole:
                raise RuntimeError("Response content longer than Content-Length")
            self.put(content)
            if single or self.bodiless or self.left == 0:
                self.finish()
                (<ThreadedGateway> self.gateway).threads.tell(self)
            if self.bodiless:
                # Nothing of what it would yield is ever seen.
                return 0
        return 0

    cdef int finish(self) except -1:
        if not self.started:
            raise AssertionError("The WSGI application has not called start_response.")
        if self.left > 0 and not self.bodiless:
            raise RuntimeError("Response content shorter than Content-Length")
        self.whole = True
        return 0

    cdef bint account(self, bytes piece) except -1:
        # Returns whether the bytes are for the client.
        if not self.started:
            raise AssertionError("The WSGI application has not called start_response.")
        if self.bodiless:
            self.under_way = True
            return False
        if self.left >= 0:
            if PyBytes_GET_SIZE(piece) > self.left:
                raise RuntimeError("Response content longer than Content-Length")
            self.left -= PyBytes_GET_SIZE(piece)
        return True

    cdef int put(self, bytes piece) except -1:
        cdef ThreadedGateway gateway = <ThreadedGateway> self.gateway
        if not self.account(piece) or self.over:
            return 0
        while self.size >= OUTBOX_SIZE or self.spool_sent < self.spool_end:
            if self.gone or (self.ending and self.no_spool):
                return 0
            if (self.has_room() or self.ending) and self.overflow(piece):
                return gateway.threads.tell(self)
            gateway.threads.hold(self)
        self.under_way = True
        self.size += PyBytes_GET_SIZE(piece)
        self.outbox.append(piece)
        return gateway.threads.tell(self)

    cdef bint has_room(self) noexcept:
        cdef ThreadedGateway gateway = <ThreadedGateway> self.gateway
        cdef int64_t spooled = self.spool_end - self.spool_sent
        if spooled == 0 and self.size < OUTBOX_SIZE:
            return True
        if self.no_spool:
            return False
        # One response may have a quarter of what there is for all.
        return gateway.spooled < gateway.limit_spool and spooled < gateway.limit_spool // 4

    cdef bint overflow(self, bytes piece) except -1:
        # Returns False where the disk has no room: the client is waited for then.
        cdef ThreadedGateway gateway = <ThreadedGateway> self.gateway
        cdef Py_ssize_t done = 0
        try:
            if self.spool < 0:
                with tempfile.TemporaryFile() as file:
                    self.spool = os.dup(file.fileno())
            while done < PyBytes_GET_SIZE(piece):
                done += os.pwrite(self.spool, memoryview(piece)[done:], self.spool_end + done)
        except OSError as error:
            self.no_spool = True
            if gateway.loop.time() >= gateway.quiet_until:
                gateway.quiet_until = gateway.loop.time() + 10.0
                gateway.logger.warning(
                    "Responses cannot be kept in temporary files, their threads wait for slow clients: %s", error)
            return False
        self.spool_end += done
        gateway.spooled += done
        return True

    cdef int begin(self, int status, bytes reason, object fields) except -1:
        cdef list checked = list(fields)
        cdef int64_t length = _check_fields(checked)
        if status < 200 or status > 599:
            raise RuntimeError(f"Invalid HTTP status code {status}.")
        if reason is not None and not _is_made_of(reason.decode("latin-1"), CHAR_TEXT):
            raise RuntimeError("Invalid HTTP reason phrase.")
        self.bodiless = self.is_head or status == 204 or status == 304
        self.status = status
        self.reason = reason
        self.left = length
        self.fields = checked
        return 0

    cdef bint sent(self) noexcept:
        return self.under_way

    cdef int hint(self, list fields) except -1:
        if self.under_way:
            return 0
        if self.hints is None:
            self.hints = []
        self.hints.append(fields)
        return (<ThreadedGateway> self.gateway).threads.tell(self)

    def _fetch(self):
        """Wait for the request's body and return it as a file; raises RequestIncomplete where it does not come."""
        if self.waiting:
            self.asked = True
            (<ThreadedGateway> self.gateway).threads.hold(self)
        if self.lost is not None:
            raise self.lost
        if self.gone or self.body is None or self.waiting:
            raise RequestIncomplete("The client went away before the request was complete.")
        return self.body.open()
