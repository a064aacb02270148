"""`--reload`: what a developer sees after saving a file, with either way of noticing it."""

import importlib.util
import itertools
import os
import re
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.process.conftest import PATIENCE, Process, wait_until

APPLICATION = """
import asyncio, pathlib, time

VERSION = b"one"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["path"] == "/forever":
        print("hanging", flush=True)
        await asyncio.Event().wait()
    if scope["path"] == "/blocked":
        print("hanging", flush=True)
        while True:
            time.sleep(1)
    if scope["path"] == "/slow":
        print("hanging", flush=True)
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(VERSION))]})
    await send({"type": "http.response.body", "body": VERSION})
"""
SHUTDOWN_HANGS = APPLICATION.replace(
    'kind = (await receive())["type"]',
    """kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                await asyncio.Event().wait()""",
)
STARTUP_HANGS = APPLICATION.replace(
    'kind = (await receive())["type"]',
    """kind = (await receive())["type"]
            print("hanging", flush=True)
            await asyncio.Event().wait()""",
)

HAS_WATCHFILES = importlib.util.find_spec("watchfiles") is not None
needs_watchfiles = pytest.mark.skipif(not HAS_WATCHFILES, reason="watchfiles is not installed")
Start = Callable[..., Process]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "webapp.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture(params=["StatReload", pytest.param("WatchFiles", marks=needs_watchfiles)])
def watcher(request: pytest.FixtureRequest, folder: Path) -> str:
    """The name of the watcher that servers in this folder use."""
    if request.param == "StatReload":
        # Found before the installed one.
        (folder / "watchfiles.py").write_text("raise ImportError")
    return request.param


@pytest.fixture
def reloading(start: Start, watcher: str) -> Callable[..., Process]:
    def reloading(*arguments: str, **options: object) -> Process:
        process = start("webapp:app", "--reload", "--port", "0", "--reload-delay", "0.05", *arguments, **options)
        process.wait_for(rf"Started reloader process \[\d+\] using {watcher}")
        return process

    return reloading


def save(folder: Path, version: str, source: str = APPLICATION) -> None:
    """In one step, as many editors do."""
    (folder / "new").write_text(source.replace('b"one"', f'b"{version}"'))
    (folder / "new").rename(folder / "webapp.py")


def reloaded(process: Process, count: int = 1) -> None:
    """Only now: the old worker answers until it hears of the change."""
    process.wait_for("detected changes in .*Reloading", count)
    process.wait_for("Started server process", count + 1)


def test_the_next_answer_is_of_new_code(reloading: Start, folder: Path) -> None:
    process = reloading()
    assert process.get()[1] == b"one"
    # The same size within one second, as compiled files tell sources apart.
    for count, version in enumerate(["two", "six", "ten"], 1):
        save(folder, version)
        reloaded(process, count)
        assert process.get()[1] == version.encode()
    assert process.stop() == 0


def test_no_request_fails_under_load(reloading: Start, folder: Path) -> None:
    process = reloading("--timeout-graceful-shutdown", "20")
    process.wait_for("Application startup complete")
    over = threading.Event()
    answered = threading.Condition()
    answers: list[bytes] = []
    failures: list[object] = []

    def ask(keep: bool) -> None:
        try:
            client = process.connect() if keep else None
            while not over.is_set():
                if client is not None:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    head, body = process.read(client)
                else:
                    head, body = process.get()
                assert head.startswith("http/1.1 200")
                with answered:
                    answers.append(body)
                    answered.notify_all()
            if client is not None:
                client.close()
        except (OSError, AssertionError) as error:
            with answered:
                failures.append(error)
                answered.notify_all()

    def wait_for_answer(version: bytes) -> None:
        with answered:
            assert answered.wait_for(lambda: version in answers or failures, PATIENCE)

    clients = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(4)]
    for client in clients:
        client.start()
    wait_for_answer(b"one")
    for count, version in enumerate(["two", "six"], 1):
        save(folder, version)
        reloaded(process, count)
    assert process.get()[1] == b"six"
    wait_for_answer(b"six")
    over.set()
    for client in clients:
        client.join()
    assert failures == []
    assert set(answers) >= {b"one", b"six"}


def test_a_request_that_runs_is_finished_by_the_old_code(reloading: Start, folder: Path) -> None:
    process = reloading("--timeout-graceful-shutdown", "20")
    with process.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("^hanging$")
        save(folder, "two")
        # The old worker has heard of it, and waits for this request alone.
        process.wait_for("Waiting for connections to close")
        (folder / "go").touch()
        assert process.read(client)[1] == b"one"
        # And its connection goes on.
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert process.read(client)[1] == b"two"


@pytest.mark.parametrize("first", [True, False])
def test_broken_code_shows_its_error_and_the_next_save_recovers(reloading: Start, folder: Path, first: bool) -> None:
    if first:
        save(folder, "one", "def app(:\n")
    process = reloading()
    if not first:
        assert process.get()[1] == b"one"
        save(folder, "one", "def app(:\n")
    process.wait_for("SyntaxError")
    process.wait_for(r"failed to start \(exit code \d.*waiting for changes")
    with process.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        save(folder, "two")
        assert process.read(client)[1] == b"two"
    assert process.stop() == 0


def test_ctrl_c_while_the_code_is_broken(reloading: Start, folder: Path) -> None:
    save(folder, "one", "raise RuntimeError('not today')")
    process = reloading()
    process.wait_for("waiting for changes")
    assert process.stop() == 0
    assert "Stopping reloader process" in process.stderr[-1]


def test_a_module_that_was_missing(reloading: Start, folder: Path) -> None:
    save(folder, "one", "from later import *\n")
    process = reloading()
    process.wait_for("waiting for changes")
    # Whole at once: what is seen half written fails, and is seen again.
    (folder / "new").write_text(APPLICATION.replace('b"one"', 'b"new"'))
    (folder / "new").rename(folder / "later.py")
    process.wait_for("detected changes in 'later.py'")
    assert process.get()[1] == b"new"


