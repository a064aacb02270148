"""Two commits compared: the line of a scenario says what B costs in units of A, and whether that is a loss."""

from collections.abc import Sequence

import pytest

from bench import compare
from bench.load.measure import Load, Memory
from bench.load.report import Ratio, Result
from bench.load.scenarios import Scenario

SMALL = Scenario("small", "GET", "m:a")


def load_of(cpu_us: float, p50_us: float = 1.0, waiting: float = 0.0, errors: int = 0) -> Load:
    return Load(
        requests=1000, seconds=1.0, cpu_us=cpu_us, user_ticks=30, system_ticks=70, busy=1.0, waiting=waiting,
        client_busy=1.0, client_waiting=0.0, rate=1e6 / cpu_us, p50_us=p50_us, p90_us=2.0, p99_us=3.0, max_us=4.0,
        errors=errors, first_error="status: 500" if errors else "",
    )  # fmt: skip


def loads(*cpu_us: float) -> Result:
    return Result(loads=[load_of(value) for value in cpu_us])


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.04, 1.06, 1.08), "LOSS of 6.0%"),
        ((0.99, 1.06, 1.08), "LOSS of 6.0%, but not in every round"),
        ((0.99, 1.03, 1.08), ""),
        ((0.95, 0.97, 1.0), ""),
        ((0.90, 0.92, 0.95), "gain of 8.0%"),
        ((0.90, 0.92, 1.01), "gain of 8.0%, but not in every round"),
    ],
)
def test_a_ratio_is_a_loss_a_gain_or_neither(ratios: Sequence[float], expected: str) -> None:
    low, middle, high = ratios
    assert compare.verdict(Ratio(middle, low, high)) == expected


class TestScenarioLine:
    def test_the_ratio_is_that_of_b_to_a_within_the_rounds(self) -> None:
        line = compare.scenario_line(SMALL, {"A": loads(8, 10, 8), "B": loads(8.8, 11, 10)})
        assert line.split()[:5] == ["small", "8.00", "10.00", "1.100", "(1.100–1.250)"]
        assert line.endswith("µs of CPU per request   LOSS of 10.0%")

    def test_one_connection_is_judged_by_its_latency(self) -> None:
        row = {"A": Result(loads=[load_of(8, p50_us=50)]), "B": Result(loads=[load_of(16, p50_us=50)])}
        assert "1.000 (1.000–1.000)  µs, median latency" in compare.scenario_line(Scenario("one", "GET", "m:a"), row)

    def test_idle_connections_are_judged_by_their_memory(self) -> None:
        row = {
            name: Result(memories=[Memory(kib, 2000, 0.0, 0.0, 0, "")]) for name, kib in (("A", 1.0), ("B", 1.5))
        }  # fmt: skip
        line = compare.scenario_line(Scenario("memory", "idle", "m:a", idle_connections=2000), row)
        assert line.endswith("KiB per connection      LOSS of 50.0%")

    def test_a_disturbed_measurement_says_so(self) -> None:
        row = {"A": loads(8), "B": Result(loads=[load_of(8, waiting=0.2)])}
        assert "(disturbed, up to 20% of a window: take it again)" in compare.scenario_line(SMALL, row)

    def test_a_server_that_failed_or_answered_wrongly_has_no_ratio(self) -> None:
        row = {"A": Result(loads=[None], failure="it ended"), "B": Result(loads=[load_of(8, errors=3)])}
        line = compare.scenario_line(SMALL, row)
        assert line == "small       A FAILED: it ended; B ANSWERED WRONGLY: status: 500"


def test_micro_benchmarks_are_compared_where_both_have_them() -> None:
    rounds = [({"x": 1e-6, "gone": 1e-6}, {"x": 1.1e-6, "new": 1e-6}), ({"x": 1e-6}, {"x": 1.2e-6})]
    [line] = compare.micro_lines(rounds)
    assert line.split()[:5] == ["x", "1000", "1150", "1.150", "(1.100–1.200)"]
    assert line.endswith("LOSS of 15.0%")


def test_an_unknown_commit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["no-such-commit"]) == 2
    assert "bench.compare: " in capsys.readouterr().err
