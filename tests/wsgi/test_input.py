"""The request's body: `wsgi.input` answers as a file does, however the body is framed and arrives."""

import io
import json
from hashlib import sha256
from urllib.parse import quote

import pytest

from tests.parity.wire import request
from tests.wsgi.apps.rules import call_all
from tests.wsgi.client import answer, ask, chunks, connect, wait_until_taken
from tests.wsgi.conftest import SUBJECT

CHUNKED = "Transfer-Encoding: chunked"
LINES = b"one\ntwo, longer\n\nfour\r\n\xff\xfe\n" + b"y" * 100 + b"\nlast without end"
CALLS = [
    [["read", 5], ["read", 0], ["read", 1000], ["read", 1], ["readline"]],
    [["readline"], ["readline", 3], ["readline", 100], ["readline", -1], ["read", 3], ["readlines"]],
    [["readlines", 5], ["readlines", 1], ["readlines", 0], ["readline"]],
    [["iter"], ["iter"], ["read", 1]],
    [["readline", 0], ["readline", 1], ["iter"]],
    [["read", -1], ["read", -1]],
]
# Calls that PEP 3333 does not promise, and that frameworks rely on all the same.
MORE_CALLS = [[["read"], ["read"]], [["read", None]], [["readline", None], ["readlines", None], ["readlines", -1]]]


def post(target, body, coding, *fields):
    if coding is None:
        return request("POST", target, *fields, body=body)
    return request("POST", target, CHUNKED, *fields, body=chunks(body, coding))


@pytest.mark.parametrize("coding", [None, 7, 1000], ids=["content-length", "small chunks", "one chunk"])
@pytest.mark.parametrize("body", [LINES, b""], ids=["lines", "empty"])
def test_the_calls_of_a_file(server, plain, coding, body):
    for process, lists in ((server, CALLS), (plain, MORE_CALLS)):
        for calls in lists:
            with connect(process) as client:
                client.send(post("/calls?" + quote(json.dumps(calls)), body, coding))
                assert json.loads(answer(client).body) == call_all(io.BytesIO(body), calls), calls


def test_no_body(server):
    assert json.loads(ask(server, "/calls?" + quote('[["read", 5], ["iter"]]')).body) == ["", []]


def test_a_body_in_pieces(server):
    calls = CALLS[1]
    with connect(server) as client:
        whole = post("/calls?" + quote(json.dumps(calls)), LINES, 50)
        for start in range(0, len(whole), 40):
            client.send(whole[start : start + 40])
            wait_until_taken(client)
        assert json.loads(answer(client).body) == call_all(io.BytesIO(LINES), calls)


@pytest.mark.parametrize("coding", [None, 9999], ids=["content-length", "chunked"])
@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_large_bodies(server, coding, size):
    body = bytes(range(250)) * (size // 250)
    with connect(server) as client:
        client.send(post("/digest", body, coding))
        assert answer(client).body.decode() == f"{size} {sha256(body).hexdigest()}"


def test_a_body_that_is_not_read(server):
    with connect(server) as client:
        client.send(post("/unread", b"x" * 300_000, None) + request("GET", "/hello"))
        assert answer(client).body == b"not read"
        following = client.read_response("GET")
        assert following is None or following.body == b"hello"


def test_an_application_never_reads_half_a_body(server, request):
    marker = request.node.name
    for body in (b"Content-Length: 1000\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
        with connect(server) as client:
            client.send(b"POST /digest?%b HTTP/1.1\r\nHost: x\r\n%b" % (marker.encode(), body))
            wait_until_taken(client)
    assert ask(server, f"/digest?{marker}-after", method="POST", body=b"x").status == 200
    server.wait_for(f"{marker}-after read 1$".replace("[", r"\[").replace("]", r"\]"))
    assert not [line for line in server.stdout if line.startswith(f"{marker} read")]


def expecting(target, length):
    return request("POST", target, "Expect: 100-continue", f"Content-Length: {length}")


def test_expect_continue(server):
    with connect(server) as client:
        client.send(expecting("/digest", 5))
        assert client.read_head().status_line == "HTTP/1.1 100 Continue"
        client.send(b"12345")
        assert answer(client).body.startswith(b"5 ")
        client.send(request("GET", "/hello"))
        assert (following := client.read_response("GET")) is None or following.body == b"hello"


def test_expect_continue_when_the_body_comes_at_once(server):
    with connect(server) as client:
        client.send(expecting("/digest", 5) + b"12345")
        assert answer(client).body.startswith(b"5 ")


def test_expect_continue_chunked(server):
    with connect(server) as client:
        client.send(request("POST", "/digest", "Expect: 100-continue", CHUNKED))
        assert client.read_head().status == 100
        client.send(chunks(b"12345", 2))
        assert answer(client).body.startswith(b"5 ")


def test_a_refusal_needs_no_body(server, mode):
    """In threads the first read asks for the body. In the loop it has to be there before the application is called."""
    with connect(server) as client:
        client.send(expecting("/unread", 5))
        first = client.read_head()
        if mode == "loop" or SUBJECT != "fastserve":
            assert first.status == 100
            return
        assert first.status == 413
        # The client may send the body or not; nobody can tell, so nothing else can follow.
        assert "close" in first.values("connection")


def test_requests_in_a_row(server):
    with connect(server) as client:
        client.send(b"".join(request("GET", f"/environ/{number}") for number in range(50)))
        for number in range(50):
            response = client.read_response("GET")
            if response is None and SUBJECT == "gunicorn":
                return
            assert json.loads(response.body)["PATH_INFO"] == f"/environ/{number}"
