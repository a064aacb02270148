"""The policy's world in memory: a clock moved by hand, processes that do as they are told, and what they were told.

`World` drives a policy as the supervisor does and, after every event, checks what must hold at any time. A fake process
dies of SIGKILL at once, as a real one does, and of anything else only if the test says so.
"""

import logging
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fastserve.supervisor.interfaces import Exit
from fastserve.supervisor.policy import Policy

ENDING = {signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL}


class FakeProcess:
    def __init__(self, system: "FakeSystem", slot: int, pid: int) -> None:
        self.system = system
        self.slot = slot
        self.pid = pid
        self.alive = True
        self.is_held = False
        self.is_ready = False
        self.is_leaving = False
        self.retired = False
        self.signals: list[int] = []
        self.served: frozenset[int] | None = None
        self.stalled_at: float | None = None
        self.rss = 0
        self.running = ""
        self.obeys: set[int] = set()  # ends on these signals
        self.stuck = False  # in the kernel: not even SIGKILL ends it

    def __repr__(self) -> str:
        return f"[{self.pid}]"

    @property
    def is_serving(self) -> bool:
        return self.alive and self.is_ready and not self.is_leaving

    @property
    def is_starting(self) -> bool:
        return self.alive and not self.is_ready and not self.is_leaving

    def signal(self, number: int) -> None:
        self.system.tell(self, "signal", signal.Signals(number).name)
        self.signals.append(number)
        if number in ENDING or (number == signal.SIGUSR2 and not self.is_ready and not self.system.forwarding):
            self.is_leaving = True
        if self.alive and not self.stuck and (number == signal.SIGKILL or number in self.obeys):
            self.system.dying.append((self, 0 if number == signal.SIGTERM else -number))

    def begin(self) -> None:
        assert self.is_held, "told to begin twice"
        self.system.tell(self, "begin", None)
        self.is_held = False

    def serve(self, slots: frozenset[int]) -> None:
        assert self.is_ready, "told to serve before it was ready"
        assert not self.is_leaving, "told to serve after it was told to end"
        self.system.tell(self, "serve", slots)
        self.served = slots

    def retire(self) -> None:
        assert self.is_ready
        self.system.tell(self, "retire", None)
        self.is_leaving = self.retired = True

    def heartbeat(self) -> float:
        if not self.is_ready:
            return 0.0
        return self.system.clock if self.stalled_at is None else self.stalled_at

    def memory(self) -> int:
        return self.rss if self.alive else 0

    def last_seen(self) -> str:
        return self.running


class FakeSystem:
    def __init__(self) -> None:
        self.clock = 1000.0
        self.processes: list[FakeProcess] = []
        self.told: list[tuple[FakeProcess, str, Any]] = []
        self.dying: list[tuple[FakeProcess, int]] = []
        self.opened: list[int] = []
        self.published: dict[int, FakeProcess | None] = {}
        self.notified: list[str] = []
        self.rebuilds = 0
        self.refuses_spawn: set[int] = set()
        self.refuses_slots: set[int] = set()
        self.forwarding = False

    def tell(self, process: FakeProcess, what: str, argument: Any) -> None:
        self.told.append((process, what, argument))

    def now(self) -> float:
        return self.clock

    def spawn(self, slot: int, *, hold: bool = False) -> FakeProcess:
        assert slot in self.opened
        if slot in self.refuses_spawn:
            raise OSError("no more processes")
        process = FakeProcess(self, slot, 100 + len(self.processes))
        process.is_held = hold
        self.processes.append(process)
        return process

    def open_slot(self, slot: int) -> None:
        if slot in self.refuses_slots:
            raise OSError("no more descriptors")
        if slot not in self.opened:
            self.opened.append(slot)

    def publish(self, slot: int, process: FakeProcess | None) -> None:
        self.published[slot] = process

    def rebuild(self) -> None:
        self.rebuilds += 1

    def notify(self, state: str, text: str = "") -> None:
        self.notified.append(f"{state} {text}".strip())


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.levelname, record.getMessage()))


