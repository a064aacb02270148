"""`python -m bench.compare A [B]`: two commits under load, in interleaved rounds; what B costs in units of A.

Each commit is copied to a folder of its own below bench/build/, compiled there as a release by the interpreter that
runs this, and removed at the end; nothing in the tree is touched. The applications and the client are always this
tree's: only fastserve differs.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.load.build import BUILD, BuildError, program
from bench.load.measure import DISTURBED
from bench.load.report import Ratio, Result, Results, ratio
from bench.load.rounds import Rounds, chosen_cores, measure, raise_file_limit
from bench.load.scenarios import SCENARIOS, Scenario
from bench.load.servers import FASTSERVE, ROOT, SERVERS, Server, on_core

NEEDED = ("fastserve", "setup.py", "pyproject.toml", "README.md", "LICENSE")
LIMIT = 0.03
MICRO = ROOT / "bench" / "micro" / "test_core.py"


class CompareError(Exception):
    """A commit cannot be had, compiled or imported; the text says why."""


@dataclass(frozen=True)
class Variant:
    """One side: `name` is what the tables call it, `text` where it is from, `folder` where it is compiled."""

    name: str
    text: str
    folder: Path


# --- judgement


def judged_figure(scenario: Scenario) -> str:
    """The figure that decides: CPU time, except where a target is about something else."""
    if scenario.idle_connections:
        return "per_connection"
    return "p50_us" if scenario.name in {"one", "ws-one"} else "cpu_us"


def verdict(found: Ratio) -> str:
    """Whether `found`, B's cost in units of A's, is a loss, a gain, or neither."""
    if found.middle > 1 + LIMIT:
        return f"LOSS of {found.middle - 1:.1%}" + (", but not in every round" if found.low <= 1 else "")
    if found.middle < 1 - LIMIT:
        return f"gain of {1 - found.middle:.1%}" + (", but not in every round" if found.high >= 1 else "")
    return ""


def _value(result: Result, name: str) -> float:
    return result.memory() if name == "per_connection" else result.middle(name)


UNITS = {"per_connection": "KiB per connection", "p50_us": "µs, median latency", "cpu_us": "µs of CPU per request"}


def scenario_line(scenario: Scenario, row: dict[str, Result]) -> str:
    """The scenario's figures and their ratio; what failed instead, if something did."""
    a, b = row["A"], row["B"]
    troubles = [
        f"{name} {'FAILED: ' + result.failure if result.failure else 'ANSWERED WRONGLY: ' + result.first_error()}"
        for name, result in row.items()
        if result.failure or result.errors()
    ]
    figure = judged_figure(scenario)
    found = ratio(b, a, figure)
    if troubles or found is None:
        return f"{scenario.name:<12}" + "; ".join(troubles or ["no round has both"])
    waiting = max((load.disturbance() for result in (a, b) for load in result.done()), default=0.0)
    disturbed = f"  (disturbed, up to {waiting:.0%} of a window: take it again)" if waiting > DISTURBED else ""
    return (
        f"{scenario.name:<12}{_value(a, figure):>10.2f}{_value(b, figure):>10.2f}  "
        f"{found.middle:.3f} ({found.low:.3f}–{found.high:.3f})  {UNITS[figure]:<24}{verdict(found)}{disturbed}"
    )


def micro_lines(rounds: Sequence[tuple[dict[str, float], dict[str, float]]]) -> list[str]:
    """One line for each micro-benchmark that both sides ran in every round; the values are seconds."""
    lines = []
    for name in rounds[0][0]:
        if not all(name in side for sides in rounds for side in sides):
            continue
        ratios = [b[name] / a[name] for a, b in rounds]
        found = Ratio(median(ratios), min(ratios), max(ratios))
        a, b = (median(sides[at][name] for sides in rounds) * 1e9 for at in (0, 1))
        spread = f"{found.middle:.3f} ({found.low:.3f}–{found.high:.3f})"
        lines.append(f"{name:<36}{a:>10.0f}{b:>10.0f}  {spread}  ns  {verdict(found)}".rstrip())
    return lines


# --- the two sides


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, check=False, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True
        )
    except OSError as error:
        raise CompareError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise CompareError(f"{shlex.join(command)}\nended with {done.returncode}:\n{output}")
    return done.stdout


def _copy_commit(commit: str, folder: Path) -> str:
    """Copy what a build needs of the commit; what to call it."""
    title = _run(["git", "log", "-1", "--format=%h %s", commit, "--"], ROOT).strip()
    archive = folder.with_suffix(".tar")
    _run(["git", "archive", f"--output={archive}", commit, *NEEDED], ROOT)
    _run(["tar", "-xf", str(archive)], folder)
    archive.unlink()
    return title


