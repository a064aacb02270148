"""One measurement: a server on one core, the client on another, and the figures of the window between.

CPU time is the processes' own clock, exact to the nanosecond, read by the client at both ends of the window; its
split into user and system is the kernel's, sampled at every tick.
"""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load.build import program
from bench.load.scenarios import Scenario
from bench.load.servers import Running, Server, on_core, running

WARM_CONNECTIONS = 100

# A side that waited longer than this share of the window for its core ran with somebody else's work in its caches.
DISTURBED = 0.05
ATTEMPTS = 3


class MeasureError(Exception):
    """A measurement could not be completed; the text says why."""


@dataclass(frozen=True)
class Cores:
    """Where the two sides run; None leaves it to the kernel."""

    server: int | None
    client: int | None


@dataclass(frozen=True)
class Load:
    """The figures of one window. Times are seconds where the name does not say otherwise."""

    requests: int
    seconds: float
    cpu_us: float
    user_ticks: int
    system_ticks: int
    busy: float
    waiting: float
    client_busy: float
    client_waiting: float
    rate: float
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    errors: int
    first_error: str

    def disturbance(self) -> float:
        """The share of the window for which one side was ready to run and something else had its core."""
        return max(self.waiting, self.client_waiting)


@dataclass(frozen=True)
class Memory:
    """Proportional memory of the server's processes, in KiB, and what one more idle connection adds to it."""

    per_connection: float
    connections: int
    before: float
    after: float
    errors: int
    first_error: str


def _client_command(scenario: Scenario, server: Running, *more: str) -> list[str]:
    return [str(program("client")), *scenario.load, *more, server.address]


def _figures(text: str, stderr: str) -> dict[str, Any]:
    try:
        figures = json.loads(text.splitlines()[0])
    except (IndexError, json.JSONDecodeError):
        raise MeasureError(stderr.strip() or "the client said nothing") from None
    if not isinstance(figures, dict):
        raise MeasureError(f"the client said {text!r}")
    return figures


@contextmanager
def _beside(scenario: Scenario, server: Running, seconds: float) -> Iterator[None]:
    """The scenario's other load, from its first answers on, for the block."""
    if scenario.beside is None:
        yield
        return
    # It is still there when the window ends, and ends by itself if nobody ends it.
    more = ["--warmup", "0", "--duration", str(seconds + 60), "--timeout", "60", server.address]
    process = subprocess.Popen([str(program("client")), *scenario.beside, *more], stdout=subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise MeasureError("the other load broke off")
    finally:
        process.kill()
        process.wait()


def measure_load(
    server: Server,
    scenario: Scenario,
    cores: Cores,
    seconds: float,
    warmup: float,
    complete: Callable[[Running], None] | None = None,
) -> Load:
    """Start `server`, load it, stop it. `complete` waits until all its processes are there.

    Raises ServerError and MeasureError.
    """
    with running(server, scenario, cores.server) as running_server:
        if complete is not None:
            complete(running_server)
        watched = [word for pid in running_server.pids() for word in ("--cpu-of", str(pid))]
        if scenario.requests is None:
            length = ("--duration", str(seconds))
        else:
            length = ("--requests", str(max(1, round(scenario.requests * min(1.0, seconds / 2)))))
        command = _client_command(
            scenario, running_server, "--connections", str(scenario.connections), *length, "--warmup", str(warmup),
            "--timeout", "10", *watched,
        )  # fmt: skip
        try:
            with on_core(cores.client), _beside(scenario, running_server, warmup + seconds):
                done = subprocess.run(
                    command, check=False, capture_output=True, text=True, timeout=60 + seconds + warmup
                )
        except subprocess.TimeoutExpired as error:
            raise MeasureError(f"the client did not end within {error.timeout:g} s") from error
        figures = _figures(done.stdout, done.stderr)
        requests, elapsed = figures["requests"], figures["seconds"]
        if not requests or not elapsed:
            raise MeasureError(f"the load broke off; {figures['first_error']}\n{running_server.log_tail()}")
        processes, client = figures["processes"], figures["client"]
        cpu = sum(process["cpu_ns"] for process in processes) / 1e9
        latency = figures["latency_us"]
        return Load(
            requests=requests,
            seconds=elapsed,
            cpu_us=cpu / requests * 1e6,
            user_ticks=sum(process["user_ticks"] for process in processes),
            system_ticks=sum(process["system_ticks"] for process in processes),
            busy=cpu / elapsed,
            waiting=sum(process["wait_ns"] for process in processes) / 1e9 / elapsed,
            client_busy=client["cpu_ns"] / 1e9 / elapsed,
            client_waiting=client["wait_ns"] / 1e9 / elapsed,
            rate=requests / elapsed,
            p50_us=latency["p50"],
            p90_us=latency["p90"],
            p99_us=latency["p99"],
            max_us=latency["max"],
            errors=figures["errors"],
            first_error=figures["first_error"],
        )


def measure_calm_load(server: Server, scenario: Scenario, cores: Cores, seconds: float, warmup: float) -> Load:
    """As `measure_load`, again while others disturb it, `ATTEMPTS` times at most; the calmest one."""
    calmest = None
    for _ in range(ATTEMPTS):
        load = measure_load(server, scenario, cores, seconds, warmup)
        if calmest is None or load.disturbance() < calmest.disturbance():
            calmest = load
        if calmest.disturbance() <= DISTURBED:
            break
    assert calmest is not None
    return calmest


def proportional_memory(pids: list[int]) -> float:
    """KiB of memory of the processes, shared pages counted by share (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return float(total)


@contextmanager
def _idle_connections(scenario: Scenario, server: Running, count: int, cores: Cores) -> Iterator[dict[str, Any]]:
    """`count` connections, each with one request answered, kept open for the block; its figures, and at the end
    `kept`: how many the server has not closed."""
    command = _client_command(scenario, server, "--idle", str(count), "--hold", "--timeout", "10")
    with on_core(cores.client):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        figures = _figures(line, "" if line else process.stderr.read())
        yield figures
        rest, _ = process.communicate(timeout=10)
        figures["kept"] = json.loads(rest)["kept"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def measure_memory(server: Server, scenario: Scenario, cores: Cores, connections: int) -> Memory:
    """What one more idle connection adds, between `WARM_CONNECTIONS` and `connections` more.

    Raises ServerError and MeasureError.
    """
    with running(server, scenario, cores.server) as running_server:
        with _idle_connections(scenario, running_server, WARM_CONNECTIONS, cores) as warm:
            before = proportional_memory(running_server.pids())
            with _idle_connections(scenario, running_server, connections, cores) as idle:
                after = proportional_memory(running_server.pids())
        if idle["kept"] != connections or warm["kept"] != WARM_CONNECTIONS:
            raise MeasureError(f"the server kept only {warm['kept'] + idle['kept']} of the idle connections open")
        return Memory(
            per_connection=(after - before) / connections,
            connections=connections,
            before=before,
            after=after,
            errors=warm["errors"] + idle["errors"],
            first_error=warm["first_error"] or idle["first_error"],
        )
