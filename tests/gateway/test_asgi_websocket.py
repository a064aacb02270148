"""WebSockets from bytes to applications and back: handshake, messages, keepalive, limits, and every way to end."""

import asyncio
import gc
import logging

import pytest

from fastserve._exchange import Endpoint
from fastserve.errors import ClientDisconnected
from tests.gateway.websocket_harness import (
    ACCEPT,
    BINARY_FRAME,
    HANDSHAKE,
    KEY,
    OPENING,
    SWITCHED,
    TEXT_FRAME,
    Recorder,
    asked,
    busy,
    closing,
    frames,
    opened,
    told,
)
from tests.parser.websocket_peer import BINARY, CLOSE, PING, PONG, TEXT, close, fragmented, frame, read_frames

# --- the handshake


def test_scope_is_complete_and_exactly_typed(run):
    application = Recorder()
    request = HANDSHAKE % b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n"
    run(application, lambda bench: opened(bench, request), state={"shared": 1}, root_path="/api")
    assert application.scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "root_path": "/api",
        "path": "/api/chat",
        "raw_path": b"/api/chat",
        "query_string": b"room=1",
        "headers": [
            (b"host", b"x"),
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", KEY),
            (b"sec-websocket-protocol", b"a, b"),
            (b"sec-websocket-protocol", b"c"),
        ],
        "subprotocols": ["a", "b", "c"],
        "state": {"shared": 1},
        "extensions": {"websocket.http.response": {}},
    }
    assert application.seen[0] == {"type": "websocket.connect"}


def test_scope_over_tls(run):
    application = Recorder()
    endpoint = Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8000), "https", tls={"tls_version": 772})
    run(application, lambda bench: opened(bench, endpoint=endpoint))
    assert application.scope["scheme"] == "wss"
    assert application.scope["extensions"]["tls"] == {"tls_version": 772}


def test_scope_behind_a_request_on_the_same_connection(run):
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
        else:
            await Recorder()(scope, receive, send)

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + OPENING)
        first, second, _ = stream.take().split(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 204 ")
        assert second.startswith(b"HTTP/1.1 101 ")

    run(application, scenario)
    assert [(scope["type"], scope["path"]) for scope in scopes] == [("http", "/first"), ("websocket", "/chat")]
    assert scopes[0]["method"] == "GET"


async def answer(bench, request=OPENING):
    return (await asked(bench, request)).take()


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        ({}, b""),
        ({"subprotocol": None, "headers": []}, b""),
        ({"subprotocol": "b"}, b"sec-websocket-protocol: b\r\n"),
        ({"headers": [(b"X-A", b"1"), (b"set-cookie", b"a=b")]}, b"x-a: 1\r\nset-cookie: a=b\r\n"),
    ],
)
def test_accept(run, caplog, message, lines):
    caplog.set_level(logging.INFO, "fastserve.error")

    async def application(scope, receive, send):
        await send(ACCEPT | message)
        await receive()
        await receive()

    assert run(application, answer) == SWITCHED + lines + b"\r\n"
    assert [record.getMessage() for record in caplog.records] == [
        '127.0.0.1:50000 - "WebSocket /chat?room=1" [accepted]'
    ]
    # Looking for the caller would find the application, and keep a frame object of it.
    assert [record.filename for record in caplog.records] == ["_asgi_websocket.pyx"]


def test_default_fields_come_first(run):
    assert run(Recorder(), answer, default_fields=[(b"server", b"it")]).split(b"\r\n")[1:3] == [
        b"server: it",
        b"upgrade: websocket",
    ]


@pytest.mark.parametrize("fields", [
    [(b"x", b"a\r\nb: c")],
    [(b"a b", b"c")],
    [(b"content-length", b"0")],
    [(b"transfer-encoding", b"chunked")],
    [(b"Upgrade", b"websocket")],
    [(b"sec-websocket-accept", b"mine")],
    [(b"sec-websocket-extensions", b"mine")],
])  # fmt: skip
def test_fields_that_must_not_be_sent(run, fields):
    errors = []

    async def application(scope, receive, send):
        try:
            await send(ACCEPT | {"headers": fields})
        except RuntimeError as error:
            errors.append(error)
            await told(receive, send)

    assert run(application, answer) == SWITCHED + b"\r\n"
    assert len(errors) == 1


