"""Fuzz the WebSocket codec.

The invariant: whatever bytes a client sends, cut anywhere, with any limit, compressed or not, MessageReader answers
with the events of RFC 6455 and then with a close or a failure with code 1002, 1007 or 1009; it never reads outside its
input (guard pages), takes everything it says it took, holds memory in proportion to what has arrived, and its verdict
does not depend on the pieces or on the vector code in use. What it says is what the slow twin
(tests/parser/websocket_oracle.py) says. Only the code of a compressed message that is wrong in two ways may depend on
the pieces.

What is written by MessageWriter is read back to the same message, and whatever Sec-WebSocket-Extensions a client sends,
negotiate() answers with an offer that it made, or with nothing.

    python -m tests.fuzz.fuzz_messages [--seconds 10] [--seed N]

Without --seconds the environment variable FUZZ_SECONDS counts, else ten. A failure prints the seed and the input; put
that input into tests/parser/test_messages.py.
"""

import random
import time
from math import inf
from typing import Any

from fastserve._deflate import negotiate
from fastserve._messages import MessageWriter, implementations, use_implementation
from tests.fuzz.running import main
from tests.parser import websocket_oracle as oracle
from tests.parser._raw_websocket import RawReader
from tests.parser.websocket_peer import RSV1, Compression, cut, frame

OFFERS = [
    b"permessage-deflate",
    b"permessage-deflate; client_no_context_takeover",
    b"permessage-deflate; client_max_window_bits=9; server_no_context_takeover",
]
TEXTS = ["", "a", "hello " * 20, "κόσμε", "日本語" * 40, "\U0001f600" * 10, "x" * 300]
WORDS = [
    b"",
    b"\x03\xe8",
    b"\x03",
    b"\x0f\xa0bye",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xe2\x82",
    b"\xac",
    b"\x03\x00",
    b"\x00",
]
HEADS = [
    b"\x81\xfe", b"\x82\xff", b"\x00\x80", b"\x80\x80\0\0\0\0", b"\x01\x80\0\0\0\0", b"\x88\x80\0\0\0\0",
    b"\xc1\x87\0\0\0\0", b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00", b"\x82\xff\x80", b"\x81\xfe\x00\x7d",
    b"\x89\xfe\x00\x7e",
]  # fmt: skip
PARAMETERS = [
    b"permessage-deflate", b"server_no_context_takeover", b"client_no_context_takeover", b"server_max_window_bits",
    b"client_max_window_bits", b"=8", b"=10", b"=15", b'="12"', b"=\"1\\0\"", b"=16", b"=", b";", b"; ", b",",
    b", ", b" ", b'"', b"\\", b"x", b"\xff", b"\t",
]  # fmt: skip


def sent(chance: random.Random, peer: Compression | None) -> bytes:
    """Frames as a client might send them, mostly right, then mutated."""
    data = b""
    for _ in range(chance.randrange(1, 6)):
        kind = chance.randrange(6)
        if kind == 0:
            data += frame(chance.choice((8, 9, 10)), chance.choice(WORDS), key=chance.randbytes(4))
        elif kind == 1:
            data += chance.choice(HEADS) + chance.randbytes(chance.randrange(8))
        else:
            text = chance.choice(TEXTS).encode() + (chance.choice(WORDS) if chance.random() < 0.1 else b"")
            bits = 0
            if peer is not None and chance.random() < 0.6:
                text, bits = peer.deflate(text), RSV1
                if chance.random() < 0.1:
                    at = chance.randrange(len(text))
                    text = text[:at] + chance.randbytes(1) + text[at + 1 :]
            pieces = cut(text, (chance.randrange(len(text) + 1) for _ in range(chance.choice((0, 0, 1, 4))))) or [b""]
            for index, piece in enumerate(pieces):
                final = index == len(pieces) - 1
                opcode = 0 if index else chance.choice((1, 1, 2))
                data += frame(opcode, piece, final=final, bits=0 if index else bits, key=chance.randbytes(4))
                if chance.random() < 0.1:
                    data += frame(9, b"between")
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        at = chance.randrange(len(data) + 1)
        change = chance.choice((b"", chance.randbytes(1), chance.choice(HEADS)))
        data = data[:at] + change + data[at + chance.randrange(3) :]
    return data


