"""The table, and everything that is derived from it: command line, environment, Settings; and uvicorn's defaults."""

import dataclasses

import click
import pytest
import uvicorn
from click.testing import CliRunner

import fastserve.cli
from fastserve.bind import Bind
from fastserve.config import Settings
from fastserve.options import OPTIONS
from fastserve.server.config import Config

ROWS = [row for row in OPTIONS.values() if row.name and row.command_line]


@pytest.fixture
def parsed(monkeypatch):
    """Runs a command line; returns (the Config that would have served or None, exit code, output)."""

    def parse(*arguments: str, env: dict[str, str] | None = None):
        served = []
        monkeypatch.setattr(fastserve.cli, "_run", served.append)
        monkeypatch.setattr("sys.path", [])
        result = CliRunner().invoke(fastserve.cli.main, arguments, env=env)
        return (served[0] if served else None), result.exit_code, result.output

    return parse


def test_settings_and_table_have_the_same_names():
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert fields == {row.param for row in OPTIONS.values() if row.setting}


def test_command_line_without_options_is_settings_without_options(parsed):
    config, code, output = parsed("app:app")
    assert (code, output) == (0, "")
    assert {field.name: getattr(config, field.name) for field in dataclasses.fields(Settings)} == {
        field.name: getattr(Settings("app:app"), field.name) for field in dataclasses.fields(Settings)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.param)
def test_every_option_is_in_the_help(row):
    output = CliRunner().invoke(fastserve.cli.main, ["--help"]).output
    assert (f"  {row.name} " in output) is not row.hidden


def uvicorn_twins():
    theirs = {parameter.name: parameter for parameter in uvicorn.main.params}
    return [(row, theirs[row.param]) for row in OPTIONS.values() if row.param in theirs]


# Finite where uvicorn waits for ever: an event stream must not hold up a deployment.
DIFFERENT_DEFAULTS = {
    "timeout_graceful_shutdown": (30.0, None),
    # Counts time in which the event loop itself stands still, which no side thread covers up.
    "timeout_worker_healthcheck": (30.0, 5),
}


@pytest.mark.parametrize(("row", "theirs"), uvicorn_twins(), ids=lambda value: getattr(value, "param", ""))
def test_option_is_uvicorns(row, theirs):
    """Name, switches, kind and default are uvicorn's wherever both have the option."""
    ours = next(parameter for parameter in fastserve.cli.main.params if parameter.name == row.param)
    context = click.Context(fastserve.cli.main, info_name="x")
    assert row.uvicorn == row.param
    assert set(ours.opts) == set(theirs.opts)
    assert set(ours.secondary_opts) == set(theirs.secondary_opts)
    assert ours.multiple == getattr(theirs, "multiple", False) if isinstance(ours, click.Option) else True
    assert getattr(ours, "is_flag", False) == getattr(theirs, "is_flag", False)
    defaults = (ours.get_default(context), theirs.get_default(context))
    if row.param in DIFFERENT_DEFAULTS:
        assert defaults == DIFFERENT_DEFAULTS[row.param]
    elif row.param != "app" and not row.multiple:
        assert defaults[0] == defaults[1]


def test_twins_are_found():
    assert len(uvicorn_twins()) > 25


def test_uvicorn_names_in_the_table_exist():
    theirs = {parameter.name for parameter in uvicorn.main.params}
    assert {row.uvicorn for row in OPTIONS.values() if row.uvicorn} <= theirs


@pytest.mark.parametrize(
    ("variable", "text", "param", "value"),
    [
        ("FASTSERVE_APP", "m:a", "app", "m:a"),
        ("FASTSERVE_PORT", "9", "port", 9),
        ("FASTSERVE_ACCESS_LOG", "0", "access_log", False),
        ("FASTSERVE_SERVER_HEADER", "false", "server_header", False),
        ("FASTSERVE_FACTORY", "yes", "factory", True),
        ("FASTSERVE_FACTORY", "0", "factory", False),
        ("FASTSERVE_USE_COLORS", "off", "use_colors", False),
        ("UVICORN_RELOAD", "false", "reload", False),
        ("UVICORN_WORKERS", "3", "workers", 3),
        ("FASTSERVE_HEADERS", "a:b c:d", "headers", [("a", "b"), ("c", "d")]),
        ("FASTSERVE_TIMEOUT_HEADER", "none", "timeout_header", None),
        ("FASTSERVE_TIMEOUT_GRACEFUL_SHUTDOWN", "0", "timeout_graceful_shutdown", 0.0),
        ("FASTSERVE_UDS_PERMISSIONS", "600", "uds_permissions", 0o600),
        ("FASTSERVE_LOG_LEVEL", "trace", "log_level", "trace"),
        ("FASTSERVE_BIND", "127.0.0.1:1 unix:s?mode=600", "bind", ["127.0.0.1:1", "unix:s?mode=600"]),
        ("FASTSERVE_WORKERS", "3", "workers", 3),
        ("WEB_CONCURRENCY", "4", "workers", 4),
        ("WEB_CONCURRENCY", "", "workers", 1),
        ("FASTSERVE_PID_FILE", "web.pid", "pid_file", "web.pid"),
        ("FASTSERVE_LIMIT_MAX_RSS", "1.5G", "limit_max_rss", 3 * 2**29),
        ("FASTSERVE_TIMEOUT_WORKER_STARTUP", "0", "timeout_worker_startup", 0.0),
    ],
)
def test_environment(parsed, variable, text, param, value):
    config, code, output = parsed(*([] if variable.endswith("APP") else ["app:app"]), env={variable: text})
    assert code == 0, output
    assert getattr(config, param) == value