def test_accepted_later_with_bytes_sent_early(run):
    application = Recorder()
    go = []

    async def late(scope, receive, send):
        go.append(asyncio.get_running_loop().create_future())
        await go[0]
        await application(scope, receive, send)

    async def scenario(bench):
        stream = await asked(bench, OPENING + frame(TEXT, b"one")[:4])
        await bench.io(stream.feed, frame(TEXT, b"one")[4:] + frame(TEXT, b"two"))
        assert stream.take() == b""
        go[0].set_result(None)
        await bench.turns()
        assert stream.take() == SWITCHED + b"\r\n"
        await bench.io(stream.feed, frame(BINARY, b"three"))

    run(late, scenario)
    assert application.messages[:3] == ["one", "two", b"three"]


def test_bytes_sent_early_are_bounded(run):
    async def application(scope, receive, send):
        await receive()
        await receive()

    async def scenario(bench):
        stream = await asked(bench)
        for _ in range(70):
            await bench.io(stream.feed, frame(BINARY, bytes(1000)))
        assert stream.paused

    run(application, scenario)


def test_reading_that_stopped_goes_on_once_accepted(run):
    application = Recorder()
    go = []

    async def late(scope, receive, send):
        go.append(asyncio.get_running_loop().create_future())
        await go[0]
        await application(scope, receive, send)

    async def scenario(bench):
        stream = await asked(bench, OPENING + frame(BINARY, bytes(70000)))
        assert stream.paused
        go[0].set_result(None)
        await bench.turns()
        assert not stream.paused

    run(late, scenario)
    assert application.messages[0] == bytes(70000)


def test_accepted_in_the_first_step_with_messages_in_the_same_read(run):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await asked(bench, OPENING + frame(TEXT, b"one") + frame(TEXT, b"two"))
        head, _, rest = stream.take().partition(b"\r\n\r\n")
        assert head + b"\r\n" == SWITCHED
        assert list(read_frames(rest)) == [(TEXT_FRAME, b"one"), (TEXT_FRAME, b"two")]

    run(application, scenario)


# --- denial


def test_close_denies_with_403_and_the_connection_goes_on(run, caplog):
    caplog.set_level(logging.INFO, "fastserve.error")
    seen = []

    async def application(scope, receive, send):
        seen.append(await receive())
        await send({"type": "websocket.close", "code": 4000, "reason": "no"})
        seen.append(await receive())

    async def scenario(bench):
        stream = bench.connect()
        for _ in range(2):
            await bench.io(stream.feed, OPENING)
            assert stream.take() == (
                b"HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\n\r\n"
            )
            await bench.quiet()
        assert not stream.closed

    run(application, scenario)
    assert seen[:2] == [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert [record.getMessage() for record in caplog.records] == ['127.0.0.1:50000 - "WebSocket /chat?room=1" 403'] * 2


def test_denial_response(run, caplog):
    caplog.set_level(logging.INFO, "fastserve.error")
    seen = []

    async def application(scope, receive, send):
        await receive()
        fields = [(b"content-type", b"text/plain")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": fields})
        await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"are you"})
        seen.append(await receive())

    assert run(application, answer) == (
        b"HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        b"4\r\nwho \r\n7\r\nare you\r\n0\r\n\r\n"
    )
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert [record.getMessage() for record in caplog.records] == ['127.0.0.1:50000 - "WebSocket /chat?room=1" 401']


START = {"type": "websocket.http.response.start", "status": 400}
BODY = {"type": "websocket.http.response.body"}
SEND = {"type": "websocket.send", "text": "x"}
END = {"type": "websocket.close"}
EXPECTED = (
    "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' but got '%s'."
)


