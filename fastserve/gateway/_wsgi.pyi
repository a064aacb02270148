from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from logging import Logger
from typing import Any, final

from fastserve._exchange import Handler
from fastserve.gateway._threads import Work

class FileWrapper:
    def __init__(self, filelike: Any, block_size: int = 65536) -> None: ...
    def __iter__(self) -> FileWrapper: ...
    def __next__(self) -> bytes: ...

class WsgiGateway(Handler):
    spooled: int
    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        loop: AbstractEventLoop,
        *,
        root_path: str = "",
        multiprocess: bool = False,
        limit_spool: int = 2**28,
        logger: Logger | None = None,
    ) -> None: ...

class WsgiCall(Work):
    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> WsgiCall: ...
    def __call__(self, data: bytes, /) -> None: ...
    def early_hints(self, headers: Iterable[tuple[str, str]], /) -> None: ...

@final
class LoopCall(WsgiCall): ...
