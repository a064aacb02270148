"""Every way of running workers: several of them, reloading ones, gunicorn's, over TLS."""

import contextlib
import os
import signal

import pytest
from gunicorn.config import Config as GunicornConfig

from tests.authority import needs_openssl
from tests.parity.wire import request
from tests.process.conftest import children
from tests.wsgi.apps.rules import CONTENT
from tests.wsgi.client import answer, ask, connect
from tests.wsgi.conftest import MODES, SUBJECT

pytestmark = pytest.mark.skipif(SUBJECT != "fastserve", reason="its own ways")

APP = "tests.wsgi.apps.rules:app"
QUIET = ["--no-control-socket"] if "control_socket" in GunicornConfig().settings else []


@pytest.fixture(params=["fastserve", "gunicorn"])
def many(start, mode, request):
    """Two workers, ours and as gunicorn starts them."""
    if request.param == "gunicorn":
        arguments = ["--bind", "127.0.0.1:0", *QUIET, "-k", "fastserve.workers.FastserveWorker"]
    else:
        arguments = ["--port", "0"]
    return start(*arguments, "--workers", "2", *MODES[mode], APP, server=request.param)


def test_several_workers(many, tmp_path):
    many.wait_for("Started server process", 2)
    workers = set(children(many.child.pid))
    seen = {int(ask(many, "/thread").body.split()[0]) for _ in range(10)}
    assert seen <= workers
    assert many.child.pid not in seen
    path = tmp_path / "go"
    with connect(many) as client:
        client.send(request("GET", f"/held?{path}"))
        client.receive_until(b"first")
        path.touch()
        client.receive_until(b"second")
    assert many.stop(signal.SIGTERM) == 0


def test_reload(start, folder, mode):
    program = folder / "program.py"
    text = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'one']\n"
    program.write_text(text)
    process = start("program:app", "--port", "0", "--reload", *MODES[mode])
    assert process.get("/")[1] == b"one"
    # Whole at once, and with a time of its own: what is seen half written is seen again.
    (folder / "new").write_text(text.replace("one", "another"))
    os.utime(folder / "new", (1, 1))
    (folder / "new").rename(program)
    process.wait_for("Application startup complete|Started server process", 2)
    for _ in range(1000):
        if process.get("/")[1] == b"another":
            break
    else:
        raise AssertionError("the program was not reloaded")
    assert process.stop() == 0


@needs_openssl
@pytest.mark.parametrize("route", ["/file?by=tls", "/memory"])
def test_files_over_tls(elsewhere, tls, route):
    response = ask(elsewhere, route, tls=tls)
    assert (response.body, response.complete) == (CONTENT, True)


@needs_openssl
def test_pieces_over_tls(elsewhere, tls, tmp_path):
    path = tmp_path / "go"
    with connect(elsewhere, tls) as client:
        client.send(request("POST", "/digest", body=CONTENT))
        assert answer(client).body.startswith(b"%d " % len(CONTENT))
        client.send(request("GET", f"/held?{path}"))
        client.receive_until(b"first")
        path.touch()
        client.receive_until(b"second")


def test_what_the_threads_have_to_do(start, tmp_path):
    """After SIGUSR2: two are busy, one request waits, one was refused."""
    process = start(APP, "--port", "0", "--supervise", "--threads", "2", "--limit-queue", "1")
    path = tmp_path / "go"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(process)) for _ in range(4)]
        for client in clients[:2]:
            client.send(request("GET", f"/held?{path}"))
            client.receive_until(b"first")
        for client in clients[2:]:
            client.send(request("GET", "/thread"))
        process.wait_for("Service unavailable: 1 requests wait for a thread already; 2 threads are busy.")
        process.send_signal(signal.SIGUSR2)
        process.wait_for("Threads: 2 busy, 1 requests wait for one, 1 were refused")
        path.touch()
        for client in clients[:2]:
            client.receive_until(b"second")
        assert sorted(answer(client).status for client in clients[2:]) == [200, 503]
    assert process.stop(signal.SIGTERM) == 0