def _copy_tree(folder: Path) -> str:
    """As `_copy_commit`, of the files as they are now."""
    listed = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *NEEDED], ROOT)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return "the working tree"


def _import_path(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


def _build(commit: str | None, name: str, folder: Path) -> Variant:
    """Copy and compile. Raises CompareError."""
    folder.mkdir()
    text = _copy_tree(folder) if commit is None else _copy_commit(commit, folder)
    print(f"{name}: {text}", flush=True)
    jobs = str(os.cpu_count() or 1)
    environment = {"FASTSERVE_BUILD": "release", "FASTSERVE_BUILD_JOBS": jobs, "FASTSERVE_TEST_MODULES": ""}
    _run([sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", jobs], folder, environment)
    where = "import fastserve, fastserve.transport._memory; print(fastserve.__file__)"
    imported = Path(_run([sys.executable, "-c", where], folder, _import_path(folder)).strip())
    if not imported.is_relative_to(folder):
        raise CompareError(f"{name} would run {imported.parent} instead of its own copy")
    return Variant(name, text, folder)


@contextmanager
def built(a: str, b: str | None) -> Iterator[tuple[Variant, Variant]]:
    """Both sides, compiled; removed with the block. Raises CompareError."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=BUILD) as folder:
        # Names of one length: the memory at a process's start holds its paths.
        yield _build(a, "A", Path(folder) / "a"), _build(b, "B", Path(folder) / "b")


def _micro(variant: Variant) -> dict[str, float]:
    """The median of each micro-benchmark, in seconds. Raises CompareError."""
    output = variant.folder / "micro.json"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib",
        "--benchmark-only", "--benchmark-warmup=on", f"--benchmark-json={output}", str(MICRO),
    ]  # fmt: skip
    _run(command, variant.folder, _import_path(variant.folder))
    benchmarks = json.loads(output.read_text(encoding="utf-8"))["benchmarks"]
    return {benchmark["name"]: float(benchmark["stats"]["median"]) for benchmark in benchmarks}


# --- the command


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Two commits, one run, ratios.")
    parser.add_argument("a", metavar="A", help="a commit")
    parser.add_argument("b", metavar="B", nargs="?", help="another one; the working tree if not given")
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument(
        "--options", default="", help='further options of both servers, one argument ("--loop asyncio")'
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, interleaved (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measured window (2)")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds of load before it (0.5)")
    parser.add_argument("--cores", metavar="SERVER,CLIENT", help="the cores to use (the first two allowed)")
    parser.add_argument("--micro", action="store_true", help="compare bench/micro/test_core.py as well")
    parser.add_argument("--micro-only", action="store_true", help="compare nothing else")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0 or options.warmup < 0:
        parser.error("--rounds and --seconds are positive, --warmup is not negative")
    return options


def _compare_load(variants: Sequence[Variant], options: argparse.Namespace) -> bool:
    """Measure and print; whether all went well."""
    extra = tuple(shlex.split(options.options))
    servers: list[Server] = [
        replace(SERVERS[FASTSERVE], name=variant.name, folder=variant.folder, extra=extra) for variant in variants
    ]
    cores = chosen_cores(options.cores)
    rounds = Rounds(options.rounds, options.seconds, options.warmup)
    results: Results = {}
    print(f"\n{'':<12}{'A':>10}{'B':>10}  B/A (smallest–largest of {rounds.count} rounds of {rounds.seconds:g} s)")
    with on_core(cores.client):
        for scenario in SCENARIOS:
            if options.scenario and scenario.name not in options.scenario:
                continue
            measure(scenario, servers, results, cores, rounds)
            print(scenario_line(scenario, results[scenario.name]).rstrip(), flush=True)
    return not any(result.failure or result.errors() for row in results.values() for result in row.values())


def _compare_micro(variants: tuple[Variant, Variant], rounds: int, cores: str | None) -> None:
    a, b = variants
    measured = []
    with on_core(chosen_cores(cores).server):
        for number in range(rounds):
            if number % 2:
                of_b = _micro(b)
                measured.append((_micro(a), of_b))
            else:
                of_a = _micro(a)
                measured.append((of_a, _micro(b)))
    print(f"\n{MICRO.relative_to(ROOT)}")
    print("\n".join(micro_lines(measured)), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: compared, whatever came out; 1: a server failed or answered wrongly; 2: there is nothing to compare."""
    options = read_options(arguments)
    try:
        program("client")
        raise_file_limit(8192)
        with built(options.a, options.b) as variants:
            well = options.micro_only or _compare_load(variants, options)
            if options.micro or options.micro_only:
                _compare_micro(variants, options.rounds, options.cores)
    except (BuildError, CompareError) as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        return 2
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
