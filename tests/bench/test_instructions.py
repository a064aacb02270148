"""The instruction guard: what is a loss, when nothing is judged, what is recorded. Nothing is counted here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import hot_path, instructions
from bench.instructions import Circumstances, CountError, Record

HERE = Circumstances("gcc 12", "gcc 12", "x86_64 avx2", "callgrind", "3.3")
RECORD = Record(HERE, "CPython 3.11.7, valgrind-3.19.0", {"small": 1000, "browser": 2000})

Guard = Callable[..., int]


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Guard:
    """Runs the command with `counted` for what the tool counts, on a file with `recorded` for this Python."""

    def run(
        *arguments: str,
        counted: dict[str, float] | None,
        recorded: Record | None = RECORD,
        here: Circumstances = HERE,
    ) -> int:
        def count(names: Sequence[str]) -> dict[str, float]:
            assert counted is not None
            if not counted:
                raise CountError("the tool said no")
            return counted

        path = tmp_path / "instructions.json"
        instructions.write_records(path, {instructions.PYTHON: recorded} if recorded else {})
        monkeypatch.setattr(instructions, "RECORDED", path)
        monkeypatch.setattr(
            instructions, "counter", lambda: None if counted is None else (here.tool, "version 1", count)
        )
        monkeypatch.setattr(instructions, "circumstances", lambda tool: replace(here, tool=tool))
        return instructions.main(arguments)

    return run


def test_a_loss_of_over_five_percent_fails(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted={"small": 1051, "browser": 2000}) == 1
    printed = capsys.readouterr().out
    assert "small             1051      1000    +5.1%  LOSS, more than 5%" in printed
    assert "FAILED: small." in printed


def test_five_percent_are_allowed(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted={"small": 1050, "browser": 1900}) == 0
    printed = capsys.readouterr().out
    assert "+5.0%\n" in printed
    assert "-5.0%\n" in printed
    assert "NOTHING COMPARED" not in printed


def test_without_check_a_loss_is_only_shown(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(counted={"small": 1200}) == 0
    assert "LOSS" in capsys.readouterr().out


def test_a_gain_asks_to_be_recorded(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted={"small": 900}) == 0
    assert "-10.0%  better: record the new figure" in capsys.readouterr().out


def test_a_scenario_without_record_is_shown_and_passes(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted={"new": 900}) == 0
    assert "not recorded yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("compiler", "gcc 14"),
        ("cython", "3.4"),
        ("machine", "aarch64"),
        ("tool", "perf"),
        ("interpreter", "gcc 12, profiled"),
    ],
)
def test_elsewhere_nothing_is_judged_and_that_is_said(
    guard: Guard, capsys: pytest.CaptureFixture[str], field: str, value: str
) -> None:
    assert guard("--check", counted={"small": 9999}, here=replace(HERE, **{field: value})) == 0
    printed = capsys.readouterr().out
    assert "NOTHING COMPARED" in printed
    assert f"{field}: recorded {getattr(HERE, field)}, here {value}" in printed


def test_a_python_without_record_is_not_judged(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted={"small": 9999}, recorded=None) == 0
    assert f"NOTHING COMPARED: no counts are recorded for CPython {instructions.PYTHON}" in capsys.readouterr().out


def test_where_nothing_can_count_it_says_so(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted=None) == 0
    assert capsys.readouterr().out.startswith("NOT COUNTED: ")
    assert guard("--record", counted=None) == 2


def test_a_count_that_failed_is_no_pass(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard("--check", counted={}) == 2
    assert "the tool said no" in capsys.readouterr().err


def test_recording_replaces_the_counts_of_this_python_alone(tmp_path: Path, guard: Guard) -> None:
    assert guard("--record", counted={"small": 899.6}) == 0
    path = instructions.RECORDED
    assert instructions.read_records(path)[instructions.PYTHON].counts == {"small": 900}
    instructions.write_records(path, {"3.0": RECORD, **instructions.read_records(path)})
    assert instructions.main(["--record"]) == 0
    assert instructions.read_records(path)["3.0"] == RECORD


def test_recording_one_scenario_keeps_the_others(guard: Guard) -> None:
    assert guard("--record", "--scenario", "small", counted={"small": 900.0}) == 0
    assert instructions.read_records(instructions.RECORDED)[instructions.PYTHON].counts == {
        "small": 900,
        "browser": 2000,
    }


def test_the_recorded_counts_are_of_the_scenarios_that_there_are() -> None:
    path = Path(instructions.__file__).with_suffix(".json")
    for version, entry in json.loads(path.read_text()).items():
        assert set(entry["counts"]) == set(hot_path.SCENARIOS), version
        assert all(count > 0 for count in entry["counts"].values())


def test_a_functions_own_count_leaves_out_those_it_calls() -> None:
    outer = "fn=outer\n12 100\n+3 20\ncfn=inner\ncalls=5 0\n15 4000\n* 1\n"
    inner = "fn=inner\n7 4000\nfn=inner'2\n-2 9\n"
    assert instructions.own_counts(f"part: 2\n\nfl=a.c\n{outer}{inner}totals: 4130\n") == {"outer": 121, "inner": 4009}


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 2):
        (tmp_path / f"out.{number}").write_text(f"fn=f\n1 {number}\n")
    assert [part.total() for part in instructions.read_parts(tmp_path)] == [2, 9, 10]


@pytest.mark.parametrize(
    ("comment", "compiler"),
    [
        (b"\0GCC: (Debian 12.2.0-14) 12.2.0\0", "gcc 12"),
        (b"\0Ubuntu clang version 18.1.3 (1ubuntu1)\0", "clang 18"),
        (b"\0nothing\0", "unknown"),
    ],
)
def test_the_compiler_is_read_from_what_it_made(comment: bytes, compiler: str) -> None:
    assert instructions.compiler_of(b"\x7fELF" + comment) == compiler


@pytest.mark.parametrize("name", hot_path.SCENARIOS)
def test_a_scenario_answers_every_request_it_is_said_to(name: str) -> None:
    scenario = hot_path.SCENARIOS[name]
    with scenario.served() as serve:
        assert scenario.opening or serve().count(b"HTTP/1.1 200 OK\r\n") == scenario.requests
        assert serve().count(hot_path.ANSWER) == scenario.requests
    assert scenario.reads(1) == 1
    assert scenario.reads(scenario.requests * scenario.connections + 1) == 2
