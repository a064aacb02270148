"""Entries of the timer wheel that are freed while they are on it."""

import gc
import subprocess
import sys
import weakref

import pytest

from fastserve._exchange import PythonHandler
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

HALF = b"GET / HTTP/1.1\r\nHost: "


class Loop:
    """An event loop without turns: nobody is called."""

    def call_later(self, *arguments: object) -> "Loop":
        return self

    call_soon = call_later

    def cancel(self) -> None:
        pass


def waiting(count: int) -> tuple[Loop, list[MemoryStream]]:
    """Connections that wait for the rest of a head, with their deadlines in a few slots of the wheel."""
    loop, clock = Loop(), ManualClock()
    worker = Worker(PythonHandler(print), loop, clock=clock)
    streams = []
    for number in range(count):
        clock.time = number % 5 / 10
        streams.append(MemoryStream(worker))
        streams[-1].feed(HALF)
    return loop, streams


@pytest.mark.parametrize("count", [1, 100])
def test_a_worker_that_is_dropped_with_its_connections(count: int) -> None:
    loop, streams = waiting(count)
    gone = weakref.ref(loop)
    del loop, streams
    # In the order in which the collector has them, the worker's wheel among them.
    gc.collect()
    assert gone() is None
    waiting(count)
    gc.collect()


def test_some_of_the_connections_that_wait_together() -> None:
    _, streams = waiting(100)
    kept = streams[::7]
    del streams
    gc.collect()
    for stream in kept:
        stream.feed(b"x\r\n\r\n")
        stream.lose()


def test_an_interpreter_that_ends_with_open_connections() -> None:
    code = "import sys; from tests.protocol.test_timers import waiting; kept = waiting(10)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
