"""Files that the kernel sends: wsgi.file_wrapper on connections of the worker's own epoll."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastserve.gateway._wsgi import WsgiGateway
from fastserve.gateway._wsgi_threads import ThreadedGateway
from fastserve.protocol._worker import Worker
from fastserve.transport._epoll import Hub

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Unread:
    """A file that says what it is and is not to be read."""

    def __init__(self, path: Any, offset: int = 0) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115
        self.file.seek(offset)
        self.closed = threading.Event()

    def fileno(self) -> int:
        return self.file.fileno()

    def read(self, size: int) -> bytes:
        # One without a size may be one that the kernel makes up when it is read, as in /proc.
        if os.fstat(self.file.fileno()).st_size == 0:
            return self.file.read(size)
        raise AssertionError("read although the kernel could send it")

    def close(self) -> None:
        self.file.close()
        self.closed.set()


@pytest.fixture(params=["loop", "threads"])
def serve(request, event_loop_factory):
    """Serve an application, and return what `client`, a function of a connected socket, returns in a thread."""

    def execute(application: Any, client: Callable[[socket.socket], Any]) -> Any:
        async def main() -> Any:
            loop = asyncio.get_running_loop()
            gateway: Any = (
                WsgiGateway(application, loop) if request.param == "loop" else ThreadedGateway(application, loop, 2)
            )
            hub = Hub(Worker(gateway, loop, date_header=False), loop)
            with socket.create_server(("127.0.0.1", 0)) as listening:
                hub.listen(listening)
                try:
                    with socket.create_connection(listening.getsockname()) as sock:
                        sock.settimeout(20)
                        return await asyncio.to_thread(client, sock)
                finally:
                    hub.close()
                    if request.param == "threads":
                        gateway.close(5.0)

        with asyncio.Runner(loop_factory=event_loop_factory) as runner:
            return runner.run(main())

    return execute


def read_all(sock):
    with sock.makefile("rb") as file:
        return file.read()


@pytest.mark.parametrize("size", [0, 1, 70_000, 20_000_000])
def test_file(serve, tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    (tmp_path / "file").write_bytes(content)
    files = []

    def application(environ, start_response):
        files.append(Unread(tmp_path / "file"))
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](files[-1])

    def client(sock):
        # The answers to both are on their way together, in their order.
        sock.sendall(GET + LAST)
        return read_all(sock)

    expected = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % size
    assert serve(application, client) == (
        expected + b"\r\n" + content + expected + b"connection: close\r\n\r\n" + content
    )
    assert [file.closed.is_set() for file in files] == [True, True]


def test_part_of_a_file(serve, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return environ["wsgi.file_wrapper"](Unread(tmp_path / "file", 4))

    def client(sock):
        sock.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
        return read_all(sock)

    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n"
    assert serve(application, client) == head + b"\r\n" + head + b"connection: close\r\n\r\n456"


def test_position_of_a_buffered_file(serve, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    def application(environ, start_response):
        file = open(tmp_path / "file", "rb")  # noqa: SIM115
        assert file.read(2) == b"01"
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    def client(sock):
        sock.sendall(LAST)
        return read_all(sock)

    assert serve(application, client).endswith(b"\r\n\r\n23456789")


def test_file_that_becomes_shorter(serve, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 30_000_000)

    def application(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](Unread(path))

    def client(sock):
        sock.sendall(GET)
        got = len(sock.recv(1000))
        os.truncate(path, 10)
        try:
            while data := sock.recv(1_000_000):
                got += len(data)
        except ConnectionResetError:
            return got
        return None

    got = serve(application, client)
    assert got is not None
    assert got < 30_000_000


def test_file_that_is_too_short(serve, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"123")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return environ["wsgi.file_wrapper"](Unread(tmp_path / "file"))

    def client(sock):
        sock.sendall(LAST)
        return read_all(sock)

    assert serve(application, client).startswith(b"HTTP/1.1 500 ")
    assert "shorter" in str(caplog.records[0].exc_info[1])


class Pieces:
    """A file that is only one for Python."""

    def __init__(self) -> None:
        self.left = [b"one", b"two"]

    def read(self, size: int) -> bytes:
        return self.left.pop(0) if self.left else b""


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ([], b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        ([("Content-Length", "6")], b"\r\n\r\nonetwo"),
        ([("Content-Length", "5")], b"\r\n\r\nonetw"),
    ],
)
def test_file_of_python(serve, caplog, fields, end):
    def application(environ, start_response):
        start_response("200 OK", fields)
        return environ["wsgi.file_wrapper"](Pieces(), 8)

    def client(sock):
        sock.sendall(LAST)
        return read_all(sock)

    assert serve(application, client).endswith(end)
    assert caplog.messages == []
