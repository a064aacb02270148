"""What it costs to run a coroutine that never waits, from its making to its end, as a task of each kind.

    python -m pytest bench/micro/test_task.py --benchmark-only --benchmark-group-by=func

Each round runs BATCH coroutines inside one loop callback, as an I/O callback would; divide by BATCH. "awaited" is the
floor: the same coroutines awaited one after the other, without any task. `extra_info` has the nanoseconds of each.
"""

import asyncio
import sys

import pytest
import uvloop

from fastserve.gateway._task import TaskDriver, run

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
BATCH = 1000


async def application():
    return None


async def waiting_application():
    await asyncio.sleep(0)


def awaited(loop, driver, app):
    async def whole():
        for _ in range(BATCH):
            await app()

    with pytest.raises(StopIteration):
        whole().send(None)


def request_task(loop, driver, app):
    for _ in range(BATCH):
        run(app(), driver)


def created_task(loop, driver, app):
    for _ in range(BATCH):
        loop.create_task(app())


def eager_task(loop, driver, app):
    for _ in range(BATCH):
        asyncio.Task(app(), loop=loop, eager_start=True)


KINDS = {
    "awaited": awaited,
    "request_task": request_task,
    "eager_task": pytest.param(
        eager_task, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
    ),
    "created_task": created_task,
}


def measure(benchmark, new_loop, kind, app):
    loop = new_loop()
    driver = TaskDriver(loop, "native")

    def batch():
        kind(loop, driver, app)
        # Two turns later all steps have been made.
        loop.call_soon(loop.call_soon, loop.stop)

    def turn():
        loop.call_soon(batch)
        loop.run_forever()

    benchmark(turn)
    loop.close()
    if benchmark.stats:
        benchmark.extra_info["nanoseconds_each"] = round(benchmark.stats.stats.min / BATCH * 1e9)


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_without_waiting(benchmark, new_loop, kind):
    measure(benchmark, new_loop, kind, application)


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("kind", [kind for name, kind in KINDS.items() if name != "awaited"],
                         ids=[name for name in KINDS if name != "awaited"])  # fmt: skip
def test_waiting_once(benchmark, new_loop, kind):
    measure(benchmark, new_loop, kind, waiting_application)
