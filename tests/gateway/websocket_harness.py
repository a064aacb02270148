"""Both ends of WebSockets in memory, for the tests of the gateway: applications, and what a client sends and reads."""

import asyncio

from tests.parser.websocket_peer import BINARY, CLOSE, TEXT, read_frames

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n%s\r\n"
)
OPENING = HANDSHAKE % b""
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
ACCEPT = {"type": "websocket.accept"}
TEXT_FRAME, BINARY_FRAME = 0x80 | TEXT, 0x80 | BINARY


class Recorder:
    """An application that accepts, notes what it receives, echoes if told so, and ends with the disconnect."""

    def __init__(self, *, echo=False, ends=True):
        self.seen = []
        self.echo = echo
        self.ends = ends
        self.scope = None

    async def __call__(self, scope, receive, send):
        self.scope = scope
        self.seen.append(await receive())
        await send(ACCEPT)
        while True:
            message = await receive()
            self.seen.append(message)
            if message["type"] == "websocket.disconnect" and self.ends:
                return
            if self.echo:
                await send({**message, "type": "websocket.send"})

    @property
    def messages(self):
        return [message.get("text", message.get("bytes")) for message in self.seen[1:]]

    @property
    def end(self):
        assert [message["type"] for message in self.seen].count("websocket.disconnect") == 1
        assert self.seen[-1].keys() == {"type", "code", "reason"}
        return self.seen[-1]["code"], self.seen[-1]["reason"]


async def told(receive, send):
    """What an application does that accepts, and waits until the client says something."""
    await send(ACCEPT)
    await receive()
    await receive()


async def busy(scope, receive, send):
    """An application that accepts, and does something else from then on."""
    await send(ACCEPT)
    await asyncio.get_running_loop().create_future()


async def asked(bench, request=OPENING, **options):
    """A client whose handshake has been received, and whatever followed from that at once."""
    stream = bench.connect(**options)
    await bench.io(stream.feed, request)
    return stream


async def opened(bench, request=OPENING, **options):
    """A client whose handshake has been accepted at once; it has read the answer."""
    stream = await asked(bench, request, **options)
    assert stream.take().startswith(b"HTTP/1.1 101 "), "not accepted"
    return stream


def frames(stream):
    """What the client can read now: (first byte, payload) of each frame."""
    return list(read_frames(stream.take()))


def closing(code, reason=b""):
    """A close frame, as `frames` has it."""
    return (0x80 | CLOSE, code.to_bytes(2, "big") + reason)
