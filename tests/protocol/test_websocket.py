"""The opening handshake of a WebSocket (RFC 6455 section 4.2.1): what is offered to the handler, what is refused."""

import logging

import pytest

from fastserve.protocol._websocket import WebSocketUpgrade

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
FIELDS = {
    b"Host": b"x",
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
}


def handshake(*more, method=b"GET", version=b"1.1", **changed):
    fields = FIELDS | {name.replace("_", "-").encode(): value for name, value in changed.items()}
    lines = [b"%s: %s" % item for item in fields.items() if item[1] is not None]
    return b"\r\n".join([b"%s / HTTP/%s" % (method, version), *lines, *more, b"", b""])


@pytest.fixture
def served(bench, answer):
    made = bench(answer())
    made.worker.add_upgrade(b"websocket", WebSocketUpgrade())
    return made


# An answer of the handler's is what a handshake gets that is not refused.
@pytest.mark.parametrize("request_", [
    handshake(),
    handshake(Upgrade=b"WebSocket"),
    handshake(Upgrade=b"h2c, websocket"),
    handshake(Connection=b"keep-alive, upgrade"),
    handshake(b"Sec-WebSocket-Extensions: ,, nonsense ; x=1 ,", b"Sec-WebSocket-Protocol: ,, a ,"),
    handshake(b"Sec-WebSocket-Protocol: ", b"Sec-WebSocket-Protocol: chat"),
    handshake(b"Content-Length: 0"),
])  # fmt: skip
def test_handshake_is_offered(served, request_, caplog):
    stream = served.connect()
    stream.feed(request_)
    assert stream.take().startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(served.calls) == 1
    stream.feed(GET)
    assert stream.take().startswith(b"HTTP/1.1 200 OK\r\n"), "the connection goes on"
    assert caplog.records == []


@pytest.mark.parametrize(("request_", "reason"), [
    (handshake(method=b"POST"), "the method of a WebSocket handshake is GET"),
    (handshake(method=b"HEAD"), "the method of a WebSocket handshake is GET"),
    (handshake(b"Content-Length: 3") + b"abc", "a WebSocket handshake has no body"),
    (handshake(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", "a WebSocket handshake has no body"),
    *[
        (handshake(Sec_WebSocket_Key=key), "the Sec-WebSocket-Key of a WebSocket handshake is 16 bytes in base64")
        for key in (None, b"", b"x", KEY[:-2], KEY[:-4] + b"====", b"*" + KEY[1:], KEY[:-2] + b"A=", KEY * 2)
    ],
    *[
        (
            handshake(b"Sec-WebSocket-Extensions: " + value),
            "the Sec-WebSocket-Extensions of a WebSocket handshake are malformed",
        )
        for value in (b"", b",", b"nonsense;;=", b"a b", b"permessage-deflate; a=\xe9")
    ],
    *[
        (
            handshake(b"Sec-WebSocket-Protocol: " + value),
            "the Sec-WebSocket-Protocol of a WebSocket handshake is a list of tokens",
        )
        for value in (b"", b",", b"a b", b"a, b/c", b"\xe9", b'"a"')
    ],
    (
        handshake(b"Sec-WebSocket-Key: " + KEY),
        "the Sec-WebSocket-Key of a WebSocket handshake is 16 bytes in base64",
    ),
])  # fmt: skip
def test_handshake_that_is_malformed(served, request_, reason, caplog):
    stream = served.connect()
    stream.feed(request_)
    head, _, body = stream.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert body in {b"", reason.encode() + b"\n"}
    assert served.calls == []
    assert served.worker.rejected == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"Invalid HTTP request received. 127.0.0.1:50000 - 400: {reason}"
    ]
    assert stream.closed or stream.shut


@pytest.mark.parametrize("version", [None, b"", b"8", b"13, 8", b"013", b"x"])
def test_handshake_of_another_version(served, version):
    stream = served.connect()
    stream.feed(handshake(Sec_WebSocket_Version=version))
    lines = stream.take().split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 426 Upgrade Required"
    assert {b"upgrade: websocket", b"sec-websocket-version: 13", b"connection: close"} <= set(lines)
    assert served.calls == []


@pytest.mark.parametrize("request_", [
    handshake(version=b"1.0"),
    handshake(Connection=None),
    handshake(Connection=b"keep-alive"),
    handshake(Upgrade=None),
])  # fmt: skip
def test_what_asks_for_nothing_is_served_as_http(served, request_, caplog):
    stream = served.connect()
    stream.feed(request_)
    assert b" 200 OK\r\n" in stream.take()
    assert caplog.records == []


def test_other_upgrade_is_served_as_http(served, caplog):
    stream = served.connect()
    stream.feed(handshake(Upgrade=b"h2c"))
    assert stream.take().startswith(b"HTTP/1.1 200 OK\r\n")
    assert [record.getMessage() for record in caplog.records] == ["Unsupported upgrade request."]


def test_malformed_extensions_are_refused_where_compression_is_off_as_well(bench, answer):
    bench = bench(answer())
    bench.worker.add_upgrade(b"websocket", WebSocketUpgrade(per_message_deflate=False))
    stream = bench.connect()
    stream.feed(handshake(b"Sec-WebSocket-Extensions: ;"))
    assert stream.take().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_handshake_over_the_limit_of_concurrency_is_503(bench, answer, caplog):
    caplog.set_level(logging.WARNING)
    b = bench(answer(), limit_concurrency=1)
    b.worker.add_upgrade(b"websocket", WebSocketUpgrade())
    stream = b.connect()
    stream.feed(handshake())
    assert stream.take().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
