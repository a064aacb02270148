"""Start, serve, stop: the lines and exit codes, side by side with uvicorn's wherever they are meant to be the same."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import stat
import sys

import pytest

from tests.process.conftest import PATIENCE

RUNNING = r"running on "


def plain(process):
    """What a process wrote on stderr, without what differs from run to run and from server to server."""
    text = "\n".join(process.stderr)
    text = text.replace(str(process.child.pid), "PID")
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    return re.sub("(?i)uvicorn|fastserve", "SERVER", text).split("\n")


@pytest.fixture
def both(start):
    """Runs a scenario, `scenario(process)`, with both servers; returns our (lines, exit code) after comparing."""

    def run(*arguments, scenario=None):
        results = []
        processes = [start(*arguments, server=server) for server in ("fastserve", "uvicorn")]
        for process in processes:
            if scenario is not None:
                scenario(process)
            code = process.wait()
            results.append((plain(process), code))
        assert results[0] == results[1]
        return results[0]

    return run


def stop_with(number):
    def scenario(process):
        process.wait_for(RUNNING)
        process.send_signal(number)

    return scenario


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_whole_life(both, number, code):
    lines, ended = both("webapp:app", "--port", "0", scenario=stop_with(number))
    assert ended == code
    assert lines == [
        "INFO:     Started server process [PID]",
        "INFO:     Waiting for application startup.",
        "INFO:     Application startup complete.",
        "INFO:     SERVER running on http://127.0.0.1:PORT (Press CTRL+C to quit)",
        "INFO:     Shutting down",
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
        "INFO:     Finished server process [PID]",
    ]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_ends_an_idle_server_on_either_loop(start, loop):
    process = start("webapp:app", "--port", "0", "--loop", loop)
    assert process.get("/loop")[1] == loop.encode()
    assert process.stop(signal.SIGTERM) == -signal.SIGTERM


def test_lifespan_unsupported(both):
    lines, code = both("webapp:http_only", "--port", "0", scenario=stop_with(signal.SIGINT))
    assert code == 0
    assert "INFO:     ASGI 'lifespan' protocol appears unsupported." in lines


def test_lifespan_required_and_unsupported(start):
    process = start("webapp:http_only", "--port", "0", "--lifespan", "on")
    assert process.wait() == 3
    assert "ERROR:    Exception in 'lifespan' protocol" in process.stderr
    assert process.stderr[-1] == "ERROR:    Application startup failed. Exiting."


def test_lifespan_off(both):
    lines, code = both("webapp:app", "--port", "0", "--lifespan", "off", scenario=stop_with(signal.SIGINT))
    assert (len(lines), code) == (4, 0)


def test_startup_fails(both):
    lines, code = both("webapp:fails_to_start", "--port", "0")
    assert code == 3
    assert lines[2:] == ["ERROR:    no database", "ERROR:    Application startup failed. Exiting."]


def test_shutdown_fails(both):
    lines, code = both("webapp:fails_to_stop", "--port", "0", scenario=stop_with(signal.SIGINT))
    assert code == 0
    assert "ERROR:    Application shutdown failed. Exiting." in lines


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere_at_all:app"],
        ["webapp:nothing"],
        ["webapp"],
        ["webapp:"],
        ["webapp:broken_create", "--factory"],
        ["webapp:app", "--factory"],
    ],
)
def test_application_that_cannot_be_loaded(both, arguments):
    lines, code = both(*arguments)
    assert code == 3
    assert lines[-1].startswith("ERROR:    ")


WSGI = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]
"""


def test_wsgi_application(start, folder):
    (folder / "wsgiapp.py").write_text(WSGI)
    process = start("wsgiapp:app", "--port", "0")
    head, body = process.get("/x")
    assert (body, "content-length: 2" in head) == (b"/x", True)
    assert process.stop() == 0


BLOCKED = """
import threading

def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/blocked":
        print("blocked", flush=True)
        threading.Event().wait()
    return [b"free"]
"""


