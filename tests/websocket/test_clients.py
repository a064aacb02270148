"""The WebSocket clients that people use, each with the same conversations; and clients that are slow, or hasty."""

import asyncio
import contextlib
import select
from pathlib import Path

import aiohttp
import httpx
import httpx_ws
import pytest
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as websockets_connect_sync

from tests.parity.wire import request
from tests.websocket.client import WebSocketClient
from tests.websocket.conftest import ON_UVICORN

PATIENCE = 25
# The library's own limits are shorter, and a ping that is not answered in 20 s ends the connection.
UNHURRIED = {"open_timeout": PATIENCE, "close_timeout": PATIENCE, "ping_interval": None}
MESSAGES = {
    "text": "hello",
    "not-ascii": "Grüße, 世界 🌍",
    "empty-text": "",
    "binary": bytes(range(256)),
    "empty-binary": b"",
    "65535": b"x" * 65535,
    "65536": b"x" * 65536,
    "mebibyte-of-text": "0123456789abcdé\n" * 65536,
    "mebibyte": bytes(range(256)) * 4096,
}


class Closed(Exception):
    """The server has closed the WebSocket: code and reason."""


class Refused(Exception):
    """The server has refused the handshake: status and body."""


class Websockets:
    """websockets on asyncio."""

    deflates = True
    fragments = True

    @contextlib.asynccontextmanager
    async def connect(self, url, deflate=False, subprotocols=None):
        compression = "deflate" if deflate else None
        try:
            async with websockets_connect(
                url, compression=compression, max_size=None, proxy=None, subprotocols=subprotocols, **UNHURRIED
            ) as self.socket:
                yield self
        except InvalidStatus as refusal:
            raise Refused(refusal.response.status_code, refusal.response.body) from None

    @property
    def deflated(self):
        return bool(self.socket.protocol.extensions)

    @property
    def subprotocol(self):
        return self.socket.subprotocol

    async def send(self, message):
        await self.socket.send(message)

    async def send_fragments(self, pieces):
        await self.socket.send(pieces)

    async def receive(self):
        try:
            return await self.socket.recv()
        except ConnectionClosed as closed:
            raise Closed(closed.rcvd.code, closed.rcvd.reason) from None

    async def ping(self):
        await (await self.socket.ping(b"are you there?"))

    async def close(self, code, reason):
        """Returns what the server answered."""
        await self.socket.close(code, reason)
        return self.socket.protocol.close_rcvd.code


class WebsocketsSync(Websockets):
    """websockets in a thread, on blocking sockets."""

    @contextlib.asynccontextmanager
    async def connect(self, url, deflate=False, subprotocols=None):
        compression = "deflate" if deflate else None
        try:
            manager = await asyncio.to_thread(
                websockets_connect_sync,
                url,
                compression=compression,
                max_size=None,
                proxy=None,
                subprotocols=subprotocols,
                **UNHURRIED,
            )
            # Older ones connect above.
            self.socket = await asyncio.to_thread(manager.__enter__)
        except InvalidStatus as refusal:
            raise Refused(refusal.response.status_code, refusal.response.body) from None
        try:
            yield self
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)

    async def send(self, message):
        await asyncio.to_thread(self.socket.send, message)

    send_fragments = send

    async def receive(self):
        try:
            return await asyncio.to_thread(self.socket.recv)
        except ConnectionClosed as closed:
            raise Closed(closed.rcvd.code, closed.rcvd.reason) from None

    async def ping(self):
        assert await asyncio.to_thread(self.socket.ping(b"are you there?").wait, PATIENCE)

    async def close(self, code, reason):
        await asyncio.to_thread(self.socket.close, code, reason)
        return self.socket.protocol.close_rcvd.code


class Aiohttp:
    deflates = True
    fragments = False

    @contextlib.asynccontextmanager
    async def connect(self, url, deflate=False, subprotocols=()):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
            try:
                self.socket = await session.ws_connect(
                    url, compress=15 if deflate else 0, max_msg_size=0, protocols=subprotocols, autoclose=False
                )
            except aiohttp.WSServerHandshakeError as refusal:
                raise Refused(refusal.status, None) from None
            async with self.socket:
                yield self

    @property
    def deflated(self):
        return bool(self.socket.compress)

    @property
    def subprotocol(self):
        return self.socket.protocol

    async def send(self, message):
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)

    async def receive(self):
        message = await self.socket.receive(PATIENCE)
        if message.type is aiohttp.WSMsgType.CLOSE:
            raise Closed(message.data, message.extra)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    async def ping(self):
        await self.socket.ping(b"are you there?")

    async def close(self, code, reason):
        await self.socket.close(code=code, message=reason.encode())
        return self.socket.close_code


