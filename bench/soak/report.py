"""From results to tables and plain values."""

from collections.abc import Mapping
from typing import Any

from bench.soak.accounts import Cause
from bench.soak.run import Result
from bench.soak.scenarios import Scenario

NOT_AVAILABLE = "n/a"

Row = Result | str | None
"""What one server did; the error with which it failed; None: it has nothing of the kind."""

SHOWN_FAILURES = 10
HEADINGS = ["server", "requests", "unexplained", "running", "not begun", "late", "p50 ms", "p99 ms", "max ms", "gap ms"]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def _cells(name: str, row: Row) -> list[str]:
    if not isinstance(row, Result):
        return [name, NOT_AVAILABLE if row is None else "FAILED", *[""] * (len(HEADINGS) - 2)]
    return [
        name, str(row.requests), *(str(len(row.of(cause))) for cause in
        (Cause.UNEXPLAINED, Cause.RUNNING, Cause.NOT_BEGUN, Cause.AFTER_STOP)),
        *(_milliseconds(value) for value in (row.percentile(0.5), row.percentile(0.99), row.percentile(1.0),
        row.longest_gap)),
    ]  # fmt: skip


def _remarks(name: str, row: Row) -> list[str]:
    if row is None:
        return []
    if isinstance(row, str):
        return [f"{name} FAILED: {row}"]
    kinds = ", ".join(f"{count} {outcome}" for outcome, count in row.unexplained().most_common())
    idle = ", ".join(f"{count} {how}" for how, count in sorted(row.idle_ends.items()))
    about = [*row.notes, f"client's own lag {row.client_lag * 1000:.0f} ms"]
    if idle:
        about.append(f"connections between requests: {idle}")
    lines = [f"{name}: {'; '.join(about)}"]
    lines += [f"{name} PROBLEM: {problem}" for problem in row.problems]
    lines += [f"{name} CONTRADICTION: {text}" for text in row.contradictions[:SHOWN_FAILURES]]
    if kinds:
        lines.append(f"{name} UNEXPLAINED: {kinds}")
        lines += [f"    {failure}" for failure in row.of(Cause.UNEXPLAINED)[:SHOWN_FAILURES]]
    killed = row.of(Cause.RUNNING)
    if killed:
        named = ", ".join(f"{failure.record.request} in {failure.worker}" for failure in killed)
        lines.append(f"{name}, running in killed workers: {named}")
    return lines


def scenario_text(scenario: Scenario, rows: Mapping[str, Row]) -> str:
    """The scenario's table, and what is to be said of each server below it."""
    table = [HEADINGS, *(_cells(name, row) for name, row in rows.items())]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADINGS))]
    lines = [f"{scenario.title} [{scenario.name}]"]
    for cells in table:
        aligned = [cell.rjust(width) if column else cell.ljust(width)
                   for column, (cell, width) in enumerate(zip(cells, widths, strict=True))]  # fmt: skip
        lines.append("  " + "  ".join(aligned).rstrip())
    for name, row in rows.items():
        lines += ["  " + line for line in _remarks(name, row)]
    return "\n".join(lines)


def as_json(row: Row) -> dict[str, Any] | None:
    """Everything but the single answered requests; every failure with its record."""
    if row is None:
        return None
    if isinstance(row, str):
        return {"failed": row}
    return {
        "requests": row.requests,
        "failures": {cause.value: len(row.of(cause)) for cause in Cause},
        "unexplained": dict(row.unexplained()),
        "seconds": {
            "p50": row.percentile(0.5), "p99": row.percentile(0.99), "max": row.percentile(1.0),
            "longest_gap": row.longest_gap, "client_lag": row.client_lag,
        },
        "idle_ends": row.idle_ends, "notes": row.notes, "problems": row.problems,
        "contradictions": row.contradictions,
        "failed": [
            {"request": failure.record.request, "user": failure.record.user.value,
             "outcome": failure.record.outcome.value, "detail": failure.record.detail, "cause": failure.cause.value,
             "killed_worker": failure.worker, "began": failure.record.began, "ended": failure.record.ended,
             "connection": failure.record.connection, "opened": failure.record.opened,
             "served": failure.record.served, "before": failure.record.before}
            for failure in row.failures
        ],
    }  # fmt: skip
