"""`gunicorn -k fastserve.workers.FastserveWorker`, with a gunicorn as people run it."""

import signal
import socket
import ssl
import time

import pytest

from fastserve.server.config import Config
from tests.authority import Authority, needs_openssl
from tests.process.conftest import PATIENCE

pytest.importorskip("gunicorn")

from gunicorn.config import Config as GunicornConfig  # skipped where it is not installed

from fastserve.workers import config_kwargs  # as above

WORKER = "fastserve.workers.FastserveWorker"

SUBCLASS = """
from fastserve.workers import FastserveWorker

class Named(FastserveWorker):
    CONFIG_KWARGS = {"headers": [("x-worker", "named")]}

class Wrong(FastserveWorker):
    CONFIG_KWARGS = {"nonsense": 1}

class Counting(FastserveWorker):
    def notify(self):
        super().notify()
        print("notified\\n", end="", flush=True)
"""

CONFIGURATION = """
def worker_int(worker):
    print("hook: worker_int\\n", end="", flush=True)

def worker_abort(worker):
    print("hook: worker_abort\\n", end="", flush=True)

def worker_exit(server, worker):
    print("hook: worker_exit\\n", end="", flush=True)
"""


@pytest.fixture
def gunicorn(start, folder):
    (folder / "own.py").write_text(SUBCLASS)
    (folder / "gunicorn.conf.py").write_text(CONFIGURATION)
    (folder / "blocking.py").write_text(
        "import time\nfrom webapp import app as inner\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http' and scope['path'] == '/block':\n"
        "        time.sleep(60)\n"
        "    await inner(scope, receive, send)\n"
        "def wsgi(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [environ['PATH_INFO'].encode() + environ['wsgi.input'].read()]\n"
    )

    # Newer ones open a socket for commands in the home directory.
    quiet = ["--no-control-socket"] if "control_socket" in GunicornConfig().settings else []

    def run(app, *arguments, worker=WORKER, compat=False, scheme="http"):
        arguments = ["--bind", "127.0.0.1:0", *quiet, "-k", worker, *arguments, app]
        if compat:
            process = start("gunicorn", *arguments, server="fastserve.compat")
        else:
            process = start(*arguments, server="gunicorn")
        port = int(process.wait_for(rf"Listening at: {scheme}://127.0.0.1:(\d+)")[1])
        process.connect = lambda: connected(port)
        return process

    return run


def connected(port):
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(PATIENCE)
    return client


def test_asgi(gunicorn):
    process = gunicorn("webapp:app", "--access-logfile", "-", "--workers", "2")
    head, body = process.get("/hello")
    assert "server: fastserve" in head
    assert body == b"/hello"
    process.wait_for(r'127\.0\.0\.1:\d+ - "GET /hello HTTP/1\.1" 200$')
    process.wait_for(r"\[INFO\] Application startup complete\.", 2)
    assert process.stop(signal.SIGTERM) == 0
    process.wait_for(r"\[INFO\] Application shutdown complete\.", 2)
    process.wait_for("hook: worker_exit", 2)


def test_no_access_log_unless_asked_for(gunicorn):
    process = gunicorn("webapp:app")
    process.get("/hello")
    process.stop(signal.SIGTERM)
    assert not [line for line in process.stdout + process.stderr if "/hello" in line]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by the worker", "preloaded"])
def test_wsgi(gunicorn, preload):
    process = gunicorn("blocking:wsgi", *preload)
    assert process.get("/hello")[1] == b"/hello"
    assert process.stop(signal.SIGTERM) == 0


def test_a_subclass_says_more(gunicorn):
    process = gunicorn("webapp:app", worker="own.Named")
    assert "x-worker: named" in process.get()[0]
    assert process.stop(signal.SIGTERM) == 0


def test_max_requests(gunicorn):
    process = gunicorn("webapp:app", "--max-requests", "2")
    for number in range(7):
        assert process.get(f"/{number}")[1] == b"/%d" % number
    process.wait_for("Maximum request limit of 2 exceeded")
    process.wait_for("Booting worker", 2)
    assert process.get("/after")[1] == b"/after"
    assert process.stop(signal.SIGTERM) == 0


def test_running_requests_get_the_graceful_timeout(gunicorn):
    process = gunicorn("webapp:app", "--graceful-timeout", "2")
    with process.connect() as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("hanging")
        assert process.stop(signal.SIGTERM) == 0
    process.wait_for(r"Cancel 1 running task\(s\), timeout graceful shutdown exceeded")
    process.wait_for("Application shutdown complete")


