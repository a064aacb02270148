"""The WebSocket codec: what each sequence of frames means, whole, byte by byte, cut at every place, at a guard page."""

import struct
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from fastserve._messages import MessageReader, MessageWriter, implementations, use_implementation
from tests.parser import websocket_oracle as oracle
from tests.parser._raw_websocket import RawReader, valid_close_codes
from tests.parser.websocket_peer import (
    BINARY,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    close,
    fragmented,
    frame,
    read_frames,
)

LONG_ASCII = "all of this is ASCII. " * 20
MIXED = "κόσμε and 日本語 and \U0001f600, " * 6

# What is sent, and what the application would see of it.
ACCEPTED: dict[str, tuple[bytes, list[tuple[Any, ...]]]] = {
    "text": (frame(TEXT, b"hello"), [("text", "hello")]),
    "empty text": (frame(TEXT), [("text", "")]),
    "one character": (frame(TEXT, b"a"), [("text", "a")]),
    "one wide character": (frame(TEXT, "é".encode()), [("text", "é")]),
    "long text": (frame(TEXT, LONG_ASCII.encode()), [("text", LONG_ASCII)]),
    "text beyond ASCII": (frame(TEXT, MIXED.encode()), [("text", MIXED)]),
    "binary": (frame(BINARY, bytes(range(256))), [("binary", bytes(range(256)))]),
    "empty binary": (frame(BINARY), [("binary", b"")]),
    "one byte": (frame(BINARY, b"\xff"), [("binary", b"\xff")]),
    "key of zeros": (frame(BINARY, b"\x00\xff" * 9, key=bytes(4)), [("binary", b"\x00\xff" * 9)]),
    "several": (
        frame(TEXT, b"1") + frame(BINARY, b"2") + frame(PING, b"3") + frame(TEXT, b"4"),
        [("text", "1"), ("binary", b"2"), ("ping", b"3"), ("text", "4")],
    ),
    "fragments": (fragmented(TEXT, [b"ab", b"c", b"def"]), [("text", "abcdef")]),
    "binary fragments": (fragmented(BINARY, [b"\xff", bytes(70), b"a"]), [("binary", b"\xff" + bytes(70) + b"a")]),
    "empty fragments": (fragmented(TEXT, [b"", b"", b"a", b"", b"b", b""]), [("text", "ab")]),
    "only empty fragments": (fragmented(BINARY, [b""] * 4), [("binary", b"")]),
    "only empty text fragments": (fragmented(TEXT, [b""] * 4), [("text", "")]),
    "a character over fragments": (fragmented(TEXT, [b"\xe2", b"\x82", b"", b"\xac"]), [("text", "€")]),
    "control frames inside a message": (
        fragmented(TEXT, [b"a", b"b"], between=frame(PING, b"x") + frame(PONG, b"y")),
        [("ping", b"x"), ("pong", b"y"), ("text", "ab")],
    ),
    "a control frame inside a character": (
        fragmented(TEXT, [b"\xe2\x82", b"\xac"], between=frame(PING)),
        [("ping", b""), ("text", "€")],
    ),
    "the largest control frame": (frame(PING, bytes(125)), [("ping", bytes(125))]),
    "after a fragmented message": (
        fragmented(TEXT, [b"a", b"b"]) + frame(TEXT, b"c") + fragmented(BINARY, [b"d", b"e"]),
        [("text", "ab"), ("text", "c"), ("binary", b"de")],
    ),
    "close": (close(), [("close", 1005, "")]),
    "close with a code": (close(1000), [("close", 1000, "")]),
    "close with a reason": (close(4999, "schluß".encode()), [("close", 4999, "schluß")]),
    "the longest reason": (close(3000, b"r" * 123), [("close", 3000, "r" * 123)]),
    "close inside a message": (frame(TEXT, b"a", final=False) + close(1001), [("close", 1001, "")]),
    "bytes after close": (close(1000) + frame(TEXT, b"late") + b"\xff\xff", [("close", 1000, "")]),
}  # fmt: skip