class HttpxWs:
    """httpx-ws, which is built on wsproto."""

    deflates = False
    fragments = False

    @contextlib.asynccontextmanager
    async def connect(self, url, deflate=False, subprotocols=None):
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            try:
                async with httpx_ws.aconnect_ws(
                    url, client, subprotocols=subprotocols, max_message_size_bytes=1 << 24
                ) as self.socket:
                    yield self
            except httpx_ws.WebSocketUpgradeError as refusal:
                raise Refused(refusal.response.status_code, None) from None

    deflated = False

    @property
    def subprotocol(self):
        return self.socket.subprotocol

    async def send(self, message):
        if isinstance(message, str):
            await self.socket.send_text(message)
        else:
            await self.socket.send_bytes(message)

    async def receive(self):
        try:
            event = await self.socket.receive(PATIENCE)
        except httpx_ws.WebSocketDisconnect as closed:
            raise Closed(closed.code, closed.reason or "") from None
        return event.data if isinstance(event.data, str) else bytes(event.data)

    async def ping(self):
        await asyncio.wait_for((await self.socket.ping(b"are you there?")).wait(), PATIENCE)

    async def close(self, code, reason):
        await self.socket.close(code, reason)
        return code


CLIENTS = {"websockets": Websockets, "websockets-sync": WebsocketsSync, "aiohttp": Aiohttp, "httpx-ws": HttpxWs}


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]()


@pytest.fixture
def server(served):
    return served("plain")


def url(server, path):
    return f"ws://127.0.0.1:{server.port}{path}"


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 3 * PATIENCE))


@pytest.mark.parametrize(
    ("client", "deflate"),
    [
        (name, deflate)
        for name, client in CLIENTS.items()
        for deflate in ([False, True] if client.deflates else [False])
    ],
    indirect=["client"],
)
def test_messages(server, client, deflate, key):
    async def talk():
        async with client.connect(url(server, f"/echo/{key}"), deflate) as socket:
            assert socket.deflated == deflate
            for name, message in MESSAGES.items():
                await socket.send(message)
                assert await socket.receive() == message, name
            if socket.fragments:
                await socket.send_fragments(["one ", "", "two ", "three"])
                assert await socket.receive() == "one two three"
                await socket.send_fragments([b"\x00" * 70_000, b"\xff" * 70_000])
                assert await socket.receive() == b"\x00" * 70_000 + b"\xff" * 70_000
            await socket.ping()
            await socket.send("after the ping")
            assert await socket.receive() == "after the ping"
            assert await socket.close(4003, "enough") == 4003

    run(talk())
    server.told(key, "disconnect 4003 enough")
    assert [line for line in server.lines_of(key) if "disconnect" in line] == ["disconnect 4003 enough"]


def test_subprotocol(server, client, key):
    async def talk():
        async with client.connect(url(server, f"/echo/{key}"), subprotocols=["chat.v2", "chat.v1"]) as socket:
            assert socket.subprotocol == "chat.v2"

    run(talk())


def test_closed_by_the_server(server, client, key):
    async def talk():
        async with client.connect(url(server, f"/close/{key}")) as socket:
            with pytest.raises(Closed) as closed:
                await socket.receive()
            assert closed.value.args == (4001, "the server's reason")

    run(talk())


def test_refused(server, client, key):
    async def talk():
        with pytest.raises(Refused) as refused:
            async with client.connect(url(server, f"/deny/{key}")):
                pass
        assert refused.value.args in ((401, b"a ticket, please"), (401, None))

    run(talk())


def test_many_messages_on_the_way(server, client, key):
    """The client does not wait for an answer before it sends more; all come back, in their order."""

    async def talk():
        async with client.connect(url(server, f"/echo/{key}")) as socket:

            async def send_all():
                for number in range(500):
                    await socket.send(f"message {number}")

            sending = asyncio.create_task(send_all())
            for number in range(500):
                assert await socket.receive() == f"message {number}"
            await sending

    run(talk())


