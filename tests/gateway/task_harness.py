"""Runs a coroutine as the task of a request, or as asyncio's own, on a fresh loop, and keeps what became of it."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from tests.gateway._task_probe import Mailbox, Recorder

from fastserve.gateway._task import TaskDriver

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LONG = 30


class Worker:
    """What a worker has around its requests: a loop under run_until_complete(main()), and a driver."""

    def __init__(self, mode: str, **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.driver = TaskDriver(self.loop, mode, **options)
        self.mailbox = Mailbox(self.driver)
        self.troubles: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.troubles.append(context))

    def start(self, coroutine: Awaitable[Any], **options: Any) -> "asyncio.Future[tuple[Any, Recorder]]":
        """Start from a loop callback, as an I/O callback would; the future has the task, ended, and its owner."""
        ended: asyncio.Future[Any] = self.loop.create_future()

        def begin() -> None:
            recorder = Recorder(self.driver, **options)
            task = recorder.start(coroutine)
            task.add_done_callback(lambda task: ended.done() or ended.set_result((task, recorder)))

        self.loop.call_soon(begin)
        return ended

    async def serve(self, coroutine: Awaitable[Any]) -> tuple[Any, Recorder]:
        return await asyncio.wait_for(self.start(coroutine), LONG)

    async def after(self, turns: int, call: Callable[..., Any], *arguments: Any) -> None:
        """Call from a loop callback, where no task is current, some turns from now."""
        called: asyncio.Future[None] = self.loop.create_future()

        def then() -> None:
            try:
                call(*arguments)
            finally:
                called.set_result(None)

        for _ in range(turns):
            await asyncio.sleep(0)
        self.loop.call_soon(then)
        await called


def run(
    new_loop: Callable[[], Any], main: Callable[[Worker], Awaitable[Any]], mode: str = "native", **options: Any
) -> Any:
    """Run `main(worker)` on a new loop. Nothing may be left over: no message of the loop, no current task, no task."""

    async def whole() -> Any:
        worker = Worker(mode, **options)
        result = await main(worker)
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        assert worker.troubles == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(whole())
        assert asyncio.current_task(runner.get_loop()) is None
    return result


def outcome(task: Any) -> tuple[Any, ...]:
    """How a task ended, comparable between kinds of task."""
    assert task.done()
    if task.cancelled():
        try:
            task.result()
        except asyncio.CancelledError as error:
            return ("cancelled", error.args, task.cancelling())
    if task.exception() is not None:
        return ("raised", type(task.exception()), task.exception().args, task.cancelling())
    return ("returned", task.result(), task.cancelling())


def dies(reference: "weakref.ref[Any]") -> bool:
    gc.collect()
    return reference() is None