# What is sent, what comes before the failure, and its code.
REJECTED: dict[str, tuple[bytes, list[tuple[Any, ...]], int]] = {
    **{f"reserved bit {bit:#x}": (frame(TEXT, b"a", bits=bit), [], 1002) for bit in (RSV1, RSV2, RSV3)},
    **{f"reserved bit {bit:#x} on a ping": (frame(PING, b"a", bits=bit), [], 1002) for bit in (RSV1, RSV2, RSV3)},
    **{f"opcode {code}": (frame(code, b"a"), [], 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"fragmented control {code}": (frame(code, b"", final=False), [], 1002) for code in (8, 9, 10)},
    **{f"long control {code}": (frame(code, bytes(126)), [], 1002) for code in (8, 9, 10)},
    "not masked": (b"\x81\x05hello", [], 1002),
    "empty and not masked": (b"\x81\x00", [], 1002),
    "16-bit length of 125": (b"\x81\xfe\x00\x7d" + KEY + bytes(125), [], 1002),
    "64-bit length of 125": (b"\x82\xff" + struct.pack("!Q", 125) + KEY + bytes(125), [], 1002),
    "64-bit length of 65535": (b"\x82\xff" + struct.pack("!Q", 65535) + KEY, [], 1002),
    "length with the top bit": (b"\x82\xff" + struct.pack("!Q", 2**63) + KEY, [], 1002),
    "a control frame of 16 bits": (b"\x89\xfe\x00\x7e" + KEY + bytes(126), [], 1002),
    "continuation of nothing": (frame(CONTINUATION, b"a"), [], 1002),
    "continuation after a message": (fragmented(TEXT, [b"a", b"b"]) + frame(CONTINUATION), [("text", "ab")], 1002),
    "a message in a message": (frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), [], 1002),
    "binary in text": (frame(TEXT, b"a", final=False) + frame(PING) + frame(BINARY, b"b"), [("ping", b"")], 1002),
    "half a close code": (frame(8, b"\x03"), [], 1002),
    "a reason that is not UTF-8": (close(1000, b"ab\xff"), [], 1007),
    "a reason that ends in a character": (close(1000, b"ab\xe2\x82"), [], 1007),
    **{f"close code {code}": (close(code), [], 1002) for code in (0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65535)},
    "not UTF-8": (frame(TEXT, b"abc\xff"), [], 1007),
    "overlong": (frame(TEXT, b"\xc0\xaf"), [], 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), [], 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), [], 1007),
    "text that ends in a character": (frame(TEXT, b"a\xe2\x82"), [], 1007),
    "fragments that end in a character": (fragmented(TEXT, [b"a", b"\xe2\x82"]), [], 1007),
    "an empty end in a character": (fragmented(TEXT, [b"a\xe2\x82", b""]), [], 1007),
    "a character broken by a fragment": (fragmented(TEXT, [b"a\xe2", b"a", b"b"]), [], 1007),
    "after a good message": (frame(TEXT, b"ok") + frame(TEXT, b"\x80"), [("text", "ok")], 1007),
}  # fmt: skip


@pytest.fixture(autouse=True, params=implementations())
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    use_implementation(request.param)
    yield request.param
    use_implementation(implementations()[-1])


def test_an_unknown_implementation() -> None:
    with pytest.raises(ValueError, match="no such implementation here: mmx"):
        use_implementation("mmx")


def in_pieces(pieces: list[bytes], *, front: bool = False, **parameters: Any) -> list[tuple[Any, ...]]:
    """The events, without the words of a failure."""
    reader = RawReader(**parameters)
    found = [event for piece in pieces for event in reader.feed(piece, front)]
    if found and found[-1][0] in {"close", "failed"}:
        assert reader.held == 0
        assert reader.feed(frame(TEXT, b"ignored")) == []
    return [event[:2] if event[0] == "failed" else event for event in found]


