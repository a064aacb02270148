"""A WSGI application (PEP 3333) as an ASGI one: its calls run in threads, the request's body is collected first."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any, Final

from fastserve.types import Message, Receive, Scope, Send

Environ = dict[str, Any]
WSGIApplication = Callable[[Environ, Callable[..., Callable[[bytes], None]]], Iterable[bytes]]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

# A request's body beyond this many bytes goes to a temporary file.
_IN_MEMORY: Final = 1024 * 1024


class WSGIMiddleware:
    """Serves the WSGI application `app`, up to `workers` requests at a time."""

    def __init__(self, app: WSGIApplication, workers: int = 10) -> None:
        self.app = app
        self.executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"a WSGI application does not serve {scope['type']!r}")
        loop = asyncio.get_running_loop()
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as body:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body.write(message.get("body", b""))
                more = message.get("more_body", False)
            length = body.tell()
            body.seek(0)

            def emit(message: Message) -> None:
                asyncio.run_coroutine_threadsafe(_sent(send(message)), loop).result()

            call = _Call(self.app, build_environ(scope, body, length), emit)
            await loop.run_in_executor(self.executor, call.run)


class _Call:
    """One call of the application; everything here runs in its thread."""

    def __init__(self, app: WSGIApplication, environ: Environ, emit: Callable[[Message], None]) -> None:
        self._app = app
        self._environ = environ
        self._emit = emit
        self._head: Message | None = None
        self._started = False

    def run(self) -> None:
        pieces = self._app(self._environ, self._start_response)
        try:
            self._measure(pieces)
            for piece in pieces:
                if piece:
                    self._write(piece)
            self._start()
            self._emit({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if callable(close := getattr(pieces, "close", None)):
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise AssertionError("start_response was called again without exc_info")
        self._head = {
            "type": "http.response.start",
            "status": int(status.partition(" ")[0]),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        return self._write

    def _measure(self, pieces: Iterable[bytes]) -> None:
        """Add the length of a response that is there as a whole, as PEP 3333 suggests."""
        if self._head is None or self._started or not isinstance(pieces, (list, tuple)) or len(pieces) > 1:
            return
        headers: list[tuple[bytes, bytes]] = self._head["headers"]
        if self._head["status"] not in (204, 304) and all(name != b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % sum(map(len, pieces))))

    def _start(self) -> None:
        if self._head is None:
            raise AssertionError("the application has written before it called start_response")
        if not self._started:
            self._started = True
            self._emit(self._head)

    def _write(self, piece: bytes) -> None:
        self._start()
        self._emit({"type": "http.response.body", "body": piece, "more_body": True})


async def _sent(sending: Awaitable[None]) -> None:
    await sending


def build_environ(scope: Scope, body: IO[bytes], length: int) -> Environ:
    """The environ (PEP 3333) of an HTTP scope, whose body is `body`, `length` bytes long."""
    root_path, path = scope.get("root_path", ""), scope["path"]
    host, port = scope.get("server") or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _native(root_path),
        "PATH_INFO": _native(path.removeprefix(root_path)),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 80),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if client := scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            # A name with an underscore would overwrite what a proxy vouches for under the same name.
            if b"_" in name:
                continue
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        separator = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{separator}{text}" if key in environ else text
    # Of a chunked body the application could not know where it ends.
    with contextlib.suppress(KeyError):
        del environ["HTTP_TRANSFER_ENCODING"]
        environ["CONTENT_LENGTH"] = str(length)
    return environ


def _native(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
