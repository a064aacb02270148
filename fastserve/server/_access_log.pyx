"""The access log: one record per response, on the logger `fastserve.access`.

A record of the standard library costs more than the whole request. As long as the logger is set up as we do it (one
StreamHandler with our AccessFormatter, uncoloured, no filters) nobody can tell how the line came about: it is composed
directly, and the lines of one turn of the event loop are written together at its end. With anything else in the
logger's way (a filter, another handler or formatter, a record factory) every response makes a real record.
"""

import logging
from http import HTTPStatus
from urllib.parse import quote, unquote

from fastserve._exchange cimport AccessLog, Exchange

from fastserve.config import LOGGING_CONFIG
from fastserve.server.logs import AccessFormatter

cdef object _plain_record_factory = logging.getLogRecordFactory()
cdef str _MESSAGE = '%s - "%s %s HTTP/%s" %d'
cdef frozenset _UNQUOTED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/")


def _phrases():
    for status in range(100, 600):
        try:
            yield f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            yield f"{status} "


cdef class LoggingAccessLog(AccessLog):
    """Notes responses on `logger`; lines are written by `loop` (call_soon). root_path is put before every path."""

    cdef object _logger
    cdef object _loop
    cdef str _root_path
    cdef list _lines            # composed, not yet written
    cdef list _statuses         # status - 100 -> "200 OK"
    cdef object _handler        # the one that _lines are for
    cdef bytes _last_raw        # the latest path and how it is shown: clients repeat themselves
    cdef str _last_path

    def __init__(self, logger, loop, root_path: str = ""):
        self._logger = logger
        self._loop = loop
        self._root_path = root_path
        self._lines = []
        self._statuses = list(_phrases())

    cdef int record(self, Exchange exchange) except -1:
        cdef str path
        cdef object handler = self._direct_handler()
        if exchange.endpoint.prefix is not None:
            path = quote(unquote((exchange.endpoint.prefix + exchange.raw_path).decode("ascii")))
        elif exchange.raw_path == self._last_raw:
            path = self._last_path
        else:
            path = quote(self._root_path + unquote(exchange.raw_path.decode("ascii")))
            self._last_raw = exchange.raw_path
            self._last_path = path
        if exchange.query:
            path = f"{path}?{exchange.query.decode('ascii')}"
        if handler is None:
            self.flush()
            self._logger.info(
                _MESSAGE, exchange.endpoint.peer(), exchange.method, path, exchange.http_version, exchange.status)
            return 0
        if not self._lines:
            self._handler = handler
            self._loop.call_soon(self.flush)
        self._lines.append(
            f'INFO:     {exchange.endpoint.peer()} - "{exchange.method} {path} HTTP/{exchange.http_version}"'
            f" {self._statuses[exchange.status - 100]}\n")
        return 0

    cdef object _direct_handler(self):
        # The handler whose lines we can compose ourselves, or None.
        cdef object logger = self._logger
        cdef list handlers = logger.handlers
        if len(handlers) != 1 or logger.filters or logger.propagate or logger.disabled:
            return None
        handler = handlers[0]
        if type(handler) is not logging.StreamHandler or handler.filters or handler.level > 20:
            return None
        formatter = handler.formatter
        if (
            type(formatter) is not AccessFormatter
            or formatter.use_colors
            or formatter._fmt != LOGGING_CONFIG["formatters"]["access"]["fmt"]
            or logging.getLogRecordFactory() is not _plain_record_factory
            or not logger.isEnabledFor(20)
        ):
            return None
        return handler

    def flush(self) -> None:
        """Write the lines that have been composed; an error is reported as the logging module reports its own."""
        cdef list lines = self._lines
        cdef object handler = self._handler
        if not lines:
            return
        self._lines = []
        handler.acquire()
        try:
            handler.stream.write("".join(lines))
            handler.flush()
        except Exception:
            handler.handleError(self._logger.makeRecord(
                self._logger.name, logging.INFO, "", 0, "%d access log lines", (len(lines),), None))
        finally:
            handler.release()
