from asyncio import AbstractEventLoop
from collections.abc import Awaitable
from logging import Logger
from typing import Any, Literal, final

from fastserve._exchange import Handler
from fastserve.gateway._cycle import Cycle
from fastserve.types import ASGI3Application, Message

@final
class ScopeTemplate: ...

@final
class AsgiGateway(Handler):
    def __init__(
        self,
        application: ASGI3Application,
        loop: AbstractEventLoop,
        *,
        root_path: str = "",
        state: dict[str, Any] | None = None,
        task: Literal["auto", "native", "asyncio"] = "auto",
        reset_contextvars: bool = False,
        logger: Logger | None = None,
    ) -> None: ...

@final
class AsgiCycle(Cycle):
    def send(self, message: Message) -> Awaitable[None]: ...
