"""Fuzz what proxies say: the PROXY protocol, X-Forwarded-* and Forwarded.

The invariants: whatever comes first on a connection of a trusted peer, cut anywhere, is a header as its slow twin here
reads it, or is answered with 400 or 408 and the end; what follows is served as HTTP. Of X-Forwarded-For and -Proto an
application sees what uvicorn's middleware would have shown it, and no field leads to anything but an answer or a 400.

    python -m tests.fuzz.fuzz_proxies [--seconds 10] [--seed N]
"""

import asyncio
import logging
import random
import re
import socket
import struct
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from fastserve._exchange import Endpoint, PythonExchange, PythonHandler
from fastserve.protocol._forwarded import Forwarding
from fastserve.protocol._proxy_protocol import read_proxy_header
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream
from fastserve.trust import TrustedPeers
from tests.fuzz.running import main, repeat
from tests.parser.websocket_peer import cut

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LIMIT = 16384
WORDS = [
    b"TCP4", b"TCP6", b"UNKNOWN", b"UDP4", b"1.2.3.4", b"255.255.255.255", b"::1", b"ffff::1", b"1.2.3.04", b"80", b"0",
    b"65535", b"65536", b"080", b"+1", b"", b"\0", b"\xff", b"x" * 80, b"\r", b"\xc2\xb2",
]  # fmt: skip
MEMBERS = [
    b"127.0.0.1", b"10.0.0.1", b"10.1.2.3:4000", b"1.2.3.4", b"[::1]:80", b"[::1", b"::1", b"[::1]x", b"unknown",
    b"_hidden", b"", b" ", b"\t", b"\xff", b"1.2.3.4:", b"1.2.3.4:-1", b"1.2.3.4:1_0", b"a:b:c",
    b"1.2.3.4:" + b"9" * 5000,
    b"fe80::1%eth0", b"x" * 300, b"\"", b"1.2.3.4:\xb2",
]  # fmt: skip
PARTS = [
    b"for=", b"proto=", b"host=", b"by=", b";", b",", b", ", b" ; ", b"\"", b"\\", b"\\\"", b"https", b"wss", b"HTTPS",
    b"example.org:443", b"[::1]", b"[2001:db8::1]:4711", b"1.2.3.4", b"10.0.0.1", b"_x", b"=", b"\xff", b"ext=1", b"\t",
]  # fmt: skip
OTHERS = [
    b"a", b"a:80", b"a:99999", b"[::1]:1", b"a b", b"a/b", b"", b"/x", b"//x", b"/x/", b"/%2e", b"443", b"0", b"65536",
    b"1,2", b"a,b", b"\xff", b"-1", b"1_0", b"\xb2", b"a@b", b"?",
]  # fmt: skip


def crc32c(data: bytes) -> int:
    """RFC 3720 section 12.1, bit by bit over the whole, as a division of polynomials."""
    rest = int("".join(f"{byte:08b}"[::-1] for byte in data) or "0", 2) << 32
    rest ^= 0xFFFFFFFF << (8 * len(data))
    for shift in range(8 * len(data) - 1, -1, -1):
        if rest >> (shift + 32) & 1:
            rest ^= 0x11EDC6F41 << shift
    return int(f"{rest:032b}"[::-1], 2) ^ 0xFFFFFFFF


def read_text(data: bytes) -> tuple[int, Any]:
    found = re.match(rb"PROXY UNKNOWN(?: [^\n]*)?\r\n", data[:107], re.DOTALL)
    if found:
        return found.end(), None
    found = re.match(rb"PROXY (TCP4|TCP6) ([^ \n]+) ([^ \n]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n", data[:107])
    if found is None:
        return (-1 if b"\n" in data or len(data) >= 107 else 0), None
    family = socket.AF_INET if found[1] == b"TCP4" else socket.AF_INET6
    try:
        hosts = [socket.inet_ntop(family, socket.inet_pton(family, found[i].decode("ascii"))) for i in (2, 3)]
    except (OSError, ValueError):
        return -1, None
    ports = [int(found[4]), int(found[5])]
    if max(ports) > 65535:
        return -1, None
    return found.end(), ((hosts[0], ports[0]), (hosts[1], ports[1]), False)


