"""Accepting connections: transports behind one interface. The one for TLS is in `fastserve.transport.handshakes`.

    LoopTransport      the event loop's transports; works everywhere
    NativeTransport    the worker's own epoll inside the loop

Both accept on sockets that somebody else has bound and will close, and both give an `asyncio.AbstractServer` for each,
so that whoever holds a `Server` object finds what it knows. Both accept by themselves: the event loop's own servers
drop what they have accepted in the turn in which they are closed, and cannot leave a queue to somebody else.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from fastserve.protocol._connection import WorkerState
from fastserve.transport._balance import Balancer
from fastserve.transport._epoll import Hub, NativeChannel, NativeListener

# Accepted in one turn of the loop.
_BATCH: Final = 64

# Without descriptors or memory: seconds until the next attempt.
_EXHAUSTED: Final = 1

logger = logging.getLogger("fastserve.error")


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

    def __init__(self, loop: asyncio.AbstractEventLoop, factory: Callable[..., asyncio.BaseProtocol]) -> None:
        self._loop = loop
        self._factory = factory
        self._beginning: set[asyncio.Task[None]] = set()

    async def accept_on(self, sock: socket.socket, backlog: int, index: int = 0) -> "LoopServer":
        sock.listen(backlog)
        sock.setblocking(False)
        return LoopServer(sock, self._loop, self.begin)

    def begin(self, sock: socket.socket, peer: Any) -> None:
        """Take over an accepted socket."""
        task = self._loop.create_task(self._open(sock, peer))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def settle(self, timeout: float) -> None:
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=timeout)

    def close(self) -> None:
        for task in self._beginning:
            task.cancel()

    async def _open(self, sock: socket.socket, peer: Any) -> None:
        """Make a connection of it; closes it where that fails."""
        try:
            await self._loop.connect_accepted_socket(self._factory, sock)
        except OSError:
            # The client is gone already.
            sock.close()
        except BaseException:
            sock.close()
            raise


class LoopServer(asyncio.AbstractServer):
    """One listening socket of a LoopTransport, as asyncio's servers look."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, begin: Callable[[socket.socket, Any], None]
    ) -> None:
        self._sock: socket.socket | None = sock
        self._loop = loop
        self._begin = begin
        self._retry: asyncio.TimerHandle | None = None
        self._accepting = False
        self._resume()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket; none once closed."""
        return () if self._sock is None else (self._sock,)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._accepting

    async def start_serving(self) -> None:
        self._resume()

    async def serve_forever(self) -> None:
        await self._loop.create_future()

    def pause(self) -> None:
        """Stop accepting for now; what connects waits in the kernel's queue, for this worker or another."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._sock is not None and self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def close(self, accept_queued: bool = True) -> None:
        """Stop accepting. Connections go on; the socket stays its owner's to close.

        accept_queued: take what has connected by now first. False leaves it to who serves the socket next.
        """
        if self._sock is None:
            return
        if accept_queued:
            while self._accept() == _BATCH:
                pass
        self.pause()
        self._sock = None

    async def wait_closed(self) -> None:
        pass

    def _resume(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._sock is not None and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> int:
        """Accept what waits, at most _BATCH connections; returns how many."""
        assert self._sock is not None
        for count in range(_BATCH):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return count
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    logger.error("Cannot accept connections: %s. Trying again every %d s.", error.strerror, _EXHAUSTED)
                    self.pause()
                    self._retry = self._loop.call_later(_EXHAUSTED, self._resume)
                return count
            sock.setblocking(False)
            self._begin(sock, peer)
        return _BATCH


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
