"""Fixtures for every test: the event loops to run on, and the count of live objects in debug builds."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from fastserve import _live

# The same examples in every run, however long one takes: what the fuzz targets are to find is not found here by chance.
settings.register_profile("certain", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("certain")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """What makes an event loop, for asyncio.Runner(loop_factory=...); the test runs once on each kind."""
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return factories[request.param]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what the collected tests are made of, a third of a million objects, out of every garbage collection."""
    gc.collect()
    gc.freeze()


_ALIVE = pytest.StashKey[dict[str, int]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """In a debug build, count what is alive before a test and its fixtures begin."""
    if _live.enabled():
        # What is there already is not looked at again when this test's own objects are collected.
        gc.freeze()
        item.stash[_ALIVE] = _live.counts()
    return (yield)


# First, and so around all others: captured log records hold tracebacks, which hold what the test used.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """In a debug build, fail a test that leaves buffers, connections, exchanges or tasks behind."""
    result = yield
    before = item.stash.get(_ALIVE, None)
    if before is not None and _grown(before):
        # The values of fixtures outlive the fixtures in this one place. Collecting is slow, hence not after every test.
        if isinstance(item, pytest.Function):
            item.funcargs.clear()
        _join_threads()
        gc.collect()
        assert not _grown(before), f"left alive by this test: {_grown(before)}"
    return result


def _grown(before: dict[str, int]) -> dict[str, int]:
    """Kind -> how many more are alive now."""
    return {kind: count - before[kind] for kind, count in _live.counts().items() if count > before[kind]}


def _join_threads() -> None:
    """Let worker threads that have been told to end do so: until then they hold the context of their last work."""
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(timeout=1)