def test_many_clients(server, key):
    """Each gets its own answers."""

    async def talk(number):
        async with websockets_connect(url(server, f"/echo/{key}-{number}"), proxy=None, **UNHURRIED) as socket:
            for turn in range(20):
                await socket.send(f"{number} {turn}" * (number + 1))
                assert await socket.recv() == f"{number} {turn}" * (number + 1)

    async def all_of_them():
        await asyncio.gather(*map(talk, range(60)))

    run(all_of_them())


def test_client_that_reads_slowly(served, server, key):
    """The application waits for it; the server does not collect what it has not read."""
    with WebSocketClient(server.address, f"/push/{key}") as client:
        server.told(key, "sent 1")
        # An application that nothing holds up would have sent everything before the server answers this.
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{server.port}/", timeout=PATIENCE).status_code == 200
        assert len(server.lines_of(key)) < 390
        for number in range(400):
            assert client.receive() == ("bytes", bytes([number % 256]) * 65536)
        assert client.finish() == [("close", 1000, "")]


@pytest.mark.parametrize(("number", "size"), [(600, 65536), (2_000_000, 1)], ids=["large", "small"])
def test_application_that_receives_slowly(server, key, number, size):
    """The client is held up: what nobody receives stays with the client, and the server does not grow."""
    assert size in (1, 65536)
    payload = b"\x01" * size
    head = b"\x82\x81" if size == 1 else b"\x82\xff" + size.to_bytes(8, "big")
    batch = max(1, 65536 // (size + 14))
    frames = memoryview((head + b"\0\0\0\0" + payload) * batch)
    number -= number % batch
    with WebSocketClient(server.address, f"/slow/{key}") as client:
        assert client.accepted
        before = resident(server.child.pid)
        sent, offset = 0, 0
        client.socket.setblocking(False)
        while sent < number and select.select([], [client.socket], [], 0.5)[1]:
            offset += client.socket.send(frames[offset:])
            if offset == len(frames):
                sent, offset = sent + batch, 0
        assert sent < number
        assert resident(server.child.pid) - before < 16 << 20
        client.socket.settimeout(PATIENCE)
        assert httpx.get(f"http://127.0.0.1:{server.port}/release/{key}", timeout=PATIENCE).status_code == 200
        client.send(frames[offset:])
        sent += batch
        client.text("end")
        assert client.receive_message() == ("text", f"{sent} {sent * size}")


def resident(pid):
    """Bytes of memory of a process."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


@pytest.mark.skipif(ON_UVICORN, reason="uvicorn does not look at them before more comes")
def test_frames_that_follow_the_handshake_at_once(server, key):
    """A client may not know yet that it is accepted; what it sends is not lost."""
    early = b"\x81\x85\0\0\0\0early\x82\x82\0\0\0\0\x01\x02"
    with WebSocketClient(server.address, f"/echo/{key}", early=early) as client:
        assert client.accepted
        assert client.receive() == ("text", "early")
        assert client.receive() == ("bytes", b"\x01\x02")
        client.say_close(1000, "done")
        assert client.finish() == [("close", 1000, "done")]


def test_frames_in_single_bytes(server, key):
    with WebSocketClient(server.address, f"/echo/{key}") as client:
        for byte in b"\x01\x83abcd" + bytes(x ^ y for x, y in zip(b"one", b"abc", strict=True)) + b"\x80\x80abcd":
            client.send(bytes([byte]))
        assert client.receive() == ("text", "one")


def test_after_http_on_the_same_connection(server, key):
    """A kept-alive connection becomes a WebSocket with its second request."""
    with WebSocketClient(server.address, f"/echo/{key}", before=request("GET", "/")) as client:
        assert client.accepted
        client.text("hello")
        assert client.receive() == ("text", "hello")


def test_http_after_a_refusal(server, key):
    """Whatever the connection does after a refusal, a new request is answered."""
    with WebSocketClient(server.address, f"/deny/{key}") as client:
        assert client.response.status == 401
    assert httpx.get(f"http://127.0.0.1:{server.port}/", timeout=PATIENCE).status_code == 200


def test_client_vanishes(server, key):
    """No close frame: the application hears 1006, once."""
    with WebSocketClient(server.address, f"/echo/{key}") as client:
        client.text("hello")
        assert client.receive() == ("text", "hello")
        client.reset()
    server.told(key, "disconnect 100")
    assert [line for line in server.lines_of(key) if "disconnect" in line] == [
        f"disconnect {1005 if ON_UVICORN else 1006} "
    ]
