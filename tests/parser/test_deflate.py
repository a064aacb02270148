"""permessage-deflate: which offers are accepted and how, compressed messages in both directions, and bombs."""

import itertools
import random
import time
import tracemalloc
import zlib
from typing import Any

import pytest

from fastserve._deflate import Deflate, negotiate
from fastserve._messages import MessageReader, MessageWriter
from tests.parser import websocket_oracle as oracle
from tests.parser._raw_websocket import RawReader
from tests.parser.websocket_peer import (
    BINARY,
    CONTINUATION,
    PING,
    RSV1,
    TAIL,
    TEXT,
    Compression,
    cut,
    fragmented,
    frame,
    read_frames,
)

OFFER = b"permessage-deflate"
TEXTS = ["", "a", "hello " * 40, "κόσμε " * 60, "hello " * 40, "x" * 5000]

# --- the negotiation


@pytest.mark.parametrize(
    ("offers", "parameters"),
    [
        ("", "server_max_window_bits=12"),
        ("client_max_window_bits", "server_max_window_bits=12; client_max_window_bits=12"),
        ("client_max_window_bits=15", "server_max_window_bits=12; client_max_window_bits=12"),
        ("client_max_window_bits=12", "server_max_window_bits=12; client_max_window_bits=12"),
        ("client_max_window_bits=9", "server_max_window_bits=12; client_max_window_bits=9"),
        ("client_max_window_bits=8", "server_max_window_bits=12; client_max_window_bits=8"),
        ("server_max_window_bits=15", "server_max_window_bits=12"),
        ("server_max_window_bits=9", "server_max_window_bits=9"),
        ('server_max_window_bits="10"', "server_max_window_bits=10"),
        ('server_max_window_bits="1\\0"', "server_max_window_bits=10"),
        ("server_no_context_takeover", "server_no_context_takeover; server_max_window_bits=12"),
        ("client_no_context_takeover", "client_no_context_takeover; server_max_window_bits=12"),
        (
            "client_max_window_bits ; server_max_window_bits = 11;\tclient_no_context_takeover",
            "client_no_context_takeover; server_max_window_bits=11; client_max_window_bits=12",
        ),
        (
            "client_no_context_takeover;server_no_context_takeover",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
        ),
        ("SERVER_NO_CONTEXT_TAKEOVER", "server_no_context_takeover; server_max_window_bits=12"),
    ],
)
def test_accepted(offers: str, parameters: str) -> None:
    value = OFFER + b"; " * bool(offers) + offers.encode()
    deflate, answer = negotiate([value])
    assert answer == OFFER + b"; " + parameters.encode()
    assert deflate is not None
    assert deflate.server_no_context_takeover == ("server_no_context_takeover" in parameters)
    assert deflate.client_no_context_takeover == ("client_no_context_takeover" in parameters)
    stated = dict(piece.split("=") for piece in parameters.split("; ") if "=" in piece)
    assert deflate.server_max_window_bits == int(stated["server_max_window_bits"])
    assert deflate.client_max_window_bits == int(stated.get("client_max_window_bits", 15))


DECLINED = [
    "unknown",
    "server_max_window_bits",
    "server_max_window_bits=8",  # zlib cannot
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=010",
    "server_max_window_bits=1_0",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=09",
    'client_max_window_bits="x"',
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_no_context_takeover; server_no_context_takeover",
    "client_max_window_bits; client_max_window_bits=10",
    "server_max_window_bits=10; server_max_window_bits=10",
]
MALFORMED = [
    "permessage-deflate;",
    "permessage-deflate; ;client_max_window_bits",
    "permessage-deflate; =1",
    "permessage-deflate; client_max_window_bits=",
    'permessage-deflate; client_max_window_bits=""',
    'permessage-deflate; client_max_window_bits="1 0"',
    'permessage-deflate; client_max_window_bits="10',
    "permessage-deflate=1",
    "permessage-deflate client_max_window_bits",
    "permessage deflate",
    "; permessage-deflate",
    "permessage-deflate; \xff",
]


@pytest.mark.parametrize("parameters", DECLINED)
def test_declined(parameters: str) -> None:
    offer = OFFER + b"; " + parameters.encode()
    assert negotiate([offer]) == (None, None)
    # The next one is considered.
    accepted = (OFFER + b"; server_no_context_takeover; server_max_window_bits=12",)
    assert negotiate([offer + b", " + OFFER + b"; server_no_context_takeover"])[1:] == accepted
    assert negotiate([offer, OFFER + b"; server_no_context_takeover"])[1:] == accepted


