from logging import Logger
from typing import final

from fastserve._websocket import WebSocket
from fastserve.protocol._connection import Connection, Upgrade

@final
class WebSocketUpgrade(Upgrade):
    max_size: int
    max_queue: int

    def __init__(
        self,
        *,
        max_size: int = 16777216,
        max_queue: int = 32,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        per_message_deflate: bool = True,
        logger: Logger | None = None,
    ) -> None: ...

@final
class Http1WebSocket(WebSocket): ...

@final
class WebSocketConnection(Connection): ...
