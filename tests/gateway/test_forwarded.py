"""Scopes of requests that came through a proxy, and of those around them on the same connection."""

import pytest

from fastserve.protocol._forwarded import Forwarding
from fastserve.trust import TrustedPeers


def head(target, *lines):
    return "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: own", *lines, "")).encode()


def recorder(scopes, touch):
    async def application(scope, receive, send):
        scopes.append({key: scope[key] for key in ("client", "server", "scheme", "root_path", "path", "raw_path")})
        scopes[-1]["host"] = dict(scope["headers"])[b"host"]
        if touch:
            scope["client"] = ("spoiled", 1)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    return application


DIRECT = {
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
    "scheme": "http",
    "root_path": "/own",
    "path": "/own/a b",
    "raw_path": b"/own/a%20b",
    "host": b"own",
}
LINES = ["X-Forwarded-For: 1.2.3.4:5", "X-Forwarded-Proto: https", "X-Forwarded-Host: public", "X-Forwarded-Port: 8443"]
FORWARDED = DIRECT | {
    "client": ("1.2.3.4", 5),
    "server": ("public", 8443),
    "scheme": "https",
    "host": b"public:8443",
}
PREFIXED = DIRECT | {"root_path": "/p q", "path": "/p q/a b", "raw_path": b"/p%20q/a%20b"}


@pytest.mark.parametrize("touch", [False, True], ids=["untouched", "written-into"])
def test_every_scope_is_its_own_requests(run, touch):
    scopes = []

    async def scenario(bench):
        stream = bench.connect()
        plain, full = head("/a%20b"), head("/a%20b", *LINES)
        prefixed = head("/a%20b", "X-Forwarded-Prefix: /p%20q/")
        for data in (plain, full, plain, prefixed, full, full, plain, plain + full + prefixed + plain):
            await bench.io(stream.feed, data)
            await bench.quiet()

    forwarding = Forwarding(TrustedPeers("127.0.0.1"), host=True, port=True, prefix=True)
    run(recorder(scopes, touch), scenario, forwarding=forwarding, root_path="/own")
    assert scopes == [
        DIRECT, FORWARDED, DIRECT, PREFIXED, FORWARDED, FORWARDED, DIRECT, DIRECT, FORWARDED, PREFIXED, DIRECT,
    ]  # fmt: skip


def test_clients_of_one_proxy_connection(run):
    scopes = []

    async def scenario(bench):
        stream = bench.connect()
        for number in (1, 2, 2, 3, 1):
            await bench.io(stream.feed, head("/", f"X-Forwarded-For: 10.0.0.{number}"))

    run(recorder(scopes, False), scenario, forwarding=Forwarding(TrustedPeers("127.0.0.1")))
    assert [scope["client"][0] for scope in scopes] == [f"10.0.0.{number}" for number in (1, 2, 2, 3, 1)]