def test_command_line_wins_over_environment(parsed):
    config, _, _ = parsed("app:app", "--port", "1", env={"FASTSERVE_PORT": "2", "FASTSERVE_HOST": "::1"})
    assert (config.port, config.host) == (1, "::1")


@pytest.mark.parametrize("value", ["0", "-1", "none"])
def test_no_pings(parsed, value):
    """As under uvicorn, whatever is not more than zero."""
    config, _, _ = parsed("app:app", "--ws-ping-interval", value)
    assert config.ws_ping_interval in {0, -1, None}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing argument 'APP'."),
        (["a:a", "--prot", "1"], "No such option"),
        (["a:a", "--port", "65536"], "Invalid value for '--port': 65536 is not between 0 and 65535."),
        (["a:a", "--port", "x"], "Invalid value for '--port': 'x' is not a valid integer."),
        (["a:a", "--backlog", "0"], "Invalid value for '--backlog': 0 is not between 1 and 2147483647."),
        (["a:a", "--timeout-header", "0"], "Invalid value for '--timeout-header': 0.0 is not more than 0."),
        (["a:a", "--timeout-header", "nan"], "Invalid value for '--timeout-header': nan is not a number of seconds."),
        (["a:a", "--ws-ping-timeout", "-1"], "Invalid value for '--ws-ping-timeout': -1.0 is not at least 0."),
        (["a:a", "--timeout-keep-alive", "none"], "Invalid value for '--timeout-keep-alive'"),
        (["a:a", "--lifespan", "maybe"], "'maybe' is not one of 'auto', 'on', 'off'."),
        (["a:a", "--header", "x"], "Invalid value for '--header': 'x' is not of the form Name:Value."),
        (["a:a", "--header", "x y:z"], "Invalid value for '--header': 'x y' is not a field name."),
        (["a:a", "--header", "x:a\r\nb: c"], "is not a field value"),
        (["a:a", "--uds-permissions", "888"], "'888' is not an octal mode such as 660."),
        (["a:a", "--log-config", "/nowhere.json"], "Path '/nowhere.json' does not exist."),
        (["a:a", "--log-level", "loud"], "'loud' is not one of 'critical'"),
        (["a:a", "--workers", "0"], "Invalid value for '--workers': 0 is not between 1 and 256."),
        (["a:a", "--workers", "many"], "Invalid value for '--workers': 'many' is not a valid integer."),
        (["a:a", "--limit-max-rss", "lots"], "'lots' is not a number of bytes such as 65536, 64K or 1.5G."),
        (["a:a", "--limit-max-rss", "0"], "0 is not at least 1."),
        (["a:a", "--bind", "localhost"], "'localhost' is not host:port, [ipv6]:port, :port, unix:path or fd://number."),
    ],
)
def test_usage_errors(parsed, arguments, complaint):
    config, code, output = parsed(*arguments)
    assert config is None
    assert code == 2
    assert complaint in output


def test_workers_given_win_over_web_concurrency(parsed):
    assert parsed("app:app", "--workers", "2", env={"WEB_CONCURRENCY": "4"})[0].workers == 2
    assert parsed("app:app", env={"WEB_CONCURRENCY": "4", "FASTSERVE_WORKERS": "2"})[0].workers == 2


def test_web_concurrency_that_is_no_number(parsed):
    config, code, output = parsed("app:app", env={"WEB_CONCURRENCY": "x"})
    assert (config, code) == (None, 2)
    assert "WEB_CONCURRENCY: 'x' is not a valid integer" in output


def test_web_concurrency_holds_for_programs(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert Config("a:a", log_config=None).workers == 3
    assert Config("a:a", log_config=None, workers=2).workers == 2
    monkeypatch.delenv("WEB_CONCURRENCY")
    assert Config("a:a", log_config=None, workers=None).workers == 1


def test_workers_auto(parsed, monkeypatch):
    monkeypatch.setattr("fastserve.config.cpu_limit", lambda: 7)
    assert parsed("app:app", "--workers", "auto")[0].workers == 7
    assert parsed("app:app", env={"WEB_CONCURRENCY": "auto"})[0].workers == 7


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100", 100), ("64K", 65536), ("64k", 65536), ("64KiB", 65536), ("64 kb", 65536), ("2M", 2**21), ("1g", 2**30),
        ("1.5G", 3 * 2**29), ("70b", 70),
    ],
)  # fmt: skip
def test_sizes(parsed, text, size):
    assert parsed("app:app", "--limit-request-body", text)[0].limit_request_body == size
    assert Settings("a:a", limit_request_body=text).limit_request_body == size


