"""X-Forwarded-For and X-Forwarded-Proto for applications that put the middleware around themselves.

The server does the same by itself with `--proxy-headers`; this is for another order of middleware, or another list of
trusted proxies for a part of the application.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from fastserve.types import ASGI3Application, Receive, Scope, Send

__all__ = ["ProxyHeadersMiddleware"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})


class ProxyHeadersMiddleware:
    """Puts the client's address and scheme, as a trusted proxy tells them, into the scope of `app`.

    trusted_hosts: addresses, networks and other literals (such as the names of Unix peers), in a list or separated by
    commas; `*` trusts everybody.
    """

    def __init__(self, app: ASGI3Application, trusted_hosts: list[str] | str = "127.0.0.1") -> None:
        self.app = app
        self.trusted_hosts = _TrustedHosts(trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] != "lifespan" and (client[0] if client else None) in self.trusted_hosts:
            self._apply(scope)
        await self.app(scope, receive, send)

    def _apply(self, scope: Scope) -> None:
        proto = None
        addresses: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":
                proto = value.decode("latin-1").strip()
            elif name == b"x-forwarded-for":
                addresses.extend(value.decode("latin-1").split(","))
        if proto in _SCHEMES:
            scope["scheme"] = proto.replace("http", "ws") if scope["type"] == "websocket" else proto
        if addresses and (client := self.trusted_hosts.client(addresses)):
            scope["client"] = client


class _TrustedHosts:
    """Whom to believe."""

    def __init__(self, trusted: Iterable[str] | str) -> None:
        words = trusted.split(",") if isinstance(trusted, str) else trusted
        self._everybody = "*" in (words := [word.strip() for word in words])
        self._networks: list[_Network] = []
        self._literals: set[str] = set()
        for word in words:
            try:
                self._networks.append(ipaddress.ip_network(word))
            except ValueError:
                self._literals.add(word)

    def __contains__(self, host: str | None) -> bool:
        if self._everybody:
            return True
        if not host:
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host in self._literals
        return any(address in network for network in self._networks)

    def client(self, addresses: list[str]) -> tuple[str, int] | None:
        """The last address that no trusted proxy has; the first one if all are trusted. Its port, else 0."""
        hosts = [_host_and_port(text.strip()) for text in addresses]
        if self._everybody:
            return hosts[0] if hosts[0][0] else None
        for host, port in reversed(hosts):
            if host not in self:
                return (host, port) if host else None
        return hosts[0] if hosts[0][0] else None


def _host_and_port(text: str) -> tuple[str, int]:
    """The two parts of `address`, `address:port` or `[address]:port`; port 0 where there is none."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    return host, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