def read_binary(data: bytes) -> tuple[int, Any]:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        return -1, None
    if len(data) < 16:
        return 0, None
    command, family, size = struct.unpack("!BBH", data[12:16])
    if size + 16 > LIMIT:
        return -1, None
    if len(data) < 16 + size:
        return 0, None
    whole, rest = data[: 16 + size], data[16 : 16 + size]
    if command == 0x20 or family == 0:
        return 16 + size, None
    width = {0x11: 4, 0x21: 16}.get(family)
    client: Any = None
    server: Any
    if family == 0x31 and size >= 216:
        path = rest[108:216]
        name = path.rstrip(b"\0") if path.startswith(b"\0") else path.split(b"\0")[0]
        server, rest = (name.decode("utf-8", "surrogateescape"), None), rest[216:]
    elif width and size >= 2 * width + 4:
        kind = socket.AF_INET if width == 4 else socket.AF_INET6
        ports = struct.unpack("!HH", rest[2 * width : 2 * width + 4])
        client = (socket.inet_ntop(kind, rest[:width]), ports[0])
        server = (socket.inet_ntop(kind, rest[width : 2 * width]), ports[1])
        rest = rest[2 * width + 4 :]
    else:
        return -1, None
    tls = False
    while rest:
        if len(rest) < 3 or len(rest) < 3 + struct.unpack("!H", rest[1:3])[0]:
            return -1, None
        length = struct.unpack("!H", rest[1:3])[0]
        kind, value = rest[0], rest[3 : 3 + length]
        if kind == 0x20:
            if length < 5:
                return -1, None
            tls = bool(value[0] & 1)
        elif kind == 3:
            at = len(whole) - len(rest) + 3
            if length != 4 or crc32c(whole[:at] + bytes(4) + whole[at + 4 :]) != int.from_bytes(value):
                return -1, None
        rest = rest[3 + length :]
    return len(whole), (client, server, tls)


def expected(data: bytes) -> tuple[int, Any]:
    """What read_proxy_header() has to say: the size (0: more is to come, -1: rejected), and the facts."""
    if data and data[:12] == SIGNATURE[: len(data)]:
        return read_binary(data)
    if data and data[:6] == b"PROXY "[: len(data)]:
        return read_text(data)
    return (-1 if data else 0), None


def text_header(chance: random.Random) -> bytes:
    family = chance.choice(("TCP4", "TCP6"))
    host = "1.2.3.4" if family == "TCP4" else "2001:db8::1"
    words = f"PROXY {family} {host} {host} {chance.randrange(65536)} 80".encode().split(b" ")
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        words[chance.randrange(1, len(words))] = chance.choice(WORDS)
    return b" ".join(words) + chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b""))


def binary_header(chance: random.Random) -> bytes:
    family = chance.choice((0x11, 0x11, 0x21, 0x31, 0, 0x12, chance.randrange(256)))
    rest = chance.randbytes({0x11: 12, 0x21: 36}.get(family, 216))
    if family == 0x31:
        rest = bytes(108) + chance.choice((b"/run/x", b"\0x", b"\xff", b"")).ljust(108, b"\0")
    sum_at = None
    for _ in range(chance.choice((0, 0, 1, 2, 4))):
        kind = chance.choice((1, 2, 3, 4, 5, 0x20, 0x20, 0x30))
        value = chance.randbytes(chance.choice((0, 1, 4, 5, 9, 300)))
        if kind == 3 and sum_at is None and chance.random() < 0.8:
            value, sum_at = bytes(4), 16 + len(rest) + 3
        rest += struct.pack("!BH", kind, len(value)) + value
    size = len(rest) if chance.random() < 0.9 else chance.choice((0, 11, 12, len(rest) - 1, len(rest) + 3, 65535))
    data = SIGNATURE + struct.pack("!BBH", chance.choice((0x21, 0x21, 0x21, 0x20, 0x22)), family, max(0, size)) + rest
    if sum_at is not None and chance.random() < 0.8:
        data = data[:sum_at] + crc32c(data[: 16 + size]).to_bytes(4) + data[sum_at + 4 :]
    return data


def header(chance: random.Random) -> bytes:
    data = text_header(chance) if chance.random() < 0.4 else binary_header(chance)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        at = chance.randrange(len(data) + 1)
        data = data[:at] + chance.randbytes(chance.randrange(3)) + data[at + chance.randrange(3) :]
    return data


class Loop:
    def call_soon(self, callback: Any, *arguments: Any) -> None:
        raise AssertionError("nothing here has to wait for the loop")


