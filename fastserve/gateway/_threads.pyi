from asyncio import AbstractEventLoop
from logging import Logger
from typing import final

from fastserve._exchange import Responder

class Work(Responder): ...

@final
class Slot:
    name: str
    work: Work | None
    def __init__(self, name: str) -> None: ...

@final
class Threads:
    slots: list[Slot]
    waiting: int
    def __init__(self, count: int, loop: AbstractEventLoop, logger: Logger, name: str = "wsgi") -> None: ...
    @property
    def busy(self) -> int: ...
    def end(self, timeout: float) -> list[Slot]: ...
