"""From measurements to figures: medians, ratios with their spread, targets, tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.load.measure import DISTURBED, Load, Memory
from bench.load.scenarios import Figure, Scenario, Target
from bench.load.servers import C_LOOP, FASTSERVE, PICOWS, SOCKETIFY, UVICORN


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, the smallest and the largest."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass
class Result:
    """What one server did in one scenario: one entry a round, in the order of the rounds; None where it failed."""

    loads: list[Load | None] = field(default_factory=list)
    memories: list[Memory | None] = field(default_factory=list)
    failure: str | None = None

    def done(self) -> list[Load]:
        return [load for load in self.loads if load is not None]

    def middle(self, name: str) -> float:
        return float(median(getattr(load, name) for load in self.done()))

    def user_share(self) -> float:
        """The part of the CPU time spent in user code, over all rounds: the samples of one round are few."""
        user = sum(load.user_ticks for load in self.done())
        return user / max(1, user + sum(load.system_ticks for load in self.done()))

    def memory(self) -> float:
        return float(median(memory.per_connection for memory in self.memories if memory is not None))

    def is_measured(self) -> bool:
        return any(entry is not None for entry in (*self.loads, *self.memories))

    def errors(self) -> int:
        return sum(entry.errors for entry in (*self.loads, *self.memories) if entry is not None)

    def first_error(self) -> str:
        texts = (entry.first_error for entry in (*self.loads, *self.memories) if entry is not None)
        return next((text for text in texts if text), "")


def ratio(one: Result | None, other: Result | None, name: str) -> Ratio | None:
    """The rounds' ratios of the figure `name`; None where no round has both."""
    if one is None or other is None:
        return None
    pairs = [
        (getattr(mine, name), getattr(theirs, name))
        for mine_all, theirs_all in ((one.loads, other.loads), (one.memories, other.memories))
        for mine, theirs in zip(mine_all, theirs_all, strict=False)
        if mine is not None and theirs is not None
    ]
    ratios = [mine / theirs for mine, theirs in pairs if theirs > 0]
    return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None


Results = dict[str, dict[str, Result]]

# Figures that are another server's, and what of it; figures that are fastserve's alone.
RELATIVE = {
    Figure.CPU_OF_UVICORN: (UVICORN, "cpu_us"),
    Figure.CPU_OF_C: (C_LOOP, "cpu_us"),
    Figure.CPU_OF_BJOERN: ("bjoern", "cpu_us"),
    Figure.CPU_OF_FASTPYSGI: ("fastpysgi", "cpu_us"),
    Figure.CPU_OF_GRANIAN: ("granian", "cpu_us"),
    Figure.CPU_OF_GUNICORN: ("gunicorn", "cpu_us"),
    Figure.CPU_OF_SOCKETIFY: (SOCKETIFY, "cpu_us"),
    Figure.RATE_OF_UVICORN: (UVICORN, "rate"),
    Figure.MEMORY_OF_UVICORN: (UVICORN, "per_connection"),
}
ABSOLUTE = {Figure.CPU: "cpu_us", Figure.RATE: "rate", Figure.P99: "p99_us"}


def target_value(target: Target, results: Results, scenario: str, server: str) -> float | None:
    """The value the target limits; None where this run has not measured it."""
    row = results[scenario]
    mine = row.get(server)
    if mine is None or not mine.is_measured():
        return None
    if target.figure in RELATIVE:
        other, name = RELATIVE[target.figure]
        found = ratio(mine, row.get(other), name)
        return found.middle if found else None
    if target.figure is Figure.CPU_OF_BEST:
        others = [result for name, result in row.items() if name.split()[0] not in (FASTSERVE, C_LOOP)]
        ratios = [found.middle for other in others if (found := ratio(mine, other, "cpu_us"))]
        return max(ratios, default=None)
    if target.figure in ABSOLUTE:
        return mine.middle(ABSOLUTE[target.figure])
    if target.figure is Figure.MEMORY:
        return mine.memory()
    if target.figure is Figure.USER:
        return mine.middle("cpu_us") * mine.user_share()
    if target.figure is Figure.ABOVE_SMALL:
        small = results.get("small", {}).get(server)
        return mine.middle("cpu_us") - small.middle("cpu_us") if small and small.is_measured() else None
    raise ValueError(target.figure)


def target_lines(results: Results, scenario: Scenario) -> list[str]:
    """One line for each target and each variant of fastserve: met, missed by how much, or not measured."""
    lines = []
    for server in results[scenario.name]:
        if server.split()[0] != FASTSERVE:
            continue
        for target in scenario.targets:
            value = target_value(target, results, scenario.name, server)
            if value is None:
                verdict = "not measured"
            elif target.is_met(value):
                verdict = f"{value:.2f}, met"
            else:
                verdict = f"{value:.2f}, MISSED by {abs(value / target.limit - 1):.0%}"
            lines.append(f"target for {server}: {target}: {verdict}")
    return lines


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip


