"""Every file of tests/corpus/h1 at once, byte by byte, at every split point, between guard pages, with every scan."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastserve._parser import rejection_reasons, scan_implementations, use_scan
from fastserve._request_parser import END, Request, RequestParser
from fastserve.errors import RequestRejected
from tests.parser import oracle
from tests.parser.driver import HEAD_LIMITS, run

CORPUS = Path(__file__).parent.parent / "corpus" / "h1"
ACCEPT = sorted(path.stem for path in CORPUS.glob("accept/*.http"))
REJECT = sorted(path.stem for path in CORPUS.glob("reject/*.http"))
# Every split point and byte by byte cost the square of the size: larger files are cut at a few places only.
LARGE = 2000


@pytest.fixture(params=scan_implementations())
def scan(request: pytest.FixtureRequest) -> Iterator[None]:
    use_scan(request.param)
    yield
    use_scan(scan_implementations()[-1])


def load(kind: str, name: str) -> tuple[bytes, dict[str, Any], dict[str, int]]:
    data = (CORPUS / kind / f"{name}.http").read_bytes()
    expected = json.loads((CORPUS / kind / f"{name}.json").read_text())
    return data, expected, expected.pop("limits", {})


def accepted(expected: dict[str, Any]) -> dict[str, Any]:
    message = {key: value for key, value in expected.items() if key != "rest"}
    message["target"] = expected["target"].encode("latin-1")
    message["body"] = expected["body"].encode("latin-1")
    message["fields"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in expected["fields"]]
    return message


def cuts(data: bytes) -> Iterator[list[int]]:
    """All at once, byte by byte, and in two at every place."""
    size = len(data)
    yield [size]
    if size > LARGE:
        yield [*range(1, size, 997), size]
        yield [size - 1, size]
    else:
        yield list(range(1, size + 1))
        for at in range(1, size):
            yield [at, size]


@pytest.mark.usefixtures("scan")
@pytest.mark.parametrize("name", ACCEPT)
def test_accepted(name: str) -> None:
    data, expected, limits = load("accept", name)
    message = accepted(expected)
    size = len(data) - len(expected["rest"])
    for sizes in cuts(data):
        for options in ({}, {"front": True}, {"move": True}):
            assert run(data, sizes, limits, **options) == ("accepted", message, size), (sizes, options)
    for end in range(min(size, LARGE)):
        assert run(data[:end], [end], limits)[0] == "incomplete"


@pytest.mark.usefixtures("scan")
@pytest.mark.parametrize("name", REJECT)
def test_rejected(name: str) -> None:
    data, expected, limits = load("reject", name)
    rejection = (expected["status"], expected["reason"], expected["offset"])
    for sizes in cuts(data):
        for options in ({}, {"front": True}, {"move": True}):
            assert run(data, sizes, limits, **options)[:2] == ("rejected", rejection), (sizes, options)


# Only the whole value, the whole target or the second byte of a TLS record tells.
JUDGED_AT_THE_END = frozenset(
    {
        "TLS_HANDSHAKE",
        "BAD_METHOD",
        "HTTP2_PREFACE",
        "BAD_TARGET",
        "BAD_ASTERISK",
        "BAD_SCHEME",
        "BAD_AUTHORITY",
        "MISSING_HOST",
        "DUPLICATE_HOST",
        "BAD_HOST",
        "BAD_CONTENT_LENGTH",
        "CONTENT_LENGTH_OVERFLOW",
        "REPEATED_CONTENT_LENGTH",
        "CONFLICTING_CONTENT_LENGTH",
        "LENGTH_AND_ENCODING",
        "ENCODING_IN_HTTP10",
        "BAD_TRANSFER_ENCODING",
        "CHUNKED_NOT_LAST",
        "DUPLICATE_CHUNKED",
        "UNKNOWN_CODING",
    }
)


@pytest.mark.parametrize("name", REJECT)
def test_rejected_at_the_first_byte_that_tells(name: str) -> None:
    """A byte that may not stand where it stands is rejected when it comes, a meaningless line when it ends."""
    data, expected, limits = load("reject", name)
    outcome, _, shown = run(data, range(1, len(data) + 1), limits)
    assert outcome == "rejected"
    if expected["reason"] == "HEAD_TOO_LARGE":
        assert shown == expected["offset"]
    elif expected["reason"] in JUDGED_AT_THE_END:
        end = data.find(b"\n", expected["offset"])
        assert expected["offset"] < shown <= (len(data) if end < 0 else end + 1)
    else:
        assert shown == expected["offset"] + 1


def test_every_reason_has_a_case() -> None:
    reasons = {load("reject", name)[1]["reason"] for name in REJECT}
    # Needs a body of many chunks: test_chunked.py.
    assert set(rejection_reasons()) - reasons == {"TOO_MUCH_FRAMING"}


def test_every_reason_has_its_own_text_and_a_client_or_server_error() -> None:
    reasons = rejection_reasons()
    assert len({text for _, text in reasons.values()}) == len(reasons)
    assert {status for status, _ in reasons.values()} == {400, 414, 431, 501, 505}


def parse_publicly(data: bytes, step: int, limits: dict[str, int]) -> tuple[Request, bytes, bytes]:
    parser = RequestParser(
        limit_request_line=limits.get("request_line", 8192),
        limit_request_head=limits.get("head", 65536),
        limit_request_fields=limits.get("fields", 100),
        limit_chunk_extensions=limits.get("extensions", 4096),
        limit_trailers=limits.get("trailers", 8192),
    )
    events = []
    for start in range(0, len(data), step):
        parser.feed(data[start : start + step])
        while END not in events and (event := parser.next_event()) is not None:
            events.append(event)
    request, *pieces, end = events
    assert end is END
    assert isinstance(request, Request)
    return request, b"".join(piece for piece in pieces if isinstance(piece, bytes)), parser.unparsed


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ACCEPT)
def test_request_parser_accepts(name: str, step: int) -> None:
    data, expected, limits = load("accept", name)
    message = accepted(expected)
    request, body, rest = parse_publicly(data, step, limits)
    assert body == message.pop("body")
    assert rest == expected["rest"].encode("latin-1")
    assert request.version == f"1.{message.pop('minor')}"
    for attribute, value in message.items():
        assert getattr(request, attribute) == value


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
# RequestParser has one limit for fields and trailer fields.
@pytest.mark.parametrize("name", [name for name in REJECT if "trailer_fields" not in load("reject", name)[2]])
def test_request_parser_rejects(name: str, step: int) -> None:
    data, expected, limits = load("reject", name)
    with pytest.raises(RequestRejected) as caught:
        parse_publicly(data, step if len(data) < LARGE else 1 << 20, limits)
    error = caught.value
    assert (error.status, error.code, error.offset) == (expected["status"], expected["reason"], expected["offset"])
    assert error.reason == rejection_reasons()[error.code][1]
    assert str(error) == f"{error.reason} (byte {error.offset})"


def read_by_oracle(data: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], int]:
    head, size = oracle.read_head(data, **{name: limits[name] for name in HEAD_LIMITS if name in limits})
    message = vars(head)
    if head.chunked:
        others = {name: limits[name] for name in limits if name not in HEAD_LIMITS}
        message["body"], body_size = oracle.read_chunked(data[size:], **others)
        return message, size + body_size
    length = head.content_length or 0
    message["body"] = data[size : size + length]
    return message, size + length


@pytest.mark.parametrize("name", ACCEPT)
def test_oracle_accepts(name: str) -> None:
    data, expected, limits = load("accept", name)
    assert read_by_oracle(data, limits) == (accepted(expected), len(data) - len(expected["rest"]))


@pytest.mark.parametrize("name", REJECT)
def test_oracle_rejects(name: str) -> None:
    data, expected, limits = load("reject", name)
    head_size = data.find(b"\r\n\r\n") + 4 if b"chunked\r\n\r\n" in data else 0
    with pytest.raises(oracle.Rejected) as caught:
        read_by_oracle(data, limits)
    assert caught.value.code == expected["reason"]
    in_body = expected["offset"] >= head_size > 0
    start = head_size if in_body else 0
    assert start + caught.value.offset <= expected["offset"] <= start + caught.value.end
