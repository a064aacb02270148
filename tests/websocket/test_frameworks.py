"""WebSocket applications of the frameworks that people use, each with the same conversations."""

import json
import re

import httpx
import pytest

from tests.process.conftest import PATIENCE
from tests.websocket.client import WebSocketClient
from tests.websocket.conftest import ON_UVICORN

FRAMEWORKS = ("starlette", "fastapi", "litestar", "quart", "channels")
# Litestar has no response of one's own to a handshake, and refuses by itself to send after a disconnect; Quart cancels
# the handler when the client goes.
LACKS = {("litestar", "denial"), ("litestar", "late"), ("quart", "late")}
# Where the framework, not the server, makes something of an exception.
FAILS_WITH = {"litestar": [("close", 4500, "Internal Server Error")], "quart": [("close", 1000, "")]}


def with_frameworks(route):
    """The test runs with every framework that has this route."""
    names = [name for name in FRAMEWORKS if (name, route) not in LACKS]
    return pytest.mark.parametrize("framework", names)


@pytest.fixture
def server(served, framework):
    return served(f"{framework}_app")


@with_frameworks("echo")
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
def test_echo(server, key, deflate, framework):
    with WebSocketClient(server.address, f"/echo/{key}", deflate=deflate) as client:
        assert client.accepted
        assert client.deflated == deflate
        for text in ("hello", "", "Grüße, 世界 🌍", "long " * 20_000):
            client.text(text)
            assert client.receive() == ("text", text)
        for data in (b"\x00\xff", b"", bytes(range(256)) * 300):
            if framework == "quart" and not data:
                continue  # Quart fails over an empty message in bytes alone, as the specification has it.
            client.bytes(data)
            assert client.receive() == ("bytes", data)
        client.say_close(4002, "had enough")
        assert client.finish() == [("close", 4002, "had enough")]
    server.told(key, "disconnect")
    told = [line for line in server.lines_of(key) if line.startswith("disconnect")]
    assert len(told) == 1
    assert told[0].startswith("disconnect 4002" if framework != "quart" else "disconnect by cancellation")


@with_frameworks("subprotocol")
def test_subprotocol(server, key):
    with WebSocketClient(server.address, f"/subprotocol/{key}", "Sec-WebSocket-Protocol: chat.v1, chat.v2") as client:
        assert client.subprotocol == "chat.v2"
        assert client.finish() == [("text", "chat.v1 chat.v2"), ("close", 1000, "")]


@with_frameworks("fields")
def test_fields(server, key):
    fields = ("X-Asked: a question", "Cookie: name=Ann")
    with WebSocketClient(server.address, f"/fields/{key}?q=query", *fields) as client:
        assert client.field_values("x-own") == ["yes"]
        assert client.field_values("set-cookie") == ["seen=1"]
        (kind, text), *rest = client.finish()
        assert (kind, json.loads(text)) == ("text", ["a question", "query", "Ann"])
        assert rest == [("close", 1000, "")]


@with_frameworks("deny")
def test_deny(server, key, framework):
    with WebSocketClient(server.address, f"/deny/{key}") as client:
        assert client.response.status == 403
    server.wait_for(rf'- "WebSocket /deny/{key}" 403')


@with_frameworks("denial")
def test_denial_response(server, key):
    with WebSocketClient(server.address, f"/denial/{key}") as client:
        assert client.response.status == 402
        assert client.field_values("x-why") == ["money"]
        assert client.response.body == b"pay first"
    server.wait_for(rf'- "WebSocket /denial/{key}" 402')


@with_frameworks("close")
def test_close(server, key):
    with WebSocketClient(server.address, f"/close/{key}") as client:
        assert client.finish() == [("close", 4001, "the application's reason")]


@with_frameworks("fail")
def test_application_fails(server, key, framework):
    """The client is told, and the traceback is in the log."""
    with WebSocketClient(server.address, f"/fail/{key}") as client:
        events = client.finish()
    if framework != "litestar":
        server.wait_for("ValueError: the application failed")
    assert events == FAILS_WITH.get(framework, [] if ON_UVICORN else [("close", 1011, "")])


