"""The peer's last word comes after what it said before: messages are answered first, then the connection ends."""

import asyncio

import pytest

from tests.gateway.websocket_harness import ACCEPT, TEXT_FRAME, Recorder, busy, closing, frames, opened, told
from tests.parser.websocket_peer import PING, RSV2, TEXT, close, frame

MESSAGES = [b"%d" % number for number in range(100)]
ECHOES = [(TEXT_FRAME, message) for message in MESSAGES]

LAST_WORDS = pytest.mark.parametrize(
    ("last", "code"),
    [
        pytest.param(frame(TEXT, b"x", bits=RSV2), 1002, id="a reserved bit"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="not UTF-8"),
        pytest.param(close(1000), 1000, id="a close frame"),
    ],
)


def sent(count: int, last: bytes) -> bytes:
    return b"".join(frame(TEXT, message) for message in MESSAGES[:count]) + last + frame(PING)


def code_of(found: tuple[int, bytes]) -> tuple[int, bytes]:
    """A close frame without its reason."""
    return found[0], found[1][:2]


@LAST_WORDS
# As many as the queue holds, and more than that.
@pytest.mark.parametrize("count", [1, 2, 32, 33, 100])
def test_messages_of_the_same_read_are_echoed_before_the_end(run, last, code, count):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, sent(count, last))
        *echoes, end = frames(stream)
        assert echoes == ECHOES[:count]
        assert code_of(end) == closing(code)
        await bench.quiet()
        assert stream.closed or stream.shut

    run(application, scenario)
    assert application.messages[:count] == [message.decode() for message in MESSAGES[:count]]
    assert application.end[0] == code


@LAST_WORDS
def test_an_application_that_takes_nothing_does_not_hold_up_the_end(run, last, code):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, sent(2, last))
        [end] = frames(stream)
        assert code_of(end) == closing(code)

    run(busy, scenario)


@LAST_WORDS
def test_an_application_that_stops_taking_holds_it_up_for_ten_seconds(run, last, code):
    async def application(scope, receive, send):
        await send(ACCEPT)
        await receive()
        # The last of them is read after its turn in the read is over, and what follows with it.
        for _ in range(3):
            await asyncio.sleep(0)
            await receive()
        await asyncio.get_running_loop().create_future()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, sent(3, last))
        await bench.turns()
        assert frames(stream) == []
        await bench.pass_time(9.5)
        assert frames(stream) == []
        await bench.pass_time(0.6)
        [end] = frames(stream)
        assert code_of(end) == closing(code)

    run(application, scenario, ws_max_queue=2)


@pytest.mark.parametrize("event", ["end", "lose"])
def test_the_stream_ends_while_the_last_word_waits(run, event):
    seen, ended = [], asyncio.Event()

    async def application(scope, receive, send):
        await send(ACCEPT)
        await receive()
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(await receive())
        await ended.wait()
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message)
        seen.append(message)

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, sent(3, close(3000, b"bye")))
        await bench.turns()
        await bench.io(getattr(stream, event))
        ended.set()
        await bench.quiet()

    run(application, scenario, ws_max_queue=2)
    *messages, end = seen
    assert [message["text"] for message in messages] == ["0", "1", "2"]
    assert end["code"] == (3000 if event == "end" else 1006)


def test_closing_at_the_same_time_is_one_close_frame(run):
    async def application(scope, receive, send):
        await told(receive, send)
        await send({"type": "websocket.close", "code": 4000})

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, sent(1, close(1000)))
        [end] = frames(stream)
        assert code_of(end) == closing(4000)
        await bench.quiet()
        assert stream.closed or stream.shut

    run(application, scenario)


def test_closing_while_the_last_word_waits_ends_at_once(run):
    async def application(scope, receive, send):
        await send(ACCEPT)
        await receive()
        for _ in range(3):
            await asyncio.sleep(0)
            await receive()
        await asyncio.sleep(0.01)
        await send({"type": "websocket.close", "code": 4000})

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, sent(3, close(1000)))
        await bench.quiet()
        [end] = frames(stream)
        assert code_of(end) == closing(4000)
        assert stream.closed or stream.shut

    run(application, scenario, ws_max_queue=2)