def test_thread_that_does_not_end_is_named(start, folder):
    (folder / "wsgiapp.py").write_text(BLOCKED)
    process = start(
        "wsgiapp:app", "--port", "0", "--timeout-graceful-shutdown", "0.3", "--timeout-graceful-cancel", "0.1"
    )
    with process.connect() as sock:
        sock.sendall(b"GET /blocked HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("blocked")
        assert process.get("/free")[1] == b"free"
        assert process.stop() == 0
    lines = "\n".join(process.stderr)
    assert re.search(r"Still running after \d+\.\d s: GET /blocked from 127\.0\.0\.1:\d+, in thread wsgi-\d", lines)
    assert re.search(r"Thread wsgi-\d has not come back from the application", lines)


def test_port_in_use(both):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines, code = both("webapp:app", "--port", str(port))
    assert code == 3
    assert lines[3] == (
        f"ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', {port}): address already in use"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--uds", "webapp.py"], "unix socket 'webapp.py': path exists and is not a socket"),
        (["--uds", "x" * 200], "path is longer than 107 bytes"),
        (["--uds", "/nowhere/s"], "unix socket '/nowhere/s': no such file or directory"),
        (["--fd", "99"], "file descriptor 99: bad file descriptor"),
        (["--host", "no-such-host.invalid"], "resolve host 'no-such-host.invalid'"),
        (["--host", "192.0.2.1"], "('192.0.2.1', 8000): cannot assign requested address"),
    ],
)
def test_nothing_to_listen_on(start, arguments, words):
    process = start("webapp:app", *arguments, "--lifespan", "off")
    assert process.wait() == 3
    assert len(process.stderr) == 2
    assert process.stderr[-1].startswith("ERROR:    [Errno ")
    assert words in process.stderr[-1]


@pytest.mark.parametrize("arguments", [[], ["webapp:app", "--nonsense"], ["webapp:app", "--port", "x"]])
def test_usage_errors(start, arguments):
    process = start(*arguments)
    assert process.wait() == 2
    assert process.stderr[0].startswith("Usage: fastserve [OPTIONS] APP")
    assert process.stderr[-1].startswith("Error: ")


def test_version(start):
    process = start("--version")
    assert process.wait() == 0
    assert re.fullmatch(r"Running fastserve \S+ with CPython 3\.\d+\.\S+ on Linux", process.stdout[0])


def test_access_log_is_uvicorns(start):
    lines = []
    for process in [start("webapp:app", "--port", "0", server=server) for server in ("fastserve", "uvicorn")]:
        with process.connect() as client:
            port = client.getsockname()[1]
            assert process.get("/a%20b?c=d", client)[1] == b"/a b"
        process.stop()
        lines.append([line.replace(f":{port} ", ":PORT ") for line in process.stdout])
    assert lines[0] == lines[1] == ['INFO:     127.0.0.1:PORT - "GET /a%20b?c=d HTTP/1.1" 200 OK']


def test_no_access_log(start):
    process = start("webapp:app", "--port", "0", "--no-access-log")
    process.get()
    process.stop()
    assert process.stdout == []


def test_log_level(start):
    process = start("webapp:app", "--uds", "s.sock", "--log-level", "warning")
    client = None
    while client is None:
        # Nothing in the log tells when it listens.
        assert process.child.poll() is None
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            client = process.connect("s.sock")
    process.get(client=client)
    process.stop()
    assert process.stdout + process.stderr == []


def test_request_limit(start):
    process = start("webapp:app", "--port", "0", "--limit-max-requests", "2")
    process.get()
    process.get()
    assert process.wait() == 0
    assert "INFO:     Maximum request limit of 2 exceeded. Terminating process." in process.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_unix_socket(start, number):
    process = start("webapp:app", "--uds", "s.sock", "--uds-permissions", "620")
    process.wait_for(r"running on unix socket s\.sock \(Press")
    path = process.folder / "s.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert process.get(client=process.connect("s.sock"))[1] == b"/"
    process.stop(number)
    assert not path.exists()
    assert process.stdout == ['INFO:      - "GET / HTTP/1.1" 200 OK']


def test_unix_socket_of_a_killed_server_is_replaced(start):
    first = start("webapp:app", "--uds", "s.sock")
    first.wait_for(RUNNING)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = start("webapp:app", "--uds", "s.sock")
    second.wait_for(RUNNING)
    assert second.get(client=second.connect("s.sock"))[1] == b"/"
    third = start("webapp:app", "--uds", "s.sock")
    assert third.wait() == 3
    assert "another server listens on it" in "\n".join(third.stderr)
    assert second.get(client=second.connect("s.sock"))[1] == b"/"


def test_inherited_socket(start):
    with socket.create_server(("127.0.0.1", 0)) as given:
        process = start("webapp:app", "--fd", str(given.fileno()), pass_fds=[given.fileno()])
        process.wait_for(re.escape(f"running on socket {given.getsockname()} (Press"))
        assert process.get(client=socket.create_connection(given.getsockname()))[1] == b"/"
        process.stop()


