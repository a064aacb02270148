from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator
from logging import Logger
from typing import IO, Any, final

from fastserve.gateway._wsgi import WsgiCall, WsgiGateway

class LateInput:
    def __init__(self, fetch: Callable[[], IO[bytes]]) -> None: ...
    def read(self, size: int | None = -1, /) -> bytes: ...
    def readinto(self, buffer: Any, /) -> int: ...
    def readline(self, size: int | None = -1, /) -> bytes: ...
    def readlines(self, hint: int = -1, /) -> list[bytes]: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...

@final
class ThreadedGateway(WsgiGateway):
    limit_queue: int
    timeout_queue: float
    refused: int
    on_refused: Callable[[str], object] | None
    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        loop: AbstractEventLoop,
        threads: int,
        *,
        root_path: str = "",
        multiprocess: bool = False,
        limit_queue: int = 1024,
        timeout_queue: float | None = 30.0,
        limit_spool: int = 2**28,
        logger: Logger | None = None,
    ) -> None: ...
    @property
    def waiting(self) -> int: ...
    @property
    def busy(self) -> int: ...
    def close(self, timeout: float = 1.0) -> None: ...

@final
class ThreadCall(WsgiCall): ...
