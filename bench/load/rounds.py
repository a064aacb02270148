"""Interleaved rounds: each scenario is measured on every server in turn, and again, on cores of their own."""

import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load.measure import Cores, MeasureError, measure_calm_load, measure_memory
from bench.load.report import Result, Results
from bench.load.scenarios import Scenario
from bench.load.servers import Server, ServerError


@dataclass(frozen=True)
class Rounds:
    """How often and how long: `seconds` of measured load after `warmup` seconds of it, `count` times.

    `reduced`: a quarter of the idle connections.
    """

    count: int
    seconds: float
    warmup: float
    reduced: bool = False


def chosen_cores(text: str | None) -> Cores:
    """From "SERVER,CLIENT"; the first two allowed if not given, none if there is only one."""
    if text:
        server, _, client = text.partition(",")
        return Cores(int(server), int(client))
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        print("WARNING: one core only; server and client disturb each other", file=sys.stderr)
        return Cores(None, None)
    return Cores(allowed[0], allowed[1])


def raise_file_limit(wanted: int) -> int:
    """Raise this process's and its children's limit of open files as far as allowed; the limit reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    elif soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _measure_round(
    scenario: Scenario, servers: Sequence[Server], row: dict[str, Result], cores: Cores, rounds: Rounds
) -> None:
    """One measurement of each server; a server that failed once in a scenario is not tried again in it."""
    for server in servers:
        result = row[server.name]
        load = memory = None
        if result.failure is None:
            try:
                if scenario.idle_connections:
                    count = scenario.idle_connections // (4 if rounds.reduced else 1)
                    memory = measure_memory(server, scenario, cores, count)
                else:
                    load = measure_calm_load(server, scenario, cores, rounds.seconds, rounds.warmup)
            except (ServerError, MeasureError) as error:
                result.failure = str(error)
        (result.memories if scenario.idle_connections else result.loads).append(
            memory if scenario.idle_connections else load  # type: ignore[arg-type]
        )


def measure(scenario: Scenario, servers: Sequence[Server], results: Results, cores: Cores, rounds: Rounds) -> None:
    """All rounds of one scenario, into `results`."""
    taking_part = [server for server in servers if server.command(scenario) is not None]
    row = results[scenario.name] = {server.name: Result() for server in taking_part}
    for number in range(rounds.count):
        # Each round begins with another server: what drifts with time falls on all alike.
        turn = number % max(1, len(taking_part))
        _measure_round(scenario, taking_part[turn:] + taking_part[:turn], row, cores, rounds)
