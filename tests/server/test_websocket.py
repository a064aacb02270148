"""What the options of WebSockets change in an assembled worker."""

import asyncio
import logging

import pytest

from fastserve.server.assembly import assemble
from fastserve.server.config import Config
from fastserve.transport._memory import MemoryStream
from tests.parser.websocket_peer import BINARY, CLOSE, frame, read_frames

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


async def application(scope, receive, send):
    await receive()
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


@pytest.fixture
def answers():
    """The answers of a worker with these options to each of `reads`, which one connection receives."""

    def ask(*reads, app=application, **options):
        async def main():
            config = Config(app, log_config=None, **options)
            config.load()
            assembly = assemble(config, asyncio.get_running_loop(), {})
            stream = MemoryStream(assembly.worker)
            found = []
            for data in reads:
                stream.feed(data)
                for _ in range(50):
                    await asyncio.sleep(0)
                # An answer of another thread comes when that has had its turn.
                while app is wsgi and assembly.worker.tasks:
                    await asyncio.sleep(0.001)
                found.append(stream.take())
            stream.lose()
            assembly.worker.cancel()
            while assembly.worker.tasks:
                await asyncio.sleep(0)
            assembly.close()
            return found

        return asyncio.run(main())

    return ask


@pytest.mark.parametrize("ws", ["auto", "websockets", "websockets-sansio", "wsproto"])
def test_websocket_is_served(answers, ws):
    [answer] = answers(HANDSHAKE, ws=ws)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nsec-websocket-extensions: permessage-deflate" in answer


@pytest.mark.parametrize("options", [{"ws": "none"}, {"app": wsgi, "interface": "wsgi"}])
def test_websocket_is_not_offered(answers, caplog, options):
    caplog.set_level(logging.WARNING, "fastserve.error")
    [answer] = answers(HANDSHAKE, **options)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert "Unsupported upgrade request." in [record.getMessage() for record in caplog.records]


def test_compression_is_an_option(answers):
    [answer] = answers(HANDSHAKE, ws_per_message_deflate=False)
    assert b"sec-websocket-extensions" not in answer


def test_largest_message_is_an_option(answers):
    _, fits, beyond = answers(HANDSHAKE, frame(BINARY, bytes(100)), frame(BINARY, bytes(101)), ws_max_size=100)
    assert fits == b""
    [(first, payload)] = read_frames(beyond)
    assert (first, payload[:2]) == (0x80 | CLOSE, (1009).to_bytes(2, "big"))