@pytest.mark.parametrize("text", ["1T", "M", "-5", "0x10", "1e3", "", "1 2"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match=r"limit_max_rss: .* is not a number of bytes"):
        Settings("a:a", limit_max_rss=text)


@pytest.mark.parametrize(
    ("options", "binds"),
    [
        ({}, [Bind("127.0.0.1", 8000)]),
        ({"host": None, "port": 1}, [Bind("", 1)]),
        ({"uds": "s", "uds_permissions": "600"}, [Bind(path="s", mode=0o600)]),
        ({"fd": 3, "uds": "s"}, [Bind(fd=3)]),
        (
            {"bind": [":1", "unix:a", "unix:b?mode=640", "fd://4"], "fd": 3, "uds_permissions": 0o600},
            [Bind("", 1), Bind(path="a", mode=0o600), Bind(path="b", mode=0o640), Bind(fd=4)],
        ),
    ],
)
def test_where_to_listen(options, binds):
    assert Settings("a:a", **options).binds == binds


def test_unusable_log_config_is_a_usage_error(parsed, tmp_path):
    path = tmp_path / "log.json"
    path.write_text("{")
    config, code, output = parsed("a:a", "--log-config", str(path))
    assert (config, code) == (None, 2)
    assert f"cannot use '{path}'" in output


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"port": "8000"}, "port: '8000' is not a whole number"),
        ({"port": True}, "port: True is not a whole number"),
        ({"headers": ["a:b"]}, "headers: 'a:b' is not a .name, value. pair"),
        ({"headers": [("a", "b\n")]}, "headers: .* is not a field value"),
        ({"timeout_body": -1}, "timeout_body: -1 is not more than 0"),
        ({"interface": "rsgi"}, "interface: 'rsgi' is not one of"),
        ({"access_log": None}, "access_log: None is not True or False"),
        ({"http": "quick"}, "http: 'quick' is not one of"),
        ({"bind": "127.0.0.1:80"}, "bind: '127.0.0.1:80' is not a list"),
        ({"bind": ["127.0.0.1"]}, "bind: '127.0.0.1' is not host:port"),
        ({"workers": 300}, "workers: 300 is not between 1 and 256"),
    ],
)
def test_config_refuses(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Config("a:a", log_config=None, **options)


def test_config_refuses_unknown_names():
    with pytest.raises(TypeError, match="unknown_option"):
        Config("a:a", unknown_option=1)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, [(b"server", b"fastserve")]),
        ({"server_header": False}, []),
        ({"headers": [("X-A", " b ")]}, [(b"server", b"fastserve"), (b"x-a", b"b")]),
        ({"headers": [["Server", "mine"]]}, [(b"server", b"mine")]),
    ],
)
def test_encoded_headers(options, fields):
    assert Settings("a:a", **options).encoded_headers == fields


def test_trusted_proxies_come_from_the_option_or_the_environment(monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert Settings("a:a").forwarded_allow_ips == uvicorn.Config("a:a").forwarded_allow_ips
    assert "::1" in Settings("a:a").trusted_peers
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    assert Settings("a:a").forwarded_allow_ips == uvicorn.Config("a:a").forwarded_allow_ips == "10.0.0.1"
    assert Settings("a:a", forwarded_allow_ips=["::2"]).forwarded_allow_ips == ["::2"]
    with pytest.raises(ValueError, match="forwarded_allow_ips: 'unix:no-such-user': there is no such user"):
        Settings("a:a", forwarded_allow_ips="unix:no-such-user")


def test_what_is_not_supported_yet_is_refused(monkeypatch):
    row = dataclasses.replace(OPTIONS["workers"], missing="more than one is not supported yet")
    monkeypatch.setitem(OPTIONS, "workers", row)
    assert row.description.endswith(" Not supported yet.")
    with pytest.raises(ValueError, match="workers: more than one is not supported yet"):
        Settings("a:a", workers=2)
    assert Settings("a:a", workers=None).workers == 1
    one = dataclasses.replace(row, missing_values=(3,))
    monkeypatch.setitem(OPTIONS, "workers", one)
    assert one.description.endswith(" Not supported yet: 3.")
    assert Settings("a:a", workers=2).workers == 2
    with pytest.raises(ValueError, match="workers: more than one is not supported yet"):
        Settings("a:a", workers=3)


def test_version():
    result = CliRunner().invoke(fastserve.cli.main, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("Running fastserve ")
    assert " with CPython 3." in result.output


def test_public_names():
    assert sorted(fastserve.__all__) == ["Config", "Server", "__version__", "after_fork", "main", "run"]
    for name in fastserve.__all__:
        assert getattr(fastserve, name) is not None
        assert name in dir(fastserve)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fastserve.nothing
