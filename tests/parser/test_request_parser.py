"""RequestParser as its users see it."""

import pytest

from fastserve._request_parser import END, Request, RequestParser
from fastserve.errors import RequestRejected

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_request() -> None:
    parser = RequestParser()
    assert parser.next_event() is None
    parser.feed(b"POST /x?y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhel")
    request = parser.next_event()
    assert isinstance(request, Request)
    assert (request.method, request.target, request.version) == ("POST", b"/x?y", "1.1")
    assert request.fields == [(b"host", b"a.example"), (b"content-length", b"5"), (b"expect", b"100-continue")]
    assert request.content_length == 5
    assert (request.keep_alive, request.expect_continue) == (True, True)
    assert (request.chunked, request.upgrade, request.te_trailers) == (False, False, False)
    assert repr(request) == "<Request POST b'/x?y' HTTP/1.1, 3 fields>"
    assert parser.next_event() == b"hel"
    assert parser.next_event() is None
    parser.feed(b"lo")
    assert list(parser) == [b"lo", END]
    assert repr(END) == "END"


def test_pipelined_requests() -> None:
    parser = RequestParser()
    parser.feed((CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n" + GET) * 3)
    events = list(parser)
    assert [event for event in events if not isinstance(event, Request)] == [b"ab", b"c", END, END] * 3
    assert [event.method for event in events if isinstance(event, Request)] == ["POST", "GET"] * 3


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", GET[:-2] + b"Connection: close\r\n\r\n"])
def test_nothing_is_read_behind_the_last_request(data: bytes) -> None:
    parser = RequestParser()
    parser.feed(data + GET)
    assert len(list(parser)) == 2
    assert parser.next_event() is None
    parser.feed(b"\0")
    assert parser.next_event() is None
    assert parser.unparsed == GET + b"\0"


def test_the_bytes_of_another_protocol() -> None:
    parser = RequestParser()
    parser.feed(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    request = parser.next_event()
    assert isinstance(request, Request)
    assert request.upgrade
    assert parser.next_event() is END
    assert parser.unparsed == b"\x81\x00"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_copied_or_immutable(kind: type) -> None:
    parser = RequestParser()
    for start in range(0, len(GET), 5):
        data = bytearray(GET[start : start + 5])
        parser.feed(kind(data))
        data[:] = b"\0" * len(data)
    assert len(list(parser)) == 2


def test_what_is_not_bytes() -> None:
    parser = RequestParser()
    for wrong in ("GET", None):
        with pytest.raises(TypeError):
            parser.feed(wrong)  # type: ignore[arg-type]
    parser.feed(GET)
    assert len(list(parser)) == 2


def test_a_rejection_is_final_and_counts_from_the_first_byte_of_the_request() -> None:
    parser = RequestParser()
    parser.feed(GET + CHUNKED + b"1\r\nx\r\n2\r\nab\r\r")
    events: list[object] = []
    with pytest.raises(RequestRejected) as caught:
        events.extend(parser)
    for _ in range(2):
        with pytest.raises(RequestRejected, match="bare CR in the chunk framing") as caught:
            parser.next_event()
        error = caught.value
        assert (error.status, error.code, error.offset) == (400, "CHUNK_BARE_CR", len(CHUNKED) + 12)


def test_limits() -> None:
    for limits, status in (
        ({"limit_request_line": 10}, 414),
        ({"limit_request_head": 20}, 431),
        ({"limit_request_fields": 0}, 431),
    ):
        parser = RequestParser(**limits)
        parser.feed(GET)
        with pytest.raises(RequestRejected) as caught:
            parser.next_event()
        assert caught.value.status == status


def test_requests_are_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match="requests come from a RequestParser"):
        Request()


def test_docstrings() -> None:
    for thing in (RequestParser, RequestParser.feed, RequestParser.next_event, Request, RequestRejected):
        assert thing.__doc__
