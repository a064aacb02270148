from collections.abc import Callable
from typing import final

from fastserve._exchange import Endpoint
from fastserve.protocol._connection import Stream, WorkerState

@final
class MemoryStream(Stream):
    capacity: int | None
    closed: bool
    aborted: bool
    shut: bool
    paused: bool
    writes: int
    files: bool
    taker: Callable[[bool], bool] | None
    unread: bool
    handed_on: bool
    def __init__(
        self,
        worker: WorkerState,
        endpoint: Endpoint | None = None,
        capacity: int | None = None,
        resumed: bool = False,
    ) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def lose(self, reason: BaseException | None = None) -> None: ...
    def take(self) -> bytes: ...
    def drain(self) -> None: ...
    @property
    def waiting(self) -> int: ...
