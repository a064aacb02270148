"""Whatever messages are sent, in whatever frames and pieces, they arrive; whatever bytes are sent, the answer is one of
those that RFC 6455 knows, and the same however the bytes were cut."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve._messages import MessageReader, MessageWriter
from tests.parser import websocket_oracle as oracle
from tests.parser._raw_websocket import RawReader
from tests.parser.websocket_peer import BINARY, CONTINUATION, PING, PONG, RSV1, TEXT, Compression, cut, frame

OFFERS = [
    b"permessage-deflate",
    b"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    b"permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
]

seeds = st.integers(0, 2**32 - 1)
offers = st.sampled_from([None, *OFFERS])
texts = st.text(max_size=300) | st.text("abcdef ", max_size=3000) | st.integers(0, 3000).map(lambda size: "é" * size)
messages = st.lists(texts | st.binary(max_size=2000), max_size=6)


def in_frames(message: str | bytes, peer: Compression | None, chance: random.Random) -> bytes:
    """A message as a client may send it: fragmented, compressed, with control frames between."""
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    bits = 0
    if peer is not None and chance.random() < 0.7:
        payload, bits = peer.deflate(payload), RSV1
    pieces = cut(payload, (chance.randrange(len(payload) + 1) for _ in range(chance.choice((0, 0, 1, 3, 20)))))
    pieces = pieces or [b""]
    data = b""
    for index, piece in enumerate(pieces):
        if chance.random() < 0.2:
            data += frame(chance.choice((PING, PONG)), chance.randbytes(chance.randrange(126)), key=chance.randbytes(4))
        data += frame(
            CONTINUATION if index else opcode,
            piece,
            final=index == len(pieces) - 1,
            bits=0 if index else bits,
            key=chance.randbytes(4),
        )
    return data


def fed(reader: MessageReader | RawReader, pieces: list[bytes]) -> list[tuple[Any, ...]]:
    """The events, without the words of a failure."""
    found = [event for piece in pieces for event in reader.feed(piece)]
    return [event[:2] if event[0] == "failed" else event for event in found]


@given(messages, offers, seeds)
def test_messages_arrive(sent: list[str | bytes], offer: bytes | None, seed: int) -> None:
    chance = random.Random(seed)
    peer = Compression(offer) if offer else None
    data = b"".join(in_frames(message, peer, chance) for message in sent)
    reader = RawReader(10000, peer.server if peer else None)
    found = fed(reader, cut(data, (chance.randrange(len(data) + 1) for _ in range(chance.randrange(20)))))
    assert [event[1] for event in found if event[0] in {"text", "binary"}] == sent
    assert {event[0] for event in found} <= {"text", "binary", "ping", "pong"}
    assert reader.held == 0


@given(messages, offers)
def test_what_is_written_can_be_read(sent: list[str | bytes], offer: bytes | None) -> None:
    """Through the writer, a client that reads it, that client's frames, and the reader."""
    peer = Compression(offer) if offer else None
    writer = MessageWriter(peer.server if peer else None)
    reader = MessageReader(0, peer.server if peer else None)
    for message in sent:
        written = writer.text(message) if isinstance(message, str) else writer.binary(message)
        [(opcode, payload)] = (peer or Compression(OFFERS[0])).read(written)
        bits = 0
        if peer and len(payload) >= 256:
            payload, bits = peer.deflate(payload), RSV1
        assert fed(reader, [frame(opcode, payload, bits=bits)]) == [
            ("text" if isinstance(message, str) else "binary", message)
        ]


frames = st.builds(
    lambda first, payload, key: frame(first & 0x0F, payload, final=bool(first & 0x80), bits=first & 0x70, key=key),
    st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x41, 0xC2]) | st.integers(0, 255),
    st.binary(max_size=130) | st.text(max_size=60).map(str.encode) | st.sampled_from([b"\x03\xe8", b"\x0f\xa0bye"]),
    st.binary(min_size=4, max_size=4),
)


@given(
    st.lists(frames | st.binary(max_size=10), max_size=8).map(b"".join), offers, st.sampled_from([0, 10, 200]), seeds
)
@settings(max_examples=300)
def test_only_documented_answers(data: bytes, offer: bytes | None, max_size: int, seed: int) -> None:
    chance = random.Random(seed)

    def read(pieces: list[bytes]) -> list[tuple[Any, ...]]:
        return fed(RawReader(max_size, Compression(offer).server if offer else None), pieces)

    found = read([data])
    assert found == oracle.read(data, max_size, Compression(offer).server if offer else None)
    assert all(event[1] in {1002, 1007, 1009} for event in found if event[0] == "failed")
    for pieces in (
        cut(data, (chance.randrange(len(data) + 1) for _ in range(10))),
        [data[at : at + 1] for at in range(len(data))],
    ):
        again = read(pieces)
        if offer and found and found[-1][0] == "failed":
            # What was compressed may be wrong in two ways; which is seen first depends on the pieces inflated.
            assert again[:-1] == found[:-1]
            assert again[-1][0] == "failed"
        else:
            assert again == found
