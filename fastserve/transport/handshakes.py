"""`TlsTransport`: connections over TLS, by way of the event loop's transports.

It accepts by itself and gives each connection to the loop with the context of the moment, so that new certificates are
for new handshakes, a handshake that fails is heard of, and one that has begun can be waited for when the server stops.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

from fastserve.transport.tls import Certificates

WATCH_INTERVAL: Final = 2.0
"""Seconds between two looks at the files. New ones are used when two looks have found them the same."""

# Accepted in one turn of the loop.
_BATCH = 64

# Without descriptors or memory: seconds until the next attempt.
_EXHAUSTED = 0.5

_NO_DEADLINE = 86400.0

_PLAIN_HTTP = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
# What a client does wrong that its user will ask about.
_CLIENT_CERTIFICATE = frozenset({"CERTIFICATE_VERIFY_FAILED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"})

logger = logging.getLogger("fastserve.error")


class Warned(Protocol):
    """Who logs warnings, at a bounded rate."""

    def warn(self, message: str) -> None: ...


class TlsTransport:
    """Connections over TLS; `factory` makes the protocol of each, called when its handshake is complete.

    handshake_timeout: seconds; None is no limit.
    """

    def __init__(
        self,
        worker: Warned,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.BaseProtocol],
        certificates: Certificates,
        handshake_timeout: float | None,
    ) -> None:
        self.certificates = certificates
        self._worker = worker
        self._loop = loop
        self._factory = factory
        self._timeout = handshake_timeout or _NO_DEADLINE
        self._handshakes: set[asyncio.Task[None]] = set()
        self._look: asyncio.TimerHandle | None = None
        if certificates.watchable:
            self._look = loop.call_later(WATCH_INTERVAL, self._watch)

    async def accept_on(self, sock: socket.socket, backlog: int, index: int = 0) -> "TlsServer":
        sock.listen(backlog)
        sock.setblocking(False)
        return TlsServer(sock, self._loop, self.begin)

    def begin(self, sock: socket.socket, peer: Any) -> None:
        """Take over an accepted socket and shake hands on it."""
        task = self._loop.create_task(self._shake(sock, peer))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def settle(self, timeout: float) -> None:
        """Give handshakes that have begun up to `timeout` seconds to end."""
        if self._handshakes:
            await asyncio.wait(self._handshakes, timeout=timeout)

    def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
        for task in self._handshakes:
            task.cancel()

    def _watch(self) -> None:
        self._look = self._loop.call_later(WATCH_INTERVAL, self._watch)
        self.certificates.refresh()

    async def _shake(self, sock: socket.socket, peer: Any) -> None:
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                self._factory, sock, ssl=self.certificates.context, ssl_handshake_timeout=self._timeout
            )
        except OSError as error:
            sock.close()
            self._failed(error, f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a unix socket")
        except BaseException:
            sock.close()
            raise

    def _failed(self, error: OSError, peer: str) -> None:
        reason = getattr(error, "reason", None)
        if reason in _PLAIN_HTTP:
            self._worker.warn(f"Plain HTTP request received on a TLS port, use https. {peer}")
        elif reason in _CLIENT_CERTIFICATE:
            detail = getattr(error, "verify_message", "") or "none was sent"
            self._worker.warn(f"TLS handshake failed: client certificate: {detail}. {peer}")
        else:
            logger.debug("TLS handshake failed: %s. %s", reason if isinstance(error, ssl.SSLError) else error, peer)


class TlsServer(asyncio.AbstractServer):
    """One listening socket of a TlsTransport, as asyncio's servers look."""

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

    def close(self, accept_queued: bool = True) -> None:
        """Stop accepting. Connections go on; the socket stays its owner's to close.

        accept_queued: take what has connected by now first. False leaves it to who serves the socket next.
        """
        if self._sock is None:
            return
        if accept_queued:
            while self._accept() == _BATCH:
                pass
        self._pause()
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

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._sock is not None and self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock.fileno())

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
                    logger.error("Cannot accept connections: %s", error.strerror)
                    self._pause()
                    self._retry = self._loop.call_later(_EXHAUSTED, self._resume)
                return count
            sock.setblocking(False)
            self._begin(sock, peer)
        return _BATCH