def test_several_binds(start):
    process = start(
        "webapp:app", "--bind", "127.0.0.1:0", "--bind", "unix:s.sock?mode=620", "--bind", "localhost:0", "--port", "1"
    )  # fmt: skip
    first = int(process.wait_for(r"running on http://127\.0\.0\.1:(\d+) \(Press")[1])
    process.wait_for(r"running on unix socket s\.sock \(Press")
    second = int(process.wait_for(r"running on http://localhost:(\d+) \(Press")[1])
    path = process.folder / "s.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    clients = [socket.create_connection(("localhost", port)) for port in (first, second)]
    for client in (*clients, process.connect("s.sock")):
        assert process.get(client=client)[1] == b"/"
    process.stop()
    assert len([line for line in process.stderr if "running on" in line]) == 3
    assert not path.exists()


def test_binds_that_make_no_sense(start):
    process = start("webapp:app", "--bind", "nowhere")
    assert process.wait() == 2
    assert process.stderr[-1] == (
        "Error: Invalid value for '--bind': 'nowhere' is not host:port, [ipv6]:port, :port, unix:path or fd://number."
    )


# What a service manager does between fork and exec: the sockets from descriptor 3 on, and whom they are for.
ACTIVATE = """
import os, sys
given, names, *command = sys.argv[1:]
for number, fd in enumerate(given.split(",")):
    os.dup2(int(fd), 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(number + 1), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


# Answers with what a child process of the application finds: the variables, and which descriptors are sockets.
CHILDREN = """
import subprocess, sys
from webapp import app as rest

LOOK = "import os, stat\\nprint([n for n in os.environ if n.startswith('LISTEN_')], [fd for fd in (3, 4) if "
LOOK += "os.path.exists(f'/proc/self/fd/{fd}') and stat.S_ISSOCK(os.fstat(fd).st_mode)])"

async def app(scope, receive, send):
    if scope["type"] != "http" or scope["path"] != "/child":
        return await rest(scope, receive, send)
    body = subprocess.run([sys.executable, "-c", LOOK], close_fds=False, capture_output=True, check=True).stdout
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


def test_sockets_of_the_service_manager(start, folder):
    """They are used, named in the log, and no child finds the variables or the descriptors."""
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as admin:
        # Out of the way of where they are to go.
        given = [fcntl.fcntl(sock, fcntl.F_DUPFD, 20) for sock in (web, admin)]
        prefix = [sys.executable, "-c", ACTIVATE, ",".join(map(str, given)), "web:admin"]
        (folder / "children.py").write_text(CHILDREN)
        process = start("children:app", prefix=prefix, pass_fds=given)
        for sock, name in ((web, "web"), (admin, "admin")):
            process.wait_for(re.escape(f"running on socket {sock.getsockname()} named {name} (Press"))
            assert process.get(client=socket.create_connection(sock.getsockname()))[1] == b"/"
        assert process.get("/child", socket.create_connection(web.getsockname()))[1] == b"[] []\n"
        process.stop()
        for fd in given:
            os.close(fd)


def test_a_bind_wins_over_sockets_of_the_service_manager(start):
    with socket.create_server(("127.0.0.1", 0)) as web:
        given = fcntl.fcntl(web, fcntl.F_DUPFD, 20)
        prefix = [sys.executable, "-c", ACTIVATE, str(given), "web"]
        process = start("webapp:app", "--bind", "unix:s.sock", prefix=prefix, pass_fds=[given])
        process.wait_for(r"running on unix socket s\.sock \(Press")
        process.stop()
        assert len([line for line in process.stderr if "running on" in line]) == 1
        os.close(given)


def test_the_service_manager_is_told(start, folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(PATIENCE)
        variables = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "200000"}
        process = start("webapp:app", "--port", "0", env=variables)
        assert manager.recv(4096).decode() == f"READY=1\nMAINPID={process.child.pid}"
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        process.stop()
        manager.setblocking(False)
        rest = []
        with contextlib.suppress(BlockingIOError):
            while True:
                rest.append(manager.recv(4096))
        assert set(rest) <= {b"WATCHDOG=1", b"STOPPING=1"}
        assert rest.count(b"STOPPING=1") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pid_file(start, number):
    process = start("webapp:app", "--port", "0", "--pid", "web.pid")
    process.wait_for(RUNNING)
    path = process.folder / "web.pid"
    assert path.read_text() == f"{process.child.pid}\n"
    second = start("webapp:app", "--port", "0", "--pid", "web.pid")
    assert second.wait() == 3
    assert second.stderr == [
        f"ERROR:    [Errno 17] error while attempting to write pid file '{path}': "
        f"process {process.child.pid} is running"
    ]
    assert path.exists()
    process.stop(number)
    assert not path.exists()


