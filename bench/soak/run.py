"""One server through one scenario: started, loaded, disturbed, stopped, and the accounts drawn up."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bench.load.servers import ROOT, Running, ServerError, process_tree, running
from bench.soak.accounts import Cause, Failure, inconsistencies, judge, read_diaries
from bench.soak.client import Outcome, Record, User
from bench.soak.scenarios import Scenario, Stage, Unfinished
from bench.soak.servers import LOAD, Supervised, Workers, is_alive

START_LIMIT = 60.0
CLIENT_LIMIT = 30.0
EXIT_LIMIT = 30.0
LEFT_BEHIND_LIMIT = 10.0

USERS: dict[User, int] = {User.BUSY: 16, User.PAUSING: 16, User.RECONNECTING: 16}


class SoakError(Exception):
    """The soak itself failed; the text says how."""


@dataclass(frozen=True)
class Soak:
    """How much of everything: seconds of a scenario of full length, workers, restarts, users of each kind."""

    seconds: float = 30.0
    workers: int = 4
    restarts: int = 10
    users: Mapping[User, int] = field(default_factory=lambda: USERS)
    timeout: float = 10.0
    kill_interval: float = 1.0


@dataclass
class Result:
    """What one server did in one scenario.

    Latencies and `longest_gap`, the longest time in which nobody was answered, are in seconds. `idle_ends` are kept
    connections that the server closed between requests, by how; `client_lag` is the worst delay of the client's own
    timer, below which no latency means anything. `problems` are failures of the server as a whole, `contradictions`
    those of the accounts.
    """

    requests: int = 0
    failures: list[Failure] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    longest_gap: float = 0.0
    idle_ends: dict[str, int] = field(default_factory=dict)
    client_lag: float = 0.0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    log: str = ""

    def of(self, cause: Cause) -> list[Failure]:
        return [failure for failure in self.failures if failure.cause is cause]

    def unexplained(self) -> Counter[str]:
        """Unexplained failures by outcome."""
        return Counter(failure.record.outcome.value for failure in self.of(Cause.UNEXPLAINED))

    def percentile(self, share: float) -> float:
        """The latency that this share of the answers did not exceed; 0.0 where there are none."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def is_flawless(self) -> bool:
        return not (self.of(Cause.UNEXPLAINED) or self.problems or self.contradictions)


def longest_gap(records: Sequence[Record], began: float, ended: float) -> float:
    """The longest time between two answers in the window, its ends included."""
    answers = sorted(record.ended for record in records if record.outcome is Outcome.ANSWERED)
    times = [began, *(time for time in answers if began < time < ended), ended]
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def _listens(server: Running) -> bool:
    """Whether it can be connected to: some begin to listen a little after their application has started."""
    host, _, port = server.address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _start_client(server: Running, soak: Soak) -> "subprocess.Popen[str]":
    users = [word for user, count in soak.users.items() for word in (f"--{user.value}", str(count))]
    return subprocess.Popen(
        [sys.executable, "-m", "bench.soak.client", server.address, *users, "--timeout", str(soak.timeout)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
    )  # fmt: skip


def _end_client(client: "subprocess.Popen[str]", soak: Soak, result: Result) -> list[Record]:
    try:
        output, _ = client.communicate(timeout=soak.timeout + CLIENT_LIMIT)
    except subprocess.TimeoutExpired:
        raise SoakError("the client did not end") from None
    lines = output.splitlines()
    if client.returncode or not lines:
        raise SoakError(f"the client ended with {client.returncode}")
    about = json.loads(lines[0])
    result.idle_ends, result.client_lag = about["idle_ends"], about["worst_lag"]
    return [Record.from_row(json.loads(line)) for line in lines[1:]]


def _end_server(server: Running, pids: set[int], result: Result) -> None:
    """SIGTERM, and nothing of it may be left."""
    with suppress(ProcessLookupError):
        server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(EXIT_LIMIT)
    except subprocess.TimeoutExpired:
        result.problems.append(f"not ended {EXIT_LIMIT:g} s after SIGTERM")
        return
    # multiprocessing's tracker ends by itself once its last user has.
    deadline = time.monotonic() + LEFT_BEHIND_LIMIT
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = sorted(filter(is_alive, pids))
    if left:
        result.problems.append(f"ended and left processes behind: {', '.join(map(str, left))}")


def run(server: Supervised, scenario: Scenario, soak: Soak) -> Result:
    """The whole of it. Raises ServerError where the server does not start, SoakError where the soak fails."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="fastserve-soak-") as name:
        folder, workers = Path(name), Workers(Path(name))
        with running(
            server.server(soak.workers, scenario.feature), LOAD, None, {"SOAK_FOLDER": name}
        ) as running_server:
            stage = Stage(running_server, workers, soak.workers, 0.0, soak.restarts, soak.kill_interval)
            try:
                stage.wait_for(lambda: len(workers.ready()) >= soak.workers, "start", START_LIMIT)
                stage.wait_for(lambda: _listens(running_server), "listening", START_LIMIT)
            except Unfinished as error:
                raise ServerError(f"{error}\n{running_server.log_tail()}") from None
            client = _start_client(running_server, soak)
            try:
                began = time.monotonic()
                stage.until = began + soak.seconds * scenario.share
                try:
                    # What lasts its time begins when requests come.
                    stage.wait_for(lambda: bool(workers.seen()), "first request", START_LIMIT)
                    began = time.monotonic()
                    stage.until = began + soak.seconds * scenario.share
                    scenario.act(stage)
                except Unfinished as error:
                    result.problems.append(str(error))
                ended = time.monotonic() if stage.stopped is None else stage.stopped
                records = _end_client(client, soak, result)
            finally:
                if client.poll() is None:
                    client.kill()
                    client.communicate()
            if running_server.process.poll() is None:
                _end_server(running_server, workers.alive() | set(process_tree(running_server.pid)), result)
            elif stage.stopped is None:
                result.problems.append(f"the server ended by itself, with {running_server.process.returncode}")
            result.log = running_server.log.read_text(errors="replace")
        runs = read_diaries(folder)
    failed = [record for record in records if record.outcome is not Outcome.ANSWERED]
    result.requests = len(records)
    result.failures = [judge(record, runs.get(record.request, ()), stage.kills, stage.stopped) for record in failed]
    result.latencies = [record.ended - record.began for record in records if record.outcome is Outcome.ANSWERED]
    result.longest_gap = longest_gap(records, began, ended)
    result.contradictions = inconsistencies(records, runs)
    result.notes = stage.notes
    return result
