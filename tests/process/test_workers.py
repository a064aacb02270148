"""Many workers under one supervisor, as real processes: started, replaced, killed, stopped under the eyes of clients.

Each test writes its own application, so that it can change it under the running server. What several processes print
goes to one pipe: a line and its end have to be written together.
"""

import contextlib
import http.client
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter

import pytest

from fastserve.server import logs
from tests.process.conftest import PATIENCE, children, descendants, wait_until

WORKERS = """
import asyncio, os, time

VERSION = {version!r}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({{"type": kind + ".complete"}})
            if kind == "lifespan.shutdown":
                return
    path = scope["path"]
    body = str(os.getpid())
    if path == "/version":
        body = VERSION
    elif path == "/slot":
        body = os.environ["FASTSERVE_WORKER_ID"]
    elif path == "/hang":
        print("hanging\\n", end="", flush=True)
        await asyncio.Event().wait()
    elif path == "/long":
        # Longer than the time between two heartbeats.
        await asyncio.sleep(1.2)
        print(f"{{os.getpid()}} has been long\\n", end="", flush=True)
        await asyncio.Event().wait()
    elif path == "/block":
        print(f"{{os.getpid()}} blocks\\n", end="", flush=True)
        time.sleep(600)
    elif path == "/orphan":
        import subprocess
        subprocess.run(["sh", "-c", "sleep 0.05 &"], check=True)
    elif path == "/segfault":
        import ctypes
        ctypes.string_at(0)
    elif path == "/exit":
        os._exit(7)
    elif path == "/soon":
        await asyncio.sleep(0.01)
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body.encode()}})
"""

READY = r"^INFO:     Application startup complete\."


@pytest.fixture
def application(tmp_path):
    """Write the application: `application(version="2")`, or any text in its place."""

    def write(text=None, version="1"):
        # A new file, also to the importer, which compares times of seconds.
        (tmp_path / "webapp.py").write_text(text if text is not None else WORKERS.format(version=version) + "\n" * 50)

    write()
    return write


@pytest.fixture
def supervise(start, application):
    """Start a supervisor with two workers and wait until they serve."""

    def run(*arguments, count=2, **options):
        options["env"] = {"PYTHONDONTWRITEBYTECODE": "1"} | options.get("env", {})
        process = start("webapp:app", "--workers", str(count), "--port", "0", *arguments, **options)
        process.wait_for(READY, count)
        # They have said so; the supervisor has heard it when each of them has got a connection.
        slots = set()
        wait_until(lambda: slots.add(process.get("/slot")[1]) or len(slots) == count, "not every worker serves")
        return process

    return run


def pids(process, count=1):
    """The pids of the workers that have started, in the order they said so."""
    process.wait_for(r"Started server process \[\d+\]", count)
    return [int(match[1]) for line in process.stderr if (match := re.search(r"Started server process \[(\d+)\]", line))]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        # The latter where it goes between the opening and the reading.
        return False


def insist(process):
    """Ask it to stop until it takes that for more than an echo of the first time, or has ended."""

    def heard():
        process.send_signal(signal.SIGTERM)
        return process.child.poll() is not None or "exiting at once" in text(process)

    wait_until(heard, "it is not forced")


def text(process):
    return "\n".join(process.stderr)


class Load(contextlib.AbstractContextManager):
    """Clients that ask without pause; `failures` is what they could not get answered."""

    def __init__(self, process, *, reconnecting=2, keeping=2, target="/version"):
        self._port, self._target = process.port, target
        self._ended = threading.Event()
        self.answers = []
        self.failures = []
        self._threads = [threading.Thread(target=self._reconnect) for _ in range(reconnecting)]
        self._threads += [threading.Thread(target=self._keep) for _ in range(keeping)]

    def _ask(self, connection):
        connection.request("GET", self._target)
        response = connection.getresponse()
        self.answers.append(response.read().decode())
        return response

    def _reconnect(self):
        while not self._ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            try:
                self._ask(connection)
            except Exception as error:
                self.failures.append(f"reconnecting: {error!r}")
            finally:
                connection.close()
            time.sleep(0.001)

    def _keep(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while not self._ended.is_set():
            try:
                response = self._ask(connection)
                if response.will_close:
                    connection.close()
            except Exception as error:
                self.failures.append(f"keep-alive: {error!r}")
                connection.close()
            time.sleep(0.001)
        connection.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)