@pytest.mark.parametrize(("messages", "words"), [
    ([SEND], EXPECTED % "websocket.send"),
    ([BODY], EXPECTED % "websocket.http.response.body"),
    ([START | {"status": 99}], "Invalid HTTP status code '99' in response."),
    ([START, ACCEPT], "Expected ASGI message 'websocket.http.response.body' but got 'websocket.accept'."),
    ([ACCEPT, ACCEPT], "Expected ASGI message 'websocket.send' or 'websocket.close', but got 'websocket.accept'."),
    (
        [ACCEPT, START],
        "Expected ASGI message 'websocket.send' or 'websocket.close', but got 'websocket.http.response.start'.",
    ),
    ([ACCEPT, END, SEND], "Unexpected ASGI message 'websocket.send', after sending 'websocket.close'."),
    ([ACCEPT, END, END], "Unexpected ASGI message 'websocket.close', after sending 'websocket.close'."),
    ([END, ACCEPT], "Unexpected ASGI message 'websocket.accept', after sending 'websocket.close'."),
    ([START, BODY, BODY], "Unexpected ASGI message '{}', after sending 'websocket.close'.".format(BODY["type"])),
])  # fmt: skip
def test_messages_out_of_order(run, messages, words):
    errors = []

    async def application(scope, receive, send):
        *before, last = messages
        for message in before:
            await send(message)
        try:
            await send(last)
        except RuntimeError as error:
            errors.append(str(error))

    async def scenario(bench):
        await answer(bench)
        await bench.quiet()

    run(application, scenario)
    assert errors == [words]


# --- applications that fail


async def fails(scope, receive, send):
    raise ValueError("mine")


async def returns(scope, receive, send):
    await receive()


async def answers_half(scope, receive, send):
    await send(START)


@pytest.mark.parametrize(("application", "words"), [
    (fails, "Exception in ASGI application\n"),
    (returns, "ASGI callable returned without completing handshake."),
    (answers_half, "ASGI callable returned without completing response."),
])  # fmt: skip
def test_failure_before_the_answer_is_500(run, caplog, application, words):
    async def scenario(bench):
        stream = await asked(bench)
        await bench.quiet()
        assert stream.take().startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert stream.closed

    run(application, scenario)
    assert [record.getMessage() for record in caplog.records] == [words]


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        (None, 1000, []),
        (7, 1000, ["ASGI callable should return None, but returned '7'."]),
        (ValueError, 1011, ["Exception in ASGI application\n"]),
        (ClientDisconnected, 1011, []),
    ],
)
def test_the_end_of_the_application_closes(run, caplog, outcome, code, words):
    async def application(scope, receive, send):
        await told(receive, send)
        if isinstance(outcome, type):
            raise outcome("mine")
        return outcome

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        assert frames(stream) == [closing(code)]
        assert bench.worker.tasks == 0
        assert not stream.closed
        await bench.io(stream.feed, frame(TEXT, b"not read") + close(code))
        assert stream.closed
        assert frames(stream) == []

    run(application, scenario)
    assert [record.getMessage() for record in caplog.records] == words


# --- messages


@pytest.mark.parametrize(
    ("opcode", "payload"),
    [
        (TEXT, b"hello"),
        (TEXT, "h\u00e9llo \u2603 \U0001f600".encode()),
        (TEXT, b""),
        (BINARY, b"\x00\xff"),
        (BINARY, b""),
        (BINARY, bytes(100_000)),
        (TEXT, b"x" * 100_000),
    ],
)
def test_echo(run, opcode, payload):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(opcode, payload))
        assert frames(stream) == [(0x80 | opcode, payload)]
        assert stream.writes == 2

    run(application, scenario)
    message = application.seen[1]
    assert message == {"type": "websocket.receive"} | (
        {"text": payload.decode()} if opcode == TEXT else {"bytes": payload}
    )


def test_messages_of_one_read_are_taken_without_a_turn_and_answered_in_one_send(run):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await opened(bench)
        before = stream.writes
        # More than the queue holds.
        stream_data = b"".join(frame(TEXT, b"%d" % number) for number in range(100))
        turns = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        stream.feed(stream_data)
        # Fed from a task, the application waits for the next turn: from a callback it does not.
        await bench.turns()
        assert [payload for _, payload in frames(stream)] == [b"%d" % number for number in range(100)]
        await bench.io(stream.feed, stream_data)
        assert len(frames(stream)) == 100
        assert stream.writes - before == 2

    run(application, scenario)


def test_fragments_with_a_ping_between(run):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await opened(bench)
        for byte in fragmented(TEXT, [b"a", b"b", b"c"], between=frame(PING, b"!")):
            await bench.io(stream.feed, bytes([byte]))
        assert frames(stream) == [(0x80 | PONG, b"!"), (0x80 | PONG, b"!"), (TEXT_FRAME, b"abc")]

    run(application, scenario)