@pytest.mark.parametrize("value", [*MALFORMED, "", " , ,"])
def test_a_malformed_field_is_an_error(value: str) -> None:
    for values in [value.encode("latin-1")], [OFFER, value.encode("latin-1")], [value.encode("latin-1"), OFFER]:
        if value in MALFORMED or len(values) == 1:
            with pytest.raises(ValueError, match="malformed"):
                negotiate(values)
        else:
            assert negotiate(values)[1] == OFFER + b"; server_max_window_bits=12", "elements of a list may be empty"


def test_other_extensions_are_passed_over() -> None:
    assert negotiate([]) == (None, None)
    assert negotiate([b"x-webkit-deflate-frame", b"bbf-usp-protocol; a=b"]) == (None, None)
    assert negotiate([b"foo; bar=1; baz, , permessage-deflate,"])[1] == OFFER + b"; server_max_window_bits=12"
    assert negotiate([b"Permessage-Deflate"])[1] == OFFER + b"; server_max_window_bits=12"


def test_the_first_acceptable_offer_counts() -> None:
    value = b"permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=11"
    assert negotiate([value])[1] == OFFER + b"; server_max_window_bits=10"


# --- messages

OFFERS = [
    b"permessage-deflate",
    b"permessage-deflate; client_max_window_bits",
    b"permessage-deflate; client_max_window_bits=8; server_max_window_bits=9",
    b"permessage-deflate; client_no_context_takeover",
    b"permessage-deflate; server_no_context_takeover",
    b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=15",
]


@pytest.fixture(params=OFFERS)
def peer(request: pytest.FixtureRequest) -> Compression:
    return Compression(request.param)


def test_from_the_client(peer: Compression) -> None:
    reader = RawReader(0, peer.server)
    for text in TEXTS:
        assert reader.feed(frame(TEXT, peer.deflate(text.encode()), bits=RSV1)) == [("text", text)]
        # One that is not compressed, between two that are.
        assert reader.feed(frame(BINARY, text.encode())) == [("binary", text.encode())]
        assert reader.feed(frame(BINARY, peer.deflate(text.encode()), bits=RSV1)) == [("binary", text.encode())]
    assert reader.held == 0


def test_to_the_client(peer: Compression) -> None:
    writer = MessageWriter(peer.server)
    for text in TEXTS:
        assert peer.read(writer.text(text)) == [(TEXT, text.encode())]
        assert peer.read(writer.binary(text.encode())) == [(BINARY, text.encode())]
        assert peer.read(writer.binary(memoryview(text.encode()))) == [(BINARY, text.encode())]
        assert peer.read(writer.ping(b"x" * 125)) == [(PING, b"x" * 125)]


def test_what_does_not_compress(peer: Compression) -> None:
    noise = random.Random(1).randbytes(100_000)
    reader = MessageReader(100_000, peer.server)
    assert reader.feed(frame(BINARY, peer.deflate(noise), bits=RSV1)) == [("binary", noise)]
    assert peer.read(MessageWriter(peer.server).binary(noise)) == [(BINARY, noise)]


@pytest.mark.parametrize("pieces", [1, 2, 5, 1000])
def test_fragments(peer: Compression, pieces: int) -> None:
    chance = random.Random(pieces)
    reader = RawReader(0, peer.server)
    for text in TEXTS:
        payload = peer.deflate(text.encode())
        cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(pieces - 1))
        edges = [0, *cuts, len(payload)]
        parts = [payload[start:end] for start, end in itertools.pairwise(edges)]
        data = fragmented(TEXT, parts, bits=RSV1, between=frame(PING, b"p"))
        events = [
            event
            for piece in cut(data, [chance.randrange(len(data)) for _ in range(9)])
            for event in reader.feed(piece)
        ]
        assert events == [("ping", b"p")] * (pieces - 1) + [("text", text)]


def test_every_cut(peer: Compression) -> None:
    text = "hello, κόσμε! " * 3
    data = frame(TEXT, peer.deflate(text.encode()), bits=RSV1)
    for at in range(1, len(data)):
        # The inflater of each reader begins anew, as the client's deflater did.
        server, _ = negotiate([b"permessage-deflate"])
        reader = RawReader(0, server)
        assert reader.feed(data[:at]) == []
        assert reader.feed(data[at:]) == [("text", text)]


def test_short_messages_are_not_compressed() -> None:
    writer = MessageWriter(Compression(OFFER).server)
    for size, first in ((0, 0x81), (255, 0x81), (256, 0xC1)):
        assert writer.text("a" * size)[0] == first
        assert writer.binary(b"a" * size)[0] == first + 1


