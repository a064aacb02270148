from asyncio import AbstractEventLoop
from collections.abc import Callable

from fastserve.protocol._timers import TimerEntry

class Stream:
    blocked: bool
    resumed: bool

class Connection(TimerEntry): ...

class WorkerState:
    loop: AbstractEventLoop
    open_connections: set[Connection]
    draining: bool
    handing_on: bool
    limit_request_body: int
    limit_concurrency: int
    request_limit: int
    total_requests: int
    rejected: int
    on_idle: Callable[[], object] | None
    on_limit: Callable[[], object] | None

class Upgrade: ...
