"""Unmasking: every length and place in the key, by every vector code, up to a guard page on either side."""

import pytest

from tests.parser._raw_websocket import mask_names, unmask
from tests.parser.websocket_peer import masked

KEY = b"\x12\x34\x56\x78"
HIGH_KEY = b"\xff\x80\x01\xfe"


def test_names() -> None:
    assert mask_names()[0] == "scalar"


@pytest.mark.parametrize("name", mask_names())
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("front", [False, True])
def test_every_length(name: str, in_place: bool, front: bool) -> None:
    for key in (KEY, HIGH_KEY):
        for size in (*range(140), 255, 256, 1000):
            for offset in range(6):
                data = bytes(range(7, 107)) * (size // 100 + 1)
                plain = data[:size]
                sent = masked(bytes(offset) + plain, key)[offset:]
                assert unmask(name, sent, key, offset, front, in_place) == (plain, False)


@pytest.mark.parametrize("name", mask_names())
def test_every_place_of_a_byte_beyond_ascii(name: str) -> None:
    for size in range(1, 140):
        for place in range(size):
            plain = b"a" * place + b"\x80" + b"\x7f" * (size - place - 1)
            assert unmask(name, masked(plain, HIGH_KEY), HIGH_KEY) == (plain, True)