@pytest.mark.parametrize(("message", "expected"), [
    ({"text": "a", "bytes": None}, (TEXT_FRAME, b"a")),
    ({"text": None, "bytes": b"a"}, (BINARY_FRAME, b"a")),
    ({"text": "a", "bytes": b"b"}, (BINARY_FRAME, b"b")),
    ({"bytes": bytearray(b"a")}, (BINARY_FRAME, b"a")),
    ({"bytes": memoryview(b"abc")[1:]}, (BINARY_FRAME, b"bc")),
    ({"bytes": memoryview(bytes(50_000))}, (BINARY_FRAME, bytes(50_000))),
    ({"text": type("Text", (str,), {})("a")}, (TEXT_FRAME, b"a")),
    ({}, None),
])  # fmt: skip
def test_what_can_be_sent(run, message, expected):
    async def application(scope, receive, send):
        await told(receive, send)
        await send({"type": "websocket.send"} | message)
        await receive()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        assert frames(stream) == ([] if expected is None else [expected])

    run(application, scenario)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"text": b"a"}, TypeError),
        ({"text": 1}, TypeError),
        ({"bytes": "a"}, TypeError),
        ({"text": "\ud800"}, UnicodeEncodeError),
    ],
)
def test_what_cannot_be_sent_leaves_nothing_behind(run, message, error):
    async def application(scope, receive, send):
        await told(receive, send)
        with pytest.raises(error):
            await send({"type": "websocket.send"} | message)
        await send(SEND)
        await receive()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        assert frames(stream) == [(TEXT_FRAME, b"x")]

    run(application, scenario)


def test_another_task_sends_at_once(run):
    sends = []

    async def application(scope, receive, send):
        sends.append(send)
        await Recorder()(scope, receive, send)

    async def scenario(bench):
        streams = [await opened(bench), await opened(bench)]
        for send in sends:
            await send(SEND)
        assert [frames(stream) for stream in streams] == [[(TEXT_FRAME, b"x")]] * 2

    run(application, scenario)


def test_task_of_asyncio(run):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await asked(bench)
        await bench.turns()
        assert stream.take() == SWITCHED + b"\r\n"
        await bench.io(stream.feed, frame(TEXT, b"a"))
        await bench.turns()
        assert frames(stream) == [(TEXT_FRAME, b"a")]
        await bench.io(stream.feed, close(1000))
        await bench.quiet()

    run(application, scenario, task="asyncio")
    assert application.messages[0] == "a"
    assert application.end == (1000, "")


def test_compressed_message(run):
    application = Recorder(echo=True)

    async def scenario(bench):
        stream = await asked(bench, HANDSHAKE % b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
        assert b"\r\nsec-websocket-extensions: permessage-deflate" in stream.take()
        # RFC 7692 section 7.2.3.1: "Hello".
        await bench.io(stream.feed, frame(TEXT, bytes.fromhex("f248cdc9c90700"), bits=0x40))

    run(application, scenario)
    assert application.messages[0] == "Hello"


def test_compression_that_is_switched_off(run):
    request = HANDSHAKE % b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    head = run(Recorder(), lambda bench: answer(bench, request), ws_per_message_deflate=False)
    assert head == SWITCHED + b"\r\n"


# --- queue and backpressure


@pytest.mark.parametrize(("options", "count"), [({"ws_max_queue": 4}, 4), ({"ws_max_queue": 0}, 3000), ({}, 32)])
def test_reading_stops_when_the_queue_is_full(run, options, count):
    taken = []
    go = []

    async def application(scope, receive, send):
        await send(ACCEPT)
        await receive()
        go.append(asyncio.get_running_loop().create_future())
        await go[0]
        while (message := await receive())["type"] == "websocket.receive":
            taken.append(message["bytes"])

    async def scenario(bench):
        stream = await opened(bench)
        sent = [b"%04d" % number for number in range(5000)]
        fed = 0
        while not stream.paused:
            await bench.io(stream.feed, frame(BINARY, sent[fed]))
            fed += 1
        assert fed == count or (count == 3000 and 2000 < fed < 5000)
        # What the kernel had brought already is kept, and so is the order.
        await bench.io(stream.feed, b"".join(frame(BINARY, piece) for piece in sent[fed : fed + 50]))
        go[0].set_result(None)
        await bench.turns()
        assert taken == sent[: fed + 50]
        assert not stream.paused
        await bench.io(stream.feed, close(1000))
        await bench.quiet()

    run(application, scenario, **options)


def test_queue_is_bounded_in_memory(run):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(BINARY, bytes(250_000)))
        assert not stream.paused
        await bench.io(stream.feed, frame(BINARY, bytes(20_000)))
        assert stream.paused

    run(busy, scenario)


