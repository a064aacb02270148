"""The access log: one record per response, on the logger `fastserve.access`.

A record of the standard library costs more than the whole request. As long as the logger is set up as we do it (one
handler that writes a stream or a file, our formatter, uncoloured, no filters) nobody can tell how the line came about:
it is composed directly, and the lines of one turn of the event loop leave together at its end, in one write(2). With
anything else in the logger's way (a filter, another handler or formatter, a record factory) every response makes a real
record, whose arguments are the same five whatever the format.

uvicorn's line is noted when the head of a response goes out. A line in a format of the user's needs how much was sent
and how long it took: it is noted when the response is over, or the client has gone.

What clients send is shown without control bytes, quotes and backslashes, so that a line is a line, and its fields are
where they should be. Lines are ASCII.

A log that cannot be written costs lines, never requests: there is one message when it begins and one when it is over.
A descriptor that does not block and takes nothing at the moment is tried again; as much as PENDING bytes wait for it.
"""

import io
import logging
import logging.handlers
import os
import re
import select
from base64 import b64decode
from http import HTTPStatus
from json.encoder import encode_basestring_ascii
from time import gmtime, localtime, strftime
from urllib.parse import quote, unquote

cimport cython
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.types cimport time_t

from fastserve._exchange cimport AccessLog, Exchange

from fastserve.config import LOGGING_CONFIG
from fastserve.server.access_format import JSON, parse
from fastserve.server.logs import AccessFormatter

cdef enum:
    PENDING = 1048576           # bytes that wait for a descriptor that does not block
    REQUEST_ID_SIZE = 200       # bytes of an x-request-id that is taken for one

cdef double TRY_AGAIN = 0.05    # seconds until what waits is tried again
cdef int LAST_WAIT = 1000       # milliseconds that it gets at the end

cdef object _plain_record_factory = logging.getLogRecordFactory()
cdef str _MESSAGE = '%s - "%s %s HTTP/%s" %d'
# Takes the five arguments of a record and shows none of them.
cdef str _ARGUMENTS_UNSEEN = "%.0s%.0s%.0s%.0s%.0s"
cdef tuple _HANDLERS = (logging.StreamHandler, logging.FileHandler, logging.handlers.WatchedFileHandler)
cdef frozenset _ENCODINGS = frozenset(["utf-8", "UTF-8", "utf8", "ascii", "US-ASCII", "latin-1", "iso-8859-1"])
cdef tuple _MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
cdef dict _ESCAPES = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 256)]}
_ESCAPES[ord('"')] = '\\"'
_ESCAPES[ord("\\")] = "\\\\"
cdef object _TRACE_PARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def _phrases():
    for status in range(100, 600):
        try:
            yield f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            yield f"{status} "


cdef inline int64_t _microseconds(double seconds) noexcept:
    return <int64_t> (seconds * 1e6 + 0.5)


cdef str _escaped(str text):
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.translate(_ESCAPES)


cdef str _field(list fields, bytes name):
    # What is there more than once is one list (RFC 9110 section 5.2); "-" for what is not there.
    cdef bytes found = None
    for key, value in fields:
        if key == name:
            found = value if found is None else found + b", " + value
    return "-" if not found else _escaped(found.decode("latin-1"))


@cython.final
cdef class _Kind:
    # An atom, so that filling it in compares no strings.
    cdef Py_UCS4 atom           # the letter; 0 is literal text
    cdef str text
    cdef bytes name
    cdef str conversion         # None where it is %s


