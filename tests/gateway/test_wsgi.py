"""WSGI applications in the event loop, on connections in memory: what they see, and what comes of what they do."""

import asyncio
import contextvars
import io
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from fastserve._exchange import Endpoint
from fastserve.gateway._wsgi import WsgiGateway
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Loop:
    """What a worker and a gateway ask of an event loop; what is scheduled runs when the test says so."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.scheduled.append(lambda: callback(*args))

    def run(self) -> None:
        while self.scheduled:
            self.scheduled.pop(0)()


class Bench:
    """An application behind a worker."""

    def __init__(self) -> None:
        self.streams: list[MemoryStream] = []
        self.loop = Loop()

    def serve(
        self,
        application: Any,
        *,
        checked: bool = False,
        root_path: str = "",
        multiprocess: bool = False,
        limit_spool: int = 2**28,
    ) -> None:
        self.gateway = WsgiGateway(
            validator(application) if checked else application,
            self.loop,  # type: ignore[arg-type]
            root_path=root_path,
            multiprocess=multiprocess,
            limit_spool=limit_spool,
        )
        self.worker = Worker(self.gateway, self.loop, date_header=False, clock=ManualClock(1000.0))  # type: ignore[arg-type]

    def connect(self, capacity: int | None = None, endpoint: Endpoint | None = None) -> MemoryStream:
        self.streams.append(MemoryStream(self.worker, endpoint, capacity=capacity))
        return self.streams[-1]

    def answer(self, application: Any, request: bytes = GET, **options: Any) -> bytes:
        self.serve(application, **options)
        stream = self.connect()
        stream.feed(request)
        self.loop.run()
        return stream.take()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for stream in made.streams:
        stream.lose()


def environ_of(bench: Bench, request: bytes, endpoint: Endpoint | None = None, **options: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def application(environ, start_response):
        seen.update(environ)
        seen["body"] = environ["wsgi.input"].read()
        start_response("204 No Content", [])
        return []

    bench.serve(application, **options)
    bench.connect(endpoint=endpoint).feed(request)
    return seen


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


# --- the environ


def test_environ(bench):
    seen = environ_of(
        bench,
        b"POST /a%20b/%C3%A9?q=%20 HTTP/1.1\r\nHost: example.org:81\r\nContent-Type: text/x\r\nContent-Length: 3\r\n"
        b"X-Two: 1\r\nCookie: a=1\r\nX-Two: 2\r\nCookie: b=2\r\nX_Two: spoofed\r\nProxy: evil\r\n\r\nabc",
    )
    del seen["wsgi.input"], seen["wsgi.early_hints"], seen["wsgi.errors"], seen["wsgi.file_wrapper"]
    assert seen == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xc3\xa9",
        "QUERY_STRING": "q=%20",
        "RAW_URI": "/a%20b/%C3%A9?q=%20",
        "REQUEST_URI": "/a%20b/%C3%A9?q=%20",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "fastserve",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "HTTP_HOST": "example.org:81",
        "HTTP_X_TWO": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "body": b"abc",
    }


def test_environ_of_a_chunked_body(bench):
    seen = environ_of(
        bench, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert (seen["CONTENT_LENGTH"], seen["body"]) == ("5", b"abcde")
    assert "HTTP_TRANSFER_ENCODING" not in seen


def test_environ_on_a_unix_socket(bench):
    seen = environ_of(bench, GET, Endpoint(None, ("/run/x", None), "https"))
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"], seen["REMOTE_ADDR"]) == ("localhost", "443", "")
    assert (seen["wsgi.url_scheme"], "REMOTE_PORT" in seen) == ("https", False)


def test_environ_over_tls(bench):
    """PEP 3333 recommends Apache's variables; ASGI's extension knows some of them."""
    facts: dict[str, Any] = {"tls_version": 0x0304, "client_cert_chain": (), "client_cert_name": None}
    endpoint = Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8443), "https", tls=facts)
    seen = environ_of(bench, GET, endpoint)
    variables = {key: value for key, value in seen.items() if key.startswith(("SSL_", "HTTPS"))}
    assert variables == {"HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3", "SSL_CLIENT_VERIFY": "NONE"}
    facts |= {"client_cert_chain": ("PEM of the client", "PEM of its authority"), "client_cert_name": "CN=\u20ac"}
    seen = environ_of(bench, GET, Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8443), "https", tls=facts))
    assert (seen["SSL_CLIENT_VERIFY"], seen["SSL_CLIENT_CERT"]) == ("SUCCESS", "PEM of the client")
    assert seen["SSL_CLIENT_S_DN"] == "CN=\xe2\x82\xac"
    assert not [key for key in environ_of(bench, GET) if key.startswith(("SSL_", "HTTPS"))]


@pytest.mark.parametrize(
    ("root_path", "prefix", "target", "script_name", "path_info"),
    [
        ("/app", None, "/x", "/app", "/x"),
        ("/app/", None, "/app/x", "/app", "/x"),
        ("/app", None, "/app", "/app", ""),
        ("/app", None, "/apple", "/app", "/apple"),
        ("/app", b"/a%20b", "/a%20b/x", "/a b", "/x"),
        ("", None, "/x%2Fy", "", "/x/y"),
    ],
)
def test_mounted(bench, root_path, prefix, target, script_name, path_info):
    endpoint = Endpoint(("1.2.3.4", 5), ("x", 80), prefix=prefix)
    seen = environ_of(bench, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), endpoint, root_path=root_path)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == (script_name, path_info)


def test_several_processes(bench):
    assert environ_of(bench, GET, multiprocess=True)["wsgi.multiprocess"] is True


def test_every_environ_is_its_own_requests(bench):
    seen = []

    def application(environ, start_response):
        seen.append({key: value for key, value in environ.items() if key.startswith("HTTP_") or key == "QUERY_STRING"})
        environ["HTTP_COOKIE"] = "spoiled"
        environ["spoiled"] = True
        return hello(environ, start_response)

    bench.serve(application)
    stream = bench.connect()
    heads = [["Host: a"], ["Host: a"], ["Host: b"], ["Host: b", "Cookie: c"], ["Host: b", "Cookie: d"], ["Host: b"],
             ["X: 1", "X: 2", "Host: b"], ["X: 1", "X: 3", "Host: b"], ["X: 4", "X: 3", "Host: b"]]  # fmt: skip
    for lines in heads:
        stream.feed("\r\n".join(["GET /?1 HTTP/1.1", *lines, "", ""]).encode())
    assert seen == [
        {"QUERY_STRING": "1", "HTTP_HOST": "a"},
        {"QUERY_STRING": "1", "HTTP_HOST": "a"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b", "HTTP_COOKIE": "c"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b", "HTTP_COOKIE": "d"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b", "HTTP_X": "1,2"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b", "HTTP_X": "1,3"},
        {"QUERY_STRING": "1", "HTTP_HOST": "b", "HTTP_X": "4,3"},
    ]


def test_errors_go_to_standard_error(bench, capsys):
    def application(environ, start_response):
        environ["wsgi.errors"].write("one\n")
        environ["wsgi.errors"].writelines(["two\n"])
        environ["wsgi.errors"].flush()
        return hello(environ, start_response)

    bench.answer(application)
    assert capsys.readouterr().err == "one\ntwo\n"


# --- the request's body


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_in_pieces(bench, size, framing):
    lines = b"".join(b"%d\n" % number for number in range(size))[:size]
    got = []

    def application(environ, start_response):
        source = environ["wsgi.input"]
        got.append((source.readline(), source.read(3), source.readlines(), source.read(1)))
        return hello(environ, start_response)

    bench.serve(application)
    stream = bench.connect()
    if framing == "length":
        stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for start in range(0, size, 60_000):
            assert stream.take() == b""
            stream.feed(lines[start : start + 60_000])
    else:
        stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, size, 60_000):
            piece = lines[start : start + 60_000]
            stream.feed(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert stream.take() == b""
        stream.feed(b"0\r\n\r\n")
    expected = io.BytesIO(lines)
    assert got == [(expected.readline(), expected.read(3), expected.readlines(), b"")]
    assert stream.take().endswith(b"hello")


def full_disk(*args, **kwargs):
    """In place of `tempfile.TemporaryFile`."""
    return open("/dev/full", "w+b")


@pytest.mark.parametrize("size", [1_500_000, 3_000_000])
def test_body_that_the_disk_has_no_room_for(bench, caplog, monkeypatch, size):
    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)
    bench.serve(hello)
    stream = bench.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(0, size, 50_000):
        stream.feed(b"x" * 50_000)
    assert stream.take().startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert [record.getMessage() for record in caplog.records] == [
        "The body of POST / cannot be kept in a temporary file: [Errno 28] No space left on device"
    ]


def test_expect(bench):
    bench.serve(hello)
    stream = bench.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    assert stream.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    stream.feed(b"x")
    assert stream.take().endswith(b"hello")


def test_cut_body_is_never_seen(bench):
    called = []
    bench.serve(lambda *arguments: called.append(arguments) or [])
    stream = bench.connect()
    stream.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
    stream.end()
    assert stream.take().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    other = bench.connect()
    other.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
    other.lose()
    assert (called, bench.worker.tasks) == ([], 0)


# --- the response


def test_one_piece_is_measured(bench):
    answer = bench.answer(hello)
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
    assert bench.streams[0].writes == 1


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        ([], b"content-length: 0\r\n\r\n"),
        ([b"", b""], b"content-length: 0\r\n\r\n"),
        ((b"a", b"bc"), b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
    ],
)
def test_several_pieces_leave_together(bench, pieces, rest):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces

    assert bench.answer(application) == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n" + rest
    assert bench.streams[0].writes == 1


@pytest.mark.parametrize("kind", [list, tuple])
def test_iterator_of_what_is_there_leaves_together_and_before_close(bench, kind):
    sent = []

    class Response:
        def __iter__(self):
            return iter(kind((b"hel", b"lo")))

        def close(self):
            sent.append(bench.streams[0].take())

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return Response()

    assert bench.answer(application) == b""
    assert sent == [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"]
    assert bench.streams[0].writes == 1


def test_iterator_of_one_piece_is_measured(bench):
    class Response:
        def __iter__(self):
            return iter([b"hello"])

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Response()

    assert bench.answer(application) == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
    assert bench.streams[0].writes == 1


def test_reason_phrase(bench):
    def application(environ, start_response):
        start_response("299 As it were", [("Content-Type", "text/plain")])
        return []

    assert bench.answer(application).startswith(b"HTTP/1.1 299 As it were\r\n")


def test_pieces_leave_as_they_are_yielded(bench):
    seen = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b""
        seen.append(bench.streams[0].take())
        yield b"one"
        seen.append(bench.streams[0].take())
        yield b"two"
        seen.append(bench.streams[0].take())

    assert bench.answer(application) == b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    assert seen == [b"", head + b"3\r\none\r\n", b"3\r\ntwo\r\n"]


def test_declared_length_ends_the_response(bench):
    seen = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        yield b"one"
        seen.append(bench.streams[0].take())

    assert bench.answer(application) == b""
    assert seen == [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\none"]


def test_write(bench):
    seen = []

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"one")
        seen.append(bench.streams[0].take())
        return [b"two"]

    assert bench.answer(application) == b"3\r\ntwo\r\n0\r\n\r\n"
    assert seen[0].endswith(b"\r\n\r\n3\r\none\r\n")


def dechunked(data):
    body = b""
    data = data.partition(b"\r\n\r\n")[2]
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


def write_and_return_a_list(write, pieces):
    for piece in pieces[:-1]:
        write(piece)
    return [pieces[-1]]


def write_and_return_an_iterator(write, pieces):
    for piece in pieces[:-3]:
        write(piece)
    return (piece for piece in pieces[-3:])


def write_while_iterating(write, pieces):
    for start in range(0, len(pieces), 5):
        for piece in pieces[start : start + 4]:
            write(piece)
        yield pieces[start + 4]


@pytest.mark.parametrize("answer", [write_and_return_a_list, write_and_return_an_iterator, write_while_iterating])
def test_write_to_a_slow_client_is_bounded_in_memory(bench, answer):
    pieces = [b"%03d" % number * 10_000 for number in range(100)]

    def application(environ, start_response):
        return answer(start_response("200 OK", [("Content-Type", "text/plain")]), pieces)

    bench.serve(application)
    stream = bench.connect(capacity=0)
    stream.feed(GET)
    got, most, spooled = b"", 0, 0
    while stream.waiting:
        most = max(most, stream.waiting)
        spooled = max(spooled, bench.gateway.spooled)
        stream.drain()
        got += stream.take()
        bench.loop.run()
    assert dechunked(got) == b"".join(pieces)
    assert most < 300_000
    assert (spooled > 20_000, bench.gateway.spooled, bench.worker.tasks) == (True, 0, 0)


def test_write_of_too_much_for_a_slow_client(bench, caplog):
    closed = []

    class Pieces:
        def __init__(self, write):
            self.write = write

        def __iter__(self):
            while True:
                self.write(b"x" * 100_000)

        def close(self):
            closed.append(True)

    bench.serve(lambda environ, start: Pieces(start("200 OK", [("Content-Type", "text/plain")])), limit_spool=1_000_000)
    stream = bench.connect(capacity=0)
    stream.feed(GET)
    stream.drain()
    bench.loop.run()
    assert (closed, bench.gateway.spooled, bench.worker.tasks) == ([True], 0, 0)
    assert "ConnectionError: Clients have not taken 1000000 bytes that were written for them." in caplog.text
    assert stream.closed


def test_what_was_written_is_forgotten_when_the_client_leaves(bench):
    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(10):
            write(b"x" * 100_000)
        return []

    bench.serve(application)
    stream = bench.connect(capacity=0)
    stream.feed(GET)
    assert (bench.gateway.spooled > 0, bench.worker.tasks) == (True, 1)
    stream.lose()
    assert (bench.gateway.spooled, bench.worker.tasks) == (0, 0)


def test_head(bench):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"hello"]

    request = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    expected = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\n"
    assert bench.answer(application, request + request) == expected * 2
    assert bench.answer(lambda environ, start: iter(hello(environ, start)), request).endswith(
        b"content-type: text/plain\r\n\r\n"
    )


def test_http_1_0(bench):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        yield b"two"

    assert bench.answer(application, b"GET / HTTP/1.0\r\n\r\n").endswith(b"connection: close\r\n\r\nonetwo")
    assert bench.streams[0].closed


def test_pipelined(bench):
    assert bench.answer(hello, GET * 3).count(b"hello") == 3
    assert bench.streams[0].writes == 1


def test_early_hints(bench):
    def application(environ, start_response):
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
        return hello(environ, start_response)

    answer = bench.answer(application)
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert b"103" not in bench.answer(application, b"GET / HTTP/1.0\r\n\r\n")


def test_early_hints_of_bytes(bench):
    """gunicorn takes both."""

    def application(environ, start_response):
        environ["wsgi.early_hints"]([(b"Link", b"</a>")])
        return hello(environ, start_response)

    assert bench.answer(application).startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_early_hints_that_are_too_late(bench):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
        yield b"two"

    answer = bench.answer(application)
    assert b"103" not in answer
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_call_has_a_context_of_its_own(bench):
    variable = contextvars.ContextVar("variable", default=0)
    seen = []

    class Pieces:
        def __iter__(self):
            seen.append(variable.get())
            variable.set(2)
            return self.made()

        def made(self):
            for _ in range(3):
                seen.append(variable.get())
                yield b"x" * 100_000

        def close(self):
            seen.append(variable.get())

    def application(environ, start_response):
        seen.append(variable.get())
        variable.set(1)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Pieces()

    bench.serve(application)
    stream = bench.connect(capacity=0)
    stream.feed(GET)
    while stream.waiting:
        contextvars.Context().run(stream.drain)
    assert seen == [0, 1, 2, 2, 2, 2]
    assert variable.get() == 0


def test_slow_client(bench):
    taken = []

    class Pieces:
        def __iter__(self):
            for number in range(10):
                taken.append(number)
                yield b"x" * 50_000

        def close(self):
            taken.append("closed")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "500000")])
        return Pieces()

    bench.serve(application)
    stream = bench.connect(capacity=0)
    stream.feed(GET + GET)
    first = len(taken)
    assert 0 < first < 5
    stream.drain()
    assert first < len(taken) < 10
    while stream.waiting:
        stream.drain()
    assert taken == [*range(10), "closed"] * 2
    assert stream.take().count(b"x" * 50_000) == 20


def test_client_that_leaves_ends_the_iterable(bench):
    closed = []

    class Pieces:
        def __iter__(self):
            return (b"x" * 100_000 for _ in range(10))

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Pieces()

    bench.serve(application)
    stream = bench.connect(capacity=0)
    stream.feed(GET)
    assert (closed, bench.worker.tasks) == ([], 1)
    stream.lose()
    assert (closed, bench.worker.tasks) == ([True], 0)


def one_piece(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hel"
    yield b"lo"


def written(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])(b"hello")
    return []


def reading(environ, start_response):
    source = environ["wsgi.input"]
    size = int(environ.get("CONTENT_LENGTH") or 0)
    assert source.read(0) == b""
    body = source.readline(size) + b"".join(source.readlines(size)) + b"".join(source)
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body or b"hello"]


def replaced(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError
    except ValueError:
        start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"hello"]


@pytest.mark.parametrize("application", [one_piece, generator, written, reading, replaced, hello])
@pytest.mark.parametrize(
    "request_",
    [
        GET,
        b"GET /a%20b?c HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
    ids=["GET", "1.0", "POST", "chunked"],
)
def test_the_standard_librarys_validator_is_content(bench, caplog, application, request_):
    for _ in range(2):
        answer = bench.answer(application, request_, checked=True)
        body = answer.partition(b"\r\n\r\n")[2]
        if b"transfer-encoding: chunked" in answer:
            body = b"".join(body.split(b"\r\n")[1::2])
        assert body == b"hello"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("status", "fields", "request_", "expected"),
    [
        ("204 No Content", [("Content-Length", "4")], GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "200 OK",
            [("Transfer-Encoding", "Chunked"), ("Content-Length", "4")],
            GET,
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        ),
        ("200 OK", [("transfer-encoding", "chunked")], GET, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"),
        ("200 OK", [("Connection", "keep-alive")], GET, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"),
        (
            "200 OK",
            [("Connection", "keep-alive")],
            b"GET / HTTP/1.0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody",
        ),
        (
            "200 OK",
            [("Connection", "x, Close")],
            GET,
            b"HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 4\r\n\r\nbody",
        ),
    ],
)
def test_fields_of_the_connection_are_the_servers(bench, status, fields, request_, expected):
    """What frameworks add, and what naive proxies pass on: the body decides how it is framed."""

    def application(environ, start_response):
        start_response(status, fields)
        return [b"body"]

    assert bench.answer(application, request_) == expected


# --- errors


def fails(message):
    def application(environ, start_response):
        raise ValueError(message)

    return application


def test_error_before_the_head(bench, caplog):
    answer = bench.answer(fails("so"), b"GET /a%0ab HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert bench.streams[0].closed
    assert caplog.messages == ["Exception in WSGI application: GET /a%0ab\n"]
    assert str(caplog.records[0].exc_info[1]) == "so"


def test_error_after_the_head(bench, caplog):
    closed = []

    class Pieces:
        def __iter__(self):
            yield b"one"
            raise ValueError("so")

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Pieces()

    answer = bench.answer(application)
    assert answer.endswith(b"3\r\none\r\n")
    assert (bench.streams[0].closed, closed, len(caplog.messages)) == (True, [True], 1)


def test_error_that_start_response_is_told(bench):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-First", "1")])
        try:
            raise ValueError("so")
        except ValueError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    assert bench.answer(application) == (
        b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nsorry"
    )


def test_error_that_start_response_is_told_too_late(bench, caplog):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        try:
            raise ValueError("so")
        except ValueError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())

    assert bench.answer(application).endswith(b"3\r\none\r\n")
    assert str(caplog.records[0].exc_info[1]) == "so"


@pytest.mark.parametrize(
    ("application", "words"),
    [
        (lambda environ, start_response: [b"x"], "has not called start_response"),
        (lambda environ, start_response: [], "has not called start_response"),
        (lambda environ, start_response: (start_response("200 OK", []), None)[1], "not iterable"),
        (lambda environ, start_response: (start_response("200 OK", []), ["text"])[1], "must consist of bytes, not str"),
        (lambda environ, start_response: (start_response("200 OK", []), "text")[1], "must consist of bytes, not str"),
        (lambda environ, start_response: start_response(200, []), "A status must be str, not int"),
        (lambda environ, start_response: start_response("OK", []), "three digits, a space and a phrase"),
        (lambda environ, start_response: start_response("200 O\nK", []), "Invalid HTTP reason phrase"),
        (lambda environ, start_response: start_response("99 No", []), "three digits"),
        (lambda environ, start_response: start_response("100 No", []), "Invalid HTTP status code"),
        (lambda environ, start_response: start_response("200 OK", [("x", "a\r\nb: c")]), "Invalid HTTP header value"),
        (lambda environ, start_response: start_response("200 OK", [("x y", "a")]), "Invalid HTTP header name"),
        (lambda environ, start_response: start_response("200 OK", [("x", "\u20ac")]), "outside of Latin-1"),
        (lambda environ, start_response: start_response("200 OK", [(b"x", b"y")]), "must be str, not bytes and bytes"),
        (lambda environ, start_response: start_response("200 OK", [("Content-Length", "2")]) and [b"abc"], "longer"),
        (lambda environ, start_response: start_response("200 OK", [("Content-Length", "4")]) and [b"abc"], "shorter"),
        (
            lambda environ, start_response: start_response("200 OK", []) and start_response("200 OK", []),
            "called again without exc_info",
        ),
    ],
)
def test_mistakes(bench, caplog, application, words):
    answer = bench.answer(application)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert len(caplog.records) == 1
    assert words in str(caplog.records[0].exc_info[1])
    assert bench.answer(hello).endswith(b"hello")


def test_header_values_are_latin_1(bench):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Name", "\xe9")])
        return [b""]

    assert b"x-name: \xe9\r\n" in bench.answer(application)


def test_exit_of_an_application_is_an_error(bench, caplog):
    def application(environ, start_response):
        sys.exit(1)

    assert bench.answer(application).startswith(b"HTTP/1.1 500 ")
    assert caplog.records[0].levelno == logging.ERROR


def test_no_event_loop_is_seen_to_run(bench):
    async def nothing():
        return b"one"

    class Pieces(list):
        def __iter__(self):
            yield asyncio.run(nothing())

        def close(self):
            self.append(asyncio.run(nothing()))

    pieces = Pieces()

    def application(environ, start_response):
        asyncio.run(nothing())
        start_response("200 OK", [("Content-Length", "3")])
        return pieces

    async def serve():
        answer = bench.answer(application)
        return answer, asyncio.get_running_loop()

    with asyncio.Runner() as runner:
        answer, loop = runner.run(serve())
        assert loop is runner.get_loop()
    assert answer.endswith(b"one")
    assert pieces == [b"one"]
