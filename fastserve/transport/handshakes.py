"""`TlsTransport`: connections over TLS, by way of the event loop's transports.

It gives each accepted connection to the loop with the context of the moment, so that new certificates are for new
handshakes, a handshake that fails is heard of, and one that has begun can be waited for when the server stops.

A header of the PROXY protocol comes before TLS and is read here, from the socket and no byte more, so that the loop
finds the handshake where it expects it. The rules are those of `ProxyProtocolConnection`, except that a header that
is rejected has no answer: its sender waits for TLS.
"""

import asyncio
import functools
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

from fastserve.protocol._proxy_protocol import ProxyHeader, read_proxy_header
from fastserve.transport.accept import LoopTransport
from fastserve.transport.tls import Certificates
from fastserve.trust import TrustedPeers

WATCH_INTERVAL: Final = 2.0
"""Seconds between two looks at the files. New ones are used when two looks have found them the same."""

_NO_DEADLINE = 86400.0

_PLAIN_HTTP = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
# Of one look: no header is longer.
_HEADER_LIMIT: Final = 16384

# struct ucred: process, user and group.
_CREDENTIALS: Final = struct.Struct("iII")

# What a client does wrong that its user will ask about.
_CLIENT_CERTIFICATE = frozenset({"CERTIFICATE_VERIFY_FAILED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"})

logger = logging.getLogger("fastserve.error")


class Warned(Protocol):
    """Who logs warnings, at a bounded rate."""

    def warn(self, message: str) -> None: ...


class _Rejected(Exception):
    """A header of the PROXY protocol is not accepted; the text says why."""


class TlsTransport(LoopTransport):
    """Connections over TLS; `factory` makes the protocol of each, from its header of the PROXY protocol or None.

    handshake_timeout, header_timeout: seconds; None is no limit. proxies: whose connections begin with a header of the
    PROXY protocol; None reads none.
    """

    def __init__(
        self,
        worker: Warned,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[ProxyHeader | None], asyncio.BaseProtocol],
        certificates: Certificates,
        handshake_timeout: float | None,
        proxies: TrustedPeers | None = None,
        header_timeout: float | None = None,
    ) -> None:
        super().__init__(loop, factory)
        self.certificates = certificates
        self._worker = worker
        self._timeout = handshake_timeout or _NO_DEADLINE
        self._proxies = proxies
        self._header_timeout = header_timeout
        self._look: asyncio.TimerHandle | None = None
        if certificates.watchable:
            self._look = loop.call_later(WATCH_INTERVAL, self._watch)

    def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
        super().close()

    def _watch(self) -> None:
        self._look = self._loop.call_later(WATCH_INTERVAL, self._watch)
        self.certificates.refresh()

    async def _open(self, sock: socket.socket, peer: Any) -> None:
        name = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a unix socket"
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            header = None
            if self._proxies is not None and _is_listed(self._proxies, sock, peer):
                header = await self._read_header(sock)
            await self._loop.connect_accepted_socket(
                functools.partial(self._factory, header), sock,
                ssl=self.certificates.context, ssl_handshake_timeout=self._timeout,
            )  # fmt: skip
        except _Rejected as error:
            sock.close()
            self._worker.warn(f"Connection rejected before the TLS handshake: {error}. {name}")
        except OSError as error:
            sock.close()
            self._failed(error, name)
        except BaseException:
            sock.close()
            raise

    async def _read_header(self, sock: socket.socket) -> ProxyHeader:
        """Take a header of the PROXY protocol off the stream. Raises _Rejected, and OSError where nothing came."""
        taken = b""
        try:
            async with asyncio.timeout(self._header_timeout):
                while True:
                    await self._readable(sock)
                    seen = sock.recv(_HEADER_LIMIT, socket.MSG_PEEK)
                    size, header = read_proxy_header(taken + seen)
                    if size < 0:
                        raise _Rejected(header.reason)
                    if size > 0:
                        sock.recv(size - len(taken))
                        return header
                    if not seen:
                        raise ConnectionResetError("the connection was closed before a PROXY protocol header")
                    # All of it is the header's: nobody else will want it, and what wakes us next is more.
                    taken += sock.recv(len(seen))
        except TimeoutError:
            if taken:
                raise _Rejected("PROXY protocol header was not complete in time") from None
            raise

    async def _readable(self, sock: socket.socket) -> None:
        waiter = self._loop.create_future()
        self._loop.add_reader(sock.fileno(), _wake, waiter)
        try:
            await waiter
        finally:
            self._loop.remove_reader(sock.fileno())

    def _failed(self, error: OSError, peer: str) -> None:
        reason = getattr(error, "reason", None)
        if reason in _PLAIN_HTTP:
            self._worker.warn(f"Plain HTTP request received on a TLS port, use https. {peer}")
        elif reason in _CLIENT_CERTIFICATE:
            detail = getattr(error, "verify_message", "") or "none was sent"
            self._worker.warn(f"TLS handshake failed: client certificate: {detail}. {peer}")
        else:
            logger.debug("TLS handshake failed: %s. %s", reason if isinstance(error, ssl.SSLError) else error, peer)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _is_listed(proxies: TrustedPeers, sock: socket.socket, peer: Any) -> bool:
    if sock.family != socket.AF_UNIX:
        return peer[0] in proxies
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return proxies.has_user(uid)
