"""Quart, which accepts with the first message that is sent or received unless it is told to earlier."""

import asyncio

from quart import Quart, abort, make_response, websocket

from tests.websocket.apps import tell

app = Quart(__name__)


@app.websocket("/echo/<key>")
async def echo(key):
    try:
        while True:
            await websocket.send(await websocket.receive())
    except asyncio.CancelledError:
        tell(key, "disconnect by cancellation")
        raise


@app.websocket("/subprotocol/<key>")
async def subprotocol(key):
    await websocket.accept(subprotocol="chat.v2")
    await websocket.send(" ".join(websocket.requested_subprotocols))


@app.websocket("/fields/<key>")
async def fields(key):
    await websocket.accept(headers={"x-own": "yes", "set-cookie": "seen=1"})
    await websocket.send_json([websocket.headers["x-asked"], websocket.args["q"], websocket.cookies["name"]])


@app.websocket("/deny/<key>")
async def deny(key):
    abort(403)


@app.websocket("/denial/<key>")
async def denial(key):
    return await make_response("pay first", 402, {"x-why": "money"})


@app.websocket("/close/<key>")
async def close(key):
    await websocket.accept()
    await websocket.close(4001, "the application's reason")


@app.websocket("/fail/<key>")
async def fail(key):
    await websocket.accept()
    raise ValueError("the application failed")


@app.websocket("/fail-early/<key>")
async def fail_early(key):
    raise ValueError("the application failed")


@app.websocket("/json/<key>")
async def json(key):
    while True:
        message = await websocket.receive_json()
        await websocket.send_json({"number": message["number"] + 1})