# --- a whole life


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_whole_life(supervise, number):
    process = supervise()
    assert process.get()[1].decode() in map(str, pids(process, 2))
    workers = pids(process)
    assert process.stop(number) == 0
    assert process.stderr[0].startswith("INFO:     Fastserve running on http://127.0.0.1:")
    assert process.stderr[1] == f"INFO:     Started parent process [{process.child.pid}]"
    assert f"INFO:     Received {number.name}, exiting." in process.stderr
    for pid in workers:
        assert f"INFO:     Terminated child process [{pid}]" in process.stderr
        assert f"INFO:     Waiting for child process [{pid}]" in process.stderr
        assert f"INFO:     Finished server process [{pid}]" in process.stderr
        assert not is_alive(pid)
    assert process.stderr[-1] == f"INFO:     Stopping parent process [{process.child.pid}]"
    assert sum("running on" in line for line in process.stderr) == 1


def test_a_terminal_interrupts_the_whole_group(supervise):
    process = supervise(start_new_session=True)
    os.killpg(process.child.pid, signal.SIGINT)
    assert process.wait() == 0
    assert text(process).count("Application shutdown complete.") == 2


def test_every_worker_serves_and_knows_its_slot(supervise):
    process = supervise()
    wait_until(lambda: process.get("/slot")[1] == b"0", "slot 0 does not answer")
    wait_until(lambda: process.get("/slot")[1] == b"1", "slot 1 does not answer")


def test_no_listener_blocks_whoever_finds_its_queue_empty(supervise):
    process = supervise()
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{process.port:04X}") and row[3] == "0A"}
    assert len(listening) == 2
    found = 0
    for pid in pids(process, 2):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in listening:
                    with open(f"/proc/{pid}/fdinfo/{descriptor}") as file:
                        flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
                    assert flags & os.O_NONBLOCK
                    found += 1
    assert found >= 4


def test_one_supervised_worker(supervise):
    process = supervise("--supervise", count=1)
    assert process.get("/slot")[1] == b"0"
    assert process.stop() == 0


def test_a_program_with_workers(start, application, tmp_path):
    (tmp_path / "main.py").write_text(
        "import fastserve\nprint(f'imported {__name__}\\n', end='', flush=True)\n"
        "if __name__ == '__main__':\n    fastserve.run('webapp:app', port=0, workers=2)\n    print('after')\n"
    )
    process = start(server="main")
    process.wait_for(READY, 2)
    assert process.get("/version")[1] == b"1"
    assert process.stop() == 0
    assert process.stdout[-1] == "after"
    assert process.stdout.count("imported __mp_main__") == 2


def test_a_program_that_would_start_itself_again(start, application, tmp_path):
    (tmp_path / "main.py").write_text("import fastserve\nfastserve.run('webapp:app', port=0, workers=2)\n")
    process = start(server="main")
    assert process.wait() == 3
    assert "Start it below `if __name__ == '__main__':`." in text(process)


def test_the_application_must_be_an_import_string(start, application, tmp_path):
    (tmp_path / "main.py").write_text("import fastserve, webapp\nfastserve.run(webapp.app, port=0, workers=2)\n")
    process = start(server="main")
    assert process.wait() == 3
    assert "You must pass the application as an import string to enable" in process.stderr[0]


def test_options_that_cannot_be_passed_on(start, application, tmp_path):
    (tmp_path / "main.py").write_text(
        "import fastserve\nclass Local:\n    def __reduce__(self): raise TypeError('not this one')\n"
        "config = {'version': 1, 'x': Local()}\n"
        "fastserve.run('webapp:app', port=0, workers=2, log_config=config)\n"
    )
    process = start(server="main")
    assert process.wait() == 3


