"""From an import string to an ASGI 3 callable: the importer, factories, interfaces. The words are uvicorn's."""

import functools
import logging
import sys
import types

import pytest
import uvicorn.importer

from fastserve.server import interface
from fastserve.server.config import Config
from fastserve.server.importer import ImportFromStringError, import_from_string
from fastserve.server.lifespan import LifespanOff
from fastserve.server.loops import loop_factory


@pytest.fixture
def module(monkeypatch):
    """A module `some_app` to put applications into."""
    made = types.ModuleType("some_app")
    monkeypatch.setitem(sys.modules, "some_app", made)
    return made


@pytest.fixture
def importable(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text)

    return write


@pytest.mark.parametrize(
    "string", ["example:", ":app", "example", "", "no_such_module_anywhere:x", "json:nothing", "json:decoder.nothing"]
)
def test_import_errors_are_uvicorns(string):
    with pytest.raises(uvicorn.importer.ImportFromStringError) as theirs:
        uvicorn.importer.import_from_string(string)
    with pytest.raises(ImportFromStringError) as ours:
        import_from_string(string)
    assert str(ours.value) == str(theirs.value)


def test_import():
    import json.decoder

    assert import_from_string("json:decoder.JSONDecoder.decode") is json.decoder.JSONDecoder.decode
    assert import_from_string(json) is json


def test_import_that_fails_inside_is_not_hidden(importable):
    importable("fails_inside", "import no_such_module_anywhere")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere") as raised:
        import_from_string("fails_inside:app")
    assert raised.value.__suppress_context__


def load(app, **options):
    config = Config(app, log_config=None, **options)
    config.load()
    return config


def test_import_error_is_a_line_and_exit_code_3(log_lines):
    with pytest.raises(SystemExit) as raised:
        load("no_such_module_anywhere:app")
    assert raised.value.code == 3
    assert log_lines() == ['ERROR Error loading ASGI app. Could not import module "no_such_module_anywhere".']


async def asgi3(scope, receive, send):
    pass


def asgi2(scope):
    async def instance(receive, send):
        scope["seen"] = (receive, send)

    return instance


def wsgi(environ, start_response):
    return []


def plain_asgi3(scope, receive, send):
    return asgi3(scope, receive, send)


class Asgi3:
    async def __call__(self, scope, receive, send):
        pass


class Wsgi:
    def __call__(self, environ, start_response):
        return []


class Asgi2Class:
    def __init__(self, scope):
        pass


class AwaitableClass:
    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (asgi3, "asgi3"),
        (Asgi3(), "asgi3"),
        (AwaitableClass, "asgi3"),
        (plain_asgi3, "asgi3"),
        (functools.partial(plain_asgi3), "asgi3"),
        (functools.partial(asgi3), "asgi3"),
        (asgi2, "asgi2"),
        (Asgi2Class, "asgi2"),
        (lambda *args: None, "asgi2"),
        (wsgi, "wsgi"),
        (Wsgi(), "wsgi"),
    ],
)
def test_interface(app, expected):
    assert interface.detect(app) == expected


def test_frameworks_interfaces():
    django = pytest.importorskip("django.core.handlers.wsgi")
    flask = pytest.importorskip("flask")
    starlette = pytest.importorskip("starlette.applications")
    assert interface.detect(flask.Flask("x")) == "wsgi"
    assert interface.detect(object.__new__(django.WSGIHandler)) == "wsgi"
    assert interface.detect(starlette.Starlette()) == "asgi3"


def test_loaded_asgi3():
    config = load(asgi3)
    assert (config.loaded, config.loaded_app, config.interface, config.asgi_version) == (True, asgi3, "asgi3", "3.0")


def test_loaded_asgi2(run_jumping):
    config = load(asgi2)
    assert (config.interface, config.asgi_version) == ("asgi2", "2.0")
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.5"}}
    run_jumping(config.loaded_app(scope, "receive", "send"))
    assert scope["seen"] == ("receive", "send")
    assert scope["asgi"] == {"version": "2.0", "spec_version": "2.5"}


def test_loaded_wsgi():
    config = load(wsgi)
    assert (config.interface, config.asgi_version, config.lifespan_class) == ("wsgi", "3.0", LifespanOff)
    assert config.loaded_app is wsgi


def test_interface_given_is_not_questioned():
    assert load(wsgi, interface="asgi3").loaded_app is wsgi


def test_factory(log_lines):
    assert load(lambda: asgi3, factory=True).loaded_app is asgi3
    assert log_lines() == []


def test_factory_found_out(log_lines):
    assert load(lambda: asgi3).loaded_app is asgi3
    assert log_lines() == [
        "WARNING ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
    ]


def test_not_a_factory(log_lines):
    with pytest.raises(SystemExit) as raised:
        load(asgi3, factory=True)
    assert raised.value.code == 3
    [line] = log_lines()
    assert line.startswith("ERROR Error loading ASGI app factory: asgi3() missing 3 required positional arguments")


def test_coroutine_function_as_factory(log_lines):
    async def factory():
        return asgi3

    with pytest.raises(SystemExit) as raised:
        load(factory, factory=True)
    assert raised.value.code == 3
    assert log_lines() == ["ERROR Error loading ASGI app factory: a factory must not be a coroutine function"]


def test_exception_in_a_factory_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        load(lambda: 1 // 0, factory=True)


def test_trace_logs_messages(caplog, run_jumping):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.body", "body": b"12345", "headers": None})

    async def receive():
        return {"type": "http.request", "body": b"123"}

    async def send(message):
        pass

    config = load(app, log_level="trace")
    run_jumping(config.loaded_app({"type": "http", "client": ("h", 1), "headers": []}, receive, send))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (5, "h:1 - ASGI [1] Started scope={'type': 'http', 'client': ('h', 1), 'headers': '<...>'}"),
        (5, "h:1 - ASGI [1] Receive {'type': 'http.request', 'body': '<3 bytes>'}"),
        (5, "h:1 - ASGI [1] Send {'type': 'http.response.body', 'body': '<5 bytes>', 'headers': None}"),
        (5, "h:1 - ASGI [1] Completed"),
    ]
    assert logging.getLogger("fastserve.asgi").level == 5


@pytest.mark.parametrize(("name", "package"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")])
def test_loops(name, package):
    loop = loop_factory(name)()
    try:
        assert type(loop).__module__.split(".")[0] == package
    finally:
        loop.close()


def test_loop_by_import_string():
    import asyncio

    assert loop_factory("asyncio:SelectorEventLoop") is asyncio.SelectorEventLoop
    assert loop_factory("none") is None


def test_auto_loop_without_uvloop(monkeypatch):
    import asyncio

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert loop_factory("auto") is asyncio.SelectorEventLoop


@pytest.mark.parametrize("name", ["uvloop", "nowhere_at_all:loop"])
def test_missing_loop(monkeypatch, log_lines, name):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(SystemExit) as raised:
        Config("a:a", log_config=None, loop=name).get_loop_factory()
    assert raised.value.code == 3
    [line] = log_lines()
    assert line.startswith("ERROR Error loading custom loop setup function. ")
