"""`fastserve check`: what it reports, where values come from, and its exit codes."""

import dataclasses
import os
import re
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

import fastserve.cli
from fastserve.options import OPTIONS

APPLICATION = """
async def app(scope, receive, send):
    pass

def create(argument):
    pass
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command line in a directory with an application; returns (exit code, standard output)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fastserve.cli, "_run", lambda config: print("served", config.app))
    (tmp_path / "checked_app.py").write_text(APPLICATION)
    (tmp_path / "broken_app.py").write_text("1 / 0")

    def run(*arguments, env=None):
        monkeypatch.setattr("sys.path", list(sys.path))
        result = CliRunner().invoke(fastserve.cli.main, arguments, env=env)
        return result.exit_code, result.output

    return run


def options(output):
    """The table of a report: option -> (value, source)."""
    found = {}
    for line in output.split("\n\n")[1].splitlines():
        if match := re.fullmatch(r"([a-z_0-9]+)  +(.*?) {2,}(\S.*)", line):
            found[match[1]] = (match[2], match[3])
    return found


@pytest.fixture
def with_tls(monkeypatch):
    for param, row in OPTIONS.items():
        if param.startswith("ssl_"):
            monkeypatch.setitem(OPTIONS, param, dataclasses.replace(row, missing=""))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key) of a server."""
    folder = tmp_path_factory.mktemp("tls")
    files = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    os.chmod(files[1], 0o600)
    return files


def test_all_is_well(run):
    code, output = run("check", "checked_app:app", "--port", "0")
    assert code == 0
    assert "application  checked_app:app is imported, its interface is asgi3" in output
    assert "listening    127.0.0.1:0 can be bound" in output
    assert output.endswith("The server would start.\n")


def test_every_option_with_its_source(run, tmp_path):
    (tmp_path / "fastserve.toml").write_text('backlog = 5\nlimit_max_rss = "1G"\nuds_permissions = "640"')
    env = {
        "FASTSERVE_ACCESS_LOG": "0",
        "UVICORN_HOST": "127.0.0.1",
        "WEB_CONCURRENCY": "3",
        "FORWARDED_ALLOW_IPS": "10.0.0.1",
    }
    code, output = run("check", "checked_app:app", "--port", "0", "--header", "A:b", env=env)
    assert code == 0
    found = options(output)
    assert set(found) == {param for param, row in OPTIONS.items() if row.command_line} - {"config"}
    assert found["app"] == ("checked_app:app", "command line")
    assert found["port"] == ("0", "--port")
    assert found["headers"] == ("A:b", "--header")
    assert found["access_log"] == ("off", "FASTSERVE_ACCESS_LOG")
    assert found["host"] == ("127.0.0.1", "UVICORN_HOST")
    assert found["backlog"] == ("5", "fastserve.toml")
    assert found["limit_max_rss"] == ("1073741824", "fastserve.toml")
    assert found["uds_permissions"] == ("640", "fastserve.toml")
    assert found["workers"] == ("3", "WEB_CONCURRENCY")
    assert found["forwarded_allow_ips"] == ("10.0.0.1", "FORWARDED_ALLOW_IPS")
    assert found["timeout_header"] == ("10", "default")
    assert found["interface"] == ("auto", "default")


@pytest.mark.parametrize("name", ["checked_app:nothing", "nowhere_app:app", "no-colon", "broken_app:app"])
def test_applications_that_cannot_be_imported(run, name):
    code, output = run("check", name, "--port", "0")
    assert code == 3
    assert "failure  application: cannot be loaded, the log says why" in output
    # One report has all there is to say.
    assert "127.0.0.1:0 can be bound" in output
    assert output.endswith("The server would not start.\n")


def test_an_address_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run("check", "checked_app:app", "--port", str(port))
    assert code == 3
    assert f"bind on address ('127.0.0.1', {port}): address already in use" in output


def test_unix_sockets_are_left_as_they_are(run, tmp_path):
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    before = stale.stat()
    code, output = run("check", "checked_app:app", "--bind", "unix:stale", "--bind", "unix:fresh")
    assert code == 0
    assert "unix:stale can be bound" in output
    assert stale.stat().st_ino == before.st_ino
    assert not (tmp_path / "fresh").exists()
    with socket.socket(socket.AF_UNIX) as sock:
        stale.unlink()
        sock.bind(str(stale))
        sock.listen()
        code, output = run("check", "checked_app:app", "--uds", "stale")
    assert code == 3
    assert "another server listens on it" in output


@pytest.mark.usefixtures("with_tls")
def test_tls_files(run, certificate):
    files = ["--ssl-certfile", certificate[0], "--ssl-keyfile", certificate[1]]
    code, output = run("check", "checked_app:app", "--port", "0", *files, "--ssl-keyfile-password", "secret")
    assert code == 0
    assert f"{certificate[0]} and its key fit" in output
    assert "secret" not in output
    code, output = run("check", "checked_app:app", "--port", "0", *files[:3], "/nowhere/key.pem")
    assert code == 3
    assert "failure  ssl_certfile: '/nowhere/key.pem' does not exist" in output
    code, output = run("check", "checked_app:app", "--port", "0", *files, "--ssl-sni", f"a.test={certificate[1]}")
    assert code == 3
    assert "failure  ssl_sni: " in output
    code, output = run("check", "checked_app:app", "--port", "0", *files, "--ssl-ciphers", "nonsense")
    assert code == 3
    assert "failure  ssl_ciphers: " in output


@pytest.mark.usefixtures("with_tls")
def test_a_key_that_everyone_can_read_is_a_warning(run, certificate, tmp_path):
    key = tmp_path / "key.pem"
    with open(certificate[1]) as source:
        key.write_text(source.read())
    key.chmod(0o644)
    code, output = run(
        "check", "checked_app:app", "--port", "0", "--ssl-certfile", certificate[0], "--ssl-keyfile", str(key)
    )
    assert code == 1
    assert f"warning  ssl_certfile: every user of this machine can read the key '{key}'" in output
    assert output.endswith("The server would start.\n")


def test_wrong_options(run):
    code, output = run("check", "checked_app:app", "--port", "x")
    assert code == 2
    assert "Error: Invalid value for '--port': 'x' is not a valid integer." in output


def test_check_is_a_command_only_in_front_of_something(run):
    assert run("check") == (0, "served check\n")
    assert run("check:app") == (0, "served check:app\n")
    assert run("--port", "0", "check") == (0, "served check\n")
    assert run("check", "--port", "0", env={"FASTSERVE_APP": "checked_app:app"})[0] == 0
