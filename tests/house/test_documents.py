"""What the documents say of options is what the option table says."""

import re
import subprocess
import sys

import pytest

from fastserve.options import OPTIONS
from tests.house.sources import ROOT

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
UNIT = (ROOT / "examples/fastserve.service").read_text(encoding="utf-8")
LIMITS = {row.name: row.default for row in OPTIONS.values() if row.command_line and row.group in {"Limits", "Timeouts"}}


@pytest.mark.parametrize("script", ["options_table", "uvicorn_table"])
def test_the_tables_are_up_to_date(script: str) -> None:
    result = subprocess.run(
        [sys.executable, f"docs/{script}.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_every_limit_is_on_the_security_page_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(--[\w-]+)` \| (\S+) \|", SECURITY, flags=re.MULTILINE))
    listed.pop("--backlog")
    assert listed == {name: "none" if value is None else f"{value:g}" for name, value in LIMITS.items()}  # type: ignore[str-format]


def test_the_deployment_page_names_every_option_of_workers_and_their_time_limits() -> None:
    expected = {
        row.name
        for row in OPTIONS.values()
        if row.group == "Workers" or row.param.startswith(("timeout_graceful", "timeout_worker", "limit_max", "bind"))
    }
    assert expected <= named(DEPLOYMENT)


def test_options_in_documents_and_examples_exist() -> None:
    assert named(DEPLOYMENT) | named(UNIT) <= {row.name for row in OPTIONS.values()}


def test_variables_in_documents_and_examples_exist() -> None:
    variables = set(re.findall(r"FASTSERVE_[A-Z_]+", DEPLOYMENT + UNIT)) - {"FASTSERVE_WORKER_ID"}
    assert variables
    assert variables <= {row.env for row in OPTIONS.values()}


def test_the_unit_waits_for_the_longest_stop() -> None:
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, flags=re.MULTILINE)
    steps = (OPTIONS[name].default for name in ("timeout_graceful_shutdown", "timeout_graceful_cancel"))
    assert int(seconds) > sum(steps) + 6  # type: ignore[arg-type]


def named(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
