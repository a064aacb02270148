"""Fuzz WSGI applications that do anything, in the event loop and in threads, for clients that do anything.

Applications read their input in every way, call start_response and write rightly and wrongly, return lists, generators,
files and nonsense, raise anywhere. Besides what tests/fuzz/world.py holds against the worker: what comes back is a
sequence of well-formed responses whose bodies are what the applications gave, close() of every result was called once,
applications read what was sent to them, and no descriptor is left open.

    python -m tests.fuzz.fuzz_wsgi [--seconds 10] [--seed N]
"""

import asyncio
import gc
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from fastserve.gateway._wsgi import WsgiGateway
from fastserve.gateway._wsgi_threads import ThreadedGateway
from tests.fuzz.fuzz_http1 import Said, script
from tests.fuzz.running import main, repeat
from tests.fuzz.world import PATTERN, Client, World, play, read_responses
from tests.parser.websocket_peer import cut

STATUSES = ["200 OK", "200 OK", "200 OK", "404 Not Here", "204 No Content", "304 Not Modified", "500 X"]
WRONG_STATUSES: list[Any] = [
    "",
    "200",
    "2000 OK",
    "abc",
    b"200 OK",
    200,
    None,
    "200 a\r\nb",
    "099 X",
    "600 X",
    "20x OK",
]
WRONG_FIELDS: list[Any] = [
    [("X", "a\r\nb")], [("Content-Length", "x")], [(b"X", b"y")], [("X",)], None, 7, [("", "y")], [("é", "y")],
    [("X", "Ā")], [("Content-Length", "1"), ("Content-Length", "2")], [("Transfer-Encoding", "chunked")],
]  # fmt: skip


class Request:
    """One call of the application, and what it may have put on the wire."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        path = environ["PATH_INFO"]
        self.number = int(path[2:]) if path.startswith("/n") and path[2:].isdigit() else None
        self.sent = b""
        self.received = b""


class Result:
    """An iterable of the application's; it must be closed once."""

    def __init__(self, pieces: Iterator[Any], length: int | None, chance: random.Random) -> None:
        self.pieces = pieces
        self.closed = 0
        self.fails = chance.random() < 0.1
        if length is not None:
            self.__class__ = Sized
            self.length = length

    def __iter__(self) -> Iterator[Any]:
        return self.pieces

    def close(self) -> None:
        self.closed += 1
        if self.fails:
            raise OSError("close")


class Sized(Result):
    length: int

    def __len__(self) -> int:
        return self.length


