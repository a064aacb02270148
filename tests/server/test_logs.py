"""The log as it is read: prefixes, colours, streams, levels and configuration files; compared with uvicorn's."""

import copy
import io
import json
import logging
import sys

import pytest
import uvicorn.logging

from fastserve.config import LOGGING_CONFIG
from fastserve.server import logs
from fastserve.server.config import Config

LEVELS = [5, 10, 20, 30, 40, 50, 25]


def record(level=logging.INFO, message="hello %s", args=("world",), **extra):
    made = logging.LogRecord("fastserve.error", level, "f.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_default_format_is_uvicorns(level, colors):
    fmt = "%(levelprefix)s %(message)s"
    extra = {"color_message": "HELLO %s"}
    ours = logs.DefaultFormatter(fmt, use_colors=colors).format(record(level, **extra))
    assert ours == uvicorn.logging.DefaultFormatter(fmt, use_colors=colors).format(record(level, **extra))


@pytest.mark.parametrize("colors", [False, True])
@pytest.mark.parametrize("status", [100, 200, 204, 302, 404, 500, 299, 600])
def test_access_format_is_uvicorns(status, colors):
    fmt = LOGGING_CONFIG["formatters"]["access"]["fmt"]
    arguments = ("127.0.0.1:5", "GET", "/a?b=c", "1.1", status)
    message = '%s - "%s %s HTTP/%s" %d'
    ours = logs.AccessFormatter(fmt, use_colors=colors).format(record(message=message, args=arguments))
    theirs = uvicorn.logging.AccessFormatter(fmt, use_colors=colors).format(record(message=message, args=arguments))
    assert ours == theirs


def test_plain_lines():
    formatter = logs.DefaultFormatter("%(levelprefix)s %(message)s", use_colors=False)
    assert formatter.format(record()) == "INFO:     hello world"
    assert formatter.format(record(logging.CRITICAL)) == "CRITICAL: hello world"


def test_formatting_leaves_the_record_alone():
    made = record(color_message="HELLO %s")
    logs.DefaultFormatter("%(levelprefix)s %(message)s", use_colors=True).format(made)
    assert made.msg == "hello %s"
    assert "levelprefix" not in made.__dict__


@pytest.mark.parametrize("terminal", [False, True])
def test_colors_by_default_on_a_terminal(monkeypatch, terminal):
    stdout = io.StringIO()
    monkeypatch.setattr(stdout, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert logs.DefaultFormatter().use_colors is terminal
    assert logs.AccessFormatter().use_colors is terminal


def test_access_record_with_other_arguments_is_refused():
    with pytest.raises(ValueError, match="five arguments"):
        logs.AccessFormatter().format(record())


def test_streams(capsys):
    Config("a:a", use_colors=False)
    logging.getLogger("fastserve.error").info("server")
    logging.getLogger("fastserve.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
    output = capsys.readouterr()
    assert output.err == "INFO:     server\n"
    assert output.out == 'INFO:     1.2.3.4:5 - "GET / HTTP/1.1" 200 OK\n'


def test_configuration_is_uvicorns_but_for_the_names():
    theirs = json.dumps(uvicorn.config.LOGGING_CONFIG)
    theirs = theirs.replace("uvicorn.logging.", "fastserve.server.logs.").replace("uvicorn", "fastserve")
    assert json.loads(theirs) == LOGGING_CONFIG


def test_use_colors_leaves_the_default_configuration_alone():
    before = copy.deepcopy(LOGGING_CONFIG)
    Config("a:a", use_colors=True)
    assert before == LOGGING_CONFIG


def test_changed_default_configuration_is_used(monkeypatch, capsys):
    monkeypatch.setitem(LOGGING_CONFIG["formatters"]["default"], "fmt", "changed: %(message)s")
    Config("a:a")
    logging.getLogger("fastserve.error").info("x")
    assert capsys.readouterr().err == "changed: x\n"


@pytest.mark.parametrize(("level", "number"), [("trace", 5), ("DEBUG", 10), ("error", 40), (7, 7)])
def test_log_level(level, number):
    Config("a:a", log_level=level)
    for name in ("error", "access", "asgi"):
        assert logging.getLogger(f"fastserve.{name}").level == number
    assert logging.getLevelName(5) == "TRACE"


def test_no_access_log():
    Config("a:a", access_log=False)
    access = logging.getLogger("fastserve.access")
    assert (access.handlers, access.propagate) == ([], False)


def file_configuration(suffix):
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {"fastserve.error": {"level": "WARNING"}},
    }
    if suffix == "ini":
        return (
            "[loggers]\nkeys=root,e\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nlevel=INFO\nhandlers=\n"
            "[logger_e]\nqualname=fastserve.error\nlevel=WARNING\nhandlers=\n"
        )
    return json.dumps(configuration)


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml", "ini"])
def test_configuration_file(tmp_path, suffix):
    path = tmp_path / f"log.{suffix}"
    path.write_text(file_configuration(suffix))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        Config("a:a", log_config=path)
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
    assert logging.getLogger("fastserve.error").level == logging.WARNING


@pytest.mark.parametrize(
    ("suffix", "text"),
    [("json", "{"), ("json", "{}"), ("yaml", "a: ["), ("yaml", "text"), ("ini", ""), ("ini", "no section")],
)
def test_configuration_file_that_makes_no_sense(tmp_path, suffix, text):
    path = tmp_path / f"log.{suffix}"
    path.write_text(text)
    with pytest.raises(ValueError, match="log_config: cannot use"):
        Config("a:a", log_config=str(path))


def test_configuration_file_that_is_missing():
    with pytest.raises(ValueError, match=r"log_config: cannot use '/nowhere.ini'"):
        Config("a:a", log_config="/nowhere.ini")


def test_yaml_without_its_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "yaml", None)
    path = tmp_path / "log.yaml"
    path.write_text("version: 1")
    with pytest.raises(ImportError, match="Install the PyYAML package"):
        Config("a:a", log_config=str(path))
