"""Our WebSocket codec against wsproto: what both read they read alike, and every difference is a decision.

A difference that is none of DECISIONS fails the test: write down why, or change the codec.
"""

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from fastserve._messages import MessageReader, MessageWriter
from tests.parser.websocket_peer import CONTINUATION, PING, RSV1, TEXT, Compression, close, cut, fragmented, frame

Event = tuple[Any, ...]

DECISIONS = {
    "earlier": "we judge heads and text by what has arrived of them, wsproto waits for the rest",
    "1014": "Bad Gateway is a registered code (RFC 6455 section 11.7); wsproto does not know it",
    "1002": "what is not deflate is a protocol error, as in uvicorn; wsproto says 1007, which is for types",
    "final block": "RFC 7692 section 7.2.3.4 allows them; wsproto does not go on behind one",
    "control": "a control frame stands between fragments without a meaning for them; wsproto forgets the compression",
}

COMPRESSED = b"permessage-deflate"


def ours(pieces: list[bytes], deflate: bool) -> list[Event]:
    reader = MessageReader(0, Compression(COMPRESSED).server if deflate else None)
    found = [event for piece in pieces for event in reader.feed(piece)]
    return [event[:2] if event[0] == "failed" else event for event in found]


def theirs(data: bytes, deflate: bool) -> list[Event]:
    """The events; a failure with wsproto's words."""
    extension = PerMessageDeflate()
    if deflate:
        extension.accept("permessage-deflate")
    connection = Connection(ConnectionType.SERVER, [extension])
    connection.receive_data(data)
    found: list[Event] = []
    message: Any = None
    for event in connection.events():
        match event:
            case TextMessage() | BytesMessage():
                message = event.data if message is None else message + event.data
                if event.message_finished:
                    kind = "text" if isinstance(event, TextMessage) else "binary"
                    found.append((kind, message if kind == "text" else bytes(message)))
                    message = None
            case Ping():
                found.append(("ping", bytes(event.payload)))
            case Pong():
                found.append(("pong", bytes(event.payload)))
            case CloseConnection() if isinstance(event.reason, str) and connection.state.name == "OPEN":
                found.append(("failed", int(event.code), event.reason))
            case CloseConnection():
                found.append(("close", int(event.code), event.reason))
    return found


def difference(data: bytes, pieces: list[bytes], deflate: bool) -> str | None:
    """The name of the decision that explains what differs; None if nothing does."""
    we, they = ours(pieces, deflate), theirs(data, deflate)
    same = 0
    while same < min(len(we), len(they)) and we[same] == they[same][: len(we[same])]:
        same += 1
    if same == len(we) == len(they):
        return None
    our = we[same] if same < len(we) else ("more",)
    their = they[same] if same < len(they) else ("more",)
    if our[0] == "failed" and their[0] == "more":
        return "earlier"
    if our[:2] == ("close", 1014) and their == ("failed", 1002, "CLOSE with unknown reserved code"):
        return "1014"
    if our == ("failed", 1002) and their == ("failed", 1007, "error in extension"):
        return "1002"
    return f"unexplained: {our} here, {their} there"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("earlier", frame(3)[:1]),
        ("earlier", frame(CONTINUATION, b"abc")[:1]),
        ("earlier", frame(TEXT, b"\xed\xa0", final=False)),
        ("1014", close(1014)),
        ("1002", frame(TEXT, b"\xff\xff\xff", bits=RSV1)),
    ],
)
def test_decisions(name: str, data: bytes) -> None:
    assert difference(data, [data], deflate=True) == name


def test_final_blocks() -> None:
    data = frame(TEXT, bytes.fromhex("f348cdc9c9070000"), bits=RSV1)
    assert ours([data, data], deflate=True) == [("text", "Hello"), ("text", "Hello")]
    assert theirs(data * 2, deflate=True) == [("text", "Hello"), ("failed", 1007, "error in extension")]


def test_control_frames_inside_a_compressed_message() -> None:
    payload = Compression(COMPRESSED).deflate(b"Hello")
    data = fragmented(TEXT, [payload[:3], payload[3:]], bits=RSV1, between=frame(PING))
    assert ours([data], deflate=True) == [("ping", b""), ("text", "Hello")]
    assert theirs(data, deflate=True) != ours([data], deflate=True)


def test_every_decision_is_shown() -> None:
    assert DECISIONS.keys() == {"earlier", "1014", "1002", "final block", "control"}


firsts = st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A]) | st.integers(0, 255)
payloads = (
    st.binary(max_size=130)
    | st.text(max_size=60).map(str.encode)
    | st.integers(0, 65535).map(lambda code: code.to_bytes(2, "big") + b"bye")
    | st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\xed", b"\xa0\x80", b"\xe2\x82", b"\xac"])
)
keys = st.binary(min_size=4, max_size=4)
frames = st.builds(
    lambda first, payload, key: frame(first & 0x0F, payload, final=bool(first & 0x80), bits=first & 0x70, key=key),
    firsts,
    payloads,
    keys,
)


@given(st.lists(frames | st.binary(max_size=4), max_size=8).map(b"".join), st.integers(0, 2**32))
@example(close(1014), 0)
@example(frame(TEXT, b"\xe2", final=False) + frame(CONTINUATION, b"\x82\xac"), 0)
@settings(max_examples=400)
def test_any_frames(data: bytes, seed: int) -> None:
    chance = random.Random(seed)
    pieces = cut(data, (chance.randrange(len(data) + 1) for _ in range(4)))
    name = difference(data, pieces, deflate=False)
    assert name is None or name in DECISIONS


texts = st.text(max_size=400) | st.text("abc", max_size=3000)


@given(st.lists(texts | st.binary(max_size=2000), max_size=6), st.integers(0, 2**32))
def test_compressed_messages(sent: list[str | bytes], seed: int) -> None:
    """Fragmented, and cut, with control frames only between messages."""
    chance = random.Random(seed)
    peer = Compression(COMPRESSED)
    data = b""
    for message in sent:
        payload = message.encode() if isinstance(message, str) else message
        compressed = chance.random() < 0.7
        payload = peer.deflate(payload) if compressed else payload
        fragments = cut(payload, (chance.randrange(len(payload) + 1) for _ in range(chance.randrange(4)))) or [b""]
        data += fragmented(1 if isinstance(message, str) else 2, fragments, bits=RSV1 if compressed else 0)
        data += frame(PING, b"between") * chance.randrange(2)
    pieces = cut(data, (chance.randrange(len(data) + 1) for _ in range(4)))
    assert ours(pieces, deflate=True) == theirs(data, deflate=True)


@given(st.lists(texts | st.binary(max_size=2000), max_size=4), st.booleans())
def test_what_we_write(sent: list[str | bytes], deflate: bool) -> None:
    extension = PerMessageDeflate()
    writer = MessageWriter(None)
    if deflate:
        extension.finalize("permessage-deflate; server_max_window_bits=12")
        writer = MessageWriter(Compression(COMPRESSED).server)
    client = Connection(ConnectionType.CLIENT, [extension])
    for message in sent:
        client.receive_data(writer.text(message) if isinstance(message, str) else writer.binary(message))
        [event] = client.events()
        assert isinstance(event, TextMessage if isinstance(message, str) else BytesMessage)
        assert event.data == message
        assert event.message_finished
    client.receive_data(writer.ping(b"p") + writer.pong(b"q") + writer.close(4000, "ende"))
    assert list(client.events()) == [Ping(b"p"), Pong(b"q"), CloseConnection(4000, "ende")]
