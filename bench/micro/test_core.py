"""The core alone, without sockets: a request through a connection in memory to an application and back.

What the pieces cost is the difference between rows: `handler` is parsing, the exchange and the response writer under a
handler that is told of each request directly; `asgi` adds scope, task, receive and send; the browser's head adds ten
fields. Run with: python -m pytest bench/micro --benchmark-only
"""

import asyncio

import pytest

from fastserve._exchange import PythonHandler
from fastserve.gateway._asgi import AsgiGateway
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

SMALL = b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"
BROWSER = (
    b"GET /static/page.html?version=42 HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
    b"\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n"
    b"Referer: https://www.example.com/index.html\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
START = {"type": "http.response.start", "status": 200, "headers": HEADERS}
BODY = {"type": "http.response.body", "body": b"Hello, World!"}


async def application(scope, receive, send):
    await send(START)
    await send(BODY)


def handler(exchange):
    exchange.start(200, HEADERS)
    exchange.body(b"Hello, World!")


@pytest.mark.parametrize("gateway", ["handler", "asgi"])
@pytest.mark.parametrize(("request_bytes", "count"), [
    pytest.param(SMALL, 1, id="small"),
    pytest.param(BROWSER, 1, id="browser"),
    pytest.param(SMALL * 16, 16, id="pipelined-16"),
])  # fmt: skip
def test_request(benchmark, gateway, request_bytes, count):
    loop = asyncio.new_event_loop()
    try:
        answers = PythonHandler(handler) if gateway == "handler" else AsgiGateway(application, loop)
        stream = MemoryStream(Worker(answers, loop, default_fields=[(b"server", b"fastserve")]))

        def serve() -> bytes:
            stream.feed(request_bytes)
            return stream.take()

        assert serve().count(b"Hello, World!") == count
        benchmark(serve)
        stream.lose()
    finally:
        loop.close()
