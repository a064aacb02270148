"""A WebSocket application without a framework; one route for each thing a client may want of it.

What happens inside is told on standard output, as `KEY: what`, where KEY is the last part of the path.
"""

import asyncio
import os
import time

_released = {}


def released(key):
    return _released.setdefault(key, asyncio.Event())


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    route, _, key = scope["path"].strip("/").partition("/")
    if scope["type"] == "http":
        await http(send, route, key)
        return

    def tell(what):
        print(f"{key}: {what}\n", end="", flush=True)

    assert (await receive())["type"] == "websocket.connect"
    await ROUTES[route](scope, receive, send, tell)


async def lifespan(receive, send):
    while True:
        kind = (await receive())["type"]
        await send({"type": kind + ".complete"})
        if kind == "lifespan.shutdown":
            print("lifespan is over\n", end="", flush=True)
            return


async def http(send, route, key):
    """`/release/KEY` lets the WebSocket go that waits at KEY; all else tells the process id."""
    if route == "release":
        released(key).set()
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send, tell):
    """Return every message, and tell how it ended."""
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    tell("accepted")
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    tell(f"disconnect {message['code']} {message.get('reason') or ''}")


async def pid(scope, receive, send, tell):
    """Tell the process id, then nothing more."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": str(os.getpid())})
    tell("accepted")
    message = await receive()
    tell(f"disconnect {message['code']}")


async def size(scope, receive, send, tell):
    """Answer every message with its kind and length."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kind = "text" if message.get("text") is not None else "bytes"
        await send({"type": "websocket.send", "text": f"{kind} {len(message[kind])}"})


async def block(scope, receive, send, tell):
    """Keep the event loop from running for as many seconds as a message says."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        tell("blocking")
        time.sleep(float(message["text"]))
        tell("blocked")


async def close(scope, receive, send, tell):
    """Close with a code and a reason of our own."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4001, "reason": "the server's reason"})


async def deny(scope, receive, send, tell):
    """Refuse with a response of our own."""
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no ticket")]})
    await send({"type": "websocket.http.response.body", "body": b"a ticket, please"})


async def push(scope, receive, send, tell):
    """Send 400 messages of 64 KiB, telling of each, as fast as the client lets us; then close."""
    await send({"type": "websocket.accept"})
    for number in range(400):
        await send({"type": "websocket.send", "bytes": bytes([number % 256]) * 65536})
        tell(f"sent {number + 1}")
    await send({"type": "websocket.close"})


async def slow(scope, receive, send, tell):
    """Receive nothing until released; then count what comes."""
    await send({"type": "websocket.accept"})
    await released(scope["path"].rpartition("/")[2]).wait()
    number = size = 0
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "end":
            await send({"type": "websocket.send", "text": f"{number} {size}"})
        else:
            number += 1
            size += len(message["bytes"])


async def late(scope, receive, send, tell):
    """Wait for the client to go, then go on sending."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    tell(f"disconnect {message['code']}")
    try:
        await send({"type": "websocket.send", "text": "is anybody there?"})
    except OSError as error:
        tell(f"send raised {type(error).__name__}")
    else:
        tell("send did nothing")


async def fail(scope, receive, send, tell):
    await send({"type": "websocket.accept"})
    raise ValueError("the application failed")


async def stubborn(scope, receive, send, tell):
    """Take no notice of a disconnect."""
    await send({"type": "websocket.accept"})
    tell("accepted")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        tell("cancelled")
        raise


async def hold(scope, receive, send, tell):
    """Neither accept nor refuse until released."""
    tell("connecting")
    message = await receive()
    tell(f"disconnect {message['code']}")


ROUTES = {
    function.__name__: function
    for function in (echo, pid, size, block, close, deny, push, slow, late, fail, stubborn, hold)
}  # fmt: skip