def test_pid_file_of_a_killed_server_is_replaced(start):
    first = start("webapp:app", "--port", "0", "--pid", "web.pid")
    first.wait_for(RUNNING)
    first.stop(signal.SIGKILL)
    assert (first.folder / "web.pid").exists()
    second = start("webapp:app", "--port", "0", "--pid", "web.pid")
    second.wait_for(RUNNING)
    assert (first.folder / "web.pid").read_text() == f"{second.child.pid}\n"


def test_pid_file_goes_where_the_application_cannot_be_loaded(start):
    process = start("nothing:app", "--pid", "web.pid")
    assert process.wait() == 3
    assert not (process.folder / "web.pid").exists()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_every_address(start):
    process = start("webapp:app", "--host", "::", "--port", "0")
    port = int(process.wait_for(r"running on http://\[::\]:(\d+) ")[1])
    for host in ("127.0.0.1", "::1"):
        assert process.get(client=socket.create_connection((host, port)))[1] == b"/"


def test_environment(start):
    process = start(env={"FASTSERVE_APP": "webapp:app", "FASTSERVE_PORT": "0", "FASTSERVE_HEADERS": "a:b c:d"})
    head, _ = process.get()
    assert "\r\na: b\r\nc: d\r\n" in head


def test_response_fields(start):
    process = start("webapp:app", "--port", "0", "--header", "X-Mine: 1", "--no-server-header")
    head, _ = process.get()
    assert "\r\nx-mine: 1\r\nx-app: yes" in head
    assert "server:" not in head


def test_default_response_fields(start):
    process = start("webapp:app", "--port", "0")
    head, _ = process.get()
    assert "\r\nserver: fastserve\r\nx-app: yes" in head


def test_factory(start):
    process = start("webapp:create", "--factory", "--port", "0")
    assert process.get()[1] == b"/"
    process.stop()
    assert not any("factory" in line for line in process.stderr)


def test_factory_found_out(both):
    lines, _ = both("webapp:create", "--port", "0", scenario=stop_with(signal.SIGINT))
    assert lines[0].startswith("WARNING:  ASGI app factory detected.")


def test_asgi2(start):
    process = start("webapp:asgi2", "--port", "0")
    assert process.get("/two")[1] == b"/two"


def test_root_path_is_uvicorns(start):
    options = ["--port", "0", "--root-path", "/r"]
    both = [start("webapp:app", *options, server=name) for name in ("fastserve", "uvicorn")]
    ours, theirs = (process.get("/x") for process in both)
    assert ours[1] == theirs[1] == b"/r/x"


def test_app_dir(start, folder):
    (folder / "below").mkdir()
    (folder / "below" / "hidden.py").write_text("from below_app import app")
    (folder / "below" / "below_app.py").write_text((folder / "webapp.py").read_text())
    assert start("hidden:app", "--port", "0", "--app-dir", "below").get()[1] == b"/"


def test_keep_alive_of_no_time_is_no_keep_alive(start):
    process = start("webapp:app", "--port", "0", "--timeout-keep-alive", "0", "--timeout-header", "none")
    with process.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert process.read(client)[1] == b"/"
        assert client.recv(1) == b""


def hang(process, target="/hang"):
    """A connection with a request in the application that does not end."""
    client = process.connect()
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    process.wait_for("hanging")
    return client


WAITING = "Waiting for connections to close"


def test_idle_connection_does_not_hold_up_the_stop(start):
    process = start("webapp:app", "--port", "0")
    with process.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        process.read(client)
        assert process.stop() == 0
        assert client.recv(1) == b""
    assert not any(WAITING in line for line in process.stderr)


def test_second_interrupt_forces(start):
    process = start("webapp:app", "--port", "0")
    with hang(process):
        process.send_signal(signal.SIGINT)
        process.wait_for(WAITING)
        assert process.stop() == 0
    assert not any("application shutdown" in line for line in process.stderr)
    assert process.stderr[-1].startswith("INFO:     Finished server process")