def everywhere(data: bytes, expected: list[tuple[Any, ...]], **parameters: Any) -> None:
    """Whole, byte by byte, and cut once at every place."""
    assert in_pieces([data], **parameters) == expected
    assert in_pieces([data], front=True, **parameters) == expected
    assert in_pieces([data[at : at + 1] for at in range(len(data))], **parameters) == expected
    for at in range(1, len(data)):
        assert in_pieces([data[:at], data[at:]], front=at % 2 == 0, **parameters) == expected
    assert [
        event[:2] if event[0] == "failed" else event for event in MessageReader(**parameters).feed(data)
    ] == expected
    assert oracle.read(data, **parameters) == expected


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case: str) -> None:
    data, expected = ACCEPTED[case]
    everywhere(data, expected)


@pytest.mark.parametrize("case", REJECTED)
def test_rejected(case: str) -> None:
    data, before, code = REJECTED[case]
    everywhere(data, [*before, ("failed", code)])


def test_every_close_code() -> None:
    valid = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert set(valid_close_codes(range(-1, 65537))) == valid
    for code in (*range(990, 1020), 2999, 3000, 3999, 4000, 4999, 5000):
        expected = ("close", code, "") if code in valid else ("failed", 1002)
        assert in_pieces([close(code)]) == [expected]


def test_a_failure_has_words() -> None:
    assert MessageReader(10).feed(frame(3)) == [("failed", 1002, "reserved opcode")]
    assert MessageReader(10).feed(frame(TEXT, b"\xff")) == [("failed", 1007, "invalid UTF-8")]
    assert MessageReader(10).feed(frame(TEXT, bytes(11))) == [("failed", 1009, "message too big")]


# --- failing early


@pytest.mark.parametrize("valid", [b"", b"a" * 40, "€".encode() * 20])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xe2\x41"])
def test_invalid_text_fails_with_its_first_byte(valid: bytes, bad: bytes) -> None:
    """However much of the frame and the message is still to come."""
    data = frame(TEXT, valid + bad + bytes(200), final=False)
    last = len(data) - 200
    reader = RawReader()
    assert reader.feed(data[: last - 1]) == []
    assert reader.feed(data[last - 1 : last])[0][:2] == ("failed", 1007)


def test_a_message_too_big_fails_with_the_head() -> None:
    for size in (11, 125, 126, 65536, 2**40, 2**63 - 1):
        head = frame(BINARY, b"")[:1] + (
            bytes([0x80 | size]) if size < 126
            else b"\xfe" + struct.pack("!H", size) if size < 65536
            else b"\xff" + struct.pack("!Q", size)
        ) + KEY  # fmt: skip
        everywhere(head, [("failed", 1009)], max_size=10)


def test_the_size_of_fragments_is_added() -> None:
    everywhere(fragmented(BINARY, [b"12345", b"67890"]), [("binary", b"1234567890")], max_size=10)
    everywhere(fragmented(BINARY, [b"12345", b"", b"67890", b""]), [("binary", b"1234567890")], max_size=10)
    start = fragmented(BINARY, [b"12345", b"67890"])[:-1]
    everywhere(
        frame(BINARY, b"12345", final=False) + frame(CONTINUATION, b"678901")[:6], [("failed", 1009)], max_size=10
    )
    everywhere(start, [], max_size=10)


def test_control_frames_do_not_count() -> None:
    data = fragmented(TEXT, [b"12345", b"67890"], between=frame(PING, bytes(125)))
    everywhere(data, [("ping", bytes(125)), ("text", "1234567890")], max_size=10)


def test_sizes_do_not_overflow() -> None:
    everywhere(frame(TEXT, b"a"), [("text", "a")], max_size=2**63 - 1)
    head = b"\x02\xff" + struct.pack("!Q", 2**60) + KEY
    more = b"\x00\xff" + struct.pack("!Q", 2**62) + KEY
    assert in_pieces([head]) == []
    assert in_pieces([frame(BINARY, b"a", final=False) + more]) == [("failed", 1009)]


# --- memory and work


