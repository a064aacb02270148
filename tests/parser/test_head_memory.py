"""The memory of a head: copies carry on where the original stopped."""

import pytest

from fastserve._head import HeadMemory
from tests.parser._raw import RawHead

HEAD = b"GET /x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Other: 1\r\n\r\n"


@pytest.mark.parametrize("at", range(1, len(HEAD)))
def test_a_copy_goes_on(at: int) -> None:
    head = RawHead()
    assert head.parse(HEAD[:at]) == 0
    copy = head.moved()
    # The original is free for another head.
    assert head.parse(b"POST / HTTP/1.0\r\n\r\n") == 19
    assert copy.parse(HEAD) == len(HEAD)
    assert copy.accepted()["fields"] == [(b"host", b"a"), (b"accept", b"*/*"), (b"x-other", b"1")]
    assert head.accepted()["fields"] == []


def test_a_copy_needs_room() -> None:
    head = RawHead()
    assert head.parse(HEAD[:-4]) == 0
    assert head.moved(fields=99) is None
    copy = head.moved(fields=101)
    assert copy is not None
    assert copy.parse(HEAD) == len(HEAD)


def test_reset_and_use_again() -> None:
    head = RawHead()
    for _ in range(3):
        assert head.parse(HEAD) == len(HEAD)
        head.reset()
        assert head.parse(b"\n") == -1
        assert head.parse(HEAD) == -1
        head.reset()


def test_no_fields_at_all() -> None:
    head = RawHead(fields=0)
    assert head.parse(b"GET / HTTP/1.0\r\n\r\n") == 18
    head.reset()
    assert head.parse(b"GET / HTTP/1.0\r\nA: b\r\n\r\n") == -1


def test_no_such_room() -> None:
    with pytest.raises(OverflowError):
        HeadMemory(-1)
