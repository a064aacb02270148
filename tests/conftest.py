"""Fixtures for every test: the event loops to run on, and the count of live objects in debug builds."""

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest
import uvloop

from fastserve import _live

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """What makes an event loop, for asyncio.Runner(loop_factory=...); the test runs once on each kind."""
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return factories[request.param]


@pytest.fixture(autouse=True)
def nothing_left_alive() -> Iterator[None]:
    """In a debug build, fail a test that leaves buffers, connections, exchanges or tasks behind."""
    if not _live.enabled():
        yield
        return
    before = _live.counts()
    yield
    gc.collect()
    after = _live.counts()
    left = {kind: count - before[kind] for kind, count in after.items() if count != before[kind]}
    assert not left, f"left alive by this test: {left}"