def test_memory_follows_what_arrived() -> None:
    """Not what was announced."""
    reader = MessageReader()
    reader.feed(b"\x82\xff" + struct.pack("!Q", 2**40) + KEY)
    assert reader.held == 0
    arrived = 0
    for size in (1, 100, 1000, 10000, 100000):
        reader.feed(bytes(size))
        arrived += size
        assert arrived <= reader.held <= max(256, 4 * arrived)


def test_a_message_in_large_pieces_is_held_once() -> None:
    reader = MessageReader()
    data = frame(BINARY, bytes(1 << 20))
    reader.feed(data[: 1 << 19])
    assert reader.held == 1 << 20
    assert reader.feed(data[1 << 19 :]) == [("binary", bytes(1 << 20))]
    assert reader.held == 0


def test_empty_fragments_cost_no_memory() -> None:
    reader = MessageReader(1000)
    empty = frame(CONTINUATION, final=False) * 20000
    reader.feed(frame(TEXT, b"a", final=False))
    held = reader.held
    tracemalloc.start()
    for _ in range(20):
        assert reader.feed(empty) == []
    assert tracemalloc.get_traced_memory()[1] < 20000
    tracemalloc.stop()
    assert reader.held == held
    assert reader.feed(frame(CONTINUATION, b"b")) == [("text", "ab")]


def test_small_fragments_cost_work_in_proportion() -> None:
    """Fifty times as many one-byte fragments take some fifty times as long, not 2500 times."""

    def duration(count: int) -> float:
        data = fragmented(TEXT, [b"a"] * count)
        best = 9.0
        for _ in range(3):
            reader = MessageReader()
            # Not the clock's time, which passes while somebody else has the processor.
            start = time.thread_time()
            assert reader.feed(data) == [("text", "a" * count)]
            best = min(best, time.thread_time() - start)
        return best

    assert duration(50000) < 500 * duration(1000)


# --- writing


def test_text() -> None:
    assert MessageWriter().text("hé") == b"\x81\x03h\xc3\xa9"
    assert MessageWriter().text("") == b"\x81\x00"
    with pytest.raises(UnicodeEncodeError):
        MessageWriter().text("\ud800")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200000])
def test_binary(size: int) -> None:
    data = bytes(size)
    writer = MessageWriter()
    for given in (data, bytearray(data), memoryview(data)):
        written = writer.binary(given)
        assert list(read_frames(written)) == [(0x82, data)]
    assert writer.head(size) + data == writer.binary(data)


def test_what_is_not_binary() -> None:
    with pytest.raises(TypeError):
        MessageWriter().binary("text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        MessageWriter().binary(memoryview(bytes(10))[::2])


def test_control_frames() -> None:
    writer = MessageWriter()
    assert writer.ping(b"x") == b"\x89\x01x"
    assert writer.pong(bytes(125)) == b"\x8a\x7d" + bytes(125)
    with pytest.raises(ValueError, match="at most 125 bytes"):
        writer.ping(bytes(126))


def test_close() -> None:
    writer = MessageWriter()
    assert writer.close(1000) == b"\x88\x02\x03\xe8"
    assert writer.close(1011, "schluß") == b"\x88\x09\x03\xf3schlu\xc3\x9f"
    assert writer.close(1005) == b"\x88\x00"
    for code in (0, 999, 1004, 1006, 1015, 2999, 5000, 70000, -1):
        with pytest.raises(ValueError, match=f"not a close code that may be sent: {code}"):
            writer.close(code)
    with pytest.raises(UnicodeEncodeError):
        writer.close(1000, "\udfff")


@pytest.mark.parametrize("character", ["a", "é", "€", "\U0001f600"])
def test_a_long_reason_is_cut_at_a_character(character: str) -> None:
    for prefix in range(5):
        reason = "." * prefix + character * 130
        [(_, payload)] = read_frames(MessageWriter().close(1000, reason))
        assert len(payload) <= 125
        kept = payload[2:].decode()
        assert reason.startswith(kept)
        assert len((kept + character).encode()) > 123