class File:
    """A file that says when it is closed."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.closed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def close(self) -> None:
        self.closed += 1
        self.file.close()


class Application:
    def __init__(self, chance: random.Random) -> None:
        self.seed = chance.randrange(1 << 30)
        self.requests: list[Request] = []
        self.results: list[Any] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        self.requests.append(request)
        # In threads the order of things is chance as well; each call has its own.
        chance = random.Random(self.seed + len(self.requests))
        self.read(request, environ["wsgi.input"], chance)
        if chance.random() < 0.1:
            environ["wsgi.early_hints"]([("Link", chance.choice(("</a>", "a\r\nb")))])
        if chance.random() < 0.05:
            raise ValueError("before")
        if chance.random() < 0.05:
            return chance.choice((None, 7, "text", [], [b""], [7], {b"a": 1}, iter(())))
        # None where it is not even called, or is called later.
        write = self.respond(start_response, request, chance) if chance.random() < 0.9 else None
        if write is not None and chance.random() < 0.1:
            for piece in self.pieces(request, chance):
                write(piece)
        if chance.random() < 0.2:
            pieces = list(self.pieces(request, chance))
            return pieces if chance.random() < 0.5 else tuple(pieces)
        if chance.random() < 0.2:
            file = File(tempfile.TemporaryFile())  # noqa: SIM115 - the gateway is to close it
            content = PATTERN[: chance.choice((0, 5, 20000, 200000))]
            file.write(content)
            start = chance.choice((0, 0, 3, len(content)))
            file.seek(start)
            self.results.append(file)
            request.sent += content[start:]
            if chance.random() < 0.1:
                file.truncate(len(content) // 2)
            return environ["wsgi.file_wrapper"](file, chance.choice((1000, 65536)))
        length = chance.choice((None, None, 0, 1, 2))
        pieces = self.generate(request, start_response if write is None else None, chance)
        self.results.append(Result(pieces, length, chance))
        return self.results[-1]

    def respond(self, start_response: Any, request: Request, chance: random.Random) -> Any:
        status: Any = chance.choice(STATUSES)
        fields: Any = chance.choice(([], [("X", "y")], [("Content-Length", str(chance.choice((0, 5, 13, 20000))))]))
        if chance.random() < 0.1:
            status = chance.choice(WRONG_STATUSES)
        if chance.random() < 0.1:
            fields = chance.choice(WRONG_FIELDS)
        write = None
        for _ in range(chance.choice((1, 1, 1, 2))):
            try:
                if write is None or chance.random() < 0.2:
                    write = start_response(status, fields)
                else:
                    try:
                        raise KeyError("the first answer was wrong")
                    except KeyError:
                        write = start_response("500 Sorry", [], sys.exc_info())
            except Exception:
                if chance.random() < 0.5:
                    raise
        return write

    def read(self, request: Request, file: Any, chance: random.Random) -> None:
        for _ in range(chance.randrange(6)):
            kind = chance.randrange(8)
            if kind == 0:
                request.received += file.read()
            elif kind == 1:
                request.received += file.read(chance.choice((0, 1, 1000, 100000)))
            elif kind == 2:
                request.received += file.readline()
            elif kind == 3:
                request.received += file.readline(chance.choice((1, 7)))
            elif kind == 4:
                request.received += b"".join(file.readlines(chance.choice((1, 1000))))
            elif kind == 5:
                request.received += next(iter(file), b"")
            elif kind == 6:
                memory = bytearray(chance.choice((0, 1, 5000)))
                if hasattr(file, "readinto"):
                    size = file.readinto(memory)
                    request.received += memory[:size]
            elif chance.random() < 0.1:
                file.close()
                return

    def pieces(self, request: Request, chance: random.Random) -> Iterator[Any]:
        content = PATTERN[: chance.choice((0, 5, 13, 20000, 20001, 300000))]
        request.sent += content
        yield from cut(content, (chance.randrange(len(content) + 1) for _ in range(chance.choice((0, 1, 5, 40)))))

    def generate(self, request: Request, start_response: Any, chance: random.Random) -> Iterator[Any]:
        if start_response is not None and chance.random() < 0.8:
            self.respond(start_response, request, chance)
        for piece in self.pieces(request, chance):
            if chance.random() < 0.05:
                yield chance.choice((b"", b"", None, 7, "text"))
            if chance.random() < 0.02:
                raise chance.choice((ValueError, OSError, GeneratorExit, SystemExit))("in the middle")
            yield chance.choice((bytes, bytes, bytes, bytearray, memoryview))(piece)


def judge(client: Client, said: Said, application: Application) -> None:
    """Hold what came back against what the applications of this connection did."""
    calls = {request.number: request for request in application.requests}
    responses, rest = read_responses(bytes(client.received), said.method)
    assert rest is None
    for number, (status, body, _) in zip(said.numbers, responses, strict=False):
        request = calls.get(number)
        if request is None:
            # Cancelled before its first step, if it was not refused.
            assert status in (400, 408, 413, 500, 503, 504)
        elif status in (200, 404):
            # A file may have been shorter than it was, and a piece that was refused is the last.
            assert body == request.sent[: len(body)], (body[:50], request.sent[:50])
    for number in said.numbers:
        if number in calls:
            assert said.bodies.get(number, b"").startswith(calls[number].received)


class WsgiWorld(World):
    async def wait(self) -> None:
        # For threads.
        await asyncio.sleep(0.001 if isinstance(self.handler, ThreadedGateway) else 0)


async def attempt(chance: random.Random) -> None:
    application = Application(chance)
    options: dict[str, Any] = {}
    if chance.random() < 0.2:
        options["limit_request_body"] = 50000
    if chance.random() < 0.2:
        options["timeout_request"] = 3.0
    threads = chance.choice((0, 1, 2))
    limits = {"limit_queue": chance.choice((1, 1024)), "limit_spool": chance.choice((0, 100000, 2**28))}

    def gateway(loop: Any, logger: Any) -> Any:
        if threads:
            return ThreadedGateway(application, loop, threads, logger=logger, **limits)
        return WsgiGateway(application, loop, logger=logger)

    before = len(os.listdir("/proc/self/fd"))
    world = WsgiWorld(chance, gateway, **options)
    clients = [(await world.connect(), Said(number * 100)) for number in range(chance.choice((1, 1, 2)))]
    for client, _ in clients:
        if client.transport is None:
            client.stream.files = chance.random() < 0.5
    await asyncio.gather(*(script(world, client, said) for client, said in clients))
    await world.finish()
    if threads:
        world.handler.close()
        # Its threads are gone, and what they told last has been heard.
        assert world.handler.busy == 0
        assert world.handler.waiting == 0
    # What is made of a request at random may be somebody else's.
    if all(said.valid for _, said in clients):
        for client, said in clients:
            judge(client, said, application)
    for result in application.results:
        assert result.closed == 1, result.closed
    del world, client, clients
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def fuzz(seconds: float, seed: int) -> int:
    """Run for that long; the number of inputs tried. Raises AssertionError with the seed of a finding."""
    gc.freeze()
    with asyncio.Runner() as runner:
        return repeat(seconds, seed, lambda chance: runner.run(play(lambda: attempt(chance))))


if __name__ == "__main__":
    main("fuzz_wsgi", __doc__, fuzz)