def test_log_config_of_the_program_reaches_the_workers(start, application, tmp_path):
    (tmp_path / "main.py").write_text(
        "import fastserve, logging\nfrom fastserve.config import LOGGING_CONFIG\n"
        "class Shout(logging.Formatter):\n    def format(self, record): return super().format(record).upper()\n"
        "if __name__ == '__main__':\n"
        "    LOGGING_CONFIG['formatters']['default'] = {'()': Shout}\n"
        "    fastserve.run('webapp:app', port=0, workers=2)\n"
    )
    process = start(server="main")
    process.wait_for("APPLICATION STARTUP COMPLETE", 2)
    assert process.stop() == 0


# --- what cannot start


@pytest.mark.parametrize("options", [[], ["--preload"]])
@pytest.mark.parametrize("broken", ["import nowhere_at_all", "1 / 0", "wrong = 1"])
def test_start_up_failure(start, application, broken, options):
    application(broken)
    process = start("webapp:app", "--workers", "2", "--port", "0", *options)
    assert process.wait() == 3
    assert process.stderr[-1].startswith("INFO:     Stopping parent process")


def test_failing_lifespan(start, application):
    application(
        "async def app(scope, receive, send):\n    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    )
    process = start("webapp:app", "--workers", "2", "--port", "0")
    assert process.wait() == 3
    assert "ERROR:    no database" in process.stderr


def test_two_servers_on_one_port(supervise, start):
    first = supervise()
    second = start("webapp:app", "--workers", "2", "--port", str(first.port))
    assert second.wait() == 3
    assert re.fullmatch(
        r"ERROR:    \[Errno 98\] error while attempting to bind on address .*: address already in use",
        second.stderr[0],
    )
    assert len(second.stderr) == 1
    assert first.get("/version")[1] == b"1"


def test_stop_while_starting(start, application):
    application("import time\nprint('importing\\n', end='', flush=True)\ntime.sleep(600)\n")
    process = start("webapp:app", "--workers", "2", "--port", "0")
    process.wait_for("importing", 2)
    assert process.stop(signal.SIGTERM) == 0


# --- crashes


def test_a_crash_is_explained_and_mended(supervise):
    process = supervise()
    with contextlib.suppress(ConnectionError):
        process.get("/exit")
    line = process.wait_for(r"Child process \[(\d+)\] died")
    assert "7" in line.string
    process.wait_for(READY, 3)
    with Load(process) as load:
        wait_until(lambda: len(load.answers) > 50, "no answers")
    assert not load.failures
    assert not is_alive(int(line[1]))
    assert process.stop() == 0


def test_a_killed_worker_costs_nothing_but_its_own_requests(supervise):
    process = supervise()
    victim = pids(process, 2)[0]
    with Load(process, keeping=0) as load:
        wait_until(lambda: len(load.answers) > 20, "no answers")
        # Nothing runs while it does not run: what fails afterwards would be lost in the queue.
        os.kill(victim, signal.SIGSTOP)
        os.kill(victim, signal.SIGKILL)
        process.wait_for(rf"Child process \[{victim}\] died.*SIGKILL")
        process.wait_for(READY, 3)
        seen = len(load.answers)
        wait_until(lambda: len(load.answers) > seen + 20, "no answers")
    # What the victim was reading when it stopped, at most one request of each client.
    assert len(load.failures) <= 2


def test_what_ran_in_a_killed_worker_is_named(supervise):
    process = supervise()
    with process.connect() as client:
        client.sendall(b"GET /long?a=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        victim = int(process.wait_for(r"(\d+) has been long")[1])
        os.kill(victim, signal.SIGKILL)
        line = process.wait_for(rf"Child process \[{victim}\] died: killed by SIGKILL after").string
    assert re.search(r"running at its last heartbeat: GET /long from 127\.0\.0\.1:\d+", line)


def test_a_crash_loop_is_named_and_slowed_down(supervise, application):
    process = supervise()
    application("raise SystemExit(9)")
    os.kill(pids(process, 2)[0], signal.SIGKILL)
    process.wait_for("failed to start|exit code 9")
    # The other one serves on.
    assert process.get("/version")[1] == b"1"
    application(version="2")
    process.wait_for(READY, 3)
    assert process.stop() == 0


def test_a_segmentation_fault_leaves_its_stack(supervise):
    process = supervise()
    with contextlib.suppress(ConnectionError):
        process.get("/segfault")
    process.wait_for("Fatal Python error: Segmentation fault")
    process.wait_for(r"Child process \[\d+\] died: .*SIGSEGV")
    process.wait_for(READY, 3)


# --- restarts


def test_restart_with_new_code_loses_nothing(supervise, application):
    process = supervise()
    old = pids(process, 2)
    with Load(process) as load:
        wait_until(lambda: len(load.answers) > 20, "no answers")
        application(version="2")
        process.send_signal(signal.SIGHUP)
        process.wait_for("Received SIGHUP, restarting processes.")
        process.wait_for("All processes have been restarted.")
        for pid in old:
            process.wait_for(rf"Finished server process \[{pid}\]")
        load.answers.clear()
        wait_until(lambda: len(load.answers) > 50, "no answers")
    assert load.failures == []
    # Whatever was under way when the list was emptied has been answered since.
    assert set(load.answers[10:]) == {"2"}
    assert process.stop() == 0


def test_restart_follows_a_link_to_the_newest_release(supervise, application, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "webapp.py").write_text(WORKERS.format(version="new"))
    link = tmp_path / "current"
    link.symlink_to(tmp_path)
    # As a shell tells it that has changed into the link.
    process = supervise(env={"PWD": str(link)})
    assert process.get("/version")[1] == b"1"
    link.unlink()
    link.symlink_to(tmp_path / "new")
    process.send_signal(signal.SIGHUP)
    process.wait_for("All processes have been restarted.")
    wait_until(lambda: process.get("/version")[1] == b"new", "the old version goes on")


def test_restart_with_broken_code_keeps_the_workers(supervise, application):
    process = supervise()
    old = pids(process, 2)
    application("import nowhere_at_all")
    process.send_signal(signal.SIGHUP)
    process.wait_for(r"keeping worker \[\d+\] and aborting the restart")
    assert process.get("/version")[1] == b"1"
    assert all(is_alive(pid) for pid in old)
    application(version="2")
    process.send_signal(signal.SIGHUP)
    process.wait_for("All processes have been restarted.")
    wait_until(lambda: process.get("/version")[1] == b"2", "the old version goes on")


def test_stop_in_the_middle_of_a_restart_that_hangs(supervise, application):
    process = supervise()
    application("import time\nprint('importing\\n', end='', flush=True)\ntime.sleep(600)\n")
    process.send_signal(signal.SIGHUP)
    process.wait_for("importing")
    assert process.stop(signal.SIGTERM) == 0


def test_restart_of_an_application_that_takes_longer_to_import_than_a_worker_may_be_silent(supervise, application):
    """uvicorn gives up such a restart, and the old code goes on."""
    process = supervise("--timeout-worker-healthcheck", "1.2")
    application("import time\ntime.sleep(2)\n" + WORKERS.format(version="2"))
    process.send_signal(signal.SIGHUP)
    process.wait_for("All processes have been restarted.")
    wait_until(lambda: process.get("/version")[1] == b"2", "the old version goes on")
    assert process.stop() == 0


def test_stop_in_the_middle_of_a_restart_that_waits_for_a_request(supervise):
    """uvicorn's supervisor hears no signal until the request ends."""
    process = supervise("--timeout-graceful-disconnect", "none", "--timeout-graceful-shutdown", "600")
    with process.connect() as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("hanging")
        process.send_signal(signal.SIGHUP)
        process.wait_for("All processes have been restarted.")
        process.send_signal(signal.SIGTERM)
        process.wait_for("Received SIGTERM, exiting.")
        insist(process)
        assert process.wait() == 0


def test_running_requests_finish_in_the_old_worker(supervise, application):
    process = supervise()
    with process.connect() as client:
        client.sendall(b"GET /soon HTTP/1.1\r\nHost: x\r\n\r\n")
        process.send_signal(signal.SIGHUP)
        assert process.read(client)[0].startswith("http/1.1 200")
        process.wait_for("All processes have been restarted.")
        for pid in pids(process, 4)[:2]:
            process.wait_for(rf"Finished server process \[{pid}\]")


# --- health


def test_a_blocked_worker_is_replaced_and_named(supervise):
    process = supervise("--timeout-worker-healthcheck", "2.5")
    with process.connect() as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        blocked = int(process.wait_for(r"^(\d+) blocks$")[1])
        process.wait_for(rf"WARNING:  Child process \[{blocked}\] has not answered for")
        process.wait_for(r'File ".*webapp\.py", line \d+ in app')
        process.wait_for(r"GET /block from 127\.0\.0\.1:\d+")
        process.wait_for(rf"ERROR:    Child process \[{blocked}\] has not answered for .* killing it")
        process.wait_for(READY, 3)
    assert not is_alive(blocked)
    # The others answer all the time, whichever slot the client comes to.
    for _ in range(20):
        assert process.get("/version")[1] == b"1"


def test_a_blocked_worker_does_not_hold_up_a_restart_or_a_stop(supervise):
    process = supervise("--timeout-graceful-shutdown", "0.1", "--timeout-graceful-cancel", "0.1")
    with process.connect() as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("blocks")
        process.send_signal(signal.SIGHUP)
        process.wait_for("All processes have been restarted.")
        process.send_signal(signal.SIGTERM)
        process.wait_for("Received SIGTERM, exiting.")
        insist(process)
        assert process.wait() == 0


def test_stacks_and_requests_on_demand(supervise):
    process = supervise()
    with process.connect() as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("hanging")
        process.send_signal(signal.SIGUSR2)
        process.wait_for(r"most recent call first", 2)
        process.wait_for(r"GET /hang from 127\.0\.0\.1:\d+")
        process.send_signal(signal.SIGQUIT)
        assert process.wait() == 0


# --- more and fewer


def test_more_and_fewer_workers(supervise):
    process = supervise(count=1)
    # One worker alone is no supervisor's business without --supervise.
    assert process.stop() == 0
    process = supervise("--supervise", count=1)
    process.send_signal(signal.SIGTTIN)
    process.wait_for("Received SIGTTIN, increasing the number of processes.")
    process.wait_for(READY, 2)
    with Load(process) as load:
        wait_until(lambda: len(load.answers) > 20, "no answers")
        process.send_signal(signal.SIGTTOU)
        process.wait_for("Received SIGTTOU, decreasing number of processes.")
        process.wait_for("Finished server process")
        process.send_signal(signal.SIGTTOU)
        process.wait_for("Already reached one process, cannot decrease the number of processes anymore.")
        seen = len(load.answers)
        wait_until(lambda: len(load.answers) > seen + 50, "no answers")
    assert load.failures == []
    assert process.stop() == 0


def test_recycling_after_a_number_of_requests(supervise):
    process = supervise("--limit-max-requests", "20")
    with Load(process) as load:
        process.wait_for("Maximum request limit of 20 exceeded", 3)
        process.wait_for("Finished server process", 2)
    assert load.failures == []


# --- log files


LOG_CONFIG = """
[loggers]
keys=root
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=file
[handler_file]
class=FileHandler
formatter=plain
args=('server.log', 'w')
[formatter_plain]
format=%(process)d %(message)s
"""


def test_log_files_are_reopened(start, application, tmp_path):
    (tmp_path / "log.ini").write_text(LOG_CONFIG.replace("'w'", "'a'"))
    log = tmp_path / "server.log"
    process = start("webapp:app", "--workers", "2", "--port", "0", "--log-config", "log.ini")
    wait_until(lambda: log.exists() and log.read_text().count("Application startup complete.") == 2, "no log")
    log.rename(tmp_path / "server.log.1")
    process.send_signal(signal.SIGUSR1)
    wait_until(log.exists, "the log is not reopened")
    assert process.stop() == 0
    written = log.read_text()
    assert written.count("Application shutdown complete.") == 2
    assert "Stopping parent process" in written
    assert "shutdown" not in (tmp_path / "server.log.1").read_text()


def test_reopening_keeps_what_is_in_the_file(tmp_path):
    handler = logging.FileHandler(tmp_path / "x.log", mode="w")
    logger = logging.getLogger("test_reopening")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        logger.error("one")
        logs.reopen()
        logger.error("two")
        (tmp_path / "x.log").rename(tmp_path / "x.log.1")
        logs.reopen()
        logger.error("three")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "x.log.1").read_text() == "one\ntwo\n"
    assert (tmp_path / "x.log").read_text() == "three\n"


# --- preload


PRELOAD = """
import fastserve
print("imported\\n", end="", flush=True)

@fastserve.after_fork
def begin():
    print("forked\\n", end="", flush=True)
"""


def test_preload_imports_once_and_again_for_a_restart(supervise, application):
    application(PRELOAD + WORKERS.format(version="1"))
    process = supervise("--preload")
    assert process.stdout.count("imported") == 1
    process.wait_for("forked", 2)
    with Load(process) as load:
        wait_until(lambda: len(load.answers) > 20, "no answers")
        application(PRELOAD + WORKERS.format(version="two"))
        process.send_signal(signal.SIGHUP)
        process.wait_for("All processes have been restarted.")
        for pid in pids(process, 4)[:2]:
            process.wait_for(rf"Finished server process \[{pid}\]")
        wait_until(lambda: load.answers[-1] == "two", "the old version goes on")
    assert load.failures == []
    assert process.stdout.count("imported") == 2
    process.wait_for("forked", 4)
    workers = pids(process)
    assert process.stop() == 0
    assert not any(is_alive(pid) for pid in workers)


def test_preload_with_broken_code_keeps_the_workers(supervise, application):
    process = supervise("--preload")
    application("import nowhere_at_all")
    process.send_signal(signal.SIGHUP)
    process.wait_for("keeping the workers")
    assert process.get("/version")[1] == b"1"
    victim = pids(process, 2)[0]
    os.kill(victim, signal.SIGKILL)
    # What is forked comes from the zygote that there is.
    process.wait_for(READY, 3)
    assert process.stop() == 0


def test_a_preloading_process_that_dies_is_replaced(supervise):
    process = supervise("--preload")
    (zygote,) = set(descendants(process.child.pid)) - set(pids(process, 2))
    os.kill(zygote, signal.SIGKILL)
    process.wait_for(rf"Preloading process \[{zygote}\]")
    os.kill(pids(process, 2)[0], signal.SIGKILL)
    process.wait_for(READY, 3)
    assert process.stop() == 0


# --- the end of the supervisor


def test_workers_do_not_outlive_the_supervisor(supervise):
    process = supervise()
    workers = pids(process, 2)
    process.child.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not any(is_alive(pid) for pid in workers), "orphans")
    assert text(process).count("The parent process has gone. Shutting down.") == 2
    with pytest.raises(ConnectionRefusedError):
        process.connect()