def test_no_context_is_kept_where_none_is_taken_over() -> None:
    deflate, _ = negotiate([b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"])
    assert deflate is not None
    writer = MessageWriter(deflate)
    assert writer.text("hello " * 100) == writer.text("hello " * 100)
    reader = MessageReader(0, deflate)
    peer = Compression(b"permessage-deflate; client_no_context_takeover")
    for _ in range(3):
        assert reader.feed(frame(TEXT, peer.deflate(b"hello"), bits=RSV1)) == [("text", "hello")]
    # A reference to the message before leads out of the window.
    keeping = Compression(b"permessage-deflate")
    first, second = keeping.deflate(b"some words, hardly ever seen"), keeping.deflate(b"some words, hardly ever seen")
    assert reader.feed(frame(TEXT, first, bits=RSV1))[0][0] == "text"
    assert reader.feed(frame(TEXT, second, bits=RSV1))[0][:2] == ("failed", 1002)


def test_streams_are_made_at_first_use_and_freed_between_messages() -> None:
    def memory(offer: bytes, messages: int, kept: list[Any]) -> int:
        """Bytes that one hundred connections hold."""
        tracemalloc.start()
        for _ in range(100):
            deflate, _ = negotiate([offer])
            reader, writer = MessageReader(0, deflate), MessageWriter(deflate)
            for _ in range(messages):
                reader.feed(data)
                writer.text("a" * 300)
            kept += [reader, writer]
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return held // 100

    data = frame(TEXT, Compression(OFFER).deflate(b"hello"), bits=RSV1)
    without = memory(OFFER, 0, [])
    assert without < 2000
    assert memory(OFFER + b"; server_no_context_takeover; client_no_context_takeover", 1, []) < without + 200


# --- what RFC 7692 section 7.2.3 shows


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes.fromhex("f248cdc9c90700")],
        [bytes.fromhex("f248cd"), bytes.fromhex("c9c90700")],
        [bytes.fromhex("000500faff48656c6c6f00")],  # no compression
        [bytes.fromhex("f348cdc9c9070000")],  # a final block
        [bytes.fromhex("f348cdc9c90700"), b"\x00"],
        [bytes.fromhex("f348cdc9c90700")],  # without the byte that should follow it
        [bytes.fromhex("f24805000000ffffcac9c90700")],  # two blocks
        [bytes.fromhex("f348cdc9c90700"), bytes.fromhex("0300"), b"\x00"],
    ],
)
def test_hello(pieces: list[bytes]) -> None:
    for at in range(40):
        server, _ = negotiate([OFFER])
        reader = RawReader(0, server)
        for _ in range(2):
            data = fragmented(TEXT, pieces, bits=RSV1)
            assert [event for piece in (data[:at], data[at:]) for event in reader.feed(piece)] == [("text", "Hello")]


def test_sharing_the_window() -> None:
    server, _ = negotiate([OFFER])
    reader = MessageReader(0, server)
    assert reader.feed(frame(TEXT, bytes.fromhex("f248cdc9c90700"), bits=RSV1)) == [("text", "Hello")]
    assert reader.feed(frame(TEXT, bytes.fromhex("f200110000"), bits=RSV1)) == [("text", "Hello")]


def test_a_message_goes_on_behind_a_final_block() -> None:
    """With references to what came before it in the message."""
    first = zlib.compressobj(wbits=-15)
    data = first.compress(b"some words, hardly ever seen; ") + first.flush(zlib.Z_FINISH)
    second = zlib.compressobj(wbits=-15, zdict=b"some words, hardly ever seen; ")
    data += (second.compress(b"some words, hardly ever seen; again") + second.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        TAIL
    )
    expected = [("text", "some words, hardly ever seen; some words, hardly ever seen; again")]
    message = frame(TEXT, data, bits=RSV1)
    for at in range(len(message)):
        server, _ = negotiate([OFFER])
        reader = RawReader(0, server)
        assert reader.feed(message[:at]) + reader.feed(message[at:]) == expected


def test_final_blocks_are_limited() -> None:
    """Each costs a new stream: a client may not have thousands of them in one message."""
    for count, expected in ((16, ("binary", b"")), (17, ("failed", 1002))):
        data = frame(BINARY, b"\x03\x00" * count, bits=RSV1)
        server, _ = negotiate([OFFER])
        [event] = MessageReader(0, server).feed(data)
        assert event[:2] == expected
        assert oracle.read(data, 0, server) == [expected]


# --- what fails


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x06abc", b"\x01\x00\x00\x00\x00"])
def test_what_is_not_deflate(payload: bytes) -> None:
    server, _ = negotiate([OFFER])
    reader = MessageReader(0, server)
    [(kind, code, reason)] = reader.feed(frame(TEXT, payload, bits=RSV1))
    assert (kind, code) == ("failed", 1002)
    assert reason.startswith("not deflate: ")


