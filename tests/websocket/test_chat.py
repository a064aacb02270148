"""`examples/chat.py`, served as its first lines say."""

import json
import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.process.conftest import PATIENCE
from tests.websocket.client import WebSocketClient
from tests.websocket.conftest import SUBJECT

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def server(start):
    return start("chat:app", "--app-dir", str(EXAMPLES), "--port", "0", server=SUBJECT)


def enter(server, room, name):
    return WebSocketClient(("127.0.0.1", server.port), f"/rooms/{room}?name={name}")


def heard(client):
    """The next message, with None for what it does not have."""
    kind, text = client.receive_message()
    assert kind == "text"
    message = json.loads(text)
    return tuple(message.get(name) for name in ("kind", "name", "text", "members"))


def test_rooms(server):
    with enter(server, "lobby", "Ann") as ann, enter(server, "lobby", "Ben") as ben, enter(server, "caf%C3%A9", "Ann"):
        assert heard(ann) == ("joined", "Ann", None, ["Ann"])
        assert heard(ann) == heard(ben) == ("joined", "Ben", None, ["Ann", "Ben"])
        ann.text("hello, Grüße")
        assert heard(ann) == heard(ben) == ("said", "Ann", "hello, Grüße", None)
        ben.text(" ")
        ben.say_close(1000, "bye")
        assert ben.finish() == [("close", 1000, "bye")]
        assert heard(ann) == ("left", "Ben", None, ["Ann"])
        with enter(server, "lobby", "Ben") as vanishing:
            assert heard(ann) == heard(vanishing) == ("joined", "Ben", None, ["Ann", "Ben"])
            vanishing.reset()
        assert heard(ann) == ("left", "Ben", None, ["Ann"])


@pytest.mark.parametrize(
    ("room", "name", "code"),
    [("lobby", "", 4000), ("lobby", "x" * 33, 4000), ("lobby", "a%00b", 4000), ("lobby", "Ann", 4001)],
)
def test_refused(server, room, name, code):
    with enter(server, "lobby", "Ann") as ann, enter(server, room, name) as other:
        assert heard(ann) == ("joined", "Ann", None, ["Ann"])
        ((kind, told, reason),) = other.finish()
        assert (kind, told) == ("close", code)
        assert reason


def test_no_such_place(server):
    for target in ("/", "/rooms/", "/rooms/a/b?name=Ann", "/elsewhere/lobby?name=Ann"):
        with WebSocketClient(("127.0.0.1", server.port), target) as client:
            assert client.response.status == 403


def test_too_long(server):
    with enter(server, "lobby", "Ann") as ann, enter(server, "lobby", "Ben") as ben:
        assert heard(ann)[:2] == ("joined", "Ann")
        assert heard(ann)[:2] == heard(ben)[:2] == ("joined", "Ben")
        ben.text("x" * 2001)
        assert [event[:2] for event in ben.finish()] == [("close", 4003)]
        assert heard(ann)[:2] == ("left", "Ben")


def test_too_slow(server):
    """Who does not read is shown out in the end, and holds up nobody."""
    with enter(server, "lobby", "Ann") as ann, enter(server, "lobby", "Ben") as ben:
        assert [heard(ann)[1], heard(ann)[1]] == ["Ann", "Ben"]
        ben.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        # More than the kernel takes for a reader who does not read, and than the example lets wait.
        for _ in range(30):
            for _ in range(100):
                ann.text("x" * 2000)
            for _ in range(100):
                assert heard(ann) == ("said", "Ann", "x" * 2000, None)
        assert ben.finish()[-1] == ("close", 4004, "you read too slowly")
        assert heard(ann) == ("left", "Ben", None, ["Ann"])


def test_page(server):
    page = httpx.get(f"http://127.0.0.1:{server.port}/", timeout=PATIENCE)
    assert page.status_code == 200
    assert "new WebSocket" in page.text
    assert httpx.get(f"http://127.0.0.1:{server.port}/nothing", timeout=PATIENCE).status_code == 404


def test_restart(server):
    """The pages are told why, and come back by themselves."""
    with enter(server, "lobby", "Ann") as ann:
        assert heard(ann) == ("joined", "Ann", None, ["Ann"])
        server.send_signal(signal.SIGTERM)
        assert ann.finish()[0][:2] == ("close", 1012)
    assert server.wait() == -signal.SIGTERM
    assert not any("Traceback" in line for line in server.stderr)
