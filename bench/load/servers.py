"""The servers measured: how each is started, where it listens, which processes it is, how it is ended.

Only processes started here are ever signalled: each server gets a session of its own, and it is that session's
process group that is ended.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from bench.load.build import certificate_and_key, program
from bench.load.scenarios import Scenario

ROOT = Path(__file__).parents[2]
START_LIMIT = 20.0
STOP_LIMIT = 5.0
ANNOUNCEMENT = re.compile(r"running on https?://[^\s/]*:(\d+)", re.IGNORECASE)
KEEP_ALIVE = "75"


class ServerError(Exception):
    """A server did not start; the text has the end of what it said."""


@dataclass(frozen=True)
class Server:
    """A server's command line.

    `arguments` takes the scenario and gives what follows the interpreter, or the whole command where `package` is
    None; in it "{port}" becomes a port that is free, for servers that cannot choose one. `announces`: it logs
    `running on http://ADDRESS:PORT`; where the others listen is asked for through /proc. `folder`: where it runs and
    imports from first, this tree if not given; what is not there, the applications above all, comes from this tree.
    `distribution`: what it is installed as, where that is not the package's name.
    """

    name: str
    package: str | None
    arguments: Callable[[Scenario], list[str] | None]
    announces: bool = False
    extra: tuple[str, ...] = ()
    folder: Path = ROOT
    distribution: str | None = None

    def command(self, scenario: Scenario) -> list[str] | None:
        """The command that serves `scenario`; None where the server has nothing comparable."""
        arguments = self.arguments(scenario)
        if arguments is None:
            return None
        start = [sys.executable] if self.package else []
        return [*start, *arguments, *self.extra]

    def version(self) -> str | None:
        """The installed version; None where the server is not installed."""
        if self.package is None:
            return "own"
        if util.find_spec(self.package) is None:
            return None
        try:
            return metadata.version(self.distribution or self.package)
        except metadata.PackageNotFoundError:
            return "in place"


def _tls(scenario: Scenario, certificate: str, key: str) -> list[str]:
    """The server's options for certificate and key, where the scenario is about TLS."""
    if not scenario.tls:
        return []
    files = certificate_and_key()
    return [certificate, str(files[0]), key, str(files[1])]


DEFAULT_THREADS = "4"
"""How many threads fastserve has for WSGI, if nobody says: the others get as many."""


def _threads(scenario: Scenario) -> str:
    return DEFAULT_THREADS if scenario.threads is None else str(scenario.threads)


def _is_wsgi(scenario: Scenario) -> bool:
    return scenario.interface == "wsgi"


def _fastserve(scenario: Scenario, module: str = "fastserve") -> list[str]:
    log = [] if scenario.access_log else ["--no-access-log"]
    threads = [] if scenario.threads is None or module != "fastserve" else ["--threads", str(scenario.threads)]
    tls = _tls(scenario, "--ssl-certfile", "--ssl-keyfile")
    return ["-m", module, scenario.app, "--port", "0", "--timeout-keep-alive", KEEP_ALIVE, *log, *threads, *tls]


def _uvicorn(scenario: Scenario) -> list[str] | None:
    if _is_wsgi(scenario):
        return None
    return [*_fastserve(scenario, "uvicorn"), "--loop", "uvloop", "--http", "httptools"]


def _baseline(scenario: Scenario) -> list[str] | None:
    return None if scenario.baseline is None else [str(program("baseline")), *scenario.baseline]


def _granian(scenario: Scenario) -> list[str]:
    log = ["--access-log"] if scenario.access_log else ["--no-access-log"]
    start = ["-m", "granian", "--port", "0", "--interface", scenario.interface]
    kind = ["--blocking-threads", _threads(scenario)] if _is_wsgi(scenario) else ["--loop", "uvloop"]
    return [*start, *kind, *log, *_tls(scenario, "--ssl-certificate", "--ssl-keyfile"), scenario.app]


def _gunicorn(scenario: Scenario) -> list[str]:
    log = ["--access-logfile", "-"] if scenario.access_log else []
    log += _tls(scenario, "--certfile", "--keyfile")
    kind = ["asgi"]
    if _is_wsgi(scenario):
        kind = ["sync"] if scenario.threads == 1 else ["gthread", "--threads", _threads(scenario)]
    start = ["-m", "gunicorn", "--worker-class", *kind]
    return [*start, "--bind", "127.0.0.1:0", "--keep-alive", KEEP_ALIVE, *log, scenario.app]


def _hypercorn(scenario: Scenario) -> list[str] | None:
    if _is_wsgi(scenario):
        return None
    log = ["--access-logfile", "-"] if scenario.access_log else []
    log += _tls(scenario, "--certfile", "--keyfile")
    start = ["-m", "hypercorn", "--worker-class", "uvloop"]
    return [*start, "--bind", "127.0.0.1:0", "--keep-alive", KEEP_ALIVE, *log, scenario.app]


def _socketify(scenario: Scenario) -> list[str] | None:
    if scenario.access_log or scenario.tls or _is_wsgi(scenario):
        return None
    return ["-m", "socketify", scenario.app, "--port", "{port}", "--workers", "1", "--lifespan", "off"]


def _fastpysgi(scenario: Scenario) -> list[str] | None:
    # 0.6 does not call the close() of what an application returns: a quarter of Django's work for a request.
    if scenario.access_log or scenario.tls or scenario.websocket or scenario.closes:
        return None
    if _is_wsgi(scenario) and scenario.threads != 1:
        return None
    start = ["-c", "import fastpysgi; fastpysgi.run_from_cli()"]
    return [*start, "--host", "127.0.0.1", "--port", "{port}", scenario.app]