def test_socket_file_is_removed(start, application, tmp_path):
    process = start("webapp:app", "--workers", "2", "--uds", "s.sock")
    process.wait_for(READY, 2)
    for _ in range(10):
        assert process.get("/version", process.connect("s.sock"))[1] == b"1"
    assert process.stop(signal.SIGTERM) == 0
    assert not (tmp_path / "s.sock").exists()


def test_pid_file(supervise, tmp_path):
    process = supervise("--pid", "server.pid")
    assert (tmp_path / "server.pid").read_text() == f"{process.child.pid}\n"
    assert process.stop() == 0
    assert not (tmp_path / "server.pid").exists()


def descriptors(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{name}")))
    return sorted(found)


def test_restarts_leak_no_descriptors(supervise):
    process = supervise()

    def restart(count):
        process.send_signal(signal.SIGHUP)
        process.wait_for("All processes have been restarted.", count)
        for pid in pids(process)[: 2 * count]:
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), f"{pid} stays")  # noqa: B023

    restart(1)
    supervisor, workers = process.child.pid, pids(process)[-2:]
    wait_until(lambda: descriptors(workers[0]) == descriptors(workers[1]), "one worker has more than the other")
    before = Counter(descriptors(supervisor)), Counter(descriptors(workers[0]))
    for count in range(2, 7):
        restart(count)
    # The supervisor closes what it kept for a worker, and reads the control group, only after it has seen its end. It
    # may have had something like that open before, too: what counts is what has become more.
    wait_until(lambda: not Counter(descriptors(supervisor)) - before[0], "the supervisor has more than before")
    for pid in pids(process)[-2:]:
        wait_until(lambda: not Counter(descriptors(pid)) - before[1], descriptors(pid))  # noqa: B023


