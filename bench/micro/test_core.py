"""The core alone, without sockets: a request through a connection in memory to an application and back.

What the pieces cost is the difference between rows: `handler` is parsing, the exchange and the response writer under a
handler that is told of each request directly; `asgi` adds scope, task, receive and send; the browser's head adds ten
fields. Run with: python -m pytest bench/micro --benchmark-only
"""

import asyncio

import pytest

from bench.hot_path import ANSWER, BROWSER, PIPELINED, SMALL
from bench.load import apps
from fastserve._exchange import PythonHandler
from fastserve.gateway._asgi import AsgiGateway
from fastserve.protocol._worker import Worker
from fastserve.transport._memory import MemoryStream

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


def handler(exchange):
    exchange.start(200, HEADERS)
    exchange.body(ANSWER)


@pytest.mark.parametrize("gateway", ["handler", "asgi"])
@pytest.mark.parametrize(("request_bytes", "count"), [
    pytest.param(SMALL, 1, id="small"),
    pytest.param(BROWSER, 1, id="browser"),
    pytest.param(SMALL * PIPELINED, PIPELINED, id="pipelined-16"),
])  # fmt: skip
def test_request(benchmark, gateway, request_bytes, count):
    loop = asyncio.new_event_loop()
    try:
        answers = PythonHandler(handler) if gateway == "handler" else AsgiGateway(apps.small, loop)
        stream = MemoryStream(Worker(answers, loop, default_fields=[(b"server", b"fastserve")]))

        def serve() -> bytes:
            stream.feed(request_bytes)
            return stream.take()

        assert serve().count(ANSWER) == count
        benchmark(serve)
        stream.lose()
    finally:
        loop.close()
