"""Servers as their users start them: `python -m fastserve`, or `python -m uvicorn` for comparison, as a process.

A test waits for lines and for the end of the process, never for a time. Ports are picked by the server and read from
its log.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import fastserve

PATIENCE = 25.0
"""Seconds after which a process that should have said or done something has failed: plenty on a busy machine, and less
than the 30 that a server waits by itself for what runs."""

# The package under test, wherever the server's working directory is.
PACKAGE_ROOT = str(Path(fastserve.__file__).parents[1])

APPLICATION = """
import asyncio

hung = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path == "/hang":
        print("hanging", flush=True)
        await asyncio.Event().wait()
    if path == "/stubborn":
        print("hanging", flush=True)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                print("cancelled", flush=True)
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await receive()
        print("receiving", flush=True)
        print((await receive())["type"], flush=True)
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/loop":
        body = type(asyncio.get_running_loop()).__module__.split(".")[0].encode()
    else:
        body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"x-app", b"yes"), (b"content-length", b"%d" % len(body)),
    ]})
    await send({"type": "http.response.body", "body": body})

def create():
    return app

def broken_create(argument):
    return app

async def http_only(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await app(scope, receive, send)

async def fails_to_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def fails_to_stop(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "still writing"})

async def never_starts(scope, receive, send):
    await receive()
    print("starting", flush=True)
    await asyncio.Event().wait()

def asgi2(scope):
    async def instance(receive, send):
        await app(scope, receive, send)
    return instance

def wsgi(environ, start_response):
    return []
"""


class Process:
    """A server process; `lines` are those of stderr and stdout so far, in the order they came."""

    def __init__(self, command: list[str], folder: Path, **options: object) -> None:
        self.folder = folder
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FASTSERVE_", "UVICORN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"))
        }
        search = os.pathsep.join(filter(None, [PACKAGE_ROOT, os.environ.get("PYTHONPATH")]))
        environment.update(options.pop("env", None) or {}, PYTHONUNBUFFERED="1", PYTHONPATH=search)
        self.child = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.child.stdout, self.stdout), (self.child.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> re.Match[str]:
        """The `count`-th line that matches, once it is there."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found[:] = [match for line in self.stderr + self.stdout if (match := re.search(pattern, line))]
            return len(found) >= count or not any(reader.is_alive() for reader in self._readers)

        with self._changed:
            self._changed.wait_for(there, patience)
        if len(found) < count:
            raise AssertionError(f"no line {pattern!r} in\n" + "\n".join(self.stderr + self.stdout))
        return found[count - 1]

    @property
    def port(self) -> int:
        # gunicorn says it in its own words.
        return int(self.wait_for(r"(?:running on|Listening at:) https?://\S+:(\d+) ")[1])

    def connect(self, path: str | None = None) -> socket.socket:
        if path is not None:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(str(self.folder / path))
            except OSError:
                client.close()
                raise
        else:
            client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.settimeout(PATIENCE)
        return client

    def get(self, target: str = "/", client: socket.socket | None = None) -> tuple[str, bytes]:
        """Ask and read until the server closes; returns the head (lower case) and the body."""
        with client or self.connect() as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return self.read(connection, target)

    def read(self, connection: socket.socket, target: str = "") -> tuple[str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        while (length is None or len(body) < int(length[1])) and (piece := connection.recv(65536)):
            body += piece
        return head.decode().lower(), body

    def send_signal(self, number: int) -> None:
        self.child.send_signal(number)

    def wait(self) -> int:
        """The exit code, once the process has ended and all it wrote is read."""
        code = self.child.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def stop(self, number: int = signal.SIGINT) -> int:
        self.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it and all its descendants, unless it has ended."""
        if self.child.poll() is None:
            family = descendants(self.child.pid)
            self.child.kill()
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "webapp.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Process]]:
    """Start a server: `start("webapp:app", "--port", "0")`; `server="uvicorn"` starts that one.

    `prefix` is a command that ends by executing the one that follows it.
    """
    with starting(folder) as start:
        yield start


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Process]]:
    """What `start` is, for as long as the block lasts: then whatever still runs is killed."""
    processes: list[Process] = []

    def start(*arguments: str, server: str = "fastserve", prefix: Sequence[str] = (), **options: object) -> Process:
        process = Process([*prefix, sys.executable, "-m", server, *arguments], folder, **options)
        processes.append(process)
        return process

    try:
        yield start
    finally:
        for process in processes:
            process.kill()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once the condition holds; `what` is wrong if it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """The children of a process that is there, and theirs: those that keep its output open."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
