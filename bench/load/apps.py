"""The ASGI applications under load: the least an application does for each kind of work.

Every server runs the same objects. They build their messages for each request, as applications do.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TEN_KIB = b"x" * 10240
LARGE_SIZE = 100 * 1024 * 1024
LARGE_PIECE = b"x" * 65536
COMPUTED = range(10000)


async def small(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 13 bytes."""
    if scope["type"] != "http":
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
        }
    )
    await send({"type": "http.response.body", "body": b"Hello, World!"})


async def ten_kib(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 10 KiB."""
    if scope["type"] != "http":
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"10240")],
        }
    )
    await send({"type": "http.response.body", "body": TEN_KIB})


async def sleeping(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 13 bytes after a sleep of 1 ms."""
    if scope["type"] != "http":
        return
    await asyncio.sleep(0.001)
    await small(scope, receive, send)


async def computing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 13 bytes after some tenths of a millisecond of Python."""
    if scope["type"] != "http":
        return
    total = 0
    for number in COMPUTED:
        total ^= number
    await small(scope, receive, send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the request's body in the pieces it is received in, without a content-length."""
    if scope["type"] != "http":
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/octet-stream")],
        }
    )
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def download(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 100 MiB in pieces of 64 KiB."""
    if scope["type"] != "http":
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/octet-stream"),
                (b"content-length", b"%d" % LARGE_SIZE),
            ],
        }
    )
    for sent in range(0, LARGE_SIZE, len(LARGE_PIECE)):
        more = sent + len(LARGE_PIECE) < LARGE_SIZE
        await send({"type": "http.response.body", "body": LARGE_PIECE, "more_body": more})


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request's body to its end, then answer 13 bytes."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    await small(scope, receive, send)


async def websocket_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept every WebSocket and send each message back as what it is."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        if text is None:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        else:
            await send({"type": "websocket.send", "text": text})
