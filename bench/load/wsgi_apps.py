"""The WSGI applications under load: the least an application does for each kind of work."""

import time
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

BURNT = range(200_000)


def small(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 13 bytes."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def sleeping(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 13 bytes after a sleep of 10 ms, in which others have the interpreter."""
    time.sleep(0.01)
    return small(environ, start_response)


def burning(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 13 bytes: at /health at once, elsewhere after some milliseconds of Python."""
    if environ["PATH_INFO"] != "/health":
        total = 0
        for number in BURNT:
            total ^= number
    return small(environ, start_response)