class Errors(logging.Handler):
    """Defects of ours end in the log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


def quiet() -> logging.Logger:
    logger = logging.Logger("fuzz")
    logger.addHandler(Errors())
    return logger


def check_protocol(chance: random.Random) -> None:
    data = header(chance)
    size, facts = expected(data)
    found, said = read_proxy_header(data)
    assert found == size, data
    if size > 0:
        assert (None if said.local else (said.client, said.server, said.tls)) == facts, data

    seen: list[PythonExchange] = []

    def handle(exchange: PythonExchange) -> None:
        seen.append(exchange)
        exchange.start(200, [(b"content-length", b"0")])
        exchange.body(b"")

    clock = ManualClock(1000.0)
    worker = Worker(
        PythonHandler(handle), Loop(), clock=clock, logger=quiet(), date_header=False,  # type: ignore[arg-type]
        proxy_protocol=TrustedPeers(chance.choice(("*", "127.0.0.1"))),
    )  # fmt: skip
    stream = MemoryStream(worker, Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8000)))
    # Bytes behind the header must not complete it: the twin looks at all there is.
    size, facts = expected(data + GET)
    for piece in cut(
        data + GET, (chance.randrange(len(data + GET) + 1) for _ in range(chance.choice((0, 1, 2, 5, 400))))
    ):
        if not stream.closed and not stream.shut:
            stream.feed(piece)
        if chance.random() < 0.02:
            worker.drain(hand_on=chance.random() < 0.5, idle_grace=chance.choice((0, 1)))
        if chance.random() < 0.01:
            stream.end()
            break
    else:
        if not worker.draining and (data + GET)[size:] == GET and size > 0:
            assert len(seen) == 1, data
            endpoint: Any = seen[0].request.endpoint  # type: ignore[attr-defined]
            if facts is not None:
                assert (endpoint.client, endpoint.server, endpoint.scheme == "https") == facts
            else:
                assert endpoint.client == ("127.0.0.1", 50000)
        elif size <= 0:
            assert not seen
            for _ in range(200):
                clock.time += 0.1
                worker.advance()
            assert stream.closed or stream.shut
            assert stream.take().startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")) or worker.draining
    stream.lose()
    assert worker.connections == 0


def check_fields(chance: random.Random) -> None:
    def some(words: list[bytes], glue: bytes, most: int) -> bytes:
        return glue.join(chance.choice(words) for _ in range(chance.randrange(most))).strip(b" \t")

    fields: list[tuple[bytes, bytes]] = [(b"host", chance.choice((b"x", b"x:80", b"[::1]:8000")))]
    for _ in range(chance.choice((1, 2, 3))):
        fields += [(b"x-forwarded-for", some(MEMBERS, chance.choice((b",", b", ")), 5))]
    for _ in range(chance.randrange(3)):
        value = chance.choice((b"http", b"https", b"wss", b"ftp", b"", b"HTTPS", b"http,https"))
        fields += [(b"x-forwarded-proto", value)]
    for name in (b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix"):
        if chance.random() < 0.3:
            fields += [(name, some(OTHERS, b", ", 3))]
    if chance.random() < 0.5:
        fields += [(b"forwarded", some(PARTS, b"", 12)) for _ in range(chance.choice((1, 1, 2)))]
    chance.shuffle(fields)
    data = b"GET /a HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"

    seen: list[Any] = []

    def handle(exchange: PythonExchange) -> None:
        request: Any = exchange.request
        seen.append((request.endpoint.client, request.endpoint.scheme, request.endpoint.server, request.fields))
        exchange.start(200, [(b"content-length", b"0")])
        exchange.body(b"")

    trusted = chance.choice(("*", "127.0.0.1", "127.0.0.1,10.0.0.0/8", "10.0.0.1", "127.0.0.1,unknown,::1"))
    alone = chance.random() < 0.5
    others = dict.fromkeys(("host", "port", "prefix", "standard"), not alone)
    worker = Worker(
        PythonHandler(handle), Loop(), clock=ManualClock(0.0), logger=quiet(), date_header=False,  # type: ignore[arg-type]
        forwarding=Forwarding(TrustedPeers(trusted), **others),
    )  # fmt: skip
    stream = MemoryStream(worker, Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8000)))
    for _ in range(2):
        if not stream.closed and not stream.shut:
            stream.feed(data)
    answers = stream.take()
    stream.lose()
    if not seen:
        assert not alone
        assert answers.startswith(b"HTTP/1.1 400 ")
        return
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == len(seen) == 2
    # What is remembered between requests of a connection changes nothing.
    assert seen[0] == seen[1]
    if alone:
        assert seen[0][:2] == as_uvicorn(trusted, fields), fields


def as_uvicorn(trusted: str, fields: list[tuple[bytes, bytes]]) -> tuple[Any, str]:
    scope: dict[str, Any] = {
        "type": "http", "client": ("127.0.0.1", 50000), "scheme": "http", "headers": fields,
    }  # fmt: skip

    async def application(scope: Any, receive: Any, send: Any) -> None:
        pass

    asyncio.run(ProxyHeadersMiddleware(application, trusted)(scope, None, None))  # type: ignore[arg-type]
    return scope["client"], scope["scheme"]


def attempt(chance: random.Random) -> None:
    check_protocol(chance)
    check_fields(chance)


def fuzz(seconds: float, seed: int) -> int:
    """Run for that long; the number of inputs tried. Raises AssertionError with the seed of a finding."""
    return repeat(seconds, seed, attempt)


if __name__ == "__main__":
    main("fuzz_proxies", __doc__, fuzz)
