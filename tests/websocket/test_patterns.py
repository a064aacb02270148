"""What applications do with `receive` and `send` beyond one after the other."""

import itertools

import pytest

from tests.websocket.client import END, WebSocketClient
from tests.websocket.conftest import ON_UVICORN

OPTIONS = {
    "native": (),
    "asyncio": ("--loop", "asyncio"),
    "loop": ("--transport", "loop"),
    "task": ("--task", "asyncio"),
}


@pytest.fixture(params=["native"] if ON_UVICORN else OPTIONS)
def server(served, request):
    return served("patterns", *OPTIONS[request.param])


@pytest.fixture
def client(server, key, request):
    route = request.function.__name__.removeprefix("test_").replace("_", "-")
    with WebSocketClient(server.address, f"/{route}/{key}") as client:
        assert client.accepted
        yield client


def test_impatient(client, server, key):
    assert client.receive() == ("text", "ticked")
    for number in range(100):
        client.text(f"message {number}")
    for number in range(100):
        assert client.receive() == ("text", f"message {number}")
    client.say_close()
    assert client.finish() == [("close", 1000, "")]
    server.told(key, "disconnect 1000")


def test_one_of_two(client, server, key):
    for number in range(300):
        client.text(f"message {number}")
    received = [client.receive()[1] for _ in range(600)]
    assert [words for words in received if words.startswith("message")] == [f"message {n}" for n in range(300)]
    assert [words for words in received if words.startswith("tick")] == [f"tick {n}" for n in range(300)]
    client.say_close()
    assert client.finish() == [("close", 1000, "")]
    server.told(key, "disconnect 1000")


def test_two_tasks(client, server, key):
    ticks = itertools.count()
    for number in range(50):
        client.text(f"message {number}")
        while (words := client.receive()[1]) != f"message {number}":
            assert words == f"tick {next(ticks)}"
    client.say_close(1001)
    assert client.finish()[-1] == ("close", 1001, "")
    server.told(key, "left")
    assert server.lines_of(key) == ["disconnect 1001", "left"]


def test_many_writers(client):
    """Every message arrives whole."""
    counts = dict.fromkeys(range(10), 0)
    for _ in range(200):
        kind, data = client.receive()
        assert (kind, len(data), len(set(data))) == ("bytes", 100_000, 1)
        counts[data[0]] += 1
    assert set(counts.values()) == {20}
    assert client.finish() == [("close", 1000, "")]


def test_from_threads(client):
    for number in range(50):
        assert client.receive() == ("text", f"thread {number}")
    assert client.receive() == ("text", "from anyio")
    client.text("go on")
    assert client.receive() == ("text", "later")


def test_deadline(client):
    client.text("hello")
    assert client.finish() == [("close", 4008, "time is up")]


def test_outlives(client, server, key):
    assert client.finish() == ([] if ON_UVICORN else [("close", 1000, "")])
    server.told(key, "ClientDisconnected True")


def test_floods(client, server, key):
    assert client.receive() == ("text", "message 0")
    client.reset()
    server.told(key, "left")
    code = 1005 if ON_UVICORN else 1006
    assert server.lines_of(key) == ["send raised ClientDisconnected", f"websocket.disconnect {code}", "left"]


def test_receives_too_often(client, server, key):
    client.say_close()
    assert client.finish() == [("close", 1000, "")]
    server.told(key, "left")
    assert server.lines_of(key)[0] == ("again websocket.disconnect" if ON_UVICORN else "nothing more")
    assert client.receive() == END