def test_pings_are_answered_while_the_application_is_busy(run):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"a") + frame(PING, b"p"))
        assert frames(stream) == [(0x80 | PONG, b"p")]

    run(busy, scenario)


def test_send_waits_for_a_slow_client(run):
    progress = []

    async def application(scope, receive, send):
        await told(receive, send)
        for number in range(10):
            await send({"type": "websocket.send", "bytes": bytes(50_000)})
            progress.append(number)
        await receive()

    async def scenario(bench):
        stream = await opened(bench, capacity=1000)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        before = len(progress)
        assert before < 4
        await bench.turns()
        assert len(progress) == before
        await bench.io(stream.drain)
        assert len(progress) > before
        stream.capacity = None
        await bench.io(stream.drain)
        assert len(progress) == 10
        assert [len(payload) for _, payload in frames(stream)] == [50_000] * 10

    run(application, scenario)


def test_client_that_reads_nothing_and_wants_answers_is_not_read(run):
    async def scenario(bench):
        stream = await opened(bench, capacity=1000)
        pings = frame(PING, bytes(100)) * 100
        count = 0
        while not stream.paused:
            await bench.io(stream.feed, pings)
            count += 100
            assert stream.waiting < 100_000
        # What the kernel had brought already waits as it is.
        before = stream.waiting
        await bench.io(stream.feed, pings + frame(TEXT, b"hello"))
        assert stream.waiting == before
        stream.capacity = None
        await bench.io(stream.drain)
        assert not stream.paused
        assert frames(stream) == [(0x80 | PONG, bytes(100))] * (count + 100) + [(TEXT_FRAME, b"hello")]

    run(Recorder(echo=True), scenario)


def test_denial_waits_for_a_slow_client(run):
    progress = []

    async def application(scope, receive, send):
        await send(START)
        for number in range(10):
            await send(BODY | {"body": bytes(50_000), "more_body": True})
            progress.append(number)
        await send(BODY)

    async def scenario(bench):
        stream = await asked(bench, capacity=1000)
        await bench.turns()
        assert len(progress) < 4
        stream.capacity = None
        await bench.io(stream.drain)
        assert len(progress) == 10
        assert stream.take().endswith(b"\r\n0\r\n\r\n")

    run(application, scenario)


def test_client_that_reads_nothing_is_cut_off(run):
    async def application(scope, receive, send):
        await told(receive, send)
        while True:
            await send({"type": "websocket.send", "bytes": bytes(50_000)})

    async def scenario(bench):
        stream = await opened(bench, capacity=1000)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        await bench.pass_time(59)
        assert not stream.aborted
        await bench.pass_time(1)
        assert stream.aborted
        await bench.io(stream.lose)
        await bench.quiet()

    run(application, scenario, ws_ping_interval=None)


# --- closing


def test_client_closes(run):
    application = Recorder()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"last") + close(4001, "r\u00e9".encode()))
        assert frames(stream) == [closing(4001, "r\u00e9".encode())]
        assert stream.closed
        assert bench.worker.tasks == 0

    run(application, scenario)
    assert application.messages[0] == "last"
    assert application.end == (4001, "r\u00e9")


def test_client_closes_without_a_code(run):
    application = Recorder()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, close())
        assert frames(stream) == [(0x80 | CLOSE, b"")]

    run(application, scenario)
    assert application.end == (1005, "")


@pytest.mark.parametrize("event", ["end", "lose"])
def test_client_goes_away_without_a_word(run, event):
    application = Recorder()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(getattr(stream, event))
        assert bench.worker.tasks == 0
        assert stream.closed or event == "lose"

    run(application, scenario)
    assert application.end == (1006, "")


@pytest.mark.parametrize("event", ["end", "lose"])
def test_client_goes_away_in_the_handshake(run, event):
    seen = []

    async def application(scope, receive, send):
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send(ACCEPT)
        await send(END)
        with pytest.raises(ClientDisconnected):
            await send(START)

    async def scenario(bench):
        stream = await asked(bench)
        await bench.io(getattr(stream, event))
        await bench.quiet()

    run(application, scenario)
    assert seen == [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_send_after_the_disconnect_is_an_os_error(run):
    outcomes = []

    async def application(scope, receive, send):
        await Recorder()(scope, receive, send)
        for message in (SEND, END, ACCEPT):
            try:
                outcomes.append(await send(message))
            except OSError as error:
                outcomes.append(type(error))

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, close(1000))
        await bench.io(stream.lose)

    run(application, scenario)
    assert outcomes == [ClientDisconnected, None, ClientDisconnected]


