"""Which workers' event loops run: their heartbeats, looked at only as often as one of them can become too old."""

from collections.abc import Iterable
from enum import Enum
from math import inf
from typing import Final

from fastserve.supervisor.slot import Incarnation

SILENT: Final = 2.0
"""Seconds without a heartbeat after which a sibling serves the worker's slot as well."""

_LOOK_AGAIN = 0.5  # at a silent worker
_SOON = 0.1

# Late by more than this, it was the supervisor that did not run, and perhaps (frozen cgroup, stopped session) nobody.
_OVERSLEPT = 2.0


class Finding(Enum):
    """What has changed about a worker since the last look."""

    SILENT = "silent"
    STALLED = "stalled"
    LOST = "lost"
    RECOVERED = "recovered"


class Health:
    """`limit`: seconds without a heartbeat until a worker is lost, half of it until it is stalled; None: never."""

    due: float = inf
    """When to look next."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit or inf
        self._silent_after = min(SILENT, self._limit / 2)
        self._excused = -inf

    def expect(self, now: float) -> None:
        """A worker has become ready: it is to be looked at."""
        self.due = min(self.due, now + _LOOK_AGAIN)

    def look(self, now: float, workers: Iterable[Incarnation]) -> list[tuple[Incarnation, Finding, float]]:
        """Findings with the seconds of silence. A worker's time counts from its readiness at the earliest."""
        if now - self.due > _OVERSLEPT:
            self._excused = now
        self.due = inf
        findings = []
        for worker in workers:
            beat = worker.process.heartbeat()
            if worker.silent and beat > worker.beat:
                findings.append((worker, Finding.RECOVERED, beat - worker.beat))
                worker.silent = worker.stalled = False
            worker.beat = max(beat, worker.ready_at)
            silence = now - max(worker.beat, self._excused)
            if not worker.silent and silence >= self._silent_after:
                worker.silent = True
                findings.append((worker, Finding.SILENT, silence))
            if silence >= self._limit:
                findings.append((worker, Finding.LOST, silence))
            elif not worker.stalled and silence >= self._limit / 2:
                worker.stalled = True
                findings.append((worker, Finding.STALLED, silence))
            next_look = now + _LOOK_AGAIN if worker.silent else max(now - silence + self._silent_after, now + _SOON)
            self.due = min(self.due, next_look)
        return findings
