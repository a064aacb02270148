"""Starlette: functions and an endpoint class."""

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from tests.websocket.apps import tell


class Echo(WebSocketEndpoint):
    async def on_connect(self, websocket):
        await websocket.accept()

    async def on_receive(self, websocket, data):
        if isinstance(data, bytes):
            await websocket.send_bytes(data)
        else:
            await websocket.send_text(data)

    async def on_disconnect(self, websocket, close_code):
        tell(websocket.path_params["key"], f"disconnect {close_code}")

    async def decode(self, websocket, message):
        return message["text"] if message.get("text") is not None else message["bytes"]


async def subprotocol(websocket):
    await websocket.accept(subprotocol="chat.v2")
    await websocket.send_text(" ".join(websocket.scope["subprotocols"]))
    await websocket.close()


async def fields(websocket):
    await websocket.accept(headers=[(b"x-own", b"yes"), (b"set-cookie", b"seen=1")])
    await websocket.send_json([websocket.headers["x-asked"], websocket.query_params["q"], websocket.cookies["name"]])
    await websocket.close()


async def deny(websocket):
    await websocket.close()


async def denial(websocket):
    response = PlainTextResponse("pay first", status_code=402, headers={"x-why": "money"})
    await websocket.send_denial_response(response)


async def close(websocket):
    await websocket.accept()
    await websocket.close(4001, "the application's reason")


async def fail(websocket):
    await websocket.accept()
    raise ValueError("the application failed")


async def fail_early(websocket):
    raise ValueError("the application failed")


async def late(websocket):
    key = websocket.path_params["key"]
    await websocket.accept()
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect as gone:
        tell(key, f"disconnect {gone.code} {gone.reason}")
    # What WebSocket itself would refuse, as a library does that holds `send`.
    try:
        await websocket._send({"type": "websocket.send", "text": "is anybody there?"})
    except OSError as error:
        tell(key, f"send raised {type(error).__name__}")


async def json(websocket):
    await websocket.accept()
    async for message in websocket.iter_json():
        await websocket.send_json({"number": message["number"] + 1})


ROUTES = {
    "echo": Echo,
    "subprotocol": subprotocol,
    "fields": fields,
    "deny": deny,
    "denial": denial,
    "close": close,
    "fail": fail,
    "fail-early": fail_early,
    "late": late,
    "json": json,
}

app = Starlette(routes=[WebSocketRoute(f"/{name}/{{key}}", endpoint) for name, endpoint in ROUTES.items()])
