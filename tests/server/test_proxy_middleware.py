"""`ProxyHeadersMiddleware` beside uvicorn's: the same scopes go in, the same come out."""

import asyncio
import itertools

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware as Theirs

from fastserve.middleware.proxy_headers import ProxyHeadersMiddleware as Ours

TRUSTED = [
    "127.0.0.1",
    "*",
    "",
    "127.0.0.1,::1",
    ["10.0.0.0/8", "127.0.0.1"],
    "127.0.0.1, 10.0.0.0/8, 192.0.2.9",
    "peer",
    ["*", "127.0.0.1"],
]

CLIENTS = [("127.0.0.1", 5000), ("192.0.2.7", 5000), ("::1", 5000), ("peer", 0), None]

FIELDS = [
    [],
    [(b"x-forwarded-for", b"192.0.2.1")],
    [(b"x-forwarded-for", b"192.0.2.1, 10.1.2.3")],
    [(b"x-forwarded-for", b"10.0.0.1, 10.1.2.3")],
    [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"198.51.100.1:1234, 10.0.0.1")],
    [(b"x-forwarded-for", b"[2001:db8::1]:443")],
    [(b"x-forwarded-for", b"2001:db8::1")],
    [(b"x-forwarded-for", b"[::1]x, [2001:db8::1]:no")],
    [(b"x-forwarded-for", b"192.0.2.1:no")],
    [(b"x-forwarded-for", b"")],
    [(b"x-forwarded-for", b"unknown, peer")],
    [(b"x-forwarded-proto", b"https")],
    [(b"x-forwarded-proto", b" wss ")],
    [(b"x-forwarded-proto", b"gopher"), (b"x-forwarded-for", b"192.0.2.1")],
]


def seen(middleware, trusted, scope):
    async def app(scope, receive, send):
        pass

    asyncio.run(middleware(app, trusted_hosts=trusted)(scope, None, None))
    return scope.get("client"), scope.get("scheme")


@pytest.mark.parametrize("trusted", TRUSTED, ids=str)
@pytest.mark.parametrize(("kind", "scheme"), [("http", "http"), ("websocket", "ws"), ("lifespan", None)])
def test_as_uvicorn(trusted, kind, scheme):
    for client, fields in itertools.product(CLIENTS, FIELDS):
        scopes = [{"type": kind, "scheme": scheme, "client": client, "headers": fields} for _ in range(2)]
        assert seen(Ours, trusted, scopes[0]) == seen(Theirs, trusted, scopes[1]), (client, fields)