def test_there_is_one_disconnect_and_nothing_after_it(run):
    application = Recorder(ends=False)

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, close(1000))
        await bench.io(stream.lose)
        await bench.turns()
        assert bench.worker.tasks == 1
        bench.worker.cancel()
        await bench.quiet()

    run(application, scenario)
    assert application.end == (1000, "")


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": 4000, "reason": "bye"}, 4000, "bye"),
        ({"code": 1001, "reason": None}, 1001, ""),
    ],
)
def test_application_closes(run, message, code, reason):
    seen = []

    async def application(scope, receive, send):
        await told(receive, send)
        await send(END | message)
        seen.append(await receive())
        await receive()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        assert frames(stream) == [closing(code, reason.encode())]
        assert not stream.closed
        # What crosses our close frame on its way is dropped.
        await bench.io(stream.feed, frame(TEXT, b"late") + frame(PING, b""))
        assert frames(stream) == []
        await bench.io(stream.feed, close(code))
        assert stream.closed
        await bench.io(stream.lose)
        await bench.turns()

    run(application, scenario)
    assert seen == [{"type": "websocket.disconnect", "code": code, "reason": reason}]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_close_codes_that_must_not_be_sent(run, code):
    errors = []

    async def application(scope, receive, send):
        await told(receive, send)
        try:
            await send(END | {"code": code})
        except Exception as error:
            errors.append(error)
        await send(SEND)
        await receive()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"go"))
        return frames(stream)

    sent = run(application, scenario)
    assert sent == ([(0x80 | CLOSE, b"")] if code == 1005 else [(TEXT_FRAME, b"x")])


def test_messages_queued_before_the_close_are_read_first(run):
    application = Recorder()

    async def slow(scope, receive, send):
        await send(ACCEPT)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        async def nothing(message):
            pass

        await application(scope, receive, nothing)

    async def scenario(bench):
        stream = bench.connect()
        stream.feed(OPENING)
        stream.feed(frame(TEXT, b"a") + frame(TEXT, b"b") + close(1000))
        await bench.quiet()

    run(slow, scenario)
    assert application.messages[:2] == ["a", "b"]
    assert application.end == (1000, "")


def test_peer_that_does_not_answer_the_close_frame(run):
    async def application(scope, receive, send):
        await send(ACCEPT)
        await send(END)

    async def scenario(bench):
        stream = await opened(bench)
        await bench.pass_time(9.5)
        assert not stream.closed
        await bench.pass_time(0.5)
        assert stream.closed

    run(application, scenario)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),
        (frame(TEXT, b"\xff"), 1007),
        (fragmented(TEXT, [b"\xe2\x82", b"a"]), 1007),
        (frame(3), 1002),
        (frame(BINARY, bytes(1001))[:8], 1009),
        (close(1005), 1002),
    ],
)
def test_protocol_errors(run, data, code):
    application = Recorder()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(TEXT, b"fine") + data)
        [(first, payload)] = frames(stream)
        assert (first, int.from_bytes(payload[:2], "big")) == (0x80 | CLOSE, code)
        # The peer may read why, and be in the middle of sending.
        assert stream.shut
        assert not stream.closed
        await bench.io(stream.feed, frame(TEXT, b"more"))
        assert frames(stream) == []
        await bench.pass_time(2)
        assert stream.closed

    run(application, scenario, ws_max_size=1000)
    assert application.messages[0] == "fine"
    assert application.end[0] == code
    assert application.end[1]


# --- keepalive


def test_ping_and_its_answer(run):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.pass_time(19.5)
        assert frames(stream) == []
        for _ in range(3):
            await bench.pass_time(2)
            [(first, payload)] = frames(stream)
            assert first == 0x80 | PING
            await bench.io(stream.feed, frame(PONG, payload))
            await bench.pass_time(17.3)
            assert frames(stream) == []

    run(Recorder(), scenario)