@pytest.mark.parametrize("path", ["/forever", "/blocked"])
def test_a_stuck_request_does_not_hang_the_reload(reloading: Start, folder: Path, path: str) -> None:
    process = reloading()
    with process.connect() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        process.wait_for("^hanging$")
        save(folder, "two")
        reloaded(process)
        assert process.get()[1] == b"two"


def test_a_hanging_shutdown_does_not_hang_the_reload(reloading: Start, folder: Path) -> None:
    save(folder, "one", SHUTDOWN_HANGS)
    process = reloading()
    assert process.get()[1] == b"one"
    save(folder, "two")
    process.wait_for("did not end within . s, killing it")
    assert process.get()[1] == b"two"


def test_a_hanging_startup_does_not_hang_the_reload(reloading: Start, folder: Path) -> None:
    save(folder, "one", STARTUP_HANGS)
    process = reloading()
    process.wait_for("^hanging$")
    save(folder, "two")
    reloaded(process)
    assert process.get()[1] == b"two"


def test_ctrl_c_ends_a_stuck_application(reloading: Start) -> None:
    process = reloading()
    with process.connect() as client:
        client.sendall(b"GET /blocked HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("^hanging$")
        assert process.stop() == 0


def test_a_worker_that_dies_is_started_again(reloading: Start) -> None:
    process = reloading()
    pid = int(process.wait_for(r"Started server process \[(\d+)\]")[1])
    assert process.get()[1] == b"one"
    os.kill(pid, signal.SIGKILL)
    process.wait_for("died: killed by SIGKILL")
    assert process.get()[1] == b"one"


def test_hangup_reloads(reloading: Start, folder: Path) -> None:
    process = reloading()
    process.wait_for("Application startup complete")
    process.send_signal(signal.SIGHUP)
    process.wait_for("Application startup complete", 2)
    assert process.get()[1] == b"one"


def test_the_application_must_be_named(folder: Path, start: Start) -> None:
    (folder / "main.py").write_text("import fastserve\nfastserve.run(object(), reload=True)\n")
    process = start(server="main")
    assert process.wait() == 3
    assert "You must pass the application as an import string to enable 'reload' or 'workers'." in process.stderr[-1]


def test_directories(reloading: Start, folder: Path) -> None:
    (folder / "inner").mkdir()
    process = reloading("--reload-dir", "inner")
    process.wait_for("Application startup complete")
    save(folder, "two")
    (folder / "inner" / "other.py").write_text("")
    reloaded(process)
    assert not [line for line in process.stderr if "webapp.py" in line]
    process.wait_for(re.escape(f"Will watch for changes in these directories: ['{folder / 'inner'}']"))


@needs_watchfiles
@pytest.mark.parametrize("watcher", ["WatchFiles"], indirect=True)
def test_includes_and_excludes(reloading: Start, folder: Path) -> None:
    (folder / "skipped").mkdir()
    process = reloading("--reload-include", "*.html", "--reload-exclude", "test_*", "--reload-exclude", "skipped")
    process.wait_for("Application startup complete")
    (folder / "test_app.py").write_text("")
    (folder / "skipped" / "module.py").write_text("")
    (folder / "notes.txt").write_text("")
    (folder / "page.html").write_text("")
    reloaded(process)
    (line,) = [line for line in process.stderr if "detected changes" in line]
    assert line == "WARNING:  WatchFiles detected changes in 'page.html'. Reloading..."


def shape(lines: list[str]) -> list[str]:
    """The lines with what is different in every run left out, and the names of the servers."""
    text = "\n".join(lines).replace("Uvicorn", "Fastserve").replace("uvicorn", "fastserve")
    return re.sub(r"\[\d+\]|:\d+ |(?<=changes in ).*(?=\. Rel)", "#", text).splitlines()


def answers(process: Process) -> bool:
    """Whether it does by now: uvicorn listens a little after it says so."""
    try:
        return process.get()[0].startswith("http/1.1 200")
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize("arguments", [(), ("--workers", "2"), ("--reload-include", "*.html")])
def test_lines_are_those_of_uvicorn(start: Start, folder: Path, watcher: str, arguments: tuple[str, ...]) -> None:
    logs = []
    for server in ("uvicorn", "fastserve"):
        save(folder, "one")
        # However long it takes to end: fastserve kills it after a while, by default and where it has not served yet.
        process = start(
            "webapp:app", "--reload", "--port", "0", "--no-access-log", "--timeout-graceful-shutdown", "20", *arguments,
            server=server,
        )  # fmt: skip
        process.wait_for("Application startup complete")
        wait_until(partial(answers, process), "no answer")
        # Again and again, but no second time before the first can be noticed: before its first look uvicorn does not
        # know what a change is.
        for attempt in itertools.count():
            if [line for line in process.stderr if "detected changes" in line]:
                break
            assert process.child.poll() is None
            if attempt % 200 == 0:
                save(folder, f"{attempt}")
            threading.Event().wait(0.05)
        process.wait_for("Application startup complete", 2)
        # Past its start.
        wait_until(partial(answers, process), "no answer")
        assert process.stop() == 0
        logs.append(shape(process.stderr))
    assert logs[1] == logs[0]


def test_options_of_a_server_that_does_not_reload(start: Start) -> None:
    for server in ("uvicorn", "fastserve"):
        process = start("webapp:app", "--port", "0", "--reload-dir", ".", server=server)
        process.wait_for(
            "Current configuration will not reload as not all conditions are met, please refer to documentation."
        )
        process.wait_for("Application startup complete")
        process.stop()
