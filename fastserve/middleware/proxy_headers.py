"""X-Forwarded-For and X-Forwarded-Proto for applications that put the middleware around themselves.

The server does the same by itself with `--proxy-headers`; this is for another order of middleware, or another list of
trusted proxies for a part of the application.
"""

from typing import Final

from fastserve.trust import TrustedPeers
from fastserve.types import ASGI3Application, Receive, Scope, Send

__all__ = ["ProxyHeadersMiddleware"]

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})


class ProxyHeadersMiddleware:
    """Puts the client's address and scheme, as a trusted proxy tells them, into the scope of `app`.

    trusted_hosts: addresses, networks and other literals (such as the names of Unix peers), in a list or separated by
    commas; `*` trusts everybody.
    """

    def __init__(self, app: ASGI3Application, trusted_hosts: list[str] | str = "127.0.0.1") -> None:
        self.app = app
        self.trusted_hosts = TrustedPeers(trusted_hosts)

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
                addresses.append(value.decode("latin-1"))
        if proto in _SCHEMES:
            scope["scheme"] = proto.replace("http", "ws") if scope["type"] == "websocket" else proto
        if addresses:
            host, port = self.trusted_hosts.client_of(", ".join(addresses))
            if host:
                scope["client"] = (host, port)
