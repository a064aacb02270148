"""The scaling benchmark measures both numbers of workers, and says what it compared."""

import json
import os
from pathlib import Path

import pytest

from bench import scaling


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_measures_one_worker_and_two(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "results" / "scaling.json"
    assert scaling.main(["--rounds", "1", "--seconds", "0.5", "--json", str(output)]) == 0
    printed = capsys.readouterr().out
    for line in ("the machine: ", "computing, by the rate: ", "hello, by the server's CPU time: "):
        assert line in printed
    written = json.loads(output.read_text())
    for scenario in ("computing", "hello"):
        for workers in ("1", "2"):
            (load,) = written["loads"][scenario][workers]
            assert load["requests"] > 0
            assert load["errors"] == 0
    one, two = (written["loads"]["hello"][workers][0]["cpu_us"] for workers in ("1", "2"))
    assert written["hello"]["by_cpu"]["middle"] == pytest.approx(2 * one / two)


def test_the_machine_is_measured_with_as_many_processes_as_asked_for() -> None:
    assert scaling.machine(0.1, 2) > 0


def test_a_server_without_workers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        scaling.main(["--server", "c"])
    assert "fastserve or uvicorn" in capsys.readouterr().err