def _picows(scenario: Scenario) -> list[str] | None:
    return ["-m", "bench.load.picows_echo"] if scenario.websocket and not scenario.tls else None


def _wsgi_program(text: str) -> Callable[[Scenario], list[str]]:
    """The arguments of a program that finds `app`, `port` and `threads` made."""
    begin = "import sys; from pkgutil import resolve_name; "
    names = "app, port, threads = resolve_name(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]); "
    return lambda scenario: ["-c", begin + names + text, scenario.app, "{port}", _threads(scenario)]


def _bjoern(scenario: Scenario) -> list[str] | None:
    if not _is_wsgi(scenario) or scenario.threads != 1:
        return None
    return _wsgi_program("import bjoern; bjoern.run(app, '127.0.0.1', port)")(scenario)


def _waitress(scenario: Scenario) -> list[str] | None:
    if not _is_wsgi(scenario):
        return None
    return _wsgi_program("import waitress; waitress.serve(app, host='127.0.0.1', port=port, threads=threads)")(scenario)


def _cheroot(scenario: Scenario) -> list[str] | None:
    if not _is_wsgi(scenario):
        return None
    start = "from cheroot.wsgi import Server; Server(('127.0.0.1', port), app, numthreads=threads, timeout=75).start()"
    return _wsgi_program(start)(scenario)


def _uwsgi(scenario: Scenario) -> list[str] | None:
    if not _is_wsgi(scenario):
        return None
    # Its program is installed beside the interpreter, and finds packages only where it is told to.
    program = "import os, sys; path = os.path.dirname(sys.executable) + '/uwsgi'; "
    start = program + "os.execv(path, ['uwsgi', '-H', sys.prefix, *sys.argv[1:]])"
    module = ["--need-app", "--module", scenario.app, "--die-on-term", "--disable-logging"]
    kind = [] if scenario.threads == 1 else ["--threads", _threads(scenario)]
    return ["-c", start, "--http", "127.0.0.1:{port}", "--http-keepalive", *module, *kind]


FASTSERVE, UVICORN, C_LOOP, SOCKETIFY, PICOWS = "fastserve", "uvicorn", "c", "socketify", "picows"

SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server(FASTSERVE, "fastserve", _fastserve, announces=True),
        Server(UVICORN, "uvicorn", _uvicorn, announces=True),
        Server(C_LOOP, None, _baseline, announces=True),
        Server("granian", "granian", _granian),
        Server("gunicorn", "gunicorn", _gunicorn),
        Server("hypercorn", "hypercorn", _hypercorn),
        Server("fastpysgi", "fastpysgi", _fastpysgi),
        Server(SOCKETIFY, "socketify", _socketify),
        Server(PICOWS, "picows", _picows, announces=True),
        Server("bjoern", "bjoern", _bjoern),
        Server("uwsgi", "uwsgidecorators", _uwsgi, distribution="uWSGI"),
        Server("waitress", "waitress", _waitress),
        Server("cheroot", "cheroot", _cheroot),
    )
}
MAIN = (FASTSERVE, UVICORN, C_LOOP)


def process_tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return tree


def listening_port(pids: list[int], wanted: int | None = None) -> int | None:
    """The TCP port one of the processes listens on, as the kernel tells it; with `wanted` only that one."""
    listening: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listening[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    for pid in pids:
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    port = listening.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    if port is not None and wanted in (None, port):
                        return port
    return None


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        return process_tree(self.pid)

    def log_tail(self) -> str:
        return _tail(self.log)


def _tail(log: Path, lines: int = 12) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
        return "\n".join("    " + line for line in file.read().decode(errors="replace").splitlines()[-lines:])


def _wait_for_port(server: Server, process: "subprocess.Popen[bytes]", log: Path, wanted: int | None) -> int:
    deadline = time.monotonic() + START_LIMIT
    while True:
        if server.announces:
            said = ANNOUNCEMENT.search(log.read_text(errors="replace"))
            port = int(said[1]) if said else None
        else:
            port = listening_port(process_tree(process.pid), wanted)
        if port is not None:
            return port
        if process.poll() is not None:
            raise ServerError(f"{server.name} ended with {process.returncode} before it listened:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"{server.name} did not listen within {START_LIMIT:g} s:\n{_tail(log)}")
        time.sleep(0.01)


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Stay on `core` for the block, and with it the processes started there; None changes nothing."""
    allowed = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def running(
    server: Server, scenario: Scenario, core: int | None, variables: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """The server, listening, on its own core, with `variables` in its environment; ended with the block, unless it has
    ended before. Raises ServerError.
    """
    command = server.command(scenario)
    if command is None:
        raise ServerError(f"{server.name} has nothing comparable to {scenario.name}")
    port = None
    if any("{port}" in word for word in command):
        port = free_port()
        command = [word.replace("{port}", str(port)) for word in command]
    search = os.pathsep.join(dict.fromkeys((str(server.folder), str(ROOT))))
    environment = {**os.environ, **(variables or {}), "PYTHONPATH": search}
    with tempfile.TemporaryDirectory(prefix="fastserve-load-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output, on_core(core):
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=server.folder, env=environment,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield Running(process, _wait_for_port(server, process, log, port), log)
        finally:
            _signal_group(process, signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                pass
            # Its children may have outlived it; they are in its group, and nobody else is.
            _signal_group(process, signal.SIGKILL)
            process.wait()
