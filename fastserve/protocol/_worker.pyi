from asyncio import AbstractEventLoop
from collections.abc import Iterable
from logging import Logger

from fastserve._exchange import AccessLog, Handler
from fastserve.protocol._connection import Upgrade, WorkerState
from fastserve.protocol._forwarded import Forwarding
from fastserve.protocol._timers import Clock
from fastserve.trust import TrustedPeers
from fastserve.types import RunningRequest

class Worker(WorkerState):
    def __init__(
        self,
        handler: Handler,
        loop: AbstractEventLoop,
        *,
        default_fields: Iterable[tuple[bytes, bytes]] = (),
        date_header: bool = True,
        limit_request_line: int = 8192,
        limit_request_head: int = 65536,
        limit_request_fields: int = 100,
        limit_request_body: int | None = None,
        limit_concurrency: int | None = None,
        timeout_header: float | None = 10.0,
        timeout_keep_alive: float | None = 5.0,
        timeout_body: float | None = 60.0,
        timeout_write: float | None = 60.0,
        timeout_request: float | None = None,
        access_log: AccessLog | None = None,
        request_limit: int = 0,
        forwarding: Forwarding | None = None,
        proxy_protocol: TrustedPeers | None = None,
        clock: Clock | None = None,
        logger: Logger | None = None,
    ) -> None: ...
    def warn(self, message: str) -> None: ...
    def refuse(self, message: str) -> None: ...
    def advance(self) -> None: ...
    @property
    def connections(self) -> int: ...
    @property
    def tasks(self) -> int: ...
    def add_upgrade(self, protocol: bytes, upgrade: Upgrade) -> None: ...
    def running(self, limit: int = 0) -> list[RunningRequest]: ...
    def shed(self, count: int) -> None: ...
    def drain(self, hand_on: bool = False, idle_grace: float = 0.0) -> None: ...
    def disconnect(self) -> int: ...
    def cancel(self) -> int: ...
    def abort(self) -> int: ...
    def close(self) -> None: ...
