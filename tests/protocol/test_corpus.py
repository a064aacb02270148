"""The whole corpus through a connection: at once, byte by byte and in two at every place.

What the parser accepts reaches the handler as one request; what it rejects is answered with the status and leaves the
connection closing. tests/parser holds the parser to reasons and offsets; here it is what a client sees.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).parent.parent / "corpus" / "h1"
OPTIONS = {
    "request_line": "limit_request_line",
    "head": "limit_request_head",
    "fields": "limit_request_fields",
}
LARGE = 300


def cases(kind: str) -> Iterator[Any]:
    for path in sorted(CORPUS.glob(f"{kind}/*.http")):
        expected = json.loads(path.with_suffix(".json").read_text())
        limits = expected.get("limits", {})
        # Limits of chunked framing are constants of the connection; the parser's tests move them. CONNECT is parsed but
        # not served: test_http1.
        if set(limits) <= set(OPTIONS) and expected.get("method") != "CONNECT":
            options = {OPTIONS[name]: value for name, value in limits.items()}
            yield pytest.param(path.read_bytes(), expected, options, id=path.stem)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    if len(data) <= LARGE:
        yield [data[at : at + 1] for at in range(len(data))]
        for at in range(1, len(data)):
            yield [data[:at], data[at:]]


@pytest.mark.parametrize(("data", "expected", "options"), list(cases("accept")))
def test_accepted(bench, answer, data, expected, options):
    for pieces in cuts(data):
        b = bench(answer(), **options)
        stream = b.connect()
        bodies = []
        for piece in pieces:
            stream.feed(piece)
            if b.calls:
                bodies.append(b.calls[0].read())
        request = b.calls[0].request
        assert request.method == expected["method"]
        assert request.target == expected["target"].encode("latin-1")
        assert request.minor == expected["minor"]
        assert re.match(rb"HTTP/1\.1 (200|100) ", stream.take())


@pytest.mark.parametrize(("data", "expected", "options"), list(cases("reject")))
def test_rejected(bench, data, expected, options):
    for pieces in cuts(data):
        b = bench(**options)
        stream = b.connect()
        for piece in pieces:
            stream.feed(piece)
        assert stream.take().startswith(b"HTTP/1.1 %d " % expected["status"])
        assert stream.shut or stream.closed
        assert all(not exchange.complete for exchange in b.calls), "a malformed request was delivered as complete"
        stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.take() == b""
