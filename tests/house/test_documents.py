"""What the documents say of options is what the option table says."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastserve.options import OPTIONS
from fastserve.server import access_format
from fastserve.server.config import Config
from tests.house.sources import ROOT, project_files, relative

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
DEPLOYMENT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
LOGGING = (ROOT / "docs/logging.md").read_text(encoding="utf-8")
UNIT = (ROOT / "examples/fastserve.service").read_text(encoding="utf-8")
LIMITING = {"Limits", "Timeouts", "WebSocket"}
LIMITS = {
    row.name: row.default
    for row in OPTIONS.values()
    if row.command_line and row.group in LIMITING and not isinstance(row.default, bool | str)
}


@pytest.mark.parametrize("script", ["options_table", "uvicorn_table", "websocket_table"])
def test_the_tables_are_up_to_date(script: str) -> None:
    result = subprocess.run(
        [sys.executable, f"docs/{script}.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


DOCUMENTS = [path for path in project_files() if path.suffix == ".md"]


def anchors(path: Path) -> set[str]:
    """The names by which the headings of a document are reached."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def test_every_limit_is_on_the_security_page_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(--[\w-]+)` \| (\S+) \|", SECURITY, flags=re.MULTILINE))
    listed.pop("--backlog")
    assert listed == {name: "none" if value is None else f"{value:.9g}" for name, value in LIMITS.items()}  # type: ignore[str-format]


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


def test_the_page_of_logs_names_every_atom() -> None:
    listed = re.findall(r"^\| `(%\(.+\)s)` \|", LOGGING, flags=re.MULTILINE)
    atoms = {text.removeprefix("%(").removesuffix(")s") for text in listed if "{" not in text}
    assert atoms - {"p", "w"} == access_format._ATOMS.keys()
    for text in [*listed, *re.findall(r"--access-log-format '(.+)'", LOGGING)]:
        assert access_format.parse(text)
    assert named(LOGGING) <= {row.name for row in OPTIONS.values()} | {"--no-access-log", "--no-use-colors"}


def test_the_log_configuration_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", LOGGING, flags=re.DOTALL)
    (tmp_path / "log.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    access = logging.getLogger("fastserve.access")
    loggers = [logging.getLogger("fastserve"), access]
    before = [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    try:
        Config("a:a", log_config="log.yaml")
        access.info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
        access.handlers[0].close()
    finally:
        for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers[:] = propagate, handlers
    assert (tmp_path / "access.log").read_text() == 'INFO:     1.2.3.4:5 - "GET / HTTP/1.1" 200 OK\n'


def named(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
