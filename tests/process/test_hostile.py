"""Connections that send garbage, stall, reset, or ask without ever reading: none disturbs another."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from tests.process.conftest import PATIENCE

REQUEST = b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"
FLOOD = 200_000
"""Pipelined requests that one client sends without reading; their answers would be some 20 MiB."""
# AddressSanitizer keeps what is freed for a while, to catch who still uses it.
GROWTH = (20 if "ASAN_OPTIONS" not in os.environ else 500) * 2**20
"""Bytes by which the server may grow."""


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def ask(client: socket.socket) -> bytes:
    """One request on a connection that is kept; the whole answer."""
    client.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"/fine"):
        received = client.recv(65536)
        assert received, "the connection was closed"
        answer += received
    return answer


def flood(server, data: bytes) -> socket.socket:
    """Send until the server stops reading; never read."""
    client = connect(server)
    client.settimeout(1)
    with contextlib.suppress(TimeoutError, ConnectionError):
        client.sendall(data)
    return client


def test_hostile_connections_do_not_disturb_others(start):
    server = start("webapp:app", "--port", "0", "--timeout-header", "30")
    with connect(server) as bystander:
        ask(bystander)
        before = resident(server.child.pid)
        others = []
        for number in range(200):
            client = connect(server)
            kind = number % 5
            if kind == 0:
                client.sendall(bytes(range(256)) * 16)
            elif kind == 1:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
            elif kind == 2:
                client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
                reset(client)
            elif kind == 3:
                client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            else:
                client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n")
            others.append(client)
            if number % 20 == 0:
                assert ask(bystander).startswith(b"HTTP/1.1 200 OK")
        assert ask(bystander).startswith(b"HTTP/1.1 200 OK")
        assert resident(server.child.pid) - before < GROWTH
        for client in others:
            client.close()
    assert server.stop() == 0
    assert not any("Traceback" in line for line in server.stderr)


def test_a_flood_of_pipelined_requests_is_bounded(start):
    server = start("webapp:app", "--port", "0")
    with connect(server) as bystander:
        ask(bystander)
        before = resident(server.child.pid)
        with flood(server, REQUEST * FLOOD):
            assert ask(bystander).startswith(b"HTTP/1.1 200 OK")
            assert resident(server.child.pid) - before < GROWTH
        assert ask(bystander).startswith(b"HTTP/1.1 200 OK")
    assert server.stop() == 0
    assert not any("Traceback" in line for line in server.stderr)


def test_a_body_that_nobody_reads_is_bounded(start):
    server = start("webapp:app", "--port", "0")
    with connect(server) as bystander:
        ask(bystander)
        before = resident(server.child.pid)
        head = b"POST /hang HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n"
        with flood(server, head + bytes(50_000_000)):
            assert ask(bystander).startswith(b"HTTP/1.1 200 OK")
            assert resident(server.child.pid) - before < GROWTH


def test_who_says_nothing_or_half_of_it_is_not_held_for_ever(start):
    """uvicorn waits for either without end."""
    server = start("webapp:app", "--port", "0", "--timeout-header", "1")
    with connect(server) as half, connect(server) as silent:
        half.sendall(b"GET / HTTP/1.1\r\nHo")
        for client, answer in ((silent, b""), (half, b"HTTP/1.1 408 Request Timeout\r\n")):
            received = b""
            while piece := client.recv(65536):
                received += piece
            assert received.startswith(answer)
            assert bool(received) == bool(answer)


def test_a_megabyte_of_fields_is_refused(start):
    """uvicorn takes it with httptools."""
    server = start("webapp:app", "--port", "0")
    with connect(server) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 1_000_000)
        assert client.recv(64).startswith(b"HTTP/1.1 431 ")