@cython.final
cdef class LoggingAccessLog(AccessLog):
    """Notes responses on `logger`; lines are written by `loop` (call_soon). root_path is put before every path.

    line_format: what is written in place of uvicorn's line: "json", or text with gunicorn's atoms. Raises ValueError.
    """

    cdef object _logger
    cdef object _loop
    cdef str _root_path
    cdef list _lines            # composed, not yet written
    cdef list _statuses         # status - 100 -> "200 OK"
    cdef object _handler        # the one that _lines are for
    cdef bytes _last_raw        # the latest path and how it is shown: clients repeat themselves
    cdef str _last_path
    # Of a format of the user's.
    cdef bint _json
    cdef list _kinds
    cdef str _json_end          # of every line: the worker
    cdef str _id_prefix         # random; a number follows
    cdef long _id_number
    cdef time_t _second         # the time that _date and _stamp show
    cdef str _date
    cdef str _stamp
    # Writing.
    cdef bytes _rest            # what the stream has not taken yet, or the end of a line that it has taken half of
    cdef bint _torn             # _rest begins inside a line
    cdef object _stream         # of _rest
    cdef object _retry          # timer
    cdef bint _failing
    cdef long _lost             # lines

    def __init__(self, logger, loop, root_path: str = "", line_format: str | None = None):
        self._logger = logger
        self._loop = loop
        self._root_path = root_path
        self._lines = []
        self._rest = b""
        self._statuses = list(_phrases())
        if line_format is None:
            return
        self.at_end = True
        self._second = -1
        self._id_prefix = os.urandom(8).hex()
        worker = os.environ.get("FASTSERVE_WORKER_ID")
        self._json = line_format == JSON
        if self._json:
            self._json_end = f',"worker":{encode_basestring_ascii(worker) if worker else "null"}}}\n'
            if worker and worker.isdecimal():
                self._json_end = f',"worker":{int(worker)}}}\n'
            return
        self._kinds = []
        for piece in parse(line_format, worker):
            self._kinds.append(_kind(piece.atom, piece.argument, piece.conversion))
            if piece.atom == "o":
                self.wants_head = True

    cdef int record(self, Exchange exchange, int64_t sent, double seconds) except -1:
        cdef str path
        cdef str line = None
        # What is in the logger's way is looked at once in a turn of the loop.
        cdef object handler = self._handler if self._lines else self._direct_handler()
        if handler is not None and self.at_end:
            line = self._composed(exchange, sent, seconds)
        else:
            path = self._full_path(exchange)
            if handler is None:
                return self._log(exchange, path, sent, seconds)
            line = (f'INFO:     {exchange.endpoint.peer()} - "{exchange.method} {path} HTTP/{exchange.http_version}"'
                    f" {self._statuses[exchange.status - 100]}\n")
        if not self._lines:
            self._handler = handler
            self._loop.call_soon(self.flush)
        self._lines.append(line)
        return 0

    cdef str _full_path(self, Exchange exchange):
        cdef str path
        if exchange.raw_path is None:
            return "-"
        if exchange.endpoint.prefix is not None:
            path = quote(unquote((exchange.endpoint.prefix + exchange.raw_path).decode("ascii")))
        elif exchange.raw_path == self._last_raw:
            path = self._last_path
        else:
            path = quote(self._root_path + unquote(exchange.raw_path.decode("ascii")))
            self._last_raw = exchange.raw_path
            self._last_path = path
        if exchange.query:
            return f"{path}?{exchange.query.decode('ascii')}"
        return path

    cdef int _log(self, Exchange exchange, str path, int64_t sent, double seconds) except -1:
        # By way of the logging module.
        self.flush()
        if not self._logger.isEnabledFor(20):
            return 0
        if not self.at_end:
            self._logger.info(
                _MESSAGE, exchange.endpoint.peer(), exchange.method, path, exchange.http_version, exchange.status)
            return 0
        line = self._composed(exchange, sent, seconds).rstrip("\n")
        self._logger.info(
            line.replace("%", "%%") + _ARGUMENTS_UNSEEN,
            exchange.endpoint.peer(), exchange.method, path, exchange.http_version, exchange.status,
            extra={"bytes": sent, "duration": seconds},
        )
        return 0

    cdef object _direct_handler(self):
        # The handler whose lines we can compose ourselves, or None.
        cdef object logger = self._logger
        cdef list handlers = logger.handlers
        if len(handlers) != 1 or logger.filters or logger.propagate or logger.disabled:
            return None
        handler = handlers[0]
        if type(handler) not in _HANDLERS or handler.filters or handler.level > 20 or handler.stream is None:
            return None
        formatter = handler.formatter
        if self.at_end:
            if formatter is not None and (
                    type(formatter) is not logging.Formatter or formatter._fmt != "%(message)s"):
                return None
        elif (
            type(formatter) is not AccessFormatter
            or formatter.use_colors
            or formatter._fmt != LOGGING_CONFIG["formatters"]["access"]["fmt"]
        ):
            return None
        if logging.getLogRecordFactory() is not _plain_record_factory or not logger.isEnabledFor(20):
            return None
        return handler

    # --- lines in a format of the user's

    cdef str _composed(self, Exchange exchange, int64_t sent, double seconds):
        cdef timespec now
        cdef _Kind kind
        cdef list parts
        cdef object value
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self._second:
            self._tell_time(now.tv_sec)
        if self._json:
            return self._composed_json(exchange, sent, seconds, now.tv_nsec // 1000000)
        parts = []
        for kind in self._kinds:
            if kind.atom == 0:
                parts.append(kind.text)
                continue
            value = self._value(kind, exchange, sent, seconds)
            parts.append(str(value) if kind.conversion is None else kind.conversion % value)
        parts.append("\n")
        return "".join(parts)

    cdef object _value(self, _Kind kind, Exchange exchange, int64_t sent, double seconds):
        cdef Py_UCS4 atom = kind.atom
        if atom == u"h":
            return "-" if exchange.endpoint.client is None else _escaped(exchange.endpoint.client[0])
        if atom == u"r":
            return self._request_line(exchange)
        if atom == u"s":
            return exchange.status
        if atom == u"t":
            return self._date
        if atom == u"b":
            return sent if sent else "-"
        if atom == u"B":
            return sent
        if atom == u"D":
            return _microseconds(seconds)
        if atom == u"M":
            return _microseconds(seconds) // 1000
        if atom == u"T":
            return _microseconds(seconds) // 1000000
        if atom == u"L":
            return f"{seconds:.6f}"
        if atom == u"i" or atom == u"f" or atom == u"a":
            return _field(exchange.fields, kind.name)
        if atom == u"o":
            return _field(_sent_fields(exchange.response_head), kind.name)
        if atom == u"m":
            return exchange.method
        if atom == u"U":
            return "-" if exchange.raw_path is None else _escaped(exchange.raw_path.decode("latin-1"))
        if atom == u"q":
            return _escaped(exchange.query.decode("latin-1"))
        if atom == u"H":
            return "-" if exchange.minor < 0 else f"HTTP/{exchange.http_version}"
        if atom == u"u":
            return _user(exchange.fields)
        if atom == u"d":
            return _escaped(self._request_id(exchange))
        return "-"

    cdef str _request_line(self, Exchange exchange):
        if exchange.target is None:
            return exchange.method
        if exchange.minor < 0:
            return f"{exchange.method} {_escaped(exchange.target.decode('latin-1'))}"
        return f"{exchange.method} {_escaped(exchange.target.decode('latin-1'))} HTTP/{exchange.http_version}"

    cdef str _composed_json(self, Exchange exchange, int64_t sent, double seconds, long milliseconds):
        cdef str path = "null"
        cdef str protocol = "null"
        cdef str method = f'"{exchange.method}"' if exchange.method != "-" else "null"
        if exchange.raw_path is not None:
            path = encode_basestring_ascii(exchange.raw_path.decode("latin-1"))
        if exchange.minor >= 0:
            protocol = f'"HTTP/{exchange.http_version}"'
        return (
            f'{{"time":"{self._stamp}.{milliseconds:03}Z","client":{encode_basestring_ascii(exchange.endpoint.peer())}'
            f',"method":{method},"path":{path}'
            f',"query":{encode_basestring_ascii(exchange.query.decode("latin-1"))},"protocol":{protocol}'
            f',"status":{exchange.status},"bytes":{sent},"duration":{seconds:.6f}'
            f',"request_id":{encode_basestring_ascii(self._request_id(exchange))}{self._json_end}'
        )

    cdef int _tell_time(self, time_t second) except -1:
        # Month names are English whatever the locale.
        here = localtime(second)
        self._second = second
        self._date = f"[{here.tm_mday:02}/{_MONTHS[here.tm_mon - 1]}/{strftime('%Y:%H:%M:%S %z', here)}]"
        self._stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return 0

    cdef str _request_id(self, Exchange exchange):
        cdef bytes trace = None
        for name, value in exchange.fields:
            if name == b"x-request-id":
                if 0 < len(value) <= REQUEST_ID_SIZE and value.isascii():
                    return value.decode("ascii")
            elif name == b"traceparent":
                trace = value
        if trace is not None:
            match = _TRACE_PARENT.fullmatch(trace)
            if match is not None:
                return match[1].decode("ascii")
        self._id_number += 1
        return f"{self._id_prefix}{self._id_number:016x}"

    # --- writing

    def flush(self) -> None:
        """Write the lines that have been composed. What cannot be written is lost, and said so, once."""
        cdef list lines = self._lines
        cdef bytes data
        if not lines and not self._rest:
            return
        handler = self._handler
        data = "".join(lines).encode("ascii", "backslashreplace")
        self._lines = []
        handler.acquire()
        try:
            self._write(handler, data)
        except Exception as error:
            self._failed(error)
        else:
            self._succeeded()
        finally:
            handler.release()

    cdef int _write(self, object handler, bytes data) except -1:
        # Raises what the system says. _rest and _lost are right then.
        cdef Py_ssize_t position = 0
        cdef bytes rest = self._rest
        if type(handler) is logging.handlers.WatchedFileHandler:
            handler.reopenIfNeeded()
        stream = handler.stream
        if rest:
            if self._torn and stream is not self._stream:
                # The other half of the line is in another file.
                rest = rest[rest.index(b"\n") + 1:]
                self._torn = False
                self._lost += 1
            data = rest + data
            self._rest = b""
        self._stream = stream
        try:
            if type(stream) is not io.TextIOWrapper or stream.encoding not in _ENCODINGS:
                stream.write(data.decode("ascii"))
                stream.flush()
                self._torn = False
                return 0
            # What others have printed comes first. Ours goes past the stream's buffer: what that could not write it
            # would keep, and fail on again for as long as the process lives.
            stream.flush()
            descriptor = stream.fileno()
            while position < len(data):
                position += os.write(descriptor, data[position:] if position else data)
            self._torn = False
        except BaseException as error:
            self._keep(data, position, isinstance(error, BlockingIOError))
            raise
        return 0

    cdef int _keep(self, bytes data, Py_ssize_t position, bint again) except -1:
        cdef Py_ssize_t end
        if position:
            self._torn = not data.endswith(b"\n", 0, position)
        if again:
            end = len(data)
            if end - position > PENDING:
                end = data.rindex(b"\n", 0, position + PENDING) + 1
        else:
            # The end of a line that is half written; the others are lost.
            end = data.index(b"\n", position) + 1 if self._torn else position
        self._rest = data[position:end]
        self._lost += data.count(b"\n", end)
        return 0

    cdef int _failed(self, object error) except -1:
        if isinstance(error, BlockingIOError):
            if self._retry is None:
                self._retry = self._loop.call_later(TRY_AGAIN, self._try_again)
            if not self._lost:
                return 0
        if not self._failing:
            self._failing = True
            logging.getLogger("fastserve.error").error(
                "Cannot write the access log: %s. Requests are served, but their lines are lost.", error)
        return 0

    cdef int _succeeded(self) except -1:
        if self._failing:
            self._failing = False
            self._tell_lost("The access log is written again.")
        return 0

    cdef int _tell_lost(self, str beginning) except -1:
        logging.getLogger("fastserve.error").warning("%s %d lines of it were lost.", beginning, self._lost)
        self._lost = 0
        return 0

    def _try_again(self) -> None:
        self._retry = None
        self.flush()

    def close(self) -> None:
        """Write what is left, and wait a moment for a descriptor that does not take it at once."""
        self.flush()
        if self._rest and not self._failing:
            try:
                poll = select.poll()
                poll.register(self._stream.fileno(), select.POLLOUT)
                while self._rest and poll.poll(LAST_WAIT):
                    left = len(self._rest)
                    self.flush()
                    if len(self._rest) >= left:
                        break
            except (OSError, ValueError):
                pass
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._lost or self._rest:
            self._lost += self._rest.count(b"\n")
            self._rest = b""
            self._tell_lost("The access log could not be written to its end.")


cdef _Kind _kind(str atom, str argument, str conversion):
    cdef _Kind kind = _Kind.__new__(_Kind)
    # The request's id is the one atom of two letters.
    kind.atom = 0 if not atom else ord("d") if atom == "id" else ord(atom)
    kind.text = argument
    kind.conversion = None if conversion == "%s" else conversion
    kind.name = {"f": b"referer", "a": b"user-agent"}.get(atom, argument.encode("latin-1", "replace"))
    return kind


cdef list _sent_fields(bytes head):
    cdef list fields = []
    if head is not None:
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b": ")
            fields.append((name, value))
    return fields


cdef str _user(list fields):
    # The user of the Basic scheme (RFC 7617).
    for name, value in fields:
        if name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            if scheme.lower() == b"basic":
                try:
                    return _escaped(b64decode(credentials, validate=True).partition(b":")[0].decode("latin-1")) or "-"
                except ValueError:
                    return "-"
    return "-"