def test_quit_does_not_wait(gunicorn):
    process = gunicorn("webapp:app", "--graceful-timeout", "60")
    with process.connect() as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("hanging")
        assert process.stop(signal.SIGQUIT) == 0
    process.wait_for("hook: worker_int")


def test_reopened_logs(gunicorn, folder):
    process = gunicorn("webapp:app", "--access-logfile", "access.log")
    process.get("/before")
    (folder / "access.log").rename(folder / "access.log.1")
    process.send_signal(signal.SIGUSR1)
    process.wait_for("Handling signal: usr1")
    end = time.monotonic() + PATIENCE
    while not (folder / "access.log").exists() or "/after" not in (folder / "access.log").read_text():
        assert time.monotonic() < end, "the access log is not reopened"
        process.get("/after")
    assert process.stop(signal.SIGTERM) == 0
    assert "/before" in (folder / "access.log.1").read_text()
    assert "/after" in (folder / "access.log").read_text()


def test_a_worker_that_blocks_is_replaced(gunicorn):
    process = gunicorn("blocking:app", "--timeout", "3")
    with process.connect() as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("WORKER TIMEOUT")
    process.wait_for("hook: worker_abort")
    assert process.get("/hello")[1] == b"/hello"
    assert process.stop(signal.SIGTERM) == 0


def test_the_arbiter_hears_of_a_worker_that_has_nothing_to_do(gunicorn):
    process = gunicorn("webapp:app", worker="own.Counting")
    process.wait_for("notified", 4)
    assert process.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("app", "worker", "words"),
    [
        ("webapp:fails_to_start", WORKER, "Application startup failed. Exiting."),
        ("webapp:app", "own.Wrong", "The worker's configuration makes no sense: .*nonsense"),
    ],
)
def test_a_worker_that_cannot_boot(gunicorn, app, worker, words):
    process = gunicorn(app, worker=worker)
    assert process.wait() == 3
    process.wait_for(words)
    process.wait_for("Worker failed to boot")


@needs_openssl
def test_tls(gunicorn, tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("authority"))
    server = authority.issue("server")
    process = gunicorn(
        "webapp:app", "--certfile", str(server.certificate), "--keyfile", str(server.key), scheme="https"
    )
    context = ssl.create_default_context(cafile=authority.certificate)
    with context.wrap_socket(process.connect(), server_hostname="localhost") as client:
        assert process.get("/x", client)[1] == b"/x"
    assert process.stop(signal.SIGTERM) == 0


def test_in_uvicorns_place(gunicorn):
    process = gunicorn("webapp:app", worker="uvicorn.workers.UvicornWorker", compat=True)
    assert "server: fastserve" in process.get()[0]
    assert process.stop(signal.SIGTERM) == 0


def settings(**given):
    found = GunicornConfig()
    for name, value in given.items():
        found.set(name, value)
    return config_kwargs(found)


def test_settings_that_nobody_has_set():
    assert settings() == {
        "timeout_keep_alive": 2, "timeout_graceful_shutdown": 25.5, "timeout_graceful_cancel": 3.0, "workers": 1,
    }  # fmt: skip


def test_trusted_proxies():
    assert settings(forwarded_allow_ips="10.0.0.1")["forwarded_allow_ips"] == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("name", "value", "param", "expected"),
    [
        ("keepalive", 0, "timeout_keep_alive", 0.0),
        ("max_requests", 10, "limit_max_requests", 10),
        ("max_requests", "0", "limit_max_requests", None),
        ("max_requests_jitter", 5, "limit_max_requests_jitter", 5),
        ("worker_connections", 7, "limit_concurrency", 7),
        ("backlog", 5, "backlog", 5),
        ("limit_request_line", 0, "limit_request_line", 2**31 - 1),
        ("limit_request_line", 100, "limit_request_line", 100),
        ("limit_request_fields", 5, "limit_request_fields", 5),
        ("limit_request_field_size", 100, "limit_request_head", 65536),
        ("limit_request_field_size", 100_000, "limit_request_head", 100_000),
        ("graceful_timeout", 100, "timeout_graceful_shutdown", 85.0),
        ("timeout", 1, "timeout_request", None),
        ("root_path", "/x", "root_path", "/x"),
        ("workers", 7, "workers", 1),
    ],
)
def test_settings(name, value, param, expected):
    kwargs = settings(**{name: value})
    assert getattr(Config(None, log_config=None, **kwargs), param) == expected
