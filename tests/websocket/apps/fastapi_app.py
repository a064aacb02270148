"""FastAPI: parameters of path, query, cookie and header, and a dependency that lives as long as the WebSocket."""

from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Query, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse

from tests.websocket.apps import tell

app = FastAPI()


async def held(key: str):
    yield key
    tell(key, "given back")


@app.websocket("/echo/{key}")
async def echo(websocket: WebSocket, key: Annotated[str, Depends(held)]):
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            tell(key, f"disconnect {message['code']} {message.get('reason') or ''}")
            return
        await websocket.send({**message, "type": "websocket.send"})


@app.websocket("/subprotocol/{key}")
async def subprotocol(websocket: WebSocket):
    await websocket.accept(subprotocol="chat.v2")
    await websocket.send_text(" ".join(websocket.scope["subprotocols"]))
    await websocket.close()


@app.websocket("/fields/{key}")
async def fields(
    websocket: WebSocket,
    q: Annotated[str, Query()],
    name: Annotated[str, Cookie()],
    x_asked: Annotated[str, Header()],
):
    await websocket.accept(headers=[(b"x-own", b"yes"), (b"set-cookie", b"seen=1")])
    await websocket.send_json([x_asked, q, name])
    await websocket.close()


@app.websocket("/deny/{key}")
async def deny(websocket: WebSocket):
    await websocket.close()


@app.websocket("/denial/{key}")
async def denial(websocket: WebSocket):
    raise HTTPException(402, "money", headers={"x-why": "money"})


@app.exception_handler(HTTPException)
async def refused(websocket, error):
    await websocket.send_denial_response(PlainTextResponse("pay first", error.status_code, headers=error.headers))


@app.websocket("/close/{key}")
async def close(websocket: WebSocket):
    await websocket.accept()
    await websocket.close(4001, "the application's reason")


@app.websocket("/fail/{key}")
async def fail(websocket: WebSocket):
    await websocket.accept()
    raise ValueError("the application failed")


@app.websocket("/fail-early/{key}")
async def fail_early(websocket: WebSocket):
    raise ValueError("the application failed")


@app.websocket("/late/{key}")
async def late(websocket: WebSocket, key: str):
    await websocket.accept()
    try:
        await websocket.receive_text()
    except WebSocketDisconnect as gone:
        tell(key, f"disconnect {gone.code} {gone.reason}")
    try:
        await websocket._send({"type": "websocket.send", "text": "is anybody there?"})
    except OSError as error:
        tell(key, f"send raised {type(error).__name__}")


@app.websocket("/json/{key}")
async def json(websocket: WebSocket):
    await websocket.accept()
    async for message in websocket.iter_json():
        await websocket.send_json({"number": message["number"] + 1})
