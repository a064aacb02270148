"""Fuzz WebSocket connections end to end: ASGI applications that do anything, clients that do anything.

Clients send right and wrong frames in any pieces, compressed or not, vanish, half-close, stop reading and answer pings
or do not; applications accept, deny, send right and wrong messages, close, raise, are cancelled, leave children behind.
Besides what tests/fuzz/world.py holds against the worker: what comes back is a response, or well-formed frames that end
with the first close frame; applications are told what was sent, in order, and nothing after the disconnect; clients
what the applications were allowed to send.

    python -m tests.fuzz.fuzz_websocket [--seconds 10] [--seed N]
"""

import asyncio
import gc
import random
from typing import Any

from fastserve.errors import ClientDisconnected
from fastserve.gateway._asgi import AsgiGateway
from fastserve.protocol._websocket import WebSocketUpgrade
from tests.fuzz.fuzz_messages import OFFERS, sent
from tests.fuzz.running import main, repeat
from tests.fuzz.world import Client, World, play, read_responses
from tests.parser.websocket_peer import (
    BINARY,
    CLOSE,
    FINAL,
    PING,
    PONG,
    RSV1,
    TEXT,
    Compression,
    close,
    cut,
    fragmented,
    frame,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
)
TEXTS = ["", "a", "hello", "κόσμε" * 20, "x" * 126, "\U0001f600" * 100]
LONG = ["y" * 20000, "y" * 70000]
CODES = [1000, 1001, 3000, 4999, 1005, 1006, 999, 5000, None, "1000", 10**30]


class Application:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.world: Any = None
        self.received: list[str | bytes] = []
        self.sent: list[tuple[int, bytes]] = []
        self.disconnected = 0
        self.dropped = False
        self.children: set[Any] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        chance = self.chance
        if chance.random() < 0.8:
            message: dict[str, Any] = {"type": "websocket.accept"}
            if chance.random() < 0.1:
                message["subprotocol"] = chance.choice(("chat", "é", "a\r\nb", 7))
            if chance.random() < 0.1:
                message["headers"] = chance.choice(
                    ([(b"x", b"y")], [(b"upgrade", b"x")], [(b"x", b"\0")], [("x", "y")])
                )
            if chance.random() < 0.5:
                await self.receive(receive)
            await send(message)
        if chance.random() < 0.3:
            await self.echo(receive, send)
        return await self.anything(receive, send, 0)

    async def receive(self, receive: Any) -> str | bytes | None:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            self.disconnected += 1
            assert self.disconnected == 1
            assert isinstance(message["code"], int)
            assert isinstance(message["reason"], str)
        elif message["type"] == "websocket.receive":
            assert not self.disconnected
            content: str | bytes = message["text"] if "text" in message else message["bytes"]
            self.received.append(content)
            return content
        return None

    async def echo(self, receive: Any, send: Any) -> None:
        while not self.disconnected:
            content = await self.receive(receive)
            if content is not None:
                await self.send(send, content)

    async def send(self, send: Any, content: Any) -> None:
        name = "text" if isinstance(content, str) else "bytes"
        awaitable = send({"type": "websocket.send", name: content})
        if isinstance(content, str):
            self.sent.append((TEXT, content.encode()))
        else:
            self.sent.append((BINARY, bytes(content)))
        await awaitable

    def content(self) -> Any:
        chance = self.chance
        text = chance.choice(TEXTS if chance.random() < 0.8 else LONG)
        return chance.choice((text, text, text.encode(), bytearray(text.encode()), memoryview(text.encode())))

    async def anything(self, receive: Any, send: Any, depth: int) -> Any:
        chance = self.chance
        for _ in range(chance.randrange(10)):
            kind = chance.randrange(24)
            try:
                if kind < 6:
                    await self.receive(receive)
                elif kind < 12:
                    await self.send(send, self.content())
                elif kind < 14:
                    await send(
                        {"type": "websocket.close", "code": chance.choice(CODES), "reason": chance.choice(TEXTS)}
                    )
                elif kind == 14:
                    await send(chance.choice((
                        {"type": "websocket.send", "text": "\ud800"}, {"type": "websocket.send", "bytes": "x"}, {},
                        None,
                        {"type": "websocket.send"}, {"type": "websocket.send", "text": b"x"}, {"type": "x"},
                        {"type": "websocket.send", "bytes": memoryview(b"abcdef")[::2]},
                        {"type": "websocket.send", "bytes": 7}, {"type": "http.response.body"},
                    )))  # fmt: skip
                elif kind == 15:
                    await send({"type": "websocket.accept"})
                elif kind == 16:
                    status = chance.choice((200, 403, 101, 600, "x"))
                    await send({"type": "websocket.http.response.start", "status": status, "headers": [(b"x", b"y")]})
                    for _ in range(chance.randrange(3)):
                        await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
                    await send({"type": "websocket.http.response.body", "body": b"z" * chance.choice((0, 9, 70000))})
                elif kind == 17:
                    await asyncio.sleep(0)
                elif kind == 18:
                    await self.world.gate()
                elif kind == 19 and depth < 2:
                    child = asyncio.ensure_future(self.child(receive, send, depth + 1))
                    self.children.add(child)
                    child.add_done_callback(self.children.discard)
                    if chance.random() < 0.5:
                        await child
                elif kind == 20:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                elif kind == 21:
                    self.dropped = True
                    awaitable = receive()
                    if chance.random() < 0.5:
                        await asyncio.wait_for(self.both(awaitable), chance.choice((0, 0.0001)))
                elif kind == 22:
                    if chance.random() < 0.5:
                        raise chance.choice((ValueError, asyncio.CancelledError, OSError, ClientDisconnected))("raised")
                    return chance.choice((None, 7))
                else:
                    self.world.open_gate()
            except AssertionError:
                raise
            except Exception:
                if chance.random() < 0.3:
                    raise
        return None

    async def both(self, awaitable: Any) -> Any:
        return await awaitable

    async def child(self, *arguments: Any) -> None:
        try:
            await self.anything(*arguments)
        except (Exception, asyncio.CancelledError):
            # Nobody may be there any more that would ask for it.
            pass


