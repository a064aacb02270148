from collections.abc import Callable
from typing import final

TICK: float

class Clock:
    def read(self) -> float: ...

@final
class ManualClock(Clock):
    time: float
    def __init__(self, time: float = 0.0) -> None: ...

class TimerEntry: ...

@final
class TimerWheel:
    linked: int
    on_first: Callable[[], object] | None
    def __init__(self, now: float = 0.0, on_first: Callable[[], object] | None = None) -> None: ...
    def tick(self, now: float) -> None: ...
