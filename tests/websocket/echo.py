"""The application that the cases are played against."""

from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accept every WebSocket and send each message back as what it is, text or bytes."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kept = message.get("text")
        answer = {"bytes": message["bytes"]} if kept is None else {"text": kept}
        await send({"type": "websocket.send", **answer})
