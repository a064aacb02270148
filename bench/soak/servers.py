"""The servers under soak: how each is started with several workers, what it can do with them, which they are now.

They run in the interpreter that runs the soak, as those of `bench.load` do, and are started and ended by its code.
"""

import os
import signal
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from bench.load.scenarios import Scenario as Load
from bench.load.servers import KEEP_ALIVE, Server

APPLICATION = "bench.soak.app:app"
RECYCLE_AFTER = 200

# A loaded machine may take long to run a process once more; one that is stopped answers to nothing.
STOP_LIMIT = 5.0


class Feature(Enum):
    """What a server can do with its workers, and is asked to."""

    RESTART = "SIGHUP"
    RESPAWN = "a killed worker is replaced"
    SCALE = "SIGTTIN, SIGTTOU"
    RECYCLE = "workers end after so many requests"


@dataclass(frozen=True)
class Supervised:
    """A server's command line: `arguments` follow the interpreter, `workers` and `recycle` are the names of the options
    for the number of workers and for the requests after which one is replaced.

    "{port}" in the arguments becomes a free port, for servers whose workers would each choose one.
    """

    name: str
    package: str
    arguments: tuple[str, ...]
    workers: str
    recycle: str | None
    features: frozenset[Feature]
    extra: tuple[str, ...] = ()

    def server(self, workers: int, feature: Feature | None) -> Server:
        """What `bench.load.servers.running` starts."""
        more = [self.recycle, str(RECYCLE_AFTER)] if feature is Feature.RECYCLE and self.recycle else []
        command = ["-m", self.package, *self.arguments, self.workers, str(workers), *more, *self.extra, APPLICATION]
        return Server(self.name, self.package, lambda _: list(command))

    def is_installed(self) -> bool:
        return self.server(1, None).version() is not None


FASTSERVE = "fastserve"
EVERYTHING = frozenset(Feature)
LOAD = Load("soak", "soak", APPLICATION)

SERVERS: dict[str, Supervised] = {
    server.name: server
    for server in (
        Supervised(
            FASTSERVE, "fastserve", ("--port", "0", "--timeout-keep-alive", KEEP_ALIVE, "--no-access-log"),
            "--workers", "--limit-max-requests", EVERYTHING,
        ),
        Supervised(
            "uvicorn", "uvicorn",
            ("--port", "0", "--timeout-keep-alive", KEEP_ALIVE, "--no-access-log", "--loop", "uvloop",
             "--http", "httptools"),
            "--workers", "--limit-max-requests", EVERYTHING,
        ),
        # Its workers can be given an age, of a minute at least, but no number of requests. It waits 3.5 s between
        # replacements if not told otherwise: ten restarts would take four minutes.
        Supervised(
            "granian", "granian",
            ("--interface", "asgi", "--port", "{port}", "--loop", "uvloop", "--no-access-log",
             "--respawn-failed-workers", "--respawn-interval", "1"),
            "--workers", None, frozenset({Feature.RESTART, Feature.RESPAWN}),
        ),
        Supervised(
            "gunicorn", "gunicorn", ("--worker-class", "asgi", "--bind", "127.0.0.1:0", "--keep-alive", KEEP_ALIVE),
            "--workers", "--max-requests", EVERYTHING,
        ),
    )
}  # fmt: skip


def chosen(spec: str) -> Supervised:
    """From "NAME[ OPTIONS]" to the server. Raises KeyError where the name is unknown."""
    words = spec.split()
    return replace(SERVERS[words[0]], name=" ".join(words), extra=tuple(words[1:]))


def _state(pid: int) -> str:
    """The kernel's letter for what a process does; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def is_alive(pid: int) -> bool:
    return _state(pid) not in ("", "Z", "X")


class Workers:
    """The workers as they show themselves in the diaries' folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dead: set[int] = set()

    def seen(self) -> set[int]:
        """Every worker that has run a request so far."""
        return {int(path.stem) for path in self._folder.glob("*.log")}

    def alive(self) -> set[int]:
        """The workers that exist, those that are about to end included."""
        known = (self.seen() | self._marked()) - self._dead
        self._dead |= {pid for pid in known if not is_alive(pid)}
        return known - self._dead

    def ready(self) -> set[int]:
        """The workers that exist, have started up and are not shutting down."""
        return self._marked() & self.alive()

    def _marked(self) -> set[int]:
        return {int(path.stem) for path in self._folder.glob("*.ready")}


# sock_diag(7): the kernel's own table of connections. That in /proc has every connection that has ended within the last
# minute, tens of thousands, and takes a tenth of a second to read.
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLMSG_DONE, _NLMSG_ERROR = 4, 20, 3, 2
_REQUEST_DUMP = 0x301
_MESSAGE = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_CONNECTION = struct.Struct("=BBBB")
_SOCKET = struct.Struct("!HH16s16s12x")
_COUNTERS = struct.Struct("=IIIII")
_WITH_A_PEER = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8
"""The states ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT."""


def _connections(port: int) -> dict[int, str]:
    """By inode, the other end of each IPv4 connection whose local end has this port."""
    request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _WITH_A_PEER) + _SOCKET.pack(port, 0, b"", b"")
    header = _MESSAGE.pack(_MESSAGE.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0)
    found: dict[int, str] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diagnosis:
        diagnosis.send(header + request)
        while True:
            answer = diagnosis.recv(1 << 20)
            while answer:
                length, kind, *_ = _MESSAGE.unpack_from(answer)
                if kind == _NLMSG_ERROR:
                    raise OSError("sock_diag(7) does not answer")
                if kind == _NLMSG_DONE:
                    return found
                at = _MESSAGE.size + _CONNECTION.size
                _, other, _, address = _SOCKET.unpack_from(answer, at)
                inode = _COUNTERS.unpack_from(answer, at + _SOCKET.size)[-1]
                found[inode] = f"{socket.inet_ntoa(address[:4])}:{other}"
                answer = answer[(length + 3) & ~3 :]


def connections_of(pid: int, port: int) -> frozenset[str]:
    """The clients' ends, "ADDRESS:PORT", of the IPv4 connections to `port` that the process holds."""
    held = set()
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                held.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return frozenset(end for inode, end in _connections(port).items() if f"socket:[{inode}]" in held)


def execute(pid: int, port: int) -> tuple[float, frozenset[str]]:
    """Kill a process by SIGKILL: when, and the connections it held then.

    It is stopped before it is looked at: what it held does not change between the look and the end.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_LIMIT
    while any(_state_of_thread(pid, thread) not in ("", "T", "Z") for thread in _threads(pid)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.0005)
    held = connections_of(pid, port)
    killed = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return killed, held


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _state_of_thread(pid: int, thread: str) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