def test_peer_that_vanished(run, caplog):
    caplog.set_level(5, "fastserve.error")
    application = Recorder()

    async def scenario(bench):
        stream = await opened(bench)
        await bench.pass_time(20)
        assert frames(stream)[0][0] == 0x80 | PING
        await bench.pass_time(19.5)
        assert frames(stream) == []
        await bench.pass_time(0.5)
        assert frames(stream) == [closing(1011, b"keepalive ping timeout")]
        assert bench.worker.tasks == 0
        await bench.pass_time(2)
        assert stream.closed
        await bench.io(stream.lose)

    run(application, scenario)
    assert application.end == (1011, "keepalive ping timeout")
    assert [record.getMessage() for record in caplog.records] == [
        "127.0.0.1:50000 - WebSocket connection made",
        '127.0.0.1:50000 - "WebSocket /chat?room=1" [accepted]',
        "127.0.0.1:50000 - WebSocket keepalive ping timeout",
        "127.0.0.1:50000 - WebSocket connection lost",
    ]


def test_whoever_sends_is_there(run):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.pass_time(20)
        # In the middle of a long frame no pong can be sent.
        await bench.io(stream.feed, frame(BINARY, bytes(1000))[:100])
        await bench.pass_time(20)
        assert [first for first, _ in frames(stream)] == [0x80 | PING] * 2

    run(Recorder(), scenario)


def test_peer_whose_answer_is_not_read_is_not_cut_off(run):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.io(stream.feed, frame(BINARY, bytes(300_000)))
        assert stream.paused
        await bench.pass_time(100)
        assert {first for first, _ in frames(stream)} == {0x80 | PING}

    run(busy, scenario)


@pytest.mark.parametrize(("interval", "timeout", "pings", "end"), [
    (None, 5, [], None),
    (0, 5, [], None),
    (10, None, [10, 20, 30], None),
    (10, 3, [10], 13),
    (5, 12, [5], 17),
])  # fmt: skip
def test_times_of_keepalive(run, interval, timeout, pings, end):
    async def scenario(bench):
        stream = await opened(bench)
        found, ended = [], None
        for _ in range(68):
            await bench.pass_time(0.39)
            for first, _ in frames(stream):
                # The wheel may be a tick late.
                passed = int(bench.clock.time - 1000)
                if first == 0x80 | PING:
                    found.append(passed)
                else:
                    ended = passed
        assert (found, ended) == (pings, end)

    run(Recorder(), scenario, ws_ping_interval=interval, ws_ping_timeout=timeout)


# --- what the worker knows of it


@pytest.mark.parametrize("waits", [False, True], ids=["accepted at once", "accepted later"])
def test_it_is_one_running_request_from_handshake_to_end(run, waits):
    benches, seen = [], []

    def look():
        seen.append([(each.method, each.path, each.client) for each in benches[0].worker.running()])

    async def application(scope, receive, send):
        look()
        if waits:
            await asyncio.sleep(0)
        look()
        await send(ACCEPT)
        look()
        while (await receive())["type"] != "websocket.disconnect":
            look()

    async def scenario(bench):
        benches.append(bench)
        stream = await asked(bench)
        await bench.turns()
        assert bench.worker.tasks == 1
        await bench.io(stream.feed, frame(TEXT, b"x"))
        await bench.io(stream.feed, close(1000))
        await bench.quiet()
        assert bench.worker.running() == []

    run(application, scenario)
    assert seen == [[("WebSocket", "/chat", "127.0.0.1:50000")]] * 5


def test_an_accepted_one_keeps_nothing_of_its_handshake(run):
    def exchanges():
        return sum(type(each).__name__ == "Http1Exchange" for each in gc.get_objects())

    async def scenario(bench):
        before = exchanges()
        for _ in range(5):
            await opened(bench)
        assert bench.worker.tasks == 5
        # One at most is kept for the next request.
        assert exchanges() <= before + 1

    run(Recorder(), scenario)


# --- the end of the server


def test_drain_closes_with_1012(run):
    application = Recorder()

    async def scenario(bench):
        stream = await opened(bench)
        [running] = bench.worker.running()
        assert (running.method, running.path) == ("WebSocket", "/chat")
        await bench.io(bench.worker.drain)
        assert frames(stream) == [closing(1012)]
        assert bench.worker.tasks == 0
        assert not stream.closed
        await bench.io(stream.feed, close(1012))
        assert stream.closed

    run(application, scenario)
    assert application.end == (1012, "")


