"""Real clients on both servers. h11, http.client and httpx are always there; curl, ab and wrk are used where they are.

A client that is missing is skipped with a line in the summary that names it.
"""

import asyncio
import http.client
import re
import shutil
import socket
import subprocess

import h11
import httpx
import pytest

from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.wire import PATIENCE, request


@pytest.fixture(autouse=True)
def logs_taken(raw):
    """These tests compare what the client gets; what they leave in the logs is not for the next test."""
    yield
    for server in raw.both:
        server.take_log()


TARGETS = [
    "/",
    "/chunked",
    "/chunked-empty",
    "/chunked-declared",
    "/pieces",
    "/empty",
    "/minimal",
    "/large",
    "/large-chunked",
    "/fields",
    "/status/204",
    "/status/304",
    "/raise-before-start",
    "/return-nothing",
    "/close",
    "/close-chunked",
]


def missing(name):
    return pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed: not tested against it")


def read_as_h11(server, target, method="GET"):
    """The events that a strict parser makes of a response, the body joined; whether the connection may be reused."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    host = ("host", "parity")
    with server.connect() as client:
        client.send(connection.send(h11.Request(method=method, target=target, headers=[host])))
        client.send(connection.send(h11.EndOfMessage()))
        head, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(client.socket.recv(65536))
            elif isinstance(event, h11.Response):
                head = (event.status_code, event.reason, event.http_version, list(event.headers))
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage), event
                break
        assert not connection.trailing_data[0]
        fields = [(name, value) for name, value in head[3] if name not in (b"date", b"server")]
        return *head[:3], fields, body, connection.their_state


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_h11(raw, target, method):
    assert read_as_h11(raw.fastserve, target, method) == read_as_h11(raw.uvicorn, target, method)


def test_http_client(raw):
    """The standard library's client, which is old and reads strictly by content-length or chunks."""
    for server in raw.both:
        connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
        try:
            for body in (b"x" * 100000, iter([b"one", b"two"])):
                connection.request("POST", "/echo", body=body)
                response = connection.getresponse()
                assert response.read() in (b"x" * 100000, b"onetwo")
            connection.request("HEAD", "/large")
            assert connection.getresponse().read() == b""
            connection.request("GET", "/large-chunked")
            assert len(connection.getresponse().read()) == 1 << 20
        finally:
            connection.close()


def test_httpx_many_at_once(raw):
    """Concurrent requests over pooled connections, each with its own body: none gets another's answer."""

    async def ask(client, number):
        response = await client.post("/echo", content=b"%d" % number * (number % 97 + 1))
        assert response.status_code == 200
        return response.content

    async def ask_all(url):
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=url, trust_env=False, limits=limits, timeout=PATIENCE) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(200)))

    for server in raw.both:
        answers = asyncio.run(ask_all(server.url))
        assert answers == [b"%d" % number * (number % 97 + 1) for number in range(200)]


def run(*command):
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


CURL = {
    "get": ["/"],
    "two-on-one-connection": ["/", "/chunked"],
    "head": ["-I", "/"],
    "post": ["-d", "a=b", "/echo"],
    "post-large": ["--data-binary", "@tests/parity/apps/file.txt", "/count"],
    "post-expect": ["-H", "Expect: 100-continue", "-d", "a=b", "/echo"],
    "upload-chunked": ["-T", "-", "/count"],
    "form": ["-F", "name=value", "-F", "file=@tests/parity/apps/file.txt", "/count"],
    "http10": ["--http1.0", "/"],
    "http10-chunked": ["--http1.0", "/chunked"],
    "error": ["/raise-before-start"],
}


@missing("curl")
@pytest.mark.parametrize("arguments", CURL.values(), ids=CURL)
def test_curl(raw, arguments):
    outputs = []
    for server in raw.both:
        words = [server.url + word if word.startswith("/") else word for word in arguments]
        output = subprocess.run(
            ["curl", "-q", "-sS", "--noproxy", "*", "--path-as-is", "-w", "%{http_code} %{num_connects}\n", *words],
            input=b"from standard input" * 1000,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert output.returncode == 0, output.stderr.decode()
        text = re.sub(rb"(?m)^(date|server): .*\r$", rb"\1", output.stdout)
        # The form's boundary is random, but its length is not; the scope has ports.
        outputs.append(re.sub(rb'(127\.0\.0\.1:|"int", )\d{4,5}', b"PORT", text))
        server.take_log()
    assert outputs[1] == outputs[0]


@missing("ab")
@pytest.mark.parametrize("options", [[], ["-k"]], ids=["close", "keep-alive"])
def test_ab(raw, options):
    """ab speaks HTTP/1.0, with `Connection: Keep-Alive` by -k."""
    for server in raw.both:
        output = run("ab", "-q", "-n", "300", "-c", "10", *options, f"{server.url}/").decode()
        assert re.search(r"Complete requests: +300\n", output)
        assert re.search(r"Failed requests: +0\n", output)
        assert "Non-2xx" not in output
        if options and server is raw.fastserve and not COMPARES_WITH_ITSELF:
            assert re.search(r"Keep-Alive requests: +300\n", output)


@missing("wrk")
def test_wrk(raw):
    for server in raw.both:
        output = run("wrk", "-t", "1", "-c", "16", "-d", "1s", f"{server.url}/").decode()
        assert "Requests/sec" in output
        assert "Socket errors" not in output
        assert "Non-2xx" not in output


def test_slow_reader_does_not_lose_bytes(raw):
    """Backpressure: a client that reads little by little gets all of a large response, whichever way it is framed."""
    for server in raw.both:
        for target in ("/large", "/large-chunked"):
            with server.connect() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.receive_size = 8192
                client.send(request("GET", target))
                assert client.read_response("GET").body == b"0123456789abcdef" * 65536
