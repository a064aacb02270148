"""The application under soak: takes 0 to 50 ms, answers which process it runs in, and keeps a diary.

Each worker process writes into the folder named by SOAK_FOLDER: `PID.ready` is there from the end of its start-up to
the begin of its shutdown, and `PID.log` has a line for the begin and the end of each request. Lines are written by one
write(2) each to a file opened for appending: what a killed worker has written is complete up to the moment it died.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST = 0.05
"""Seconds that a request takes at most."""

PADDING = b"." * 2000


class Diary:
    """The files of this process, opened by the process that writes: a forked worker does not inherit them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._log = -1

    def note(self, word: str, request: str) -> None:
        pid = os.getpid()
        if pid != self._pid:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._log = os.open(self._folder / f"{pid}.log", flags, 0o600)
            self._pid = pid
        os.write(self._log, f"{word} {request} {time.monotonic():.6f}\n".encode())

    def ready(self, ready: bool) -> None:
        path = self._folder / f"{os.getpid()}.ready"
        if ready:
            path.touch()
        else:
            path.unlink(missing_ok=True)


diary = Diary(Path(os.environ.get("SOAK_FOLDER", ".")))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /ID answers "PID ID" and padding; every other ID in two pieces, with the wait between them."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    request = scope["path"][1:]
    diary.note("begin", request)
    body = f"{os.getpid()} {request} ".encode() + PADDING
    length = str(len(body)).encode()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    pause = random.random() * LONGEST
    if request[-1:] in "02468":
        await asyncio.sleep(pause)
        await send(start)
    else:
        await send(start)
        await send({"type": "http.response.body", "body": body[:1000], "more_body": True})
        await asyncio.sleep(pause)
        body = body[1000:]
    await send({"type": "http.response.body", "body": body})
    diary.note("end", request)


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    diary.ready(True)
    await receive()
    diary.ready(False)
    await send({"type": "lifespan.shutdown.complete"})
