"""`python -m bench.load`: runs the scenarios, prints the tables, writes the figures."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.load.build import BuildError, certificate_and_key, program
from bench.load.measure import Cores
from bench.load.report import Results, as_json, scenario_text
from bench.load.rounds import Rounds, chosen_cores, measure, raise_file_limit
from bench.load.scenarios import SCENARIOS
from bench.load.servers import MAIN, ROOT, SERVERS, Server, on_core


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description="CPU time per request of whole servers, one core each side, ratios taken in one run.",
    )
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument(
        "--server", action="append", metavar="NAME[ OPTIONS]",
        help=f"one of {', '.join(SERVERS)}, with further options of its own in the same argument "
        f"(\"fastserve --loop asyncio\"); may be repeated; {', '.join(MAIN)} if not given",
    )  # fmt: skip
    parser.add_argument("--peers", action="store_true", help="the other servers too, those that are installed")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, interleaved (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measured window (2)")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds of load before it (0.5)")
    parser.add_argument("--quick", action="store_true", help="one round of 0.5 s: does it work, not how fast it is")
    parser.add_argument("--cores", metavar="SERVER,CLIENT", help="the cores to use (the first two allowed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    parser.add_argument("--list", action="store_true", help="list the scenarios and their targets")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.warmup = 1, 0.5, 0.2
    if options.rounds < 1 or options.seconds <= 0 or options.warmup < 0:
        parser.error("--rounds and --seconds are positive, --warmup is not negative")
    for spec in options.server or ():
        if not spec.split() or spec.split()[0] not in SERVERS:
            parser.error(f"--server {spec!r}: choose from {', '.join(SERVERS)}")
    return options


def chosen_servers(options: argparse.Namespace) -> list[Server]:
    """The servers asked for that are installed; says which are not."""
    specs: list[str] = list(options.server or MAIN)
    if options.peers:
        specs += [name for name in SERVERS if name not in specs]
    chosen = []
    for spec in specs:
        words = spec.split()
        server = replace(SERVERS[words[0]], name=" ".join(words), extra=tuple(words[1:]))
        if server.version() is None:
            print(f"SKIPPED: {server.name} is not installed", file=sys.stderr)
        else:
            chosen.append(server)
    return chosen


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], check=False, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def circumstances(servers: Sequence[Server], cores: Cores, options: argparse.Namespace) -> dict[str, Any]:
    """What a figure depends on besides the code measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    versions: dict[str, str] = {server.name: server.version() or "" for server in servers}
    for package in ("uvloop", "httptools", "starlette"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": {
            "processor": models[0] if models else platform.processor(),
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "kernel": platform.release(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "load_average": os.getloadavg()[0],
        },
        "versions": versions,
        "cores": {"server": cores.server, "client": cores.client},
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all measured; 1: a server failed or answered wrongly; 2: the benchmark itself cannot run."""
    options = read_options(arguments)
    scenarios = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    if options.list:
        for scenario in scenarios:
            targets = "; ".join(str(target) for target in scenario.targets) or "no target"
            print(f"{scenario.name:<12}{scenario.title}: {targets}")
        return 0
    try:
        program("client")
        program("baseline")
        if any(scenario.tls for scenario in scenarios):
            certificate_and_key()
    except BuildError as error:
        print(f"bench.load: {error}", file=sys.stderr)
        return 2
    raise_file_limit(8192)
    servers, cores = chosen_servers(options), chosen_cores(options.cores)
    about = circumstances(servers, cores, options)
    machine = about["machine"]
    print(
        f"{machine['processor']}, {machine['processors']} processors, Linux {machine['kernel']}, {machine['python']}, "
        f"commit {about['commit'][:10] or 'unknown'}{' modified' if about['modified'] else ''}"
    )
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print(f"median of {options.rounds} interleaved rounds of {options.seconds:g} s; ratios (smallest–largest)\n")

    results: Results = {}
    rounds = Rounds(options.rounds, options.seconds, options.warmup, reduced=options.quick)
    # This program stays off the server's core too.
    with on_core(cores.client):
        for scenario in scenarios:
            measure(scenario, servers, results, cores, rounds)
            print(scenario_text(results, scenario), end="\n\n", flush=True)

    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**about, "scenarios": as_json(results, scenarios)}, indent=1) + "\n")
    everything = [result for row in results.values() for result in row.values()]
    return 1 if any(result.failure or result.errors() for result in everything) else 0


if __name__ == "__main__":
    sys.exit(main())