def test_rsv1() -> None:
    for data in (
        frame(PING, b"", bits=RSV1),
        frame(TEXT, b"", final=False) + frame(CONTINUATION, b"", bits=RSV1),
        frame(TEXT, b"", final=False, bits=RSV1) + frame(CONTINUATION, b"", bits=RSV1),
    ):
        server, _ = negotiate([OFFER])
        assert MessageReader(0, server).feed(data)[0][:2] == ("failed", 1002)
        assert oracle.read(data, 0, server) == [("failed", 1002)]


@pytest.mark.parametrize("tail", [b"\xff", b"\xe2\x82"])
def test_text_is_checked(peer: Compression, tail: bytes) -> None:
    payload = peer.deflate("ok, κόσμε ".encode() * 20 + tail)
    for data in (frame(TEXT, payload, bits=RSV1), fragmented(TEXT, [payload[:5], payload[5:]], bits=RSV1)):
        server, _ = negotiate([OFFER])
        assert RawReader(0, server).feed(data)[0][:2] == ("failed", 1007)


def test_invalid_text_fails_before_the_message_is_whole() -> None:
    peer = Compression(OFFER)
    payload = peer.deflate(b"\xff" * 40)
    reader = MessageReader(0, peer.server)
    [event] = reader.feed(frame(TEXT, payload, bits=RSV1, final=False))
    assert event[:2] == ("failed", 1007)


# --- limits


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_of_what_is_inflated(over: int) -> None:
    for text in ("a" * (10000 + over), "".join(map(chr, random.Random(2).choices(range(128), k=10000 + over)))):
        for pieces in (1, 2, 7):
            peer = Compression(OFFER)
            payload = peer.deflate(text.encode())
            step = len(payload) // pieces + 1
            data = fragmented(TEXT, [payload[at : at + step] for at in range(0, len(payload), step)], bits=RSV1)
            [event] = RawReader(10000, peer.server).feed(data)
            assert event[:2] == (("failed", 1009) if over else ("text", text))


def test_the_limit_is_of_one_message(peer: Compression) -> None:
    reader = MessageReader(1000, peer.server)
    for _ in range(20):
        assert reader.feed(frame(BINARY, peer.deflate(bytes(1000)), bits=RSV1)) == [("binary", bytes(1000))]


def bomb(size: int) -> bytes:
    """A compressed payload of so many zeros."""
    return Compression(OFFER).deflate(bytes(size), level=9)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    payload = bomb(1 << 28)
    server, _ = negotiate([OFFER])
    data = frame(BINARY, payload, bits=RSV1)
    for pieces in ([data], [data[:1], data[1:]], [data[at : at + 50] for at in range(0, len(data), 50)]):
        reader = MessageReader(1 << 20, Compression(OFFER).server)
        tracemalloc.start()
        events = [event for piece in pieces for event in reader.feed(piece)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert events == [("failed", 1009, "message too big")]
        assert peak < 5 << 20
    assert server is not None


def test_a_bomb_costs_no_more_time_than_the_limit() -> None:
    def duration(data: bytes) -> float:
        best = 9.0
        for _ in range(3):
            reader = MessageReader(1 << 20, Compression(OFFER).server)
            # Not the clock's time, which passes while somebody else has the processor.
            start = time.thread_time()
            reader.feed(data)
            best = min(best, time.thread_time() - start)
        return best

    allowed = duration(frame(BINARY, bomb(1 << 20), bits=RSV1))
    assert duration(frame(BINARY, bomb(1 << 28), bits=RSV1)) < 20 * allowed


def test_a_compressed_payload_is_limited_on_its_head() -> None:
    """Nothing that inflates to the limit takes an eighth more, and more is not waited for."""
    server, _ = negotiate([OFFER])
    head = frame(BINARY, bytes(65536), bits=RSV1)[:14]
    assert MessageReader(50000, server).feed(head)[0][:2] == ("failed", 1009)
    assert MessageReader(60000, server).feed(head) == []


def test_one_deflate_serves_one_connection() -> None:
    first, _ = negotiate([OFFER])
    second, _ = negotiate([OFFER])
    assert isinstance(first, Deflate)
    assert first is not second


def test_the_writer_leaves_nothing_out() -> None:
    peer = Compression(OFFER)
    writer = MessageWriter(peer.server)
    chance = random.Random(3)
    for _ in range(50):
        data = bytes(chance.choices(b"abcdef", k=chance.choice((256, 1000, 66000, 300000))))
        [(first, payload)] = read_frames(writer.binary(data))
        assert first == 0xC2
        assert peer.inflate(payload) == data
