"""ASGI applications on connections in memory, under a real event loop (asyncio and uvloop)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from fastserve._exchange import Endpoint
from fastserve.gateway._asgi import AsgiGateway
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._websocket import WebSocketUpgrade
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class AsgiBench:
    """An application behind a worker; `connect` gives the client's end of a connection."""

    def __init__(self, application: Any, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        gateway = {name: options.pop(name) for name in ("root_path", "state", "task") if name in options}
        websocket = {name[3:]: options.pop(name) for name in [*options] if name.startswith("ws_")}
        self.clock = ManualClock(1000.0)
        self.worker = Worker(
            AsgiGateway(application, loop, **gateway), loop, date_header=False, clock=self.clock, **options
        )
        self.worker.add_upgrade(b"websocket", WebSocketUpgrade(**websocket))
        self.streams: list[MemoryStream] = []

    def connect(self, capacity: int | None = None, endpoint: Endpoint | None = None) -> MemoryStream:
        self.streams.append(MemoryStream(self.worker, endpoint, capacity=capacity))
        return self.streams[-1]

    async def io(self, event: Callable[..., None], *arguments: Any) -> None:
        """Let `event` (a method of a stream) happen in a callback of the loop, where no task is current."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def happen() -> None:
            try:
                event(*arguments)
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        loop.call_soon(happen)
        await done

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, visiting the wheel as a ticking worker would."""

        def tick() -> None:
            end = self.clock.time + seconds
            while self.clock.time < end:
                self.clock.time = min(end, self.clock.time + 0.1)
                self.worker.advance()
            self.clock.time += 0.11
            self.worker.advance()

        await self.io(tick)

    async def quiet(self) -> None:
        """Let the loop run until no request is running."""
        async with asyncio.timeout(25):
            while self.worker.tasks:
                await asyncio.sleep(0)

    async def turns(self, count: int = 5) -> None:
        """Let the loop go round a few times."""
        for _ in range(count):
            await asyncio.sleep(0)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a coroutine function with an AsgiBench for an application; every connection is lost at its end."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def execute(application: Any, scenario: Callable[[AsgiBench], Awaitable[Any]], **options: Any) -> Any:
        async def main() -> Any:
            bench = AsgiBench(application, **options)
            try:
                return await scenario(bench)
            finally:
                for stream in bench.streams:
                    stream.lose()
                bench.worker.cancel()
                await bench.quiet()

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    return execute