@with_frameworks("fail-early")
def test_application_fails_before_it_accepts(server, key, framework):
    with WebSocketClient(server.address, f"/fail-early/{key}") as client:
        assert client.response.status == (403 if framework == "litestar" else 500)


@with_frameworks("late")
def test_send_after_disconnect(server, key):
    with WebSocketClient(server.address, f"/late/{key}") as client:
        client.say_close(1001, "going")
        assert client.finish() == [("close", 1001, "going")]
    server.told(key, "send raised ClientDisconnected")
    first, _ = server.lines_of(key)
    assert re.match("disconnect 1001( going)?$", first)


@with_frameworks("json")
def test_json(server, key):
    with WebSocketClient(server.address, f"/json/{key}") as client:
        for number in range(20):
            client.text(json.dumps({"number": number}))
            kind, text = client.receive()
            assert (kind, json.loads(text)) == ("text", {"number": number + 1})
        client.say_close()
        assert client.finish() == [("close", 1000, "")]


@with_frameworks("nothing")
def test_no_such_route(server, key, framework):
    with WebSocketClient(server.address, f"/nothing/{key}") as client:
        assert client.response.status == {"quart": 404, "channels": 500}.get(framework, 403)


def test_fastapi_gives_dependencies_back(served, key):
    server = served("fastapi_app")
    with WebSocketClient(server.address, f"/echo/{key}") as client:
        client.say_close()
        client.finish()
    server.told(key, "given back")


@pytest.fixture
def channels(served):
    return served("channels_app")


def test_channels_in_threads(channels, key):
    with WebSocketClient(channels.address, f"/sync-echo/{key}") as client:
        for number in range(20):
            client.text(f"message {number}")
            assert client.receive() == ("text", f"message {number}")
        client.bytes(b"\0" * 100_000)
        assert client.receive() == ("bytes", b"\0" * 100_000)
        client.say_close(4000)
        assert client.finish() == [("close", 4000, "")]
    channels.told(key, "disconnect 4000")
    with WebSocketClient(channels.address, f"/sync-json/{key}") as client:
        client.text('{"number": 1}')
        assert client.receive() == ("text", '{"number": 2}')
    with WebSocketClient(channels.address, f"/sync-deny/{key}") as client:
        assert client.response.status == 403
    with WebSocketClient(channels.address, f"/accept-by-raising/{key}") as client:
        assert client.accepted


@pytest.mark.parametrize("room", ["room", "sync-room"])
def test_channels_groups(channels, key, room):
    """What one says all hear, through the channel layer."""
    everybody = [WebSocketClient(channels.address, f"/{room}/{key}") for _ in range(5)]
    try:
        for number, client in enumerate(everybody):
            client.text(json.dumps({"words": f"I am {number}"}))
            for other in everybody:
                assert other.receive() == ("text", json.dumps({"words": f"I am {number}"}))
        if room == "room":
            gone = everybody.pop()
            gone.say_close(4007)
            assert gone.finish()[0] == ("close", 4007, "")
            gone.close()
            for client in everybody:
                assert client.receive() == ("text", '{"words": "left with 4007"}')
    finally:
        for client in everybody:
            client.close()


def test_channels_authentication(channels, key):
    """The session that an HTTP response begins is the WebSocket's, user and all."""
    with httpx.Client(base_url=f"http://127.0.0.1:{channels.port}", timeout=PATIENCE) as browser:
        assert browser.get("/login").text == "hello, Ann"
        session = browser.cookies["sessionid"]
    with WebSocketClient(channels.address, f"/who-am-i/{key}", f"Cookie: sessionid={session}") as client:
        assert client.finish()[0] == ("text", '{"name": "ann", "authenticated": true}')
    with WebSocketClient(channels.address, f"/who-am-i/{key}") as client:
        assert client.finish()[0] == ("text", '{"name": "", "authenticated": false}')


def test_channels_origin(channels, key):
    with WebSocketClient(channels.address, f"/own-pages/{key}", "Origin: http://elsewhere.example") as client:
        assert client.response.status == 403
    with WebSocketClient(channels.address, f"/own-pages/{key}", "Origin: http://parity") as client:
        assert client.accepted
