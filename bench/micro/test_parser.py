"""The parser alone: a request head into a scope-ready list of fields, against llhttp (httptools) and h11.

    python -m pytest bench/micro/test_parser.py --benchmark-only --benchmark-group-by=group

"fields" is what a server pays: the head parsed and its list of (name, value) tuples built. "fresh" is the same when no
field repeats the one before (every value of the shared names differs from the last request's), the worst case for
fastserve._fields. "parse" is the parser without any object. Our calls go through tests/parser/_raw.pyx (a test module),
as the compiled protocol calls the parser; httptools is driven as servers drive it, with a protocol that collects.
"""

from collections.abc import Callable

import h11
import httptools
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastserve._parser import scan_implementations, use_scan
from fastserve._request_parser import END, RequestParser
from tests.parser._raw import RawHead

ROUNDS = 1000

SMALL = b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"
CURL = b"GET / HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
BROWSER = (
    b"GET /static/app/main.3f1c9.js?v=20240611&channel=stable HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
    b"Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-User: ?1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Referer: https://www.example.com/\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: session=5f4dcc3b5aa765d61d8327deb882cf99; theme=dark; seen=1\r\n\r\n"
)
HEADS = {"small-40": SMALL, "curl-77": CURL, "browser-800": BROWSER}
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: localhost:8000\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"400\r\n" + b"d" * 1024 + b"\r\n") * 64
    + b"0\r\n\r\n"
)


def varied(head: bytes) -> bytes:
    """The same head with every value one byte longer (a digit, valid in any of ours)."""
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return b"\r\n".join([line, *(field + b"1" for field in fields), b"", b""])


class Collector:
    """What a server does in httptools' callbacks, and no more."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    def on_message_begin(self) -> None:
        self.url = b""
        self.fields = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        pass

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.body = []


def llhttp(data: bytes, count: int) -> None:
    parser = httptools.HttpRequestParser(Collector())
    for _ in range(count):
        parser.feed_data(data)
        parser.get_method()
        parser.get_http_version()
        parser.should_keep_alive()


def h11_heads(data: bytes, count: int) -> None:
    for _ in range(count):
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        while type(connection.next_event()) is not h11.EndOfMessage:
            pass


def ours_publicly(data: bytes, count: int) -> None:
    parser = RequestParser()
    for _ in range(count):
        parser.feed(data)
        while parser.next_event() is not END:
            pass


@pytest.mark.parametrize("head", HEADS)
def test_fields_fastserve(benchmark: BenchmarkFixture, head: str) -> None:
    benchmark.group = f"{head} -> fields, {ROUNDS} times"
    benchmark(RawHead().repeat, [HEADS[head]], ROUNDS, True)


@pytest.mark.parametrize("head", HEADS)
def test_fresh_fields_fastserve(benchmark: BenchmarkFixture, head: str) -> None:
    benchmark.group = f"{head} -> fields, {ROUNDS} times"
    benchmark(RawHead().repeat, [HEADS[head], varied(HEADS[head])], ROUNDS, True)


@pytest.mark.parametrize("head", HEADS)
def test_fields_request_parser(benchmark: BenchmarkFixture, head: str) -> None:
    benchmark.group = f"{head} -> fields, {ROUNDS} times"
    benchmark(ours_publicly, HEADS[head], ROUNDS)


@pytest.mark.parametrize("head", HEADS)
def test_fields_llhttp(benchmark: BenchmarkFixture, head: str) -> None:
    benchmark.group = f"{head} -> fields, {ROUNDS} times"
    benchmark(llhttp, HEADS[head], ROUNDS)


@pytest.mark.parametrize("head", HEADS)
def test_fields_h11(benchmark: BenchmarkFixture, head: str) -> None:
    benchmark.group = f"{head} -> fields, {ROUNDS} times"
    benchmark.pedantic(h11_heads, (HEADS[head], ROUNDS), rounds=3)


@pytest.mark.parametrize("scan", scan_implementations()[1:])
@pytest.mark.parametrize("head", HEADS)
def test_parse(benchmark: BenchmarkFixture, head: str, scan: str) -> None:
    benchmark.group = f"{head} parsed, {ROUNDS} times"
    use_scan(scan)
    benchmark(RawHead().repeat, [HEADS[head]], ROUNDS, False)
    use_scan(scan_implementations()[-1])


@pytest.mark.parametrize("parse", [ours_publicly, llhttp, h11_heads])
def test_chunked(benchmark: BenchmarkFixture, parse: Callable[[bytes, int], None]) -> None:
    benchmark.group = "chunked body, 64 x 1 KiB"
    benchmark(parse, CHUNKED, 1)
