"""A worker on real sockets, on every transport and every event loop, in the process of the test."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from fastserve._exchange import PythonExchange, PythonHandler
from fastserve.protocol._worker import Worker
from fastserve.transport._loop import protocol_factory
from fastserve.transport.accept import LoopTransport, NativeTransport, Transport

PATIENCE = 25


class Served:
    """A worker that accepts; clients are blocking-free sockets driven through the same loop."""

    def __init__(self, kind: str, function: Callable[[PythonExchange], object], family: int, **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls: list[PythonExchange] = []
        self._function = function
        self.worker = Worker(PythonHandler(self._handle), self.loop, date_header=False, **options)
        self.transport: Transport = (
            NativeTransport(self.worker, self.loop)
            if kind == "native"
            else LoopTransport(self.loop, protocol_factory(self.worker))
        )
        self.family = family
        self.clients: list[socket.socket] = []

    def _handle(self, exchange: PythonExchange) -> None:
        self.calls.append(exchange)
        self._function(exchange)

    async def listen(self, address: Any) -> None:
        self.listening = socket.socket(self.family)
        self.listening.bind(address)
        self.server = await self.transport.accept_on(self.listening, 2048)
        self.address = self.listening.getsockname()

    async def connect(self, receive_buffer: int | None = None) -> socket.socket:
        client = socket.socket(self.family)
        client.setblocking(False)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.clients.append(client)
        await self.loop.sock_connect(client, self.address)
        return client

    async def send(self, client: socket.socket, data: bytes) -> None:
        await self.loop.sock_sendall(client, data)

    async def read(self, client: socket.socket, size: int) -> bytes:
        """Exactly `size` bytes, or those up to the end."""
        data = bytearray()
        async with asyncio.timeout(PATIENCE):
            while len(data) < size and (piece := await self.loop.sock_recv(client, min(65536, size - len(data)))):
                data += piece
        return bytes(data)

    async def read_all(self, client: socket.socket) -> bytes:
        return await self.read(client, 1 << 30)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()
        self.worker.abort()
        await self.until(lambda: self.worker.connections == 0)
        self.transport.close()
        self.worker.close()
        self.listening.close()
        await asyncio.sleep(0)


@pytest.fixture(params=["native", "loop"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop


@pytest.fixture
def serve(kind: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[..., Any]:
    """Run a scenario, a coroutine function of a Served, against a handler function."""

    def run(
        function: Callable[[PythonExchange], object],
        scenario: Callable[[Served], Awaitable[Any]],
        family: int = socket.AF_INET,
        address: Any = ("127.0.0.1", 0),
        **options: Any,
    ) -> Any:
        async def main() -> Any:
            served = Served(kind, function, family, **options)
            await served.listen(address)
            try:
                async with asyncio.timeout(3 * PATIENCE):
                    return await scenario(served)
            finally:
                with contextlib.suppress(OSError):
                    await served.close()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(main())

    return run
