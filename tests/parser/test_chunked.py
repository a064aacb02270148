"""Chunked bodies beyond the corpus: pieces, and the bounds on framing, extensions and trailers without end."""

import pytest

from tests.parser._raw import RawChunked


def test_each_call_gives_at_most_one_piece() -> None:
    body = RawChunked()
    data = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext"
    assert body.parse(data) == (6, b"abc")
    assert body.parse(data[6:]) == (7, b"de")
    assert body.parse(data[13:]) == (7, b"")
    assert body.done
    assert body.parse(b"next") == (0, b"")


def test_a_piece_is_given_before_the_error_behind_it() -> None:
    body = RawChunked()
    assert body.parse(b"3\r\nabcX") == (6, b"abc")
    assert body.parse(b"X")[0] == -1
    assert body.rejected() == (400, "MISSING_CHUNK_END", 0)
    assert body.parse(b"\r\n")[0] == -1


def test_data_is_given_as_it_comes() -> None:
    body = RawChunked()
    assert body.parse(b"7fffffffffffffff\r\nab") == (20, b"ab")
    assert body.parse(b"\r\n0\r\n\r\n") == (7, b"\r\n0\r\n\r\n")
    assert not body.done


def chunks_until_rejected(size: int, most: int) -> int | None:
    body = RawChunked()
    chunk = b"%x\r\n%s\r\n" % (size, b"d" * size)
    for number in range(most):
        consumed = 0
        while consumed < len(chunk):
            result, _ = body.parse(chunk[consumed:])
            if result < 0:
                assert body.rejected()[:2] == (400, "TOO_MUCH_FRAMING")
                return number
            consumed += result
    return None


@pytest.mark.parametrize(("size", "most"), [(1, 22000), (2, 66000)])
def test_tiny_chunks_are_bounded(size: int, most: int) -> None:
    number = chunks_until_rejected(size, most)
    assert number is not None
    assert number > 20000


def test_small_chunks_are_not() -> None:
    assert chunks_until_rejected(3, 100_000) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"1;" + b"a" * 5000, "CHUNK_EXTENSIONS_TOO_LARGE"),
        (b'1;a="' + b"b" * 5000, "CHUNK_EXTENSIONS_TOO_LARGE"),
        (b"1" + b" " * 5000, "CHUNK_EXTENSIONS_TOO_LARGE"),
        (b"0\r\n" + b"A: b\r\n" * 200, "TOO_MANY_TRAILERS"),
        (b"0\r\nA: " + b"b" * 9000, "TRAILERS_TOO_LARGE"),
        (b"0\r\n" + b"A" * 9000, "TRAILERS_TOO_LARGE"),
        (b"0" * 100, "CHUNK_SIZE_OVERFLOW"),
    ],
)
def test_nothing_goes_on_without_end(text: bytes, reason: str) -> None:
    body = RawChunked()
    result, _ = body.parse(text)
    assert result == -1
    assert body.rejected()[1] == reason