class World:
    """A policy in its world. The methods are events; each is followed by the checks."""

    def __init__(self, workers: int = 2, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "workers": workers,
            "preload": False,
            "timeout_worker_startup": 60.0,
            "timeout_worker_healthcheck": 30.0,
            "timeout_graceful_shutdown": 30.0,
            "timeout_graceful_cancel": 5.0,
            "limit_max_rss": None,
            "limit_worker_lifetime": None,
        }
        assert set(settings) <= set(defaults)
        self.system = FakeSystem()
        self.lines = Lines()
        logger = logging.Logger("policy", logging.DEBUG)
        logger.addHandler(self.lines)
        self.policy = Policy(SimpleNamespace(**(defaults | settings)), self.system, logger, random=lambda: 0.5)  # type: ignore[arg-type]

    # What is there

    @property
    def now(self) -> float:
        return self.system.clock

    @property
    def processes(self) -> list[FakeProcess]:
        """All that ever were, in the order of their start."""
        return self.system.processes

    @property
    def alive(self) -> list[FakeProcess]:
        return [process for process in self.processes if process.alive]

    @property
    def serving(self) -> list[FakeProcess]:
        return [process for process in self.processes if process.is_serving]

    @property
    def starting(self) -> list[FakeProcess]:
        return [process for process in self.processes if process.is_starting]

    def in_slot(self, slot: int) -> FakeProcess:
        """The latest process of the slot."""
        return [process for process in self.processes if process.slot == slot][-1]

    def log(self, level: str | None = None) -> list[str]:
        """The lines since the last call, of this level or of all above debug."""
        records, self.lines.records = self.lines.records, []
        return [text for name, text in records if name == level or (level is None and name != "DEBUG")]

    def told(self) -> list[tuple[FakeProcess, str, Any]]:
        """What processes have been told since the last call."""
        told, self.system.told = self.system.told, []
        return told

    # What happens

    def start(self) -> "World":
        self._event(self.policy.start)
        return self

    def started(self) -> "World":
        """Start, and all are ready."""
        self.start()
        for process in list(self.processes):
            self.ready(process)
        self.log(), self.told()
        return self

    def send(self, number: int) -> None:
        self.system.forwarding = number == signal.SIGUSR2
        self._event(lambda: self.policy.signalled(number))
        self.system.forwarding = False

    def ready(self, process: FakeProcess) -> None:
        process.is_ready = True
        self._event(lambda: self.policy.ready(process))

    def exit(self, process: FakeProcess, status: int = 0, *, oom: bool = False) -> None:
        assert process.alive
        process.alive = False
        self._event(lambda: self.policy.exited(process, Exit(status, oom)))

    def stopping(self, process: FakeProcess) -> None:
        process.is_leaving = True
        self._event(lambda: self.policy.stopping(process))

    def limit_reached(self, process: FakeProcess) -> None:
        self._event(lambda: self.policy.limit_reached(process))

    def rebuilt(self, error: str | None = None) -> None:
        self._event(lambda: self.policy.rebuilt(error))

    def advance(self, seconds: float) -> None:
        """Let time go by, with a tick whenever one is due."""
        end = self.now + seconds
        while self.policy.deadline() <= end:
            self.system.clock = max(self.now, self.policy.deadline())
            self._event(self.policy.tick)
        self.system.clock = end

    def leave(self, process: FakeProcess) -> None:
        """It does as it was told, or as it wanted, and ends."""
        assert process.is_leaving
        self.exit(process, 0)

    def _event(self, event: Callable[[], None]) -> None:
        event()
        self.check()
        while self.system.dying:
            process, status = self.system.dying.pop(0)
            if process.alive:
                self.exit(process, status)

    # What holds at any time

    def check(self) -> None:
        system, policy = self.system, self.policy
        if policy.deadline() <= self.now:
            # What is due is dealt with by one tick.
            policy.tick()
        assert policy.deadline() > self.now, "a tick has made no progress"
        if policy.exit_code is not None:
            assert not self.alive
            assert policy.deadline() == float("inf")
            return
        serving = self.serving
        assert len({process.slot for process in serving}) == len(serving), "two workers serve in one slot"
        replacing = [process for process in self.starting if any(one.slot == process.slot for one in serving)]
        assert len(replacing) <= 1, "more than one replacement"
        assert len({process.slot for process in self.starting}) == len(self.starting), "two starts in one slot"
        for slot, process in system.published.items():
            assert process is None or process in serving
            if process is None:
                assert all(one.slot != slot for one in serving)
        for slot in system.opened if serving else []:
            served_by = [process for process in serving if slot in (process.served or ())]
            assert served_by, f"nobody serves slot {slot}"
            guests = [process for process in served_by if process.slot != slot]
            own = [process for process in serving if process.slot == slot]
            assert len(guests) <= 1, f"slot {slot} is served by {served_by}"
            assert not own or own[0] in served_by
            # Beside a worker that is there, only one that was silent at the last look has a sibling to help.
            assert own or len(guests) == 1
