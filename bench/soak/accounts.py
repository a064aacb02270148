"""Whose fault was it? Every failed request against the workers' diaries and the kills of the harness.

A failure is excused by proof only. *Running*: the killed worker's own diary has the request's begin, and no end before
the kill. *Not begun*: the connection was among those the worker held when it was stopped for its execution, and no
diary has the request. *After the stop*: a connection opened after SIGTERM was turned away. Everything else, and every
timeout, is unexplained, and is what the soak is after.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.soak.client import Outcome, Record

UNDELIVERED = 1.0
"""Seconds before the kill in which the application may have ended and its last bytes be still with the worker."""


class Cause(Enum):
    """Why a request failed."""

    RUNNING = "running in a killed worker"
    NOT_BEGUN = "on a killed worker's connection, not begun"
    AFTER_STOP = "new connection after SIGTERM"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Kill:
    """A worker's execution: when, which process, and the client's ends of the connections it held."""

    time: float
    pid: int
    connections: frozenset[str]


@dataclass(frozen=True)
class Run:
    """One run of the application for a request, as its worker wrote it down; `ended` is None if it did not."""

    pid: int
    began: float
    ended: float | None


@dataclass(frozen=True)
class Failure:
    """A failed request, its cause, and the killed worker it is put down to (0: none)."""

    record: Record
    cause: Cause
    worker: int = 0

    def __str__(self) -> str:
        record = self.record
        age = record.began - record.opened
        kept = f"{age:.3f} s old, {record.served} answered on it before, the last by {record.before}"
        place = f", worker {self.worker}" if self.worker else ""
        detail = f" ({record.detail})" if record.detail else ""
        return (
            f"{record.request}: {record.outcome.value}{detail}, {self.cause.value}{place}; sent at {record.began:.3f}, "
            f"known at {record.ended:.3f}; connection {record.connection or 'none'}, "
            f"{kept if record.served else 'new'}"
        )


Runs = Mapping[str, Sequence[Run]]


def read_diaries(folder: Path) -> dict[str, list[Run]]:
    """What the workers wrote: every request's runs. More than one run of a request is a server's mistake."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for path in folder.glob("*.log"):
        pid = int(path.stem)
        for line in path.read_text().splitlines():
            word, request, time = line.split(" ")
            if word == "begin":
                runs[request].append(Run(pid, float(time), None))
            else:
                mine = next(index for index, run in enumerate(runs[request]) if run.pid == pid and run.ended is None)
                runs[request][mine] = Run(pid, runs[request][mine].began, float(time))
    return dict(runs)


def judge(record: Record, runs: Sequence[Run], kills: Iterable[Kill], stopped: float | None) -> Failure:
    """The cause of a failed request; `runs` are its own, `stopped` is when the server was told to stop."""
    # A killed worker's connections are closed by the kernel: a client that waits is kept waiting by somebody else.
    if record.outcome is not Outcome.TIMEOUT:
        for kill in kills:
            if record.ended < kill.time:
                continue
            mine = [run for run in runs if run.pid == kill.pid]
            if any(run.ended is None or run.ended >= kill.time - UNDELIVERED for run in mine):
                return Failure(record, Cause.RUNNING, kill.pid)
            if not runs and record.connection in kill.connections and record.opened <= kill.time:
                return Failure(record, Cause.NOT_BEGUN, kill.pid)
        if stopped is not None:
            turned_away = (Outcome.REFUSED, Outcome.RESET, Outcome.CLOSED)
            if not runs and record.opened >= stopped and record.outcome in turned_away:
                return Failure(record, Cause.AFTER_STOP)
    return Failure(record, Cause.UNEXPLAINED)


def inconsistencies(records: Iterable[Record], runs: Runs) -> list[str]:
    """Where client and workers contradict each other: answers nobody wrote down, requests run more than once."""
    found = []
    for record in records:
        mine = runs.get(record.request, ())
        if len(mine) > 1:
            found.append(f"{record.request} ran {len(mine)} times, in {', '.join(str(run.pid) for run in mine)}")
        if record.outcome is Outcome.ANSWERED and [run.pid for run in mine] != [record.worker]:
            found.append(f"{record.request} was answered by {record.worker}, but ran in {[run.pid for run in mine]}")
    return found
