"""The frameworks' everyday work, each framework's application on both servers, compared on the wire and in the log.

`Control` wraps every application, so `python -m` is given `tests.parity.apps.<framework>_app:app`.
"""

import re

import httpx
import pytest

from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.wire import PATIENCE, Client, Final, Interim, Send, Transcript, case, request

FRAMEWORKS = ("starlette", "fastapi", "django", "litestar", "quart")
# What a framework does not have: Django has no lifespan and no background tasks; Litestar has no call that tells
# whether the client is still there; Django and Quart read a body only through their own parsers.
LACKS = {
    ("django", "background"),
    ("django", "state"),
    ("litestar", "gone"),
    ("django", "gone-upload"),
    ("quart", "gone-upload"),
}


def without_end(transcript):
    """A wanted difference: the framework has sent a complete response and then raises. uvicorn closes, we do not."""
    own = transcript.responses[:1]
    log = [line for line in transcript.log if "GET /hello" not in line]
    return [*(line for response in own for line in response.lines()), *log]


def without_log(transcript):
    """A wanted difference: fastserve logs the path that was asked for, uvicorn the one that Litestar has rewritten."""
    return [*(line for response in transcript.responses for line in response.lines()), transcript.end]


VIEWS = {
    ("starlette", "error"): without_end,
    ("starlette", "error-in-stream"): without_end,
    ("starlette", "json-malformed"): without_end,
    ("fastapi", "error"): without_end,
    ("litestar", "redirect-slash"): without_log,
}
BOUNDARY = "boundary-of-the-parts"
FORM = (
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="name"\r\n\r\n'
    "a name\r\n"
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="upload.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
    f"{'0123456789' * 20000}\r\n"
    f"--{BOUNDARY}--\r\n"
).encode()
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"".join(b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"


def post(target, body, *fields):
    return request("POST", target, *fields, body=body)


CASES = [
    case("hello", request("GET", "/hello")),
    case("hello-twice", request("GET", "/hello") * 2, reads=("GET", "GET")),
    case("hello-http10", request("GET", "/hello", version="1.0")),
    case("hello-close", request("GET", "/hello", "Connection: close")),
    case("head", request("HEAD", "/hello")),
    case("head-stream", request("HEAD", "/stream")),
    case("options", request("OPTIONS", "/hello")),
    case("method-not-allowed", request("DELETE", "/json")),
    case("not-found", request("GET", "/missing")),
    case("thread", request("GET", "/thread")),
    case("path-and-query", request("GET", "/items/42?a=1&b=two%20words&a=%C3%A9")),
    case("path-not-an-int", request("GET", "/items/x")),
    case("json", post("/json", b'{"a": [1, 2.5, null, "\xc3\xa9"]}', "Content-Type: application/json")),
    case("json-malformed", post("/json", b'{"a": [', "Content-Type: application/json")),
    case("form", post("/form", FORM, f"Content-Type: multipart/form-data; boundary={BOUNDARY}")),
    case("upload", post("/upload", b"x" * 1000000, "Content-Type: application/octet-stream")),
    case("upload-chunked", post("/upload", CHUNKS, CHUNKED, "Content-Type: application/octet-stream")),
    case("upload-nothing", request("POST", "/upload")),
    case(
        "upload-expect",
        Send(request("POST", "/upload", "Expect: 100-continue", "Content-Length: 10", "Content-Type: text/plain")),
        Interim(),
        Send(b"x" * 10),
        Final("POST"),
    ),
    case("stream", request("GET", "/stream")),
    case("stream-then-hello", request("GET", "/stream") + request("GET", "/hello"), reads=("GET", "GET")),
    case("events", request("GET", "/events", "Accept: text/event-stream")),
    case("file", request("GET", "/file")),
    case("file-head", request("HEAD", "/file")),
    case("file-range", request("GET", "/file", "Range: bytes=10-19")),
    case("redirect", request("GET", "/redirect")),
    case("redirect-slash", request("GET", "/hello/")),
    case("cookies", request("GET", "/cookies", "Cookie: own=1")),
    case("error", request("GET", "/error") + request("GET", "/hello"), reads=("GET", "GET")),
    case("error-in-stream", request("GET", "/error-in-stream")),
    case("root-query", request("GET", "/?a=b")),
    case("state", request("GET", "/state")),
    case(
        "upload-split",
        Send(post("/upload", b"x" * 100, "Content-Type: text/plain")[:-50]),
        Send(b"x" * 50),
        Final("POST"),
    ),
]


def with_framework(names):
    pairs = [(framework, name) for framework in FRAMEWORKS for name in names if (framework, str(name)) not in LACKS]
    return pytest.mark.parametrize(("framework", "name"), pairs, ids=str)


@with_framework(CASES)
def test_framework(pairs, compare, framework, name):
    compare(pairs(f"{framework}_app"), name, VIEWS.get((framework, str(name)), Transcript.lines))


@with_framework(["background"])
def test_background_task(pairs, framework, name):
    """The response is complete before the task has run; the connection serves the next request meanwhile."""
    pair = pairs(f"{framework}_app")
    for server in pair.both:
        with Client(server.address) as client:
            client.send(request("GET", "/background/task"))
            assert "answered" in client.read_response("GET").body.decode()
            client.send(request("GET", "/hello"))
            assert server.journal("task") == []
            server.release("task")
            server.wait_for("task", "done")
            assert client.read_response("GET").status == 200
        server.take_log()


def leave(server, name, how):
    key = f"{name}-{how}"
    with Client(server.address) as client:
        method, fields, body = ("POST", ["Content-Length: 100"], b"part") if name == "gone-upload" else ("GET", [], b"")
        client.send(request(method, f"/{name}/{key}", *fields) + body)
        server.wait_for(key, "entered")
        if name in ("gone-stream", "gone-waiting"):
            client.read_head()
        getattr(client, how)()
        server.wait_for(key, "left")
    log = server.take_log()
    # A wanted difference: a client that closes may have closed its half only. fastserve answers and logs that.
    return server.journal(key), [line for line in log if how == "reset" or not re.match(r'INFO: .* - "', line)]


@pytest.mark.parametrize("how", ["close", "reset"])
@with_framework(["gone", "gone-upload", "gone-stream", "gone-waiting"])
def test_client_goes_away(pairs, framework, name, how):
    """What the framework makes of a client that leaves: noticed without a further send, and nothing in the log."""
    pair = pairs(f"{framework}_app")
    ours, log = leave(pair.fastserve, name, how)
    theirs = leave(pair.uvicorn, name, how)
    by_server = framework in ("starlette", "fastapi") and name in ("gone-stream", "gone-waiting")
    if by_server and not COMPARES_WITH_ITSELF:
        # A wanted difference: we speak version 2.5, and from 2.4 on Starlette leaves it to the server to end a stream
        # whose client has gone. It is cancelled, where under uvicorn (2.3) Starlette cancels it itself.
        assert "raised CancelledError" in ours
        ours = ["returned" if event == "raised CancelledError" else event for event in ours]
    assert (ours, log) == theirs


def talk(server):
    """A conversation by way of a client library: what it gets, the things that legitimately vary left out."""
    seen = []

    def note(response):
        fields = [(name, value) for name, value in response.headers.multi_items() if name not in ("date", "server")]
        seen.append((response.status_code, response.reason_phrase, response.http_version, fields, response.content))

    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE) as client:
        note(client.get("/hello"))
        note(client.get("/items/7", params={"a": ["1", "2"], "b": "é"}))
        note(client.post("/json", json={"a": 1}))
        note(client.post("/upload", content=(b"x" * 10000 for _ in range(50))))
        note(client.post("/upload", content=b"y" * 300000))
        note(client.get("/redirect", follow_redirects=True))
        note(client.get("/cookies"))
        note(client.get("/cookies"))
        note(client.head("/hello"))
        # An error that the framework has answered and then raised closes the connection, too late for the client.
        note(client.get("/error", headers={"connection": "close"}))
        note(client.get("/hello"))
        with client.stream("GET", "/stream") as response:
            seen.append(b"".join(response.iter_bytes()))
        with client.stream("GET", "/events") as response:
            seen.append(list(response.iter_lines()))
    return seen, server.take_log()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_httpx(pairs, framework):
    pair = pairs(f"{framework}_app")
    assert talk(pair.fastserve) == talk(pair.uvicorn)