def test_second_interrupt_forces_a_startup_that_hangs(start):
    process = start("webapp:never_starts", "--port", "0")
    process.wait_for("starting")
    process.send_signal(signal.SIGINT)
    process.wait_for(r"Waiting for application startup before shutting down\. \(CTRL\+C to force quit\)")
    assert process.stop() == 0


def test_running_request_finishes(start):
    process = start("webapp:app", "--port", "0")
    with process.connect() as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("receiving")
        process.send_signal(signal.SIGTERM)
        process.wait_for(WAITING)
        # The client goes; the application's request ends, and with it the server.
    assert process.wait() == -signal.SIGTERM
    assert not any("running" in line for line in process.stderr[-4:])


def test_stream_is_told(start):
    process = start("webapp:app", "--port", "0", "--timeout-graceful-disconnect", "0.2")
    with process.connect() as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("receiving")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert "http.disconnect" in process.stdout
    text = "\n".join(process.stderr)
    assert re.search(r"WARNING:  Still running after \d+\.\d s: GET /stream from 127\.0\.0\.1:\d+", text)
    assert "WARNING:  Disconnect 1 running request(s), timeout graceful disconnect exceeded" in text
    assert "INFO:     Application shutdown complete." in text


def test_task_is_cancelled(start):
    process = start("webapp:app", "--port", "0", "--timeout-graceful-shutdown", "0.2")
    with hang(process):
        assert process.stop(signal.SIGTERM) == -signal.SIGTERM
    text = "\n".join(process.stderr)
    assert re.search(r"WARNING:  Still running after \d+\.\d s: GET /hang from 127\.0\.0\.1:\d+", text)
    assert "ERROR:    Cancel 1 running task(s), timeout graceful shutdown exceeded" in text
    assert "INFO:     Application shutdown complete." in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_stubborn_task_does_not_hold_up_the_stop(start, number, code):
    options = ["--timeout-graceful-shutdown", "0.1", "--timeout-graceful-cancel", "0.1"]
    process = start("webapp:app", "--port", "0", *options)
    with hang(process, "/stubborn") as client:
        process.send_signal(number)
        process.wait_for("Abort 1 running request")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert process.wait() == code
    assert "cancelled" in process.stdout


def test_run_as_a_library(start, folder):
    program = "import fastserve, library_app\nfastserve.run(library_app.app, port=0)\nprint('after')\n"
    (folder / "main.py").write_text(program)
    (folder / "library_app.py").write_text((folder / "webapp.py").read_text())
    process = start(server="main")
    assert process.get()[1] == b"/"
    assert process.stop() == 0
    assert process.stdout[-1] == "after"


def test_run_as_a_library_that_cannot_start(start, folder):
    (folder / "main.py").write_text("import fastserve\nfastserve.run('nowhere_at_all:app', port=0)\n")
    assert start(server="main").wait() == 3


def test_trace(start):
    process = start("webapp:app", "--port", "0", "--log-level", "trace")
    process.get()
    process.stop()
    assert any(re.match(r"TRACE:    127\.0\.0\.1:\d+ - ASGI \[2\] Completed", line) for line in process.stderr)


def test_check_from_the_shell(start):
    process = start("check", "webapp:app", "--port", "0")
    assert process.wait() == 0
    assert process.stdout[-1] == "The server would start."
    process = start("check", "webapp:nothing", "--port", "0")
    assert process.wait() == 3
    assert process.stderr == ['ERROR:    Error loading ASGI app. Attribute "nothing" not found in module "webapp".']


def test_configuration_file_and_uvicorns_variables(start, folder):
    (folder / "fastserve.toml").write_text('app = "webapp:app"\nport = 0\nlog-level = "warning"\n')
    process = start(env={"UVICORN_LOG_LEVEL": "info", "UVICORN_ROOT_PATH": "/api"})
    assert process.get("/x")[1] == b"/api/x"
    assert process.stop() == 0


def test_the_environment_file_is_read_before_the_application(start, folder):
    (folder / "web.env").write_text("GREETING=hello\nKEPT=file\n")
    (folder / "greeting.py").write_text(
        "import os\nprint('greeting', os.environ['GREETING'], os.environ['KEPT'])\nfrom webapp import app\n"
    )
    for server in ("fastserve", "uvicorn"):
        process = start(
            "greeting:app", "--port", "0", "--env-file", "web.env", "--lifespan", "on", server=server,
            env={"KEPT": "environment"},
        )  # fmt: skip
        process.wait_for("^greeting hello environment$")
        process.wait_for(r"INFO: +Loading environment from 'web.env'$")
        process.wait_for("running on")
        process.stop()
