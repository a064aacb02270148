"""Accepting connections: transports behind one interface. The one for TLS is in `fastserve.transport.handshakes`.

    LoopTransport      the event loop's own servers and transports; works everywhere
    NativeTransport    the worker's own epoll inside the loop

Both accept on sockets that somebody else has bound and will close, and both give an `asyncio.AbstractServer` for each,
so that whoever holds a `Server` object finds what it knows.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from fastserve.protocol._connection import WorkerState
from fastserve.transport._balance import Balancer
from fastserve.transport._epoll import Hub, NativeChannel, NativeListener


class Transport(Protocol):
    """How a worker gets its connections."""

    async def accept_on(self, sock: socket.socket, backlog: int, index: int = 0) -> asyncio.AbstractServer:
        """Listen on the bound `sock` and serve what connects, until the server returned is closed.

        index: of the bind, 0 to 255: the same for its sockets in all workers that pass connections to each other.
        """

    async def settle(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for connections that have been accepted and are not the worker's yet."""

    def close(self) -> None:
        """Give back what the transport holds. Connections that are still open are reset."""


class LoopTransport:
    """Connections by way of the event loop's transports; `factory` makes the protocol of each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = loop
        self._factory = factory

    async def accept_on(self, sock: socket.socket, backlog: int, index: int = 0) -> asyncio.AbstractServer:
        if sock.family != socket.AF_UNIX:
            return await self._loop.create_server(self._factory, sock=sock, backlog=backlog)
        options: dict[str, Any] = {}
        if sys.version_info >= (3, 13):
            # The file is its binder's to remove.
            options["cleanup_socket"] = False
        return await self._loop.create_unix_server(self._factory, sock=sock, backlog=backlog, **options)

    async def settle(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        pass


class NativeTransport:
    """Connections by way of the worker's own epoll; `balancer` passes some of them to other workers."""

    def __init__(self, worker: WorkerState, loop: asyncio.AbstractEventLoop, balancer: Balancer | None = None) -> None:
        self._loop = loop
        self._hub = Hub(worker, loop, balancer)

    async def accept_on(self, sock: socket.socket, backlog: int, index: int = 0) -> "NativeServer":
        sock.listen(backlog)
        return NativeServer(self._hub.listen(sock, index), self._loop)

    def receive_on(self, sock: socket.socket) -> NativeChannel:
        """Serve what other workers pass on through `sock`, the receive end of a channel, until what is returned is
        paused or closed; the socket stays its owner's to close."""
        return self._hub.receive_on(sock)

    async def settle(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        self._hub.close()


class NativeServer(asyncio.AbstractServer):
    """One listening socket of a NativeTransport, as asyncio's servers look."""

    def __init__(self, listener: NativeListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket; none once closed."""
        sock = self._listener.socket
        return () if sock is None else (sock,)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._listener.accepting

    async def start_serving(self) -> None:
        self._listener.resume()

    async def serve_forever(self) -> None:
        await self._loop.create_future()

    def pause(self) -> None:
        """Stop accepting for now; what connects waits in the kernel's queue, for this worker or another."""
        self._listener.pause()

    def close(self, accept_queued: bool = True) -> None:
        """Stop accepting. Connections go on; the socket stays its owner's to close.

        accept_queued: take what has connected by now first. False leaves it to who serves the socket next.
        """
        self._listener.close(accept_queued)

    async def wait_closed(self) -> None:
        pass