class Said:
    """What the client has sent: the messages, as long as all of it is right, and its pings."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.pings: list[bytes] = []
        self.valid = True


def spoken(chance: random.Random, said: Said, peer: Compression | None) -> bytes:
    """A few frames."""
    data = b""
    for _ in range(chance.choice((1, 1, 2, 3, 40))):
        kind = chance.randrange(20)
        if kind < 14:
            text = chance.choice(TEXTS if chance.random() < 0.99 else LONG)
            opcode = chance.choice((TEXT, BINARY))
            said.messages.append(text if opcode == TEXT else text.encode())
            payload, bits = text.encode(), 0
            if peer is not None and chance.random() < 0.6:
                payload, bits = peer.deflate(payload), RSV1
            pieces = cut(payload, (chance.randrange(len(payload) + 1) for _ in range(chance.choice((0, 0, 1, 3)))))
            between = b""
            if chance.random() < 0.1 and len(pieces) > 1:
                between = frame(PING, b"between")
                said.pings += [b"between"] * (len(pieces) - 1)
            data += fragmented(opcode, pieces or [b""], bits=bits, between=between)
        elif kind < 16:
            said.pings.append(chance.randbytes(chance.choice((0, 5, 125))))
            data += frame(PING, said.pings[-1])
        elif kind < 18:
            data += frame(PONG, chance.choice((b"", b"ping")))
        elif kind == 18 and said.valid:
            data += close(chance.choice((None, 1000, 3000)), b"")
            break
        else:
            said.valid = False
            data += sent(chance, peer)
    return data


async def script(world: World, client: Client, said: Said, offer: bytes | None) -> None:
    chance = world.chance
    peer = Compression(offer) if offer else None
    data = HANDSHAKE
    if offer:
        data += b"Sec-WebSocket-Extensions: " + offer + b"\r\n"
    if chance.random() < 0.2:
        data += b"Sec-WebSocket-Protocol: chat, other\r\n"
    data += b"\r\n"
    if chance.random() < 0.05:
        said.valid = False
        at = chance.randrange(len(data))
        data = data[:at] + chance.randbytes(chance.randrange(3)) + data[at + chance.randrange(3) :]
    if chance.random() < 0.1:
        data = b"GET /before HTTP/1.1\r\nHost: x\r\n\r\n" + data
    early = chance.random() < 0.3
    if early:
        data += spoken(chance, said, peer)
    for _ in range(chance.choice((1, 2, 5))):
        for piece in cut(data, (chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 2, 8))))):
            await world.happen(client.feed, piece)
            for _ in range(chance.choice((0, 0, 1, 3))):
                await world.something(client)
        data = spoken(chance, said, peer)
    for _ in range(chance.randrange(8)):
        await world.something(client)


def judge(client: Client, said: Said, application: Application, offer: bytes | None) -> None:
    responses, data = read_responses(bytes(client.received), lambda index: "GET")
    if data is None:
        # One before, the denial, and a rejection of frames that came in spite of it.
        assert len(responses) <= 3 or not said.valid
        return
    peer = Compression(offer) if offer else None
    messages: list[tuple[int, bytes]] = []
    pongs: list[bytes] = []
    closed = False
    while len(data) >= 2:
        first, size, start = data[0], data[1], 2
        assert not closed, "a frame after the close frame"
        assert size < 128, "a masked frame"
        if size > 125:
            start = 4 if size == 126 else 10
            if len(data) < start:
                break
            size = int.from_bytes(data[2:start])
            assert size >= (126 if start == 4 else 65536)
        if len(data) < start + size:
            break
        payload, data = data[start : start + size], data[start + size :]
        opcode = first & 15
        assert first & FINAL
        assert first & 0x30 == 0
        if opcode & 8:
            assert not first & RSV1
            assert size <= 125
        if opcode == CLOSE:
            closed = True
            assert size != 1
            payload[2:].decode()
        elif opcode == PONG:
            pongs.append(payload)
        elif opcode == PING:
            assert payload == b"ping"
        else:
            if first & RSV1:
                assert peer is not None
                payload = peer.inflate(payload)
            messages.append((opcode, payload))
    assert messages == application.sent[: len(messages)]
    if said.valid:
        assert application.dropped or application.received == said.messages[: len(application.received)]
        assert pongs == said.pings[: len(pongs)]


async def attempt(chance: random.Random) -> None:
    application = Application(chance)
    before: list[Any] = []

    async def serve(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] == "websocket":
            return await application(scope, receive, send)
        before.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    options: dict[str, Any] = {}
    if chance.random() < 0.2:
        options["timeout_request"] = 3.0
    task = chance.choice(("native", "native", "asyncio"))
    world = World(chance, lambda loop, logger: AsgiGateway(serve, loop, task=task, logger=logger), **options)
    world.worker.add_upgrade(
        b"websocket",
        WebSocketUpgrade(
            max_size=chance.choice((0, 16777216, 1000)), max_queue=chance.choice((0, 1, 2, 32)),
            ping_interval=chance.choice((None, 20.0, 1.0)), ping_timeout=chance.choice((None, 20.0, 1.0)),
            logger=world.application_errors,
        ),
    )  # fmt: skip
    application.world = world
    client, said = await world.connect(), Said()
    offer = chance.choice((None, *OFFERS))
    await script(world, client, said, offer)
    await world.finish()
    while application.children:
        # One that awaits another may not hear of it the first time.
        for child in list(application.children):
            child.cancel()
        await asyncio.sleep(0)
    judge(client, said, application, offer)


def fuzz(seconds: float, seed: int) -> int:
    """Run for that long; the number of inputs tried. Raises AssertionError with the seed of a finding."""
    gc.freeze()
    with asyncio.Runner() as runner:
        return repeat(seconds, seed, lambda chance: runner.run(play(lambda: attempt(chance))))


if __name__ == "__main__":
    main("fuzz_websocket", __doc__, fuzz)