def test_strangers_are_reaped(supervise):
    """With --preload the supervisor inherits orphans of its workers, as PID 1 does."""
    process = supervise("--preload")
    worker = pids(process, 2)[0]
    assert is_alive(worker)
    os.kill(worker, signal.SIGKILL)
    process.wait_for(READY, 3)
    wait_until(lambda: not os.path.exists(f"/proc/{worker}"), "a zombie stays")


def test_as_the_first_process_of_a_container(start, application):
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    try:
        subprocess.run([*namespace, "true"], check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no namespaces here")
    process = start("webapp:app", "--workers", "2", "--port", "0", prefix=namespace)
    process.wait_for(r"Started parent process \[1\]")
    process.wait_for(READY, 2)
    (first,) = children(process.child.pid)
    for _ in range(5):
        process.get("/orphan")
    wait_until(lambda: len(children(first)) == 2, "orphans are not waited for")
    os.kill(first, signal.SIGTERM)
    assert process.wait() == 0


def test_many_signals_at_once(supervise):
    process = supervise()
    for _ in range(20):
        for number in (signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
            process.send_signal(number)
    with socket.create_connection(("127.0.0.1", process.port)):
        pass
    assert process.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["spawn", "preload"])
def test_a_restart_reads_the_environment_file_again(start, folder, options):
    (folder / "webapp.py").write_text(
        "import os\nfrom pathlib import Path\n"
        + WORKERS.format(version="1").replace(
            "VERSION = '1'", "VERSION = os.environ.get('OWN', '') + os.environ['KEPT']"
        )
    )
    (folder / "web.env").write_text("OWN=1\nKEPT=file\n")
    process = start(
        "webapp:app", "--port", "0", "--workers", "2", "--env-file", "web.env", *options, env={"KEPT": "environment"}
    )
    process.wait_for(r"Application startup complete\.", 2)
    assert process.get("/version")[1] == b"1environment"
    (folder / "web.env").write_text("OWN=2\nKEPT=file\n")
    process.send_signal(signal.SIGHUP)
    process.wait_for(r"Application startup complete\.", 4)
    process.wait_for(r"Finished server process", 2)
    assert process.get("/version")[1] == b"2environment"
    (folder / "web.env").unlink()
    process.send_signal(signal.SIGHUP)
    process.wait_for(r"env_file: cannot read 'web.env'")
    process.wait_for(r"Finished server process", 4)
    # What the file said when the supervisor started.
    assert process.get("/version")[1] == b"1environment"
    assert process.stop() == 0
