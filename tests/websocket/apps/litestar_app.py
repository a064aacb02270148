"""Litestar: handlers on the socket, and a listener."""

from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import websocket_listener

from tests.websocket.apps import tell


@websocket("/echo/{key:str}")
async def echo(socket: WebSocket, key: str) -> None:
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            tell(key, f"disconnect {message['code']} {message.get('reason') or ''}")
            return
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


@websocket("/subprotocol/{key:str}")
async def subprotocol(socket: WebSocket, key: str) -> None:
    await socket.accept(subprotocols="chat.v2")
    await socket.send_text(" ".join(socket.scope["subprotocols"]))
    await socket.close()


@websocket("/fields/{key:str}")
async def fields(socket: WebSocket, key: str, q: str) -> None:
    await socket.accept(headers={"x-own": "yes", "set-cookie": "seen=1"})
    await socket.send_json([socket.headers["x-asked"], q, socket.cookies["name"]])
    await socket.close()


@websocket("/deny/{key:str}")
async def deny(socket: WebSocket, key: str) -> None:
    await socket.close()


@websocket("/close/{key:str}")
async def close(socket: WebSocket, key: str) -> None:
    await socket.accept()
    await socket.close(4001, "the application's reason")


@websocket("/fail/{key:str}")
async def fail(socket: WebSocket, key: str) -> None:
    await socket.accept()
    raise ValueError("the application failed")


@websocket("/fail-early/{key:str}")
async def fail_early(socket: WebSocket, key: str) -> None:
    raise ValueError("the application failed")


@websocket("/late/{key:str}")
async def late(socket: WebSocket, key: str) -> None:
    await socket.accept()
    try:
        await socket.receive_text()
    except WebSocketDisconnect as gone:
        tell(key, f"disconnect {gone.code} {gone.detail}")
    try:
        await socket._send({"type": "websocket.send", "text": "is anybody there?"})
    except OSError as error:
        tell(key, f"send raised {type(error).__name__}")


@websocket_listener("/json/{key:str}")
async def json(data: dict[str, int], key: str) -> dict[str, int]:
    return {"number": data["number"] + 1}


app = Litestar([echo, subprotocol, fields, deny, close, fail, fail_early, late, json])
