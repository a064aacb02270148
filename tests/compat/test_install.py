"""fastserve in uvicorn's place, in interpreters of their own: what is imported here stays imported."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastserve
from fastserve.compat import SEARCH_PATH
from fastserve.compat.modules import HOMES, VERSION

PACKAGE_ROOT = str(Path(fastserve.__file__).parents[1])

# What a program may count on, by module.
NAMES = {
    "uvicorn": ["run", "Config", "Server", "main", "__version__"],
    "uvicorn.config": [
        "LOGGING_CONFIG", "LOG_LEVELS", "STARTUP_FAILURE", "SSL_PROTOCOL_VERSION", "TRACE_LOG_LEVEL", "Config",
        "ProxyHeadersMiddleware", "WSGIMiddleware", "create_ssl_context",
        "import_from_string", "HTTP_PROTOCOLS", "WS_PROTOCOLS", "LIFESPAN", "LOOP_FACTORIES", "INTERFACES",
        "UvicornDeprecationWarning",
    ],
    "uvicorn.importer": ["import_from_string", "ImportFromStringError"],
    "uvicorn.lifespan.off": ["LifespanOff"],
    "uvicorn.lifespan.on": ["LifespanOn"],
    "uvicorn.logging": ["DefaultFormatter", "AccessFormatter", "ColourizedFormatter", "TRACE_LOG_LEVEL"],
    "uvicorn.main": [
        "run", "main", "Server", "Config", "STARTUP_FAILURE", "LOGGING_CONFIG", "LEVEL_CHOICES", "LIFESPAN_CHOICES",
        "INTERFACE_CHOICES",
    ],
    "uvicorn.middleware.asgi2": ["ASGI2Middleware"],
    "uvicorn.middleware.message_logger": ["MessageLoggerMiddleware", "message_with_placeholders", "PLACEHOLDER_FORMAT"],
    "uvicorn.middleware.proxy_headers": ["ProxyHeadersMiddleware"],
    "uvicorn.middleware.wsgi": ["WSGIMiddleware"],
    "uvicorn.protocols.utils": ["ClientDisconnected", "get_client_addr", "get_path_with_query_string"],
    "uvicorn.server": ["Server", "ServerState", "HANDLED_SIGNALS"],
    "uvicorn.supervisors": ["Multiprocess", "ChangeReload"],
    "uvicorn.supervisors.multiprocess": ["Multiprocess", "Process", "SIGNALS"],
    "uvicorn._types": ["ASGIApplication", "ASGI3Application", "ASGIReceiveCallable", "ASGISendCallable", "Scope"],
}  # fmt: skip


def python(code: str, *arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Run `code` in a fresh interpreter that finds fastserve."""
    search = os.pathsep.join(filter(None, [PACKAGE_ROOT, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": search, **environment}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def printed(code: str, **options: object) -> str:
    ended = python(code, **options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(("module", "names"), NAMES.items(), ids=list(NAMES))
def test_names(module: str, names: list[str]) -> None:
    theirs = importlib.import_module(module)
    assert [name for name in names if not hasattr(theirs, name)] == [], "this is not a name of uvicorn's"
    found = printed(f"""
        import fastserve.compat
        fastserve.compat.install()
        from {module} import {", ".join(names)}
        import {module}
        print([getattr(value, "__module__", "").split(".")[0] for value in ({", ".join(names)},)])
    """)
    assert "uvicorn" not in ast.literal_eval(found)


def test_the_same_names_with_one_word_changed() -> None:
    for module, names in NAMES.items():
        ours = HOMES[module] if module.startswith(("uvicorn.lifespan", "uvicorn._types")) else module
        found = importlib.import_module(ours.replace("uvicorn", "fastserve"))
        assert [name for name in names if not hasattr(found, name)] == [], module
    # Whatever has been imported meanwhile.
    assert fastserve.main.name == "fastserve"


def test_choices_are_those_of_uvicorns_options() -> None:
    for name in ("HTTP_PROTOCOLS", "WS_PROTOCOLS", "LIFESPAN", "LOOP_FACTORIES", "INTERFACES"):
        theirs, ours = (
            getattr(importlib.import_module(f"{package}.config"), name) for package in ("uvicorn", "fastserve")
        )
        assert sorted(theirs) == sorted(ours), name
    for name in ("LEVEL_CHOICES", "LIFESPAN_CHOICES", "INTERFACE_CHOICES"):
        theirs, ours = (getattr(sys.modules[f"{package}.main"], name) for package in ("uvicorn", "fastserve"))
        assert theirs.choices == ours.choices, name
    supervisors = [
        importlib.import_module(f"{package}.supervisors.multiprocess") for package in ("uvicorn", "fastserve")
    ]
    assert supervisors[0].SIGNALS == supervisors[1].SIGNALS
    loggers = [importlib.import_module(f"{package}.middleware.message_logger") for package in ("uvicorn", "fastserve")]
    for message in ({"type": "a", "body": b"123"}, {"text": "1", "bytes": None, "headers": [()]}):
        assert loggers[0].message_with_placeholders(message) == loggers[1].message_with_placeholders(message)


def test_everything_is_there_after_a_plain_import() -> None:
    assert (
        printed("""
        import fastserve.compat
        fastserve.compat.install()
        import uvicorn
        uvicorn.config.LOGGING_CONFIG["formatters"]["access"]["fmt"] = "%(message)s"
        from uvicorn.main import Server
        import uvicorn.main
        import fastserve.config, fastserve
        assert fastserve.config.LOGGING_CONFIG is uvicorn.config.LOGGING_CONFIG
        assert uvicorn.Server is Server is fastserve.Server is uvicorn.server.Server
        print(uvicorn.main.name, uvicorn.__version__)
    """)
        == f"fastserve {VERSION}"
    )


def test_the_version_is_that_of_the_uvicorn_we_are_compared_with() -> None:
    uvicorn = importlib.import_module("uvicorn")
    assert uvicorn.__version__ == VERSION


def test_run_and_config_take_what_uvicorns_take() -> None:
    uvicorn = importlib.import_module("uvicorn")
    taken = inspect.signature(fastserve.Config).parameters
    for theirs in (uvicorn.run, uvicorn.Config):
        assert set(inspect.signature(theirs).parameters) - set(taken) <= {"app_dir"}


def test_twice() -> None:
    assert (
        printed("""
        import sys, fastserve.compat
        fastserve.compat.install()
        import uvicorn
        before = list(sys.meta_path)
        fastserve.compat.install()
        print(sys.meta_path == before and fastserve.compat.installed())
    """)
        == "True"
    )


def test_too_late() -> None:
    ended = python("import uvicorn, fastserve.compat; fastserve.compat.install()")
    assert ended.returncode == 1
    assert "RuntimeError: uvicorn has been imported already" in ended.stderr


def test_what_is_not_there_says_why() -> None:
    ended = python("""
        import fastserve.compat
        fastserve.compat.install()
        from uvicorn.protocols.http.h11_impl import H11Protocol
    """)
    assert "ModuleNotFoundError: No module named 'uvicorn.protocols.http': fastserve stands in for" in ended.stderr


def test_tools_that_look_before_they_import() -> None:
    assert (
        printed("""
        import importlib.util, fastserve.compat
        fastserve.compat.install()
        print(importlib.util.find_spec("uvicorn") is not None, importlib.util.find_spec("uvicorn_worker"))
    """)
        == "True None"
    )


LOGGING = """
    import logging, logging.config, sys
    early = logging.getLogger("uvicorn.access")
    early.addFilter(lambda record: record.args[2] != "/health")
    import fastserve.server.server, fastserve.server.logs
    import fastserve.compat
    fastserve.compat.install()
    import uvicorn
"""


def test_loggers_have_uvicorns_names() -> None:
    assert printed(
        LOGGING
        + """
    assert logging.getLogger("fastserve.access").filters == early.filters != []
    uvicorn.Config(None, access_log=True)
    ours = fastserve.server.server.logger
    logging.getLogger("uvicorn.error").setLevel("DEBUG")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logging.getLogger("uvicorn").addHandler(handler)
    ours.debug("hello")
    print(sorted(n for n in logging.root.manager.loggerDict if n.startswith(("fastserve", "uvicorn"))))
    """
    ).splitlines() == ["uvicorn.error hello", "['uvicorn', 'uvicorn.access', 'uvicorn.asgi', 'uvicorn.error']"]


def test_a_logging_configuration_for_uvicorn() -> None:
    """With `disable_existing_loggers`, which is the default, and uvicorn's formatters."""
    assert printed(
        LOGGING
        + """
    config = {
        "version": 1,
        "formatters": {
            "default": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(name)s %(message)s"},
            "access": {"()": "uvicorn.logging.AccessFormatter", "fmt": "%(client_addr)s %(status_code)s"},
        },
        "handlers": {
            "default": {"class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stdout"},
            "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
        },
        "loggers": {
            "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
            "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        },
    }
    uvicorn.Config(None, log_config=config)
    fastserve.server.server.logger.info("hello")
    logging.getLogger("fastserve.access").info('%s - "%s %s HTTP/%s" %d', "peer", "GET", "/x", "1.1", 404)
    """
    ).splitlines() == ["INFO:     uvicorn.error hello", "peer 404 Not Found"]


def test_a_server_in_a_thread() -> None:
    assert printed("""
        import threading, http.client
        import fastserve.compat
        fastserve.compat.install()
        import uvicorn

        class Quiet(uvicorn.Server):
            def install_signal_handlers(self):
                pass

            async def startup(self, sockets=None):
                await super().startup(sockets)
                ready.set()

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hi"})

        ready = threading.Event()
        server = Quiet(uvicorn.Config(app, port=0, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        ready.wait(20)
        client = http.client.HTTPConnection(*server.servers[0].sockets[0].getsockname())
        client.request("GET", "/")
        print(server.started, client.getresponse().read(), server.server_state.total_requests)
        print([name for name, _ in server.server_state.default_headers])
        server.should_exit = True
        thread.join(20)
        client.close()
        print(thread.is_alive())
    """).splitlines() == ["True b'hi' 1", "[b'date', b'server']", "False"]


def test_python_programs_that_are_started() -> None:
    code = "import uvicorn, uvicorn.config; from uvicorn.main import run; print(uvicorn.Server.__module__)"
    assert printed(code, PYTHONPATH=os.pathsep.join([SEARCH_PATH, PACKAGE_ROOT])) == "fastserve.server.server"


def test_a_module_that_is_started() -> None:
    search = os.pathsep.join([SEARCH_PATH, PACKAGE_ROOT])
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "--version"], env={**os.environ, "PYTHONPATH": search}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stdout.startswith("Running fastserve "), ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [([], 2, "usage: "), (["--help"], 0, "usage: "), (["-m"], 2, "usage: "), (["no-such-thing"], 2, "neither a file")],
)
def test_console_usage(arguments: list[str], code: int, words: str) -> None:
    ended = python(
        "import runpy; runpy.run_module('fastserve.compat', run_name='__main__', alter_sys=True)", *arguments
    )
    assert (ended.returncode, words in ended.stdout + ended.stderr) == (code, True)
