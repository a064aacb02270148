"""A WebSocket application that does what its client wants: the field `x-script` holds its steps as JSON.

The steps, one after another; what the application sees is written into the journal named by the path's last part:

    "receive"        receive one message and write it down
    "rest"           receive and write down until the disconnect
    "echo"           return every message until the disconnect, and write only that down
    "scope"          write the scope down
    "wait"           wait until the journal is released
    "raise"          fail
    "return"         return something
    {message}        send a message; `bytes`, `body` and `headers` are text in JSON
    ["try", step]    do a step and write down what it raised, if it did
"""

import json

from tests.parity.apps.control import Control, journal


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        body = b"over HTTP: " + scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        return
    script = dict(scope["headers"]).get(b"x-script", b'["receive", {"type": "websocket.accept"}, "echo"]')
    log = journal(scope["path"].rpartition("/")[2])
    try:
        for step in json.loads(script):
            result = await perform(step, scope, receive, send, log)
    finally:
        log.write("left")
    return result


async def perform(step, scope, receive, send, log):
    match step:
        case "receive":
            log.write(written(await receive()))
        case "rest":
            while (message := await receive())["type"] != "websocket.disconnect":
                log.write(written(message))
            log.write(written(message))
        case "echo":
            while (message := await receive())["type"] != "websocket.disconnect":
                await send({**message, "type": "websocket.send"})
            log.write(written(message))
        case "scope":
            for name, value in sorted(scope.items()):
                log.write(f"{name} = {value!r}")
        case "wait":
            await log.released.wait()
        case "raise":
            raise ValueError("the application failed")
        case "return":
            return "something"
        case ["try", inner]:
            try:
                await perform(inner, scope, receive, send, log)
            except Exception as error:
                log.write(f"{type(error).__name__}, an OSError: {isinstance(error, OSError)}: {error}")
            else:
                log.write("nothing raised")
        case dict():
            await send(sent(step))
        case _:
            raise AssertionError(step)


def written(message):
    """A message as text: a reason that is missing is an empty one, and a code is a number whatever class it has."""
    if message["type"] == "websocket.disconnect":
        message = message | {"code": int(message["code"]), "reason": message.get("reason") or ""}
    return " ".join([message["type"], *(f"{name}={message[name]!r}" for name in sorted(message) if name != "type")])


def sent(message):
    """A message from JSON, with bytes where ASGI has bytes."""
    message = dict(message)
    for name in ("bytes", "body"):
        if name in message and message[name] is not None:
            message[name] = message[name].encode("latin-1")
    if "headers" in message:
        message["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in message["headers"]]
    return message


app = Control(app)
