"""What is done to a server's workers while the load runs: one function for each scenario, and their table."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from bench.load.servers import Running
from bench.soak.accounts import Kill
from bench.soak.servers import RECYCLE_AFTER, Feature, Workers, execute

STEP_LIMIT = 60.0
"""Seconds after which a restart, or a worker that was to come or go, has failed."""

INTERVAL = 0.02


class Unfinished(Exception):
    """What the server was told to do has not happened; the text says what."""


@dataclass
class Stage:
    """What a scenario acts on, and what it leaves for the accounts."""

    server: Running
    workers: Workers
    count: int
    until: float
    restarts: int
    kill_interval: float
    kills: list[Kill] = field(default_factory=list)
    stopped: float | None = None
    notes: list[str] = field(default_factory=list)

    def remaining(self) -> float:
        return self.until - time.monotonic()

    def settled(self, count: int) -> bool:
        """So many workers are ready, and no other exists."""
        return len(self.workers.ready()) == len(self.workers.alive()) == count

    def all_new(self, before: set[int]) -> bool:
        """All workers are ready, and none of `before` exists."""
        return len(self.workers.ready() - before) >= self.count and not self.workers.alive() & before

    def signal(self, number: int) -> None:
        self.server.process.send_signal(number)

    def wait_for(self, condition: Callable[[], bool], what: str, limit: float = STEP_LIMIT) -> float:
        """Until it holds: the seconds it took. Raises Unfinished."""
        began = time.monotonic()
        while not condition():
            if self.server.process.poll() is not None:
                raise Unfinished(f"{what}: the server has ended with {self.server.process.returncode}")
            if time.monotonic() - began > limit:
                raise Unfinished(f"{what}: not within {limit:g} s")
            time.sleep(INTERVAL)
        return time.monotonic() - began


def steady(stage: Stage) -> None:
    """Nothing: what the load alone does."""
    time.sleep(max(0.0, stage.remaining()))


def restart(stage: Stage) -> None:
    """SIGHUP, and again as soon as no worker of before is left and all are there again."""
    took = []
    try:
        for number in range(1, stage.restarts + 1):
            before = stage.workers.alive()
            stage.signal(signal.SIGHUP)
            took.append(stage.wait_for(partial(stage.all_new, before), f"restart {number}"))
    finally:
        longest = f", the longest {max(took):.1f} s" if took else ""
        stage.notes.append(f"{len(took)} of {stage.restarts} restarts{longest}")


def kill(stage: Stage) -> None:
    """SIGKILL for a worker picked at random, every `kill_interval` seconds."""
    missed, due = 0, time.monotonic()
    for _ in range(max(1, round(stage.remaining() / stage.kill_interval))):
        due += stage.kill_interval
        time.sleep(max(0.0, due - time.monotonic()))
        ready = sorted(stage.workers.ready())
        if not ready:
            missed += 1
            continue
        pid = random.choice(ready)
        killed, held = execute(pid, stage.server.port)
        stage.kills.append(Kill(killed, pid, held))
    stage.notes.append(f"{len(stage.kills)} workers killed" + (f", {missed} times there was none" if missed else ""))
    stage.wait_for(lambda: len(stage.workers.ready()) >= stage.count, "replacing the killed workers")


def scale(stage: Stage) -> None:
    """One worker more or less at a time: two up, three down, one up, and over again."""
    expected, steps = stage.count, 0
    while stage.remaining() > 0:
        for number in (signal.SIGTTIN, signal.SIGTTIN, *[signal.SIGTTOU] * 3, signal.SIGTTIN):
            expected += 1 if number == signal.SIGTTIN else -1
            stage.signal(number)
            stage.wait_for(partial(stage.settled, expected), f"{number.name} to {expected} workers")
            steps += 1
    stage.notes.append(f"{steps} workers added or removed")


def recycle(stage: Stage) -> None:
    """Nothing but load, at least until a worker has been replaced: the server was told to after so many requests."""
    steady(stage)
    stage.wait_for(lambda: len(stage.workers.seen()) > stage.count, "the first replacement")
    stage.notes.append(f"{len(stage.workers.seen())} workers in all")


def stop(stage: Stage) -> None:
    """SIGTERM in the middle of the load, which goes on until the server has ended."""
    time.sleep(max(0.0, stage.remaining()))
    stage.stopped = time.monotonic()
    stage.signal(signal.SIGTERM)
    while stage.server.process.poll() is None:
        if time.monotonic() - stage.stopped > STEP_LIMIT:
            raise Unfinished(f"stopping: not within {STEP_LIMIT:g} s")
        time.sleep(INTERVAL)
    took = time.monotonic() - stage.stopped
    stage.notes.append(f"stopped in {took:.1f} s with status {stage.server.process.returncode}")


@dataclass(frozen=True)
class Scenario:
    """`act` disturbs the workers, for `share` of the run's seconds; `feature` is what the server must be able to do."""

    name: str
    title: str
    act: Callable[[Stage], None]
    feature: Feature | None = None
    share: float = 1.0


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("steady", "nothing is done", steady, share=0.3),
    Scenario("hup", "rolling restarts, one after the other", restart, Feature.RESTART),
    Scenario("kill", "a random worker killed over and over", kill, Feature.RESPAWN),
    Scenario("scale", "workers added and removed", scale, Feature.SCALE),
    Scenario("recycle", f"each worker replaced after {RECYCLE_AFTER} requests", recycle, Feature.RECYCLE, share=0.5),
    Scenario("stop", "SIGTERM under load", stop, share=0.1),
)