def fed(reader: RawReader, pieces: list[bytes], front: bool) -> list[tuple[Any, ...]]:
    """The events, without the words of a failure."""
    found: list[tuple[Any, ...]] = []
    arrived = 0
    for piece in pieces:
        found += reader.feed(piece, front)
        arrived += len(piece)
        # Deflate can make a thousand bytes of one.
        assert reader.held <= max(256, 4 * 1100 * arrived)
    return [event[:2] if event[0] == "failed" else event for event in found]


def check(data: bytes, offer: bytes | None, max_size: int, chance: random.Random) -> None:
    def deflate() -> Any:
        return negotiate([offer])[0] if offer else None

    expected = oracle.read(data, max_size, deflate())
    for implementation in implementations():
        use_implementation(implementation)
        pieces = cut(data, (chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 2, 5)))))
        if len(data) < 400 and chance.random() < 0.2:
            pieces = [data[at : at + 1] for at in range(len(data))]
        reader = RawReader(max_size, deflate())
        found = fed(reader, pieces, chance.random() < 0.5)
        if offer and expected and expected[-1][0] == "failed" and found and found[-1][0] == "failed":
            assert found[-1][1] in {1002, 1007, 1009}
            assert found[:-1] == expected[:-1], implementation
        else:
            assert found == expected, (implementation, found, expected)
        if found and found[-1][0] in {"close", "failed"}:
            assert reader.held == 0
            assert reader.feed(data) == []


def check_writer(chance: random.Random) -> None:
    peer = Compression(chance.choice(OFFERS))
    writer = MessageWriter(peer.server if chance.random() < 0.7 else None)
    for _ in range(3):
        text = "".join(chance.choices("abc é€\U0001f600", k=chance.choice((0, 5, 125, 126, 300, 70000))))
        assert peer.read(writer.text(text)) == [(1, text.encode())]
        assert peer.read(writer.binary(text.encode())) == [(2, text.encode())]


def check_negotiation(chance: random.Random) -> bytes:
    value = b"".join(chance.choice(PARAMETERS) for _ in range(chance.randrange(12)))
    try:
        deflate, answer = negotiate([value])
    except ValueError:
        # Malformed, as most of what is made here.
        return value
    assert (deflate is None) == (answer is None)
    if deflate is not None and answer is not None:
        assert 9 <= deflate.server_max_window_bits <= 15
        assert 8 <= deflate.client_max_window_bits <= 15
        for parameter in answer.split(b"; "):
            assert parameter.partition(b"=")[0] in value or parameter.startswith(b"server_max_window_bits=")
    return value


def fuzz(seconds: float, seed: int, most: float = inf) -> int:
    """Run for that long, or for `most` inputs; the number tried. Raises AssertionError with the seed and the input."""
    chance = random.Random(seed)
    deadline = time.monotonic() + seconds
    tried = 0
    while tried < most and time.monotonic() < deadline:
        offer = chance.choice((None, *OFFERS))
        data = sent(chance, Compression(offer) if offer else None)
        max_size = chance.choice((0, 0, 1, 10, 100))
        try:
            check(data, offer, max_size, chance)
            check_negotiation(chance)
            if tried % 20 == 0:
                check_writer(chance)
        except Exception as error:
            raise AssertionError(f"seed {seed}, input number {tried}: {data!r} with {offer!r}, {max_size}") from error
        tried += 1
    use_implementation(implementations()[-1])
    return tried


if __name__ == "__main__":
    main("fuzz_messages", __doc__, fuzz)