def _microseconds(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def _load_rows(row: dict[str, Result], least: str) -> list[list[str]]:
    against = "× C loop" if least == C_LOOP else f"× {least}"
    rows = [["server", "µs/req", "user", "sys", "req/s", "busy", "p50 µs", "p99 µs", "× uvicorn", against]]
    for name, result in row.items():
        if not result.is_measured():
            continue
        cpu, user = result.middle("cpu_us"), result.user_share()
        of_uvicorn = ratio(result, row.get(UVICORN), "cpu_us")
        of_c = ratio(result, row.get(least), "cpu_us")
        rate = result.middle("rate")
        rows.append(
            [
                name, _microseconds(cpu), _microseconds(cpu * user), _microseconds(cpu * (1 - user)),
                f"{rate:.0f}" if rate >= 100 else f"{rate:.2f}", f"{result.middle('busy'):.0%}",
                _microseconds(result.middle("p50_us")), _microseconds(result.middle("p99_us")),
                str(of_uvicorn or "–"), str(of_c or "–"),
            ]
        )  # fmt: skip
    return rows


def reference(scenario: Scenario) -> str:
    """The server whose CPU time is the least that can be hoped for."""
    return PICOWS if scenario.websocket else C_LOOP


def _memory_rows(row: dict[str, Result]) -> list[list[str]]:
    rows = [["server", "KiB/connection", "× uvicorn"]]
    for name, result in row.items():
        if result.is_measured():
            of_uvicorn = ratio(result, row.get(UVICORN), "per_connection")
            rows.append([name, f"{result.memory():.2f}", str(of_uvicorn or "–")])
    return rows


def scenario_text(results: Results, scenario: Scenario) -> str:
    """The scenario's table, its targets, and what was wrong."""
    row = results[scenario.name]
    rows = _memory_rows(row) if scenario.idle_connections else _load_rows(row, reference(scenario))
    lines = [f"{scenario.title} [{scenario.name}]"]
    if len(rows) > 1:
        lines += ["  " + line for line in _align(rows)]
    lines += ["  " + line for line in target_lines(results, scenario)]
    for name, result in row.items():
        if result.failure:
            lines.append(f"  {name} FAILED: {result.failure}")
        if result.errors():
            lines.append(f"  {name}: {result.errors()} ERRORS, the first: {result.first_error()}")
        waiting = max((load.disturbance() for load in result.done()), default=0.0)
        if waiting > DISTURBED:
            lines.append(f"  {name} was disturbed: a side waited for its core, up to {waiting:.0%} of a window")
    return "\n".join(lines)


def as_json(results: Results, scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    """Everything measured, and every target with its value, in plain values."""
    rows: list[dict[str, Any]] = []
    for scenario in scenarios:
        row = results[scenario.name]
        servers: dict[str, Any] = {}
        for name, result in row.items():
            entry: dict[str, Any] = {
                "failure": result.failure,
                "loads": [asdict(load) if load else None for load in result.loads],
                "memories": [asdict(memory) if memory else None for memory in result.memories],
            }
            if result.done():
                cpu, user = result.middle("cpu_us"), result.user_share()
                entry |= {"cpu_us": cpu, "user_us": cpu * user, "system_us": cpu * (1 - user)}
                entry |= {"rate": result.middle("rate"), "p50_us": result.middle("p50_us")}
                entry |= {"p99_us": result.middle("p99_us")}
                for label, other in (
                    ("of_uvicorn", UVICORN), ("of_picows" if scenario.websocket else "of_c", reference(scenario)),
                ):  # fmt: skip
                    found = ratio(result, row.get(other), "cpu_us")
                    entry[label] = asdict(found) if found else None
            elif result.is_measured():
                entry["kib_per_connection"] = result.memory()
                found = ratio(result, row.get(UVICORN), "per_connection")
                entry["of_uvicorn"] = asdict(found) if found else None
            if name.split()[0] == FASTSERVE:
                entry["targets"] = [
                    {"target": str(target), "limit": target.limit, "value": value,
                     "met": None if value is None else target.is_met(value)}
                    for target in scenario.targets
                    for value in (target_value(target, results, scenario.name, name),)
                ]  # fmt: skip
            servers[name] = entry
        rows.append({"name": scenario.name, "title": scenario.title, "servers": servers})
    return rows
