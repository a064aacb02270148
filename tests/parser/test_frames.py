"""Frame heads: every first two bytes, every length at its edges, every beginning, at a guard page."""

import struct

import pytest

from tests.parser import websocket_oracle as oracle
from tests.parser._raw_websocket import frame_head, server_head
from tests.parser.websocket_peer import KEY, read_frames

CONTINUES, DEFLATE = 1, 2
LENGTHS = [0, 1, 125, 126, 127, 255, 256, 65535, 65536, 2**31, 2**32, 2**53, 2**63 - 1]


def head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes([first, 0x80 | size]) + KEY
    if size < 65536:
        return bytes([first, 0x80 | 126]) + struct.pack("!H", size) + KEY
    return bytes([first, 0x80 | 127]) + struct.pack("!Q", size) + KEY


@pytest.mark.parametrize("rules", [0, CONTINUES, DEFLATE, CONTINUES | DEFLATE])
def test_every_first_two_bytes(rules: int) -> None:
    for first in range(256):
        for second in range(256):
            data = bytes([first, second, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9])
            if second & 0x7F == 126:
                data = data[:2] + b"\x00\x7e" + data[4:]
            for size in (1, 2, 14):
                try:
                    said = oracle.read_head(
                        data[:size], 0, continues=bool(rules & CONTINUES), deflate=bool(rules & DEFLATE)
                    )
                except oracle.Incomplete:
                    assert frame_head(data[:size], rules) == 0
                except oracle.Failed:
                    assert isinstance(frame_head(data[:size], rules), str)
                else:
                    expected = (said.end, said.opcode, said.final, said.rsv1, said.size, said.key)
                    assert frame_head(data[:size], rules) == expected


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("front", [False, True])
def test_lengths(size: int, front: bool) -> None:
    data = head(0x82, size)
    for end in range(len(data)):
        assert frame_head(data[:end], 0, front) == 0
    assert frame_head(data, 0, front) == (len(data), 2, True, False, size, KEY)
    assert frame_head(data + b"more", 0, front) == (len(data), 2, True, False, size, KEY)


@pytest.mark.parametrize(
    ("data", "rules", "problem"),
    [
        (b"\x91", 0, "a reserved bit is set"),
        (b"\xa1", DEFLATE, "a reserved bit is set"),
        (b"\xc1", 0, "a reserved bit is set"),
        (b"\x83", 0, "reserved opcode"),
        (b"\x8b", 0, "reserved opcode"),
        (b"\x09", 0, "fragmented control frame"),
        (b"\xc9", DEFLATE, "compressed control frame"),
        (b"\xc0", DEFLATE | CONTINUES, "RSV1 on a continuation frame"),
        (b"\x80", 0, "continuation frame without a message"),
        (b"\x81", CONTINUES, "new message inside a fragmented one"),
        (b"\x81\x05", 0, "frame without a mask"),
        (b"\x89\xfe", 0, "control frame of over 125 bytes"),
        (b"\x81\xfe\x00\x7d", 0, "payload length in more bytes than it needs"),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", 0, "payload length in more bytes than it needs"),
        (b"\x81\xff\x80", 0, "payload length with the most significant bit set"),
    ],
)
def test_problems_are_known_with_their_first_byte(data: bytes, rules: int, problem: str) -> None:
    for end in range(len(data)):
        assert frame_head(data[:end], rules) == 0
    assert frame_head(data, rules) == problem
    assert frame_head(data + bytes(20), rules) == problem


@pytest.mark.parametrize("size", LENGTHS)
def test_heads_to_clients(size: int) -> None:
    written = server_head(0x82, size)
    assert frame_head(bytes([written[0], written[1] | 0x80]) + written[2:] + KEY)[4] == size
    if size < 70000:
        assert list(read_frames(written + bytes(size))) == [(0x82, bytes(size))]
