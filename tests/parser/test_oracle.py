"""The fast parsers against their slow twin (oracle.py) on generated input, cut anywhere."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parser import oracle
from tests.parser._raw import RawChunked, RawHead
from tests.parser.heads import near_valid_bodies, near_valid_heads

STATUS = {
    "REQUEST_LINE_TOO_LONG": 414,
    "TOO_MANY_FIELDS": 431,
    "HEAD_TOO_LARGE": 431,
    "UNKNOWN_CODING": 501,
    "UNSUPPORTED_VERSION": 505,
    "HTTP2_PREFACE": 505,
}


def cut(data: bytes, places: list[int]) -> list[int]:
    return sorted({min(place, len(data)) for place in places} | {len(data)})


def check_rejection(rejection: tuple[int, str, int], error: oracle.Rejected, base: int = 0) -> None:
    status, reason, offset = rejection
    assert reason == error.code
    assert status == STATUS.get(reason, 400)
    assert base + error.offset <= offset <= base + error.end


def check_head(data: bytes, places: list[int], limits: dict[str, int]) -> None:
    try:
        expected: Any = oracle.read_head(data, **limits)
    except oracle.Incomplete:
        expected = None
    except oracle.Rejected as error:
        expected = error
    head = RawHead(**limits)
    for size in cut(data, places):
        result = head.parse(data[:size])
        if result:
            break
        head = head.moved()
    if expected is None:
        assert result == 0
    elif isinstance(expected, oracle.Rejected):
        assert result == -1
        check_rejection(head.rejected(), expected)
    else:
        assert result == expected[1]
        assert head.accepted() == vars(expected[0])


@settings(max_examples=600)
@given(near_valid_heads(), st.lists(st.integers(0, 400), max_size=4))
def test_near_valid_heads(data: bytes, places: list[int]) -> None:
    check_head(data, places, {})


@settings(max_examples=300)
@given(
    near_valid_heads(),
    st.lists(st.integers(0, 400), max_size=4),
    st.integers(1, 60),
    st.integers(1, 120),
    st.integers(0, 4),
)
def test_near_valid_heads_with_small_limits(data: bytes, places: list[int], line: int, head: int, fields: int) -> None:
    check_head(data, places, {"request_line": line, "head": head, "fields": fields})


@settings(max_examples=300)
@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=3))
def test_any_bytes(data: bytes, places: list[int]) -> None:
    check_head(data, places, {})


HOST_PIECES = st.sampled_from(
    [
        "a",
        "1",
        "255",
        "256",
        "ffff",
        ":",
        "::",
        ".",
        "[",
        "]",
        "%41",
        "%",
        "v1",
        "_",
        "/",
        "@",
        "1.2.3.4",
        "0",
        "::1",
        "12345",
    ]
)


@settings(max_examples=1000)
@given(st.lists(HOST_PIECES, max_size=12).map("".join), st.booleans())
def test_hosts(host: str, brackets: bool) -> None:
    if brackets:
        host = f"[{host}]"
    check_head(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), [], {})
    check_head(f"GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode(), [], {})
    check_head(f"CONNECT {host} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), [], {})


@settings(max_examples=500)
@given(
    near_valid_bodies(),
    st.lists(st.integers(0, 300), max_size=4),
    st.integers(0, 30),
    st.integers(0, 40),
    st.integers(0, 3),
)
def test_near_valid_bodies(data: bytes, places: list[int], extensions: int, trailers: int, fields: int) -> None:
    limits = {"extensions": extensions * 3, "trailers": trailers * 3, "trailer_fields": fields}
    try:
        expected: Any = oracle.read_chunked(data, **limits)
    except oracle.Incomplete:
        expected = None
    except oracle.Rejected as error:
        expected = error
    chunked = RawChunked(**limits)
    consumed = 0
    result = 0
    body = b""
    for size in cut(data, places):
        while consumed < size and not chunked.done and result >= 0:
            result, piece = chunked.parse(data[consumed:size])
            if result >= 0:
                consumed += result
                body += piece
    if expected is None:
        assert result >= 0
        assert not chunked.done
    elif isinstance(expected, oracle.Rejected):
        assert result == -1
        status, reason, offset = chunked.rejected()
        check_rejection((status, reason, consumed + offset), expected)
    else:
        assert chunked.done
        assert (body, consumed) == expected
