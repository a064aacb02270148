"""fastserve.toml and [tool.fastserve]: which file counts, what it may say, and what is said about one that is wrong."""

import pytest
from click.testing import CliRunner

import fastserve.cli
from fastserve.configuration_file import read_options


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """Runs a command line in an empty directory; returns (the Config that would have served or None, its output)."""
    monkeypatch.chdir(tmp_path)

    def parse(*arguments, env=None):
        served = []
        monkeypatch.setattr(fastserve.cli, "_run", served.append)
        monkeypatch.setattr("sys.path", [])
        result = CliRunner().invoke(fastserve.cli.main, arguments, env=env)
        assert result.exit_code == (0 if served else 2), result.output
        return (served[0] if served else None), result.output

    return parse


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_kind_of_value(tmp_path):
    path = write(
        tmp_path / "fastserve.toml",
        """
        app = "main:app"
        port = 9000
        access-log = false
        timeout_header = "none"
        timeout_body = 1.5
        limit_max_rss = "1G"
        uds_permissions = 0o640
        headers = ["A: b", ["C", "d"]]
        bind = ":1"
        workers = "auto"
        """,
    )
    assert read_options(path) == (
        path,
        {
            "app": "main:app",
            "port": 9000,
            "access_log": False,
            "timeout_header": None,
            "timeout_body": 1.5,
            "limit_max_rss": 2**30,
            "uds_permissions": 0o640,
            "headers": [("A", "b"), ("C", "d")],
            "bind": [":1"],
            "workers": "auto",
        },
    )


def test_values_arrive_in_the_config(parsed, tmp_path):
    write(
        tmp_path / "fastserve.toml",
        'app = "m:a"\nport = 9000\naccess_log = false\ntimeout_header = "none"\n'
        'headers = ["A: b"]\nbind = [":1", ":2"]',
    )
    config, _ = parsed()
    assert (config.app, config.port, config.access_log, config.timeout_header) == ("m:a", 9000, False, None)
    assert (config.headers, config.bind) == ([("A", "b")], [":1", ":2"])


def test_precedence(parsed, tmp_path):
    write(tmp_path / "fastserve.toml", "port = 4\nbacklog = 4\nheaders = ['a: file']")
    env = {"FASTSERVE_PORT": "2", "UVICORN_PORT": "3"}
    assert parsed("a:a", "--port", "1", env=env)[0].port == 1
    assert parsed("a:a", env=env)[0].port == 2
    assert parsed("a:a", env={"UVICORN_PORT": "3"})[0].port == 3
    assert parsed("a:a")[0].port == 4
    assert parsed("a:a", env={"UVICORN_PORT": ""})[0].port == 4
    assert parsed("a:a", "--header", "a: line")[0].headers == [("a", "line")]
    (tmp_path / "fastserve.toml").unlink()
    assert parsed("a:a")[0].port == 8000


def test_only_one_file_counts(parsed, tmp_path):
    write(tmp_path / "pyproject.toml", "[tool.fastserve]\nport = 2\nbacklog = 2")
    assert parsed("a:a")[0].port == 2
    write(tmp_path / "fastserve.toml", "port = 1")
    config = parsed("a:a")[0]
    assert (config.port, config.backlog) == (1, 2048)
    other = write(tmp_path / "other.toml", "port = 3")
    assert parsed("a:a", "--config", other)[0].port == 3
    assert parsed("a:a", env={"FASTSERVE_CONFIG": other})[0].port == 3


@pytest.mark.parametrize("text", ["", "[tool.other]\nport = 1", "tool = 1", "not toml", "\0\xff"])
def test_projects_that_do_not_speak_of_us(parsed, tmp_path, text):
    write(tmp_path / "pyproject.toml", text)
    assert parsed("a:a")[0].port == 8000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prot = 1", "fastserve.toml: unknown option 'prot'; is it 'port'?"),
        ("config = 'a'", "fastserve.toml: unknown option 'config'"),
        ("ssl_context_factory = 'a'", "fastserve.toml: unknown option 'ssl_context_factory'"),
        ("port = '8000'", "fastserve.toml: port: '8000' is not a whole number"),
        ("port = 80000", "fastserve.toml: port: 80000 is not between 0 and 65535"),
        ("access-log = 'no'", "fastserve.toml: access-log: 'no' is not True or False"),
        ("host = 1", "fastserve.toml: host: 1 is not a string"),
        ("headers = [1]", "fastserve.toml: headers: 1 is not a (name, value) pair"),
        ("headers = ['a']", "fastserve.toml: headers: 'a' is not of the form Name:Value"),
        ("log_config = 'nowhere.json'", "fastserve.toml: log_config: Path 'nowhere.json' does not exist"),
        ("log_level = 'loud'", "fastserve.toml: log_level: 'loud' is not one of"),
        ("use-colors = 1.5", "fastserve.toml: use-colors: 1.5 is not True or False"),
        ("a-b = 1\na_b = 1", "fastserve.toml: unknown option 'a-b'"),
        ("log-level = 'info'\nlog_level = 'info'", "fastserve.toml: option 'log_level' is given twice"),
        ("port = ", "fastserve.toml: Invalid value (at end of document)"),
        ("[port]", "fastserve.toml: port: {} is not a whole number"),
    ],
)
def test_wrong_files(parsed, tmp_path, text, complaint):
    write(tmp_path / "fastserve.toml", text)
    config, output = parsed("a:a")
    assert config is None
    assert f"Error: {complaint}" in output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[tool.fastserve]\nprot = 1", "pyproject.toml [tool.fastserve]: unknown option 'prot'"),
        ("[tool]\nfastserve = 1", "pyproject.toml: tool.fastserve is not a table"),
        ("[tool.fastserve", "pyproject.toml: Expected ']'"),
    ],
)
def test_wrong_projects(parsed, tmp_path, text, complaint):
    write(tmp_path / "pyproject.toml", text)
    assert complaint in parsed("a:a")[1]


def test_a_file_that_was_asked_for_must_have_something_to_say(parsed, tmp_path):
    path = write(tmp_path / "pyproject.toml", "")
    assert "there is no table [tool.fastserve]" in parsed("a:a", "--config", path)[1]
    assert (
        "Error: Invalid value for '--config': Path 'nowhere.toml' does not exist."
        in parsed("a:a", "--config", "nowhere.toml")[1]
    )


def test_help_and_version_do_not_read_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "fastserve.toml", "prot = 1")
    for switch in ("--help", "--version"):
        assert CliRunner().invoke(fastserve.cli.main, [switch]).exit_code == 0
