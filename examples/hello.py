"""An ASGI application without a framework: one small route for each thing a server has to do.

    fastserve hello:app --app-dir examples

and open http://127.0.0.1:8000/, which lists the routes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>fastserve</title>
<style>body { font: 16px/1.5 sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em } code { background: #eee }
td { padding-right: 1.5em; vertical-align: top }</style>
<h1>It works</h1>
<p>This page comes from <code>examples/hello.py</code>, served by fastserve. Try:</p>
<table>
<tr><td><a href="/text">/text</a><td>thirteen bytes of text
<tr><td><a href="/echo?a=1&amp;b=2">/echo</a><td>the request as JSON, its body included:
    <code>curl -d name=value {base}/echo</code>
<tr><td><a href="/stream">/stream</a><td>ten lines, one every half second: <code>curl -N {base}/stream</code>
<tr><td><a href="/events">/events</a><td>server-sent events until the client goes away; here: <b id="tick">-</b>
<tr><td>/upload<td>counts the bytes of a body of any size without keeping them:
    <code>head -c 100M /dev/zero | curl -T - {base}/upload</code>
<tr><td><a href="/error">/error</a><td>an application that fails: 500 here, the traceback in the log
</table>
<script>
const tick = document.getElementById("tick")
new EventSource("/events").onmessage = event => tick.textContent = event.data
</script>
"""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or start up and shut down with the server."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        route = ROUTES.get(scope["path"], not_found)
        await route(scope, receive, send)
    else:
        raise NotImplementedError(scope["type"])


async def lifespan(receive: Receive, send: Send) -> None:
    """What an application opens before its first request and closes after its last belongs here."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    """Send a whole response at once."""
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def index(scope: Scope, receive: Receive, send: Send) -> None:
    """List the routes."""
    host = dict(scope["headers"]).get(b"host", b"127.0.0.1:8000").decode("latin-1")
    base = f"{scope['scheme']}://{host}".replace("&", "&amp;").replace("<", "&lt;")
    await answer(send, 200, b"text/html; charset=utf-8", INDEX.replace("{base}", base).encode())


async def text(scope: Scope, receive: Receive, send: Send) -> None:
    """Thirteen bytes."""
    await answer(send, 200, b"text/plain; charset=utf-8", b"Hello, world!")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Return what arrived, as JSON. The body is limited here, because it is held in memory."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > 1_000_000:
            await answer(send, 413, b"text/plain; charset=utf-8", b"at most 1 MB here; /upload takes more\n")
            return
    request = {
        "method": scope["method"],
        "path": scope["path"],
        "query": parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
        "http_version": scope["http_version"],
        "client": scope["client"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("utf-8", "replace"),
    }
    await answer(send, 200, b"application/json", json.dumps(request, indent=2).encode() + b"\n")


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a body piece by piece; its length is not known beforehand."""
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for number in range(1, 11):
        await send({"type": "http.response.body", "body": b"line %d of 10\n" % number, "more_body": True})
        await asyncio.sleep(0.5)
    await send({"type": "http.response.body"})


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Server-sent events, once a second, until the client goes away or the server stops."""
    fields = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    gone = asyncio.create_task(disconnected(receive))
    number = 0
    while not gone.done():
        number += 1
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await asyncio.wait([gone], timeout=1)


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Count the bytes of the body as they arrive; a client that is faster than this loop is slowed down."""
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, 200, b"text/plain; charset=utf-8", b"%d bytes\n" % size)


async def error(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail before anything was sent."""
    raise RuntimeError("this route fails on purpose")


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every other path."""
    await answer(send, 404, b"text/plain; charset=utf-8", b"not found; / lists what there is\n")


ROUTES = {
    "/": index,
    "/text": text,
    "/echo": echo,
    "/stream": stream,
    "/events": events,
    "/upload": upload,
    "/error": error,
}
