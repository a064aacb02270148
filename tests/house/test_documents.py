"""What the documents say of options is what the option table says."""

import re
import subprocess
import sys

from fastserve.options import OPTIONS
from tests.house.sources import ROOT

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
LIMITS = {row.name: row.default for row in OPTIONS.values() if row.group in {"Limits", "Timeouts"}}


def test_the_table_of_options_is_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "docs/options_table.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_every_limit_is_on_the_security_page_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(--[\w-]+)` \| (\S+) \|", SECURITY, flags=re.MULTILINE))
    listed.pop("--backlog")
    assert listed == {name: "none" if value is None else f"{value:g}" for name, value in LIMITS.items()}  # type: ignore[str-format]
