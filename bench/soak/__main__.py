"""`python -m bench.soak`: runs the scenarios, prints the tables, writes the figures."""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.load.rounds import raise_file_limit
from bench.load.servers import ServerError
from bench.soak.report import Row, as_json, scenario_text
from bench.soak.run import USERS, Soak, SoakError, run
from bench.soak.scenarios import SCENARIOS
from bench.soak.servers import FASTSERVE, SERVERS, Supervised, chosen


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Which requests a server loses while its workers are restarted, killed, added, removed, stopped.",
    )
    parser.add_argument(
        "--server", action="append", metavar="NAME[ OPTIONS]",
        help=f"one of {', '.join(SERVERS)}, with further options of its own in the same argument "
        "(\"fastserve --preload\"); may be repeated; all that are installed if not given",
    )  # fmt: skip
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (4)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of kill and scale; others take a part (30)")
    parser.add_argument("--restarts", type=int, default=10, help="rolling restarts in hup (10)")
    parser.add_argument("--kill-interval", type=float, default=1.0, help="seconds between kills in kill (1)")
    parser.add_argument("--users", type=int, default=16, help="clients of each of the three kinds (16)")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds after which a request has failed (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found there")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="write there what each server said")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    options = parser.parse_args(arguments)
    for spec in options.server or ():
        if not spec.split() or spec.split()[0] not in SERVERS:
            parser.error(f"--server {spec!r}: choose from {', '.join(SERVERS)}")
    numbers = ("workers", "seconds", "restarts", "kill_interval", "users", "timeout")
    if any(getattr(options, name) <= 0 for name in numbers):
        parser.error("all numbers are positive")
    return options


def _chosen_servers(specs: Sequence[str]) -> list[Supervised]:
    servers = []
    for server in map(chosen, specs):
        if server.is_installed():
            servers.append(server)
        else:
            print(f"SKIPPED: {server.name} is not installed", file=sys.stderr)
    return servers


def main(arguments: Sequence[str] | None = None) -> int:
    """0: fastserve lost nothing that is not explained; 1: it did, or failed as a whole; 2: the soak cannot run."""
    options = read_options(arguments)
    scenarios = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    if options.list:
        for scenario in scenarios:
            print(f"{scenario.name:<10}{scenario.title}")
        return 0
    raise_file_limit(4096)
    servers = _chosen_servers(options.server or list(SERVERS))
    users = dict.fromkeys(USERS, options.users)
    soak = Soak(options.seconds, options.workers, options.restarts, users, options.timeout, options.kill_interval)
    versions = {server.name: server.server(1, None).version() for server in servers}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{soak.workers} workers; {options.users} users each: {', '.join(user.value for user in users)}\n")
    report, flawless = [], True
    for scenario in scenarios:
        rows: dict[str, Row] = {}
        for server in servers:
            if scenario.feature is not None and scenario.feature not in server.features:
                rows[server.name] = None
                continue
            try:
                result = run(server, scenario, soak)
            except ServerError as error:
                rows[server.name] = str(error)
            except SoakError as error:
                print(f"bench.soak: {server.name}, {scenario.name}: {error}", file=sys.stderr)
                return 2
            else:
                rows[server.name] = result
                if options.logs:
                    options.logs.mkdir(parents=True, exist_ok=True)
                    (options.logs / f"{scenario.name}-{server.name.replace(' ', '_')}.log").write_text(result.log)
            row = rows[server.name]
            if server.package == FASTSERVE:
                flawless = flawless and not isinstance(row, str) and (row is None or row.is_flawless())
        print(scenario_text(scenario, rows), end="\n\n", flush=True)
        report.append({"name": scenario.name, "title": scenario.title,
                       "servers": {name: as_json(row) for name, row in rows.items()}})  # fmt: skip
    if options.json:
        about = {
            "taken": datetime.now(UTC).isoformat(timespec="seconds"), "python": platform.python_version(),
            "kernel": platform.release(), "versions": versions, "workers": soak.workers, "seconds": soak.seconds,
            "users": {user.value: count for user, count in users.items()},
        }  # fmt: skip
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**about, "scenarios": report}, indent=1) + "\n")
    return 0 if flawless else 1


if __name__ == "__main__":
    sys.exit(main())
