"""The hot path without sockets: requests, and what drives them through the core to an application and back.

The micro-benchmarks take their requests from here. As a program it is what `bench.instructions` has counted:

    python -m bench.hot_path COUNT SCENARIO...

serves COUNT requests of each scenario, and says where each begins and ends by calling getppid(2) through `os`, a
function that nothing else here calls and that a profiler sees by its name. Everything before the first request, the
imports above all, lies outside of the marks.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.load import apps
from fastserve import _live
from fastserve.gateway._asgi import AsgiGateway
from fastserve.gateway._wsgi import WsgiGateway
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

SMALL = b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"
BROWSER = (
    b"GET /static/page.html?version=42 HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
    b"\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n"
    b"Referer: https://www.example.com/index.html\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
POST = b"POST / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024
PIPELINED = 16

ANSWER = b"Hello, World!"


async def suspended(scope: apps.Scope, receive: apps.Receive, send: apps.Send) -> None:
    """Answer in the event loop's next turn."""
    await asyncio.sleep(0)
    await apps.small(scope, receive, send)


def wsgi(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
    """Answer at once."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [ANSWER]


class Scenario:
    """Requests of one kind: `connections` connections receive `data`, which is `requests` requests, each in one read.

    `turns`: how many turns of the event loop it takes until all are answered, beginning with the reads.
    """

    def __init__(
        self,
        application: Callable[..., object],
        data: bytes,
        requests: int = 1,
        connections: int = 1,
        turns: int = 0,
        gateway: type[AsgiGateway | WsgiGateway] = AsgiGateway,
    ) -> None:
        self.application = application
        self.data = data
        self.requests = requests
        self.connections = connections
        self.turns = turns
        self.gateway = gateway

    @contextmanager
    def served(self) -> Iterator[Callable[[], bytes]]:
        """A function that serves the requests of one read on every connection, and returns the last one's answers."""
        loop = asyncio.new_event_loop()
        gateway = self.gateway(self.application, loop)  # type: ignore[arg-type]  # each has the one that is its own
        # Nothing here takes time: no timer may fire, and the date is the same for all.
        worker = Worker(gateway, loop, default_fields=[(b"server", b"fastserve")], clock=ManualClock())
        streams = [MemoryStream(worker) for _ in range(self.connections)]
        data, turns = self.data, range(self.turns)

        def serve() -> bytes:
            for stream in streams:
                stream.feed(data)
            for _ in turns:
                loop.call_soon(loop.stop)
                loop.run_forever()
            answers = b""
            for stream in streams:
                answers = stream.take()
            return answers

        try:
            yield serve
            for stream in streams:
                stream.lose()
        finally:
            loop.close()

    def run(self, count: int) -> None:
        """Serve `count` requests between two marks, rounded up to whole reads of all connections.

        The first requests come before the first mark: caches and free lists are filled then.
        """
        reads = self.reads(count)
        with self.served() as serve:
            for _ in range(20):
                answers = serve()
            assert answers.count(ANSWER) == self.requests, answers
            gc.collect()
            gc.freeze()
            mark()
            for _ in range(reads):
                answers = serve()
            mark()
            assert answers.count(ANSWER) == self.requests, answers

    def reads(self, count: int) -> int:
        """How often every connection reads for `count` requests, rounded up."""
        each = self.requests * self.connections
        return (count + each - 1) // each


mark = os.getppid

SCENARIOS = {
    "small": Scenario(apps.small, SMALL),
    "browser": Scenario(apps.small, BROWSER),
    "post": Scenario(apps.upload, POST),
    "pipelined": Scenario(apps.small, SMALL * PIPELINED, requests=PIPELINED),
    # Many at a time, so that the turn of the event loop itself, which they share, weighs little.
    "suspended": Scenario(suspended, SMALL, connections=32, turns=1),
    "wsgi": Scenario(wsgi, SMALL, gateway=WsgiGateway),
    "wsgi browser": Scenario(wsgi, BROWSER, gateway=WsgiGateway),
}


def main(arguments: list[str]) -> int:
    """0: served; 2: the extension modules are not a release build."""
    if _live.enabled():
        print("a debug build: its counts say nothing; make build", file=sys.stderr)
        return 2
    count, *names = arguments
    for name in names:
        SCENARIOS[name].run(int(count))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