def test_drain_while_others_take_connections_over(run):
    async def scenario(bench):
        stream = await opened(bench)
        stream.taker = lambda fresh: True
        bench.worker.shed(1)
        assert frames(stream) == []
        await bench.io(bench.worker.drain, True)
        assert frames(stream) == [closing(1012)]
        assert not stream.handed_on
        await bench.pass_time(2)
        assert stream.closed

    run(Recorder(), scenario)


def test_accepted_while_the_worker_drains(run):
    """A handshake on a connection that has been given time for one more request."""
    application = Recorder()

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(bench.worker.drain, False, 5.0)
        await bench.io(stream.feed, OPENING)
        await bench.quiet()
        head, _, rest = stream.take().partition(b"\r\n\r\n")
        assert head + b"\r\n" == SWITCHED
        assert list(read_frames(rest)) == [closing(1012)]

    run(application, scenario)
    assert application.end == (1012, "")


def test_what_is_sent_while_the_server_closes(run):
    outcomes = []

    async def application(scope, receive, send):
        await Recorder()(scope, receive, send)
        for message in (SEND, END):
            try:
                outcomes.append(await send(message))
            except OSError as error:
                outcomes.append(type(error))

    async def scenario(bench):
        await opened(bench)
        await bench.io(bench.worker.drain)

    run(application, scenario)
    assert outcomes == [ClientDisconnected, None]


def test_a_denial_in_one_piece_has_its_length(run):
    """Clients for WebSocket alone may not know chunks."""

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    async def scenario(bench):
        stream = await asked(bench)
        await bench.quiet()
        head, _, body = stream.take().partition(b"\r\n\r\n")
        assert b"\r\ncontent-length: 2" in head
        assert b"transfer-encoding" not in head
        assert body == b"no"

    run(application, scenario)


def test_a_handshake_without_an_answer_is_refused_when_the_worker_drains(run):
    seen = []

    async def application(scope, receive, send):
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send(ACCEPT)

    async def scenario(bench):
        stream = await asked(bench)
        assert bench.worker.tasks == 1
        await bench.io(bench.worker.drain)
        await bench.quiet()
        assert stream.take().startswith(b"HTTP/1.1 503 ")
        assert bench.worker.tasks == 0

    run(application, scenario)
    assert seen[1] == {"type": "websocket.disconnect", "code": 1012, "reason": ""}


def test_cancel(run, caplog):
    async def scenario(bench):
        stream = await opened(bench)
        bench.worker.cancel()
        await bench.quiet()
        assert frames(stream) == [closing(1011)]

    run(Recorder(), scenario)
    assert caplog.records == []


def test_request_deadline_ends_with_the_handshake(run):
    async def scenario(bench):
        stream = await opened(bench)
        await bench.pass_time(10)
        assert frames(stream) == []
        assert bench.worker.tasks == 1

    run(Recorder(), scenario, timeout_request=3)


def test_handshake_that_takes_too_long(run):
    async def application(scope, receive, send):
        await asyncio.get_running_loop().create_future()

    async def scenario(bench):
        stream = await asked(bench)
        await bench.pass_time(3)
        assert stream.take().startswith(b"HTTP/1.1 504 ")
        await bench.quiet()

    run(application, scenario, timeout_request=3)


@pytest.mark.parametrize("denied", [False, True])
def test_application_that_waits_in_vain_can_be_cancelled(run, denied):
    async def application(scope, receive, send):
        await receive()
        await send(END if denied else ACCEPT)
        while True:
            await receive()

    async def scenario(bench):
        stream = await asked(bench)
        await bench.io(stream.lose)
        bench.streams.clear()
        del stream
        gc.collect()
        assert bench.worker.tasks == 1
        assert bench.worker.cancel() == 1
        await bench.quiet()

    run(application, scenario)


def test_a_child_that_asks_when_all_is_over_leaves_nothing_behind(run):
    children = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        # Its first step is when we have returned.
        children.append(asyncio.ensure_future(ask(receive)))

    async def ask(receive):
        await receive()

    def calls():
        gc.collect()
        return sum(type(each).__name__ == "WebSocketCycle" for each in gc.get_objects())

    async def scenario(bench):
        before = calls()
        stream = await opened(bench)
        await bench.io(stream.lose)
        bench.streams.clear()
        del stream
        await bench.quiet()
        await bench.turns()
        child = children.pop()
        assert not child.done()
        child.cancel()
        await bench.turns()
        del child
        assert calls() == before

    run(application, scenario)
