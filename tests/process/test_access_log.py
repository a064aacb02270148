"""The access log of real processes: nothing is lost when they end or open their files anew, and nothing but lines when
it cannot be written."""

import contextlib
import json
import signal
import socket
import threading
import time

import pytest

from tests.process.conftest import PATIENCE

FORMAT = "%(U)s %(s)s %(B)s"

FILES = """
[loggers]
keys=root,access
[handlers]
keys=console,file
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=console
[logger_access]
qualname=fastserve.access
level=INFO
handlers=file
propagate=0
[handler_console]
class=StreamHandler
formatter=plain
[handler_file]
class=FileHandler
formatter=plain
args=('access.log', 'a')
[formatter_plain]
format=%(message)s
"""


class Clients:
    """Connections that ask again and again until the server ends; `answered` is how many responses they have read."""

    def __init__(self, process, count=4):
        self.process = process
        self.answered = 0
        self._lock = threading.Lock()
        self._some = threading.Condition(self._lock)
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self):
        with contextlib.suppress(OSError):
            while True:
                with self.process.connect() as client:
                    while True:
                        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
                        head, body = self.process.read(client)
                        if body != b"/x":
                            break
                        with self._lock:
                            self.answered += 1
                            self._some.notify_all()
                        if "connection: close" in head:
                            break

    def wait_for(self, count):
        with self._lock:
            wanted = self.answered + count
            assert self._some.wait_for(lambda: self.answered >= wanted, PATIENCE)

    def join(self):
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.parametrize("arguments", [(), ("--workers", "2"), ("--access-log-format", FORMAT)])
def test_nothing_is_lost_at_the_end(start, folder, arguments):
    with open(folder / "out", "w") as out:
        process = start(
            "webapp:app", "--port", "0", *arguments,
            prefix=["sh", "-c", 'exec "$@" >>out', "sh"], env={"PYTHONPATH": "."},
        )  # fmt: skip
        assert out.fileno() > 0
    clients = Clients(process)
    clients.wait_for(300)
    process.stop(signal.SIGTERM)
    clients.join()
    lines = (folder / "out").read_text().splitlines()
    assert len(lines) == clients.answered
    assert all(line == "/x 200 2" or line.endswith('"GET /x HTTP/1.1" 200 OK') for line in lines)


def test_nothing_is_lost_when_files_are_reopened(start, folder):
    (folder / "log.ini").write_text(FILES)
    process = start(
        "webapp:app", "--port", "0", "--workers", "2", "--log-config", "log.ini", "--access-log-format", FORMAT
    )
    process.wait_for("Application startup complete", 2)
    clients = Clients(process)
    for number in range(4):
        clients.wait_for(100)
        (folder / "access.log").rename(folder / f"access.log.{number}")
        process.send_signal(signal.SIGUSR1)
        while not (folder / "access.log").exists():
            clients.wait_for(1)
    process.stop(signal.SIGTERM)
    clients.join()
    lines = [line for path in folder.glob("access.log*") for line in path.read_text().splitlines()]
    assert set(lines) == {"/x 200 2"}
    assert len(lines) == clients.answered


@pytest.mark.parametrize("output", [">/dev/full", "> >(exec true)"])
@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_a_log_that_cannot_be_written(start, output, arguments):
    process = start("webapp:app", "--port", "0", *arguments, prefix=["bash", "-c", f'exec "$@" {output}', "bash"])
    for _ in range(30):
        assert process.get("/x")[1] == b"/x"
    # Whoever is to read the other end may take his time to leave.
    while not any("Cannot write the access log" in line for line in process.stderr):
        assert process.get("/x")[1] == b"/x"
        time.sleep(0.01)
    assert process.stop(signal.SIGINT) == 0
    messages = [line for line in process.stderr if "Cannot write the access log" in line]
    assert 1 <= len(messages) <= (2 if arguments else 1)
    assert not any("Traceback" in line or "Exception ignored" in line for line in process.stderr)


def test_json_lines(start):
    process = start("webapp:app", "--port", "0", "--workers", "1", "--supervise", "--access-log-format", "json")
    with process.connect() as client:
        host = f"127.0.0.1:{client.getsockname()[1]}"
        client.sendall(b"GET /a%20b?c HTTP/1.1\r\nHost: x\r\nX-Request-ID: r-1\r\nConnection: close\r\n\r\n")
        process.read(client)
    with process.connect() as client:
        client.sendall(b"\x16\x03\x01\x00\x05hello")
        client.shutdown(socket.SHUT_WR)
        process.read(client)
    assert process.stop(signal.SIGTERM) == 0
    served, rejected = (json.loads(line) for line in process.stdout)
    assert served.pop("time")
    assert 0 < served.pop("duration") < 20
    assert served == {
        "client": host, "method": "GET", "path": "/a%20b", "query": "c", "protocol": "HTTP/1.1", "status": 200,
        "bytes": 4, "request_id": "r-1", "worker": 0,
    }  # fmt: skip
    assert (rejected["status"], rejected["method"], rejected["path"]) == (400, None, None)


def test_a_format_that_makes_no_sense(start):
    process = start("webapp:app", "--access-log-format", "%(nonsense)s")
    assert process.wait() == 2
    assert "there is no atom %(nonsense)s" in process.stderr[-1]


def test_formats_by_the_environment(start):
    process = start("webapp:app", "--port", "0", env={"FASTSERVE_ACCESS_LOG_FORMAT": "%(m)s %(U)s"})
    process.get("/x")
    process.stop()
    assert process.stdout == ["GET /x"]
