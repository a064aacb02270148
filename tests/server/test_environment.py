"""--env-file: what it sets, what it must not touch, and reading it again."""

import logging
import os
import sys

import pytest

from fastserve.server import environment
from fastserve.server.config import Config


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """What a test sets is gone afterwards, whoever has set it."""
    before = dict(os.environ)
    for name in ("WEB_CONCURRENCY", "OWN", "OTHER"):
        monkeypatch.delenv(name, raising=False)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "web.env"


def test_variables_that_are_set_stay(path):
    os.environ["OTHER"] = "kept"
    path.write_text("OWN=1\nOTHER=2\nEMPTY=\n# comment\nBARE\n")
    assert environment.load(str(path)) == {"OWN": "1", "EMPTY": ""}
    assert (os.environ["OWN"], os.environ["OTHER"], "BARE" in os.environ) == ("1", "kept", False)


def test_reading_again(path):
    path.write_text("OWN=1\nOTHER=1\nTHIRD=1\n")
    earlier = environment.load(str(path))
    os.environ["THIRD"] = "changed by somebody"
    path.write_text("OWN=2\nTHIRD=2\n")
    assert environment.reload(str(path), earlier) == {"OWN": "2"}
    assert (os.environ["OWN"], os.environ["THIRD"], "OTHER" in os.environ) == ("2", "changed by somebody", False)


def test_a_file_that_is_gone_changes_nothing(path, caplog):
    path.write_text("OWN=1\n")
    earlier = environment.load(str(path))
    path.unlink()
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        assert environment.reload(str(path), earlier) == {"OWN": "1"}
    assert os.environ["OWN"] == "1"
    assert "No such file or directory" in caplog.text


def test_without_python_dotenv(path, monkeypatch):
    path.write_text("OWN=1\n")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ValueError, match=r"^env_file: .*needs python-dotenv.*pip install python-dotenv"):
        Config("a:a", log_config=None, env_file=str(path))
    assert "OWN" not in os.environ


def test_the_file_may_say_how_many_workers_there_are(path, caplog):
    path.write_text("WEB_CONCURRENCY=3\nFASTSERVE_PORT=1\nUVICORN_PORT=1\n")
    with caplog.at_level(logging.INFO, "fastserve.error"):
        config = Config("a:a", log_config=None, env_file=path)
    assert (config.workers, config.port) == (3, 8000)
    assert config.environment["WEB_CONCURRENCY"] == "3"
    assert f"Loading environment from '{path}'" in caplog.text


def test_a_file_that_is_not_there(path):
    with pytest.raises(ValueError, match=r"env_file: cannot read .*No such file"):
        Config("a:a", log_config=None, env_file=str(path))
