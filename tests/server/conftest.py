"""A clock that jumps, a worker without connections, and logs that are as they were before the test."""

import asyncio
import logging
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from fastserve.types import RunningRequest


class JumpingSelector(selectors.DefaultSelector):
    """Does not sleep: the time that the loop would have waited passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("the loop would wait for ever")
        if not ready and timeout:
            self.now += timeout
            self.waits.append(timeout)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = JumpingSelector()
        super().__init__(self.selector)
        # A timer is due when the clock has reached it, not a resolution before.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.selector.now


class FakeWorker:
    """Notes the steps of a stop with their time. `ends_at` names the step that ends the running requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.total_requests = 0
        self.request_limit = 0
        self.on_limit: Callable[[], None] | None = None
        self.on_idle: Callable[[], None] | None = None
        self.requests: list[RunningRequest] = []
        self.steps: list[tuple[str, float]] = []
        self.graces: list[float] = []
        self.ends_at = ""

    def _step(self, name: str) -> int:
        self.steps.append((name, round(asyncio.get_running_loop().time(), 1)))
        count = len(self.requests)
        if name == self.ends_at or name == "abort":
            self.finish()
        return count

    def finish(self) -> None:
        self.requests = []
        self.connections = 0
        if self.on_idle is not None:
            self.on_idle()

    def running(self) -> list[RunningRequest]:
        return self.requests

    def drain(self, hand_on: bool = False, idle_grace: float = 0.0) -> None:
        self.graces.append(idle_grace)
        self._step("hand on" if hand_on else "drain")

    def disconnect(self) -> int:
        return self._step("disconnect")

    def cancel(self) -> int:
        return self._step("cancel")

    def abort(self) -> int:
        return self._step("abort")

    def serve(self, *paths: str) -> None:
        self.connections += len(paths)
        self.requests += [RunningRequest("GET", path, "127.0.0.1:1234", 7.25) for path in paths]


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def run_jumping() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture(autouse=True)
def _restored_logs() -> Iterator[None]:
    names = ("fastserve", "fastserve.error", "fastserve.access", "fastserve.asgi")
    loggers = [logging.getLogger(name) for name in names]
    before = [(log.level, log.propagate, log.handlers[:], log.disabled) for log in loggers]
    yield
    for log, (level, propagate, handlers, disabled) in zip(loggers, before, strict=True):
        log.setLevel(level)
        log.propagate = propagate
        log.handlers[:] = handlers
        log.disabled = disabled


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines that the server logged, `LEVEL message`. Servers in these tests use `log_config=None`."""
    caplog.set_level(logging.DEBUG, logger="fastserve.error")

    def lines() -> list[str]:
        return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if "fastserve" in record.name]

    return lines
