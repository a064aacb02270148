"""WSGI applications in threads, on connections in memory under a real event loop."""

import asyncio
import logging
import re
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fastserve.gateway._wsgi_threads import ThreadedGateway
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TEXT = [("Content-Type", "text/plain")]


class Bench:
    """An application behind a worker, with threads."""

    def __init__(self, application: Any, threads: int, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        self.gateway = ThreadedGateway(application, loop, threads, **options)
        self.refusals: list[str] = []
        self.gateway.on_refused = self.refusals.append
        self.worker = Worker(self.gateway, loop, date_header=False, clock=ManualClock(1000.0))
        self.streams: list[MemoryStream] = []

    def connect(self, data: bytes = b"", capacity: int | None = None) -> MemoryStream:
        self.streams.append(MemoryStream(self.worker, capacity=capacity))
        self.streams[-1].feed(data)
        return self.streams[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        """Wait until no request is running."""
        await self.until(lambda: not self.worker.tasks)

    async def answer(self, data: bytes = GET) -> bytes:
        stream = self.connect(data)
        await self.quiet()
        return stream.take()


Scenario = Callable[[Bench], Awaitable[Any]]


@pytest.fixture
def run(event_loop_factory):
    """Run a scenario with an application in threads."""

    def execute(application: Any, scenario: Scenario, threads: int = 2, **options: Any) -> Any:
        async def main() -> Any:
            bench = Bench(application, threads, **options)
            try:
                result = await scenario(bench)
            except BaseException:
                bench.gateway.close(0.0)
                raise
            for stream in bench.streams:
                stream.lose()
            await bench.quiet()
            bench.gateway.close(5.0)
            return result

        with asyncio.Runner(loop_factory=event_loop_factory) as runner:
            return runner.run(main())

    return execute


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


class Gate:
    """An application that waits inside until it is let go; requests for /free do not wait."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.open = threading.Event()

    def __call__(self, environ, start_response):
        self.entered.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] != "/free":
            assert self.open.wait(20)
        return hello(environ, start_response)


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


# --- what the application sees and what comes of it


def generated(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"hel"
    yield b""
    yield b"lo"


def written(environ, start_response):
    start_response("299 Fine", TEXT)(b"hello")
    return [b"!"]


def declared(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    yield b"hello"


def replaced(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise ValueError
    except ValueError:
        start_response("500 Oops", TEXT, sys.exc_info())
    return [b"sorry"]


def hinted(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a>")])
    return hello(environ, start_response)


def bodiless(environ, start_response):
    start_response("204 No Content", [])
    return [b"ignored"]


def bodiless_with_length(environ, start_response):
    start_response("204 No Content", [("Content-Length", "7")])
    return [b"ignored"]


def bodiless_at_first(environ, start_response):
    start_response("304 Not Modified", [])
    try:
        raise ValueError
    except ValueError:
        start_response("500 Oops", TEXT, sys.exc_info())
    return [b"sorry"]


def framed(environ, start_response):
    start_response("200 OK", [*TEXT, ("Transfer-Encoding", "chunked"), ("Content-Length", "5"), ("Connection", "x")])
    return [b"hello"]


def hinted_too_late(environ, start_response):
    start_response("200 OK", TEXT)(b"hel")
    environ["wsgi.early_hints"]([("Link", "</a>")])
    return [b"lo"]


def echo(environ, start_response):
    start_response("200 OK", TEXT)
    return [
        environ["wsgi.input"].readline(),
        b"|",
        environ["wsgi.input"].read(),
        b"|",
        environ["CONTENT_LENGTH"].encode(),
    ]


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
EXPECTING = POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"


@pytest.mark.parametrize(
    ("application", "request_", "expected"),
    [
        (hello, GET, HEAD + b"content-length: 5\r\n\r\nhello"),
        (hello, GET * 2, (HEAD + b"content-length: 5\r\n\r\nhello") * 2),
        (hello, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", HEAD + b"\r\n"),
        (declared, GET, HEAD + b"content-length: 5\r\n\r\nhello"),
        (declared, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", HEAD + b"content-length: 5\r\n\r\n"),
        (replaced, GET, b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nsorry"),
        (hinted, GET, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + HEAD + b"content-length: 5\r\n\r\nhello"),
        (bodiless, GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (bodiless_with_length, GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (bodiless_at_first, GET, b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nsorry"),
        (framed, GET, HEAD + b"content-length: 5\r\n\r\nhello"),
        (lambda environ, start: (start("200 OK", TEXT), ())[1], GET, HEAD + b"content-length: 0\r\n\r\n"),
        (echo, POST + b"Content-Length: 5\r\n\r\na\nbcd", b"a\n|bcd|5"),
        (echo, POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n3\r\nbcd\r\n0\r\n\r\n", b"a\n|bcd|5"),
    ],
)
def test_answers(run, application, request_, expected):
    answer = run(application, lambda bench: bench.answer(request_))
    if expected.startswith(b"HTTP"):
        assert answer == expected
    else:
        body = answer.partition(b"\r\n\r\n")[2]
        assert b"".join(body.split(b"\r\n")[1::2]) == expected


@pytest.mark.parametrize(
    ("application", "body"), [(generated, b"hello"), (written, b"hello!"), (hinted_too_late, b"hello")]
)
def test_streamed_answers(run, application, body):
    answer = run(application, lambda bench: bench.answer(b"GET / HTTP/1.0\r\n\r\n"))
    assert answer.partition(b"\r\n\r\n")[2] == body


def test_early_hints_that_are_too_late(run):
    assert b"103" not in run(hinted_too_late, lambda bench: bench.answer())


def test_pieces_leave_as_they_are_yielded(run):
    seen = threading.Semaphore(0)

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        for piece in (b"one", b"two"):
            yield piece
            assert seen.acquire(timeout=20)

    async def scenario(bench):
        stream = bench.connect(GET)
        got = b""
        for piece in (b"3\r\none\r\n", b"3\r\ntwo\r\n"):
            while not got.endswith(piece):
                await asyncio.sleep(0.001)
                got += stream.take()
            seen.release()
        await bench.quiet()
        return got + stream.take()

    assert run(application, scenario).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_iterator_of_what_is_there_leaves_together_and_before_close(run):
    closing = threading.Event()
    seen = threading.Event()

    class Response:
        def __iter__(self):
            return iter([b"hel", b"lo"])

        def close(self):
            closing.set()
            assert seen.wait(20)

    def application(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        return Response()

    async def scenario(bench):
        stream = bench.connect(GET)
        got = b""
        while not got.endswith(b"lo"):
            await asyncio.sleep(0.001)
            got += stream.take()
        assert closing.wait(20)
        writes = stream.writes
        seen.set()
        await bench.quiet()
        return got + stream.take(), writes

    assert run(application, scenario) == (HEAD + b"content-length: 5\r\n\r\nhello", 1)


def test_environ_tells_of_the_threads(run):
    seen = []

    def application(environ, start_response):
        seen.append((environ["wsgi.multithread"], threading.current_thread().name))
        return hello(environ, start_response)

    run(application, lambda bench: bench.answer())
    # Whichever was there first.
    assert seen[0] in ((True, "wsgi-1"), (True, "wsgi-2"))


def test_threads_keep_what_is_theirs(run):
    local = threading.local()

    def application(environ, start_response):
        local.count = getattr(local, "count", 0) + 1
        start_response("200 OK", TEXT)
        return [f"\n{threading.current_thread().name} {local.count}".encode()]

    async def scenario(bench):
        return [(await bench.answer()).decode().rpartition("\n")[2].split() for _ in range(30)]

    counts: dict[str, list[int]] = {}
    for name, count in run(application, scenario, threads=3):
        counts.setdefault(name, []).append(int(count))
    assert all(each == list(range(1, len(each) + 1)) for each in counts.values())


# --- who waits for whom


def test_slow_request_delays_no_other(run):
    gate = Gate()

    async def scenario(bench):
        slow = bench.connect(get("/slow"))
        await bench.until(lambda: gate.entered)
        free = bench.connect(get("/free"))
        await bench.until(lambda: bench.worker.tasks == 1)
        assert free.take().endswith(b"hello")
        assert slow.take() == b""
        gate.open.set()
        await bench.quiet()
        return slow.take()

    assert run(gate, scenario).endswith(b"hello")


def test_waiting_requests_keep_their_order(run):
    gate = Gate()

    async def scenario(bench):
        for number in range(20):
            bench.connect(get(f"/{number}"))
        await bench.until(lambda: len(gate.entered) == 1)
        assert (bench.gateway.waiting, bench.gateway.busy) == (19, 1)
        gate.open.set()
        await bench.quiet()

    run(gate, scenario, threads=1)
    assert gate.entered == [f"/{number}" for number in range(20)]


def test_all_threads_work(run):
    gate = Gate()

    async def scenario(bench):
        for number in range(8):
            bench.connect(get(f"/{number}"))
        await bench.until(lambda: len(gate.entered) == 8)
        assert (bench.gateway.waiting, bench.gateway.busy) == (0, 8)
        gate.open.set()

    run(gate, scenario, threads=8)


def test_too_many_wait(run):
    gate = Gate()

    async def scenario(bench):
        bench.connect(get("/1"))
        await bench.until(lambda: gate.entered)
        bench.connect(get("/2"))
        refused = bench.connect(get("/3"))
        answer = refused.take()
        assert (bench.gateway.refused, bench.gateway.waiting) == (1, 1)
        gate.open.set()
        await bench.quiet()
        return answer, await bench.answer(get("/free")), bench.refusals

    first, second, refusals = run(gate, scenario, threads=1, limit_queue=1)
    assert first.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1\r\n" in first
    assert second.endswith(b"hello")
    assert refusals[0] == "Service unavailable: 1 requests wait for a thread already; 1 threads are busy."


@pytest.mark.parametrize("limit_queue", [0, 1])
def test_a_burst_waits_for_no_free_thread(run, limit_queue):
    """Requests that come at once wait only beyond what the threads take."""
    gate = Gate()

    async def scenario(bench):
        for number in range(3):
            bench.connect(get(f"/{number}"))
        refused = bench.gateway.refused
        gate.open.set()
        await bench.quiet()
        return refused, bench.refusals

    refused, refusals = run(gate, scenario, threads=2, limit_queue=limit_queue)
    assert refused == 1 - limit_queue
    assert [line.partition(":")[0] for line in refusals] == ["Service unavailable"] * refused


def test_waited_too_long(run):
    gate = Gate()

    async def scenario(bench):
        bench.connect(get("/1"))
        await bench.until(lambda: gate.entered)
        streams = [bench.connect(get(f"/{number}")) for number in (2, 3)]
        await bench.until(lambda: bench.gateway.refused == 2)
        assert bench.gateway.waiting == 0
        gate.open.set()
        await bench.quiet()
        return [stream.take()[:12] for stream in streams]

    assert run(gate, scenario, threads=1, timeout_queue=0.05) == [b"HTTP/1.1 503"] * 2
    assert gate.entered == ["/1"]


# --- slow clients


def pattern(size):
    return bytes(range(251)) * (size // 251 + 1)


@pytest.mark.parametrize("piece", [1000, 40_000, 300_000])
def test_slow_client_occupies_no_thread(run, piece):
    whole = pattern(3_000_000)[:3_000_000]
    closed = threading.Event()

    class Pieces:
        def __iter__(self):
            for start in range(0, len(whole), piece):
                yield whole[start : start + piece]

        def close(self):
            closed.set()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(whole)))])
        return Pieces()

    async def scenario(bench):
        stream = bench.connect(GET, capacity=0)
        await bench.until(lambda: closed.is_set() and not bench.gateway.busy)
        assert 2_000_000 < bench.gateway.spooled < 3_000_000
        got = b""
        while bench.worker.tasks:
            await asyncio.sleep(0)
            stream.drain()
            got += stream.take()
        assert bench.gateway.spooled == 0
        stream.drain()
        return got + stream.take()

    assert run(application, scenario, threads=1).partition(b"\r\n\r\n")[2] == whole


def test_too_much_in_files_makes_the_thread_wait(run):
    whole = pattern(3_000_000)[:3_000_000]
    taken = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(whole)))])
        for start in range(0, len(whole), 50_000):
            taken.append(start)
            yield whole[start : start + 50_000]

    async def scenario(bench):
        stream = bench.connect(GET, capacity=0)
        await bench.until(lambda: bench.gateway.spooled >= 500_000)
        assert len(taken) < 25
        got = b""
        while bench.worker.tasks:
            await asyncio.sleep(0)
            assert bench.gateway.spooled <= 550_000
            stream.drain()
            got += stream.take()
        stream.drain()
        return got + stream.take()

    assert run(application, scenario, limit_spool=2_000_000).partition(b"\r\n\r\n")[2] == whole


def test_slow_clients_leave_a_thread_for_others(run):
    """More is yielded than may be kept for those who do not read it: their threads wait, and others work."""

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] == "/free":
            return [threading.current_thread().name.encode()]
        return (b"x" * 50_000 for _ in range(40))

    async def scenario(bench):
        slow = [bench.connect(GET, capacity=0) for _ in range(3)]
        await bench.until(lambda: bench.gateway.spooled >= 400_000)
        free = bench.connect(get("/free"))
        await bench.until(lambda: free.writes)
        while bench.worker.tasks:
            await asyncio.sleep(0)
            for stream in slow:
                stream.drain()
        answers = {(await bench.answer(get("/free")))[-6:] for _ in range(10)}
        await bench.until(lambda: len([thread for thread in threading.enumerate() if "wsgi" in thread.name]) <= 1)
        return free.take(), answers

    first, answers = run(application, scenario, threads=1, limit_spool=500_000)
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(answers) == 1


def test_body_that_does_not_come_leaves_a_thread_for_others(run):
    async def scenario(bench):
        slow = [bench.connect(EXPECTING) for _ in range(50)]
        await bench.until(lambda: all(stream.writes for stream in slow))
        answer = bench.connect(get("/free"))
        await bench.until(lambda: answer.writes)
        for stream in slow:
            stream.feed(b"abcde")
        await bench.quiet()
        return answer.take(), [stream.take() for stream in slow]

    def application(environ, start_response):
        return hello(environ, start_response) if environ["PATH_INFO"] == "/free" else echo(environ, start_response)

    answer, answers = run(application, scenario, threads=1)
    assert answer.endswith(b"hello")
    assert all(b"abcde" in each for each in answers)


def full_disk(*args, **kwargs):
    """In place of `tempfile.TemporaryFile`."""
    return open("/dev/full", "w+b")


def test_response_that_the_disk_has_no_room_for(run, caplog, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)
    whole = pattern(3_000_000)[:3_000_000]

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(whole)))])
        return (whole[start : start + 50_000] for start in range(0, len(whole), 50_000))

    async def scenario(bench):
        stream = bench.connect(GET, capacity=0)
        got = b""
        while bench.worker.tasks:
            await asyncio.sleep(0)
            stream.drain()
            got += stream.take()
        stream.drain()
        return got + stream.take()

    assert run(application, scenario).partition(b"\r\n\r\n")[2] == whole
    assert [record.getMessage() for record in caplog.records] == [
        "Responses cannot be kept in temporary files, their threads wait for slow clients: "
        "[Errno 28] No space left on device"
    ]


def test_response_that_the_disk_has_no_room_for_at_the_end(run, caplog, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)
    closed = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        try:
            while True:
                yield b"x" * 50_000
        finally:
            closed.set()

    async def scenario(bench):
        bench.connect(GET, capacity=0)
        await bench.until(lambda: caplog.records)
        bench.worker.cancel()
        await bench.until(closed.is_set)

    run(application, scenario)


@pytest.mark.parametrize("expectation", [b"", b"Expect: 100-continue\r\n"])
def test_body_that_the_disk_has_no_room_for(run, caplog, monkeypatch, expectation):
    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)

    async def scenario(bench):
        stream = bench.connect(POST + b"Content-Length: 2000000\r\n" + expectation + b"\r\n")
        await bench.until(lambda: stream.writes or not expectation)
        for _ in range(40):
            stream.feed(b"x" * 50_000)
        await bench.quiet()
        return stream.take()

    answer = run(echo, scenario)
    assert b"HTTP/1.1 500 Internal Server Error\r\n" in answer
    assert caplog.records[0].getMessage() == (
        "The body of POST / cannot be kept in a temporary file: [Errno 28] No space left on device"
    )


@pytest.mark.parametrize("limit_spool", [2**28, 1_000_000])
def test_client_that_leaves_ends_the_iteration(run, limit_spool):
    closed = threading.Event()

    class Pieces:
        def __iter__(self):
            while True:
                yield b"x" * 100_000

        def close(self):
            closed.set()

    def application(environ, start_response):
        start_response("200 OK", TEXT)
        return Pieces()

    async def scenario(bench):
        stream = bench.connect(GET, capacity=0)
        await bench.until(lambda: bench.gateway.spooled)
        stream.lose()
        await bench.until(closed.is_set)
        await bench.quiet()
        return bench.gateway.spooled

    assert run(application, scenario, limit_spool=limit_spool) == 0


def test_client_that_leaves_while_it_waits_is_not_served(run):
    gate = Gate()

    async def scenario(bench):
        bench.connect(get("/1"))
        await bench.until(lambda: gate.entered)
        stream = bench.connect(get("/2"))
        stream.lose()
        assert (bench.worker.tasks, bench.gateway.waiting) == (1, 0)
        gate.open.set()

    run(gate, scenario, threads=1)
    assert gate.entered == ["/1"]


# --- Expect: 100-continue


def test_first_read_asks_for_the_body(run):
    gate = Gate()

    def application(environ, start_response):
        gate(environ, start_response)
        start = threading.current_thread().name
        return [environ["wsgi.input"].read(), start.encode()[:4]]

    async def scenario(bench):
        stream = bench.connect(EXPECTING)
        await bench.until(lambda: gate.entered)
        assert stream.take() == b""
        gate.open.set()
        got = b""
        while not got:
            await asyncio.sleep(0)
            got = stream.take()
        stream.feed(b"ab")
        stream.feed(b"cde")
        await bench.quiet()
        return got, stream.take()

    asked, answer = run(application, scenario)
    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"abcde" in answer
    assert b"wsgi" in answer


def test_body_that_nobody_wants(run):
    def application(environ, start_response):
        start_response("417 No", TEXT)
        return [b"no"]

    async def scenario(bench):
        stream = bench.connect(EXPECTING)
        await bench.quiet()
        return stream.take(), stream.shut

    answer, shut = run(application, scenario)
    assert answer.startswith(b"HTTP/1.1 417 No\r\n")
    assert b"connection: close" in answer
    assert shut


def test_body_that_does_not_come(run, caplog):
    """The application hears of it; where it has nothing to say to that, nobody has."""
    heard = []

    def application(environ, start_response):
        try:
            return echo(environ, start_response)
        except ConnectionError as error:
            heard.append(str(error))
            raise

    async def scenario(bench):
        stream = bench.connect(EXPECTING)
        while not stream.take():
            await asyncio.sleep(0)
        stream.feed(b"ab")
        stream.lose()
        await bench.quiet()

    run(application, scenario)
    assert heard == ["The client went away before the request was complete."]
    assert caplog.messages == []


# --- errors


def fails_later(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"one"
    raise ValueError("so")


def test_error_before_the_head(run, caplog):
    def application(environ, start_response):
        start_response("200 OK", TEXT)
        raise ValueError("so")

    assert run(application, lambda bench: bench.answer(get("/x"))).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert caplog.messages == ["Exception in WSGI application: GET /x\n"]


def test_error_after_the_head(run, caplog):
    async def scenario(bench):
        return await bench.answer(), bench.streams[0].closed

    answer, closed = run(fails_later, scenario)
    assert answer.endswith(b"3\r\none\r\n")
    assert (closed, len(caplog.messages)) == (True, 1)


def test_exit_of_an_application_is_an_error(run, caplog):
    def application(environ, start_response):
        sys.exit(1)

    async def scenario(bench):
        return [(await bench.answer())[:12] for _ in range(3)]

    assert run(application, scenario, threads=1) == [b"HTTP/1.1 500"] * 3
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize(
    ("status", "fields", "words"),
    [
        (200, [], "A status must be str, not int"),
        ("OK", [], "three digits, a space and a phrase"),
        ("200 O\nK", [], "Invalid HTTP reason phrase"),
        ("100 No", [], "Invalid HTTP status code"),
        ("200 OK", [("x", "a\r\nb: c")], "Invalid HTTP header value"),
        ("200 OK", [("x y", "a")], "Invalid HTTP header name"),
        ("200 OK", [("", "a")], "Invalid HTTP header name"),
        ("200 OK", [("x", "\u20ac")], "Invalid HTTP header value"),
        ("200 OK", [(b"x", b"y")], "must be str, not bytes and bytes"),
        ("200 OK", [("Content-Length", "-2")], "Invalid Content-Length"),
        ("200 OK", [("content-LENGTH", "")], "Invalid Content-Length"),
        ("200 OK", [("content-length", "1\xb2")], "Invalid Content-Length"),
        ("200 OK", [("content-length", "1234567890123456789")], "Invalid Content-Length"),
    ],
)
def test_start_response_raises(run, status, fields, words):
    raised = []

    def application(environ, start_response):
        try:
            start_response(status, fields)
        except (TypeError, ValueError, RuntimeError) as error:
            raised.append(str(error))
        return hello(environ, start_response)

    assert run(application, lambda bench: bench.answer()).endswith(b"hello")
    assert words in raised[0]


@pytest.mark.parametrize(
    ("application", "words"),
    [
        (lambda environ, start: [b"x"], "has not called start_response"),
        (lambda environ, start: iter([]), "has not called start_response"),
        (lambda environ, start: start("200 OK", []) and ["text"], "must consist of bytes, not str"),
        (lambda environ, start: start("200 OK", [("Content-Length", "2")]) and [b"abc"], "longer"),
        (lambda environ, start: start("200 OK", [("Content-Length", "4")]) and [b"abc"], "shorter"),
        (lambda environ, start: start("200 OK", [("Transfer-Encoding", "gzip")]) and [b"abc"], "other than chunked"),
        (lambda environ, start: start("200 OK", []) and start("200 OK", []), "called again without exc_info"),
    ],
)
def test_mistakes(run, caplog, application, words):
    answer = run(application, lambda bench: bench.answer())
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert len(caplog.records) == 1
    assert words in str(caplog.records[0].exc_info[1])


# --- the end


def test_running_requests_are_named_with_their_thread(run):
    gate = Gate()

    async def scenario(bench):
        bench.connect(get("/a"))
        await bench.until(lambda: gate.entered)
        bench.connect(get("/b"))
        running = [(each.method, each.path, each.thread) for each in bench.worker.running()]
        gate.open.set()
        return running

    assert sorted(run(gate, scenario, threads=1)) == [("GET", "/a", "wsgi-1"), ("GET", "/b", None)]


def test_cancel(run):
    gate = Gate()
    endless = threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/endless":
            return gate(environ, start_response)
        start_response("200 OK", TEXT)
        return stream()

    def stream():
        while True:
            endless.set()
            yield b"x"

    async def scenario(bench):
        running = bench.connect(get("/running"))
        streaming = bench.connect(get("/endless"))
        await bench.until(lambda: gate.entered and endless.is_set())
        waiting = bench.connect(get("/waiting"))
        bench.worker.cancel()
        assert waiting.take().startswith(b"HTTP/1.1 503")
        await bench.until(lambda: streaming.closed)
        gate.open.set()
        await bench.quiet()
        return running.take()

    assert run(application, scenario).endswith(b"hello")


def test_thread_that_does_not_come_back(run, caplog):
    gate = Gate()

    async def scenario(bench):
        stream = bench.connect(get("/a"))
        await bench.until(lambda: gate.entered)
        stream.lose()
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("wsgi-")]
        bench.gateway.close(5.0)
        gate.open.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        bench.worker.cancel()
        # Nobody hears of its end any more.
        return threads

    async def main():
        bench = Bench(gate, 2)
        await scenario(bench)

    asyncio.run(main())
    assert re.fullmatch(
        r"Thread wsgi-\d has not come back from the application after \d+\.\d s: GET /a; it is left behind.",
        caplog.messages[0],
    )
