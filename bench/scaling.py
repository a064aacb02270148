"""`python -m bench.scaling`: what a second worker adds, on a machine whose cores the client needs too.

Two workers on two cores leave none for the client, so their rate alone says little. Two ways around that, both taken:

- *computing*: the application computes for some tenths of a millisecond, the C client needs a small part of that for a
  request (it is printed), and the rates themselves are compared. What else runs on the machine disturbs them; it shows
  as time for which the server was ready and waited for a core.
- *hello*: the smallest application, for which the client needs as much as the server. Compared are requests per second
  of the server's own CPU time, of all its processes. Twice the ratio is what two workers serve where the client runs
  elsewhere and each has a core. This is hardly disturbed by what else runs, and is told for *computing* as well.

Both are held against the machine: how much more two processes compute together, in plain Python, than one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench.load.build import BuildError, program
from bench.load.measure import Cores, Load, MeasureError, measure_load
from bench.load.report import Ratio
from bench.load.scenarios import SMALL, Scenario
from bench.load.servers import KEEP_ALIVE, Running, Server, ServerError, process_tree

COMPUTING = Scenario("computing", "the application computes", "bench.load.apps:computing", SMALL)
HELLO = Scenario("hello", "13-byte answer", "bench.load.apps:small", SMALL)
TARGET = 1.8
START_LIMIT = 20.0

COUNTING = """
import sys, time
sys.stdin.read(1)
count, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for number in range(10000):
        number ^ 5
    count += 1
print(count)
"""


def machine(seconds: float, processes: int) -> int:
    """How much so many processes compute together in the time: all begin at once."""
    command = [sys.executable, "-c", COUNTING, str(seconds)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in started)


def _server(name: str, extra: Sequence[str], workers: int) -> Server:
    def arguments(scenario: Scenario) -> list[str]:
        start = ["-m", name, scenario.app, "--port", "0", "--timeout-keep-alive", KEEP_ALIVE, "--no-access-log"]
        return [*start, "--workers", str(workers)]

    return Server(name, name, arguments, extra=tuple(extra))


def _computing_processes(pid: int) -> int:
    """The processes of a server besides its first that have loaded more than an interpreter takes."""
    count = 0
    for child in process_tree(pid)[1:]:
        try:
            resident = int(Path(f"/proc/{child}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
        count += resident > 15 << 20
    return count


def _complete(workers: int) -> Callable[[Running], None]:
    def wait(server: Running) -> None:
        deadline = time.monotonic() + START_LIMIT
        while workers > 1 and _computing_processes(server.pid) < workers:
            if time.monotonic() > deadline:
                raise ServerError(f"{workers} workers were not there within {START_LIMIT:g} s:\n{server.log_tail()}")
            time.sleep(0.02)

    return wait


def _ratio(ones: Sequence[float], others: Sequence[float]) -> Ratio:
    ratios = [other / one for one, other in zip(ones, others, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def _describe(loads: Sequence[Load]) -> str:
    rate, cpu = median(load.rate for load in loads), median(load.cpu_us for load in loads)
    busy, client = median(load.busy for load in loads), median(load.client_busy for load in loads)
    waited = median(load.waiting for load in loads)
    return (
        f"{rate:,.0f} req/s, {1e6 / cpu:,.0f} per second of the server's CPU; "
        f"the server used {busy:.2f} cores and waited for {waited:.2f}, the client used {client:.2f}"
    )


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description="What a second worker adds.")
    parser.add_argument(
        "--server", default="fastserve", metavar="NAME[ OPTIONS]", help="fastserve or uvicorn, with further options"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, interleaved (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measured window (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are positive")
    if options.server.split()[:1] not in (["fastserve"], ["uvicorn"]):
        parser.error(f"--server {options.server!r}: fastserve or uvicorn")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """0: measured; 1: the server failed or answered wrongly; 2: the benchmark itself cannot run."""
    options = read_options(arguments)
    if len(os.sched_getaffinity(0)) < 2:
        print("bench.scaling: needs two cores", file=sys.stderr)
        return 2
    try:
        program("client")
    except BuildError as error:
        print(f"bench.scaling: {error}", file=sys.stderr)
        return 2
    name, *extra = options.server.split()
    loads: dict[str, dict[int, list[Load]]] = {scenario.name: {1: [], 2: []} for scenario in (COMPUTING, HELLO)}
    counts: dict[int, list[float]] = {1: [], 2: []}
    everywhere = Cores(None, None)
    try:
        for _ in range(options.rounds):
            for workers in (1, 2):
                counts[workers].append(machine(options.seconds / 2, workers))
                for scenario in (COMPUTING, HELLO):
                    loads[scenario.name][workers].append(
                        measure_load(
                            _server(name, extra, workers),
                            scenario,
                            everywhere,
                            options.seconds,
                            0.5,
                            _complete(workers),
                        )
                    )
    except (ServerError, MeasureError) as error:
        print(f"{options.server} FAILED: {error}")
        return 1
    own = _ratio(counts[1], counts[2])
    computing, hello = loads[COMPUTING.name], loads[HELLO.name]
    by_rate = _ratio([load.rate for load in computing[1]], [load.rate for load in computing[2]])
    by_cpu = _ratio([load.cpu_us / 2 for load in hello[2]], [load.cpu_us for load in hello[1]])
    computing_by_cpu = _ratio([load.cpu_us / 2 for load in computing[2]], [load.cpu_us for load in computing[1]])
    print(f"two workers of {options.server} against one; median of {options.rounds} rounds (smallest–largest)\n")
    print(f"the machine: two processes compute × {own} of one")
    for label, found in (
        ("computing, by the rate", by_rate),
        ("computing, by the server's CPU time", computing_by_cpu),
        ("hello, by the server's CPU time", by_cpu),
    ):
        if found.middle >= TARGET:
            verdict = "met"
        elif found is by_rate and own.middle < TARGET:
            verdict = "not to be judged, the machine had no two cores to give"
        else:
            verdict = f"MISSED by {1 - found.middle / TARGET:.0%}"
        print(f"{label}: × {found}; target ≥ {TARGET:g}: {verdict}")
    for title, row in loads.items():
        for workers, measured in row.items():
            print(f"    {title}, {workers} worker{'s' * (workers > 1)}: {_describe(measured)}")
    if options.json:
        figures = {
            "server": options.server,
            "machine": {"ratio": asdict(own), "counts": counts},
            "computing": {"by_rate": asdict(by_rate), "by_cpu": asdict(computing_by_cpu)},
            "hello": {"by_cpu": asdict(by_cpu)},
            "loads": {
                scenario: {workers: [asdict(load) for load in row] for workers, row in rows.items()}
                for scenario, rows in loads.items()
            },
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    errors = sum(load.errors for rows in loads.values() for row in rows.values() for load in row)
    if errors:
        print(f"{errors} ERRORS")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
