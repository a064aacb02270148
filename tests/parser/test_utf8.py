"""The UTF-8 check against the grammar of RFC 3629: the first byte that no text goes on with, however it is cut."""

import functools
import itertools

import pytest

from tests.parser._raw_websocket import check_utf8, utf8_names
from tests.parser.websocket_oracle import text_problem

# The first and the last byte of every range of RFC 3629 section 4, and their neighbours.
EDGES = bytes.fromhex("007f80 8f90 9fa0 bfc0 c1c2 dfe0 e1ec ed ee ef f0 f1 f3 f4 f5 ff")
first_problem = functools.cache(text_problem)

TEXTS = ["κόσμε", "\U0001f600 a \U0010ffff", "日本語" * 20, "é", "\ud7ff\ue000", "a" * 40 + "ß" + "b" * 70 + "€"]


@pytest.fixture(params=utf8_names())
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def test_every_beginning_of_up_to_three_bytes(name: str) -> None:
    for size in (1, 2, 3):
        for values in itertools.product(EDGES, repeat=size):
            data = bytes(values)
            assert check_utf8(name, [data])[0] == first_problem(data), data


def test_every_pair_of_bytes(name: str) -> None:
    for first in range(256):
        for second in range(256):
            data = bytes((first, second))
            assert check_utf8(name, [data])[0] == first_problem(data), data


def test_four_bytes(name: str) -> None:
    for values in itertools.product(b"\xf0\xf1\xf4", EDGES, b"\x7f\x80\xbf\xc0", b"\x7f\x80\xbf\xc0"):
        data = bytes(values)
        assert check_utf8(name, [data])[0] == first_problem(data), data


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("front", [False, True])
def test_every_cut(name: str, text: str, front: bool) -> None:
    data = text.encode()
    for at in range(len(data) + 1):
        assert check_utf8(name, [data[:at], data[at:]], front) == (None, 0)
        broken, missing = check_utf8(name, [data[:at]], front)
        assert broken is None
        assert (missing == 0) == (data[:at].decode(errors="ignore").encode() == data[:at])
        assert check_utf8(name, [data[:at], b"\xff"], front) == (at, 0)
    assert check_utf8(name, [bytes([byte]) for byte in data], front) == (None, 0)


@pytest.mark.parametrize("front", [False, True])
def test_every_length_of_ascii_before_and_behind(name: str, front: bool) -> None:
    for before in range(70):
        for behind in (0, 1, 15, 16, 17, 31, 32, 33):
            data = b"a" * before + "€".encode() + b"b" * behind
            assert check_utf8(name, [data], front) == (None, 0)
            assert check_utf8(name, [data + b"\x80"], front) == (len(data), 0)


def test_the_grammar_is_what_python_decodes() -> None:
    for values in itertools.product(EDGES, repeat=3):
        data = bytes(values)
        try:
            data.decode()
        except UnicodeDecodeError:
            assert text_problem(data, whole=True) is not None
        else:
            assert text_problem(data, whole=True) is None
