"""A worker on a manual clock and connections in memory: no sockets, no event loop, no waiting."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from fastserve._exchange import PythonExchange, PythonHandler
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream


class Loop:
    """What a worker asks of an event loop; what is scheduled runs when the test says so."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.scheduled.append(lambda: callback(*args))

    def run(self) -> None:
        while self.scheduled:
            self.scheduled.pop(0)()


class Bench:
    """A worker, its clock, and the requests its handler has been given."""

    def __init__(self, function: Callable[[PythonExchange], object] | None = None, **options: Any) -> None:
        self.clock = ManualClock(1000.0)
        self.loop = Loop()
        self.calls: list[PythonExchange] = []
        self.function = function
        options.setdefault("date_header", False)
        self.worker = Worker(
            PythonHandler(self.handle),
            self.loop,  # type: ignore[arg-type]
            clock=self.clock,
            logger=logging.getLogger("fastserve.error"),
            **options,
        )
        self.streams: list[MemoryStream] = []

    def handle(self, exchange: PythonExchange) -> None:
        self.calls.append(exchange)
        if self.function is not None:
            self.function(exchange)

    def connect(self, capacity: int | None = None, resumed: bool = False) -> MemoryStream:
        stream = MemoryStream(self.worker, capacity=capacity, resumed=resumed)
        self.streams.append(stream)
        return stream

    def pass_time(self, seconds: float) -> None:
        """Move the clock, visiting the wheel as a ticking worker would."""
        end = self.clock.time + seconds
        while self.clock.time < end:
            self.clock.time = min(end, self.clock.time + 0.1)
            self.worker.advance()
        self.clock.time += 0.11
        self.worker.advance()

    def lose_all(self) -> None:
        for stream in self.streams:
            stream.lose()


@pytest.fixture
def bench():
    made: list[Bench] = []

    def make(function: Callable[[PythonExchange], object] | None = None, **options: Any) -> Bench:
        made.append(Bench(function, **options))
        return made[-1]

    yield make
    for each in made:
        each.lose_all()
        each.calls.clear()
        each.function = None
        assert each.worker.connections == 0


def answer(body: bytes = b"hello", status: int = 200, *fields: tuple[bytes, bytes]) -> Callable[[PythonExchange], None]:
    """A handler that answers at once with a Content-Length."""

    def respond(exchange: PythonExchange) -> None:
        exchange.start(status, [(b"content-length", b"%d" % len(body)), *fields])
        exchange.body(body)

    return respond


@pytest.fixture(name="answer")
def answer_fixture():
    return answer
