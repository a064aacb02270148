"""The operating system as the policy acts on it: processes, sockets, the board, the service manager.

`System` is the real side of `interfaces.System`. It puts what it has to listen to into the supervisor's selector, each
descriptor with the function to call, and tells the policy what happened from there, never from inside a call of the
policy. Nothing blocks but the exec of a new process, which takes about a millisecond.
"""

import contextlib
import errno
import logging
import math
import multiprocessing.spawn
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any, Final, Protocol

from fastserve.cgroup import oom_kills
from fastserve.compat import installed
from fastserve.config import STARTUP_FAILURE
from fastserve.server.config import Config
from fastserve.supervisor import control, host
from fastserve.supervisor.control import Control
from fastserve.supervisor.interfaces import Exit, Process
from fastserve.supervisor.systemd import Notifier
from fastserve.supervisor.worker_process import COMMON, WITHHELD_SIGNALS
from fastserve.transport._board import READY, STARTING, Board
from fastserve.transport.listeners import SlotBinds

_PACKAGE_ROOT: Final = str(Path(__file__).parents[2])

_CELLS = 512

# A stack dump arrives in pieces; it is complete when nothing has come for this long.
_DUMP_PAUSE = 0.1

_DUMP_LIMIT = 64 * 1024

# How often what a control connection did not take is tried again.
_RETRY = 0.02

# Exits of processes whose pid is not known yet: those of a zygote's children that were quick to die.
_EXITS_REMEMBERED = 64

_RECEIVE_SIZE = 65536

# Seconds for which a process that is held back counts as one that takes connections.
_HOLD = 3600.0

logger = logging.getLogger("fastserve.error")


class Events(Protocol):
    """What the system tells: the policy."""

    def ready(self, process: Process) -> None: ...
    def stopping(self, process: Process) -> None: ...
    def limit_reached(self, process: Process) -> None: ...
    def reported(self, process: Process, text: str) -> None: ...
    def exited(self, process: Process, exit: Exit) -> None: ...
    def rebuilt(self, error: str | None) -> None: ...


class Slot:
    """The sockets of one slot, kept as long as the supervisor lives: nothing that is queued in them is ever lost."""

    def __init__(self, number: int, listeners: list[tuple[int, socket.socket]], *, channel: bool) -> None:
        self._number = number
        self._listeners = listeners
        self._channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) if channel else ()

    def send_to(self, connection: Control) -> None:
        content = {
            "do": "slot",
            "slot": self._number,
            "listeners": [index for index, _ in self._listeners],
            "channel": bool(self._channel),
        }
        sockets = [*(sock for _, sock in self._listeners), *self._channel]
        connection.send(content, [sock.fileno() for sock in sockets])

    def close(self) -> None:
        """Close the channel; the listeners belong to the binds."""
        for end in self._channel:
            end.close()


class Incarnation:
    """One worker process, or one that is about to be forked: `interfaces.Process`."""

    def __init__(self, system: "System", slot: int, cell: int, connection: Control, dump: int) -> None:
        self.slot = slot
        self.pid = 0
        self.cell = cell
        self.connection = connection
        self.dump = dump
        """The descriptor that stack dumps are read from; -1 once closed."""
        self.dumped = b""
        self.dumped_at = 0.0
        self.popen: subprocess.Popen[bytes] | None = None
        self.gone = False
        self.last_words = ""
        """What its cell said when it went: the cell is another's by the time that anybody asks."""
        self._system = system
        self._signals: list[int] = []

    def __repr__(self) -> str:
        return f"<worker {self.slot}, process {self.pid}>"

    def known_as(self, pid: int) -> None:
        """The pid is known: send the signals that have been waiting for it."""
        self.pid = pid
        waiting, self._signals = self._signals, []
        for number in waiting:
            self.signal(number)

    def signal(self, number: int) -> None:
        if self.gone:
            return
        if not self.pid:
            self._signals.append(number)
            return
        # It has not been waited for, so the pid is not anybody else's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def begin(self) -> None:
        # Whoever could have passed connections to it is gone; it says itself when it takes them from others.
        self._system.board.set_state(self.cell, STARTING)
        self._system.board.set_heartbeat(self.cell, 0.0)
        self.connection.send({"do": "start", "slot": self.slot, "cell": self.cell})

    def serve(self, slots: frozenset[int]) -> None:
        self.connection.send({"do": "serve", "slots": sorted(slots)})

    def retire(self) -> None:
        self.connection.send({"do": "retire"})

    def heartbeat(self) -> float:
        return 0.0 if self.gone else self._system.board.heartbeat(self.cell)

    def memory(self) -> int:
        return host.resident_memory(self.pid) if self.pid and not self.gone else 0

    def last_seen(self) -> str:
        return self.last_words if self.gone else self._system.board.description(self.cell)


class Zygote:
    """The process that has imported the application and forks workers."""

    def __init__(self, connection: Control, popen: "subprocess.Popen[bytes]") -> None:
        self.connection = connection
        self.popen = popen
        self.gone = False
        """It has been told to go, or has gone by itself: its connection is closed."""


class System:
    """The real `interfaces.System`. `events` is the policy; set before anything else is called.

    Raises OSError where the board or the settings cannot be kept in memory, and what pickle raises for settings that
    cannot be given to another process.
    """

    events: Events

    def __init__(
        self, config: Config, binds: SlotBinds, selector: selectors.BaseSelector, *, main_module: bool
    ) -> None:
        self._config = config
        self._binds = binds
        self._selector = selector
        self._notifier = Notifier()
        self._processes: dict[Incarnation, None] = {}
        self._slots: dict[int, Slot] = {}
        self._zygote: Zygote | None = None
        self._next_zygote: Zygote | None = None
        self._old_zygotes: list[Zygote] = []
        self._reaps_all = os.getpid() == 1
        self._exits: OrderedDict[int, int] = OrderedDict()
        self._oom_kills = oom_kills()
        self._failed_rebuild: str | None = None
        self._payload = _keep(pickle.dumps({
            "preparation": _preparation(main_module), "config": pickle.dumps(config),
            "env_file": config.env_file, "environment": config.environment,
            "compat": installed(),
        }))  # fmt: skip
        self.board = Board()
        self._free_cells = deque(range(_CELLS))
        if config.preload:
            if not host.become_subreaper():
                raise OSError(errno.ENOSYS, "preload: the kernel does not let this process adopt its workers")
            self._reaps_all = True
        common = [(index, listener.sock) for index, listener in binds.common()]
        if common:
            self._slots[COMMON] = Slot(COMMON, common, channel=False)

    # --- for the policy

    def now(self) -> float:
        return time.monotonic()

    def spawn(self, slot: int, *, hold: bool = False) -> Incarnation:
        self.open_slot(slot)
        if not self._free_cells:
            raise OSError("too many processes that are yet to end")
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            ours, theirs = control.pair()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        process = Incarnation(self, slot, self._free_cells.popleft(), Control(ours), reader)
        self.board.clear(process.cell)
        self.board.set_state(process.cell, STARTING)
        try:
            if self._config.preload:
                self._fork(theirs.fileno(), writer)
            else:
                command = f"main({theirs.fileno()}, {writer}, {self._payload}, {self.board.fd})"
                process.popen = self._execute("worker_process", command, theirs.fileno(), writer, self.board.fd)
                process.known_as(process.popen.pid)
        except OSError:
            process.connection.close()
            os.close(reader)
            self._release_cell(process)
            raise
        finally:
            theirs.close()
            os.close(writer)
        self._processes[process] = None
        self._selector.register(process.connection, selectors.EVENT_READ, lambda: self._heard(process))
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._read_dump(process))
        for known in self._slots.values():
            known.send_to(process.connection)
        if hold:
            # What is passed on now stays in the slot's channel until it reads there.
            self.board.set_state(process.cell, READY)
            self.board.set_heartbeat(process.cell, self.now() + _HOLD)
        else:
            process.begin()
        return process

    def open_slot(self, slot: int) -> None:
        if slot in self._slots:
            return
        if slot >= self.board.slots:
            raise OSError(errno.ENOSPC, f"there are no more than {self.board.slots}")
        listeners = [(index, listener.sock) for index, listener in self._binds.slot(slot)]
        self._slots[slot] = Slot(slot, listeners, channel=True)
        for process in self._processes:
            self._slots[slot].send_to(process.connection)

    def publish(self, slot: int, process: Process | None) -> None:
        self.board.set_slot_cell(slot, process.cell if isinstance(process, Incarnation) else -1)

    def rebuild(self) -> None:
        if self._next_zygote is not None:
            self._dismiss(self._next_zygote, signal.SIGKILL)
        try:
            self._next_zygote = self._start_zygote()
        except OSError as error:
            # Told from the loop, as always, and not from inside this call.
            self._failed_rebuild = str(error)

    def notify(self, state: str, text: str = "") -> None:
        self._notifier.notify(state, text)

    # --- for the supervisor's loop

    def reap(self) -> None:
        """Wait for every child that has ended. Called after SIGCHLD."""
        if self._reaps_all:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                if not pid:
                    return
                self._reaped(pid, os.waitstatus_to_exitcode(status))
        pids = [process.pid for process in self._processes if process.popen is not None]
        for pid in pids + [zygote.popen.pid for zygote in self._zygotes()]:
            with contextlib.suppress(ChildProcessError):
                if (found := os.waitpid(pid, os.WNOHANG))[0]:
                    self._reaped(pid, os.waitstatus_to_exitcode(found[1]))

    def deadline(self) -> float:
        """When `tick` is due, on the clock of `now`."""
        due = math.inf
        for process in self._processes:
            if process.dumped:
                due = min(due, process.dumped_at + _DUMP_PAUSE)
            if process.connection.waiting:
                due = min(due, self.now() + _RETRY)
        for zygote in self._zygotes():
            if zygote.connection.waiting:
                due = min(due, self.now() + _RETRY)
        return 0.0 if self._failed_rebuild is not None else due

    def tick(self) -> None:
        if self._failed_rebuild is not None:
            error, self._failed_rebuild = self._failed_rebuild, None
            self.events.rebuilt(error)
        for zygote in self._zygotes():
            zygote.connection.flush()
        for process in list(self._processes):
            process.connection.flush()
            if process.dumped and self.now() >= process.dumped_at + _DUMP_PAUSE:
                self._report_dump(process)

    def close_listeners(self) -> None:
        """Let go of the listeners: from now on it is the workers that decide how long they listen."""
        self._binds.close()

    def close(self) -> None:
        """Kill what is left and give everything back."""
        for zygote in self._zygotes():
            self._dismiss(zygote, signal.SIGKILL)
        for process in self._processes:
            process.signal(signal.SIGKILL)
        pids = {process.pid: process.popen for process in self._processes if process.pid}
        pids |= {zygote.popen.pid: zygote.popen for zygote in self._old_zygotes}
        for pid, popen in pids.items():
            with contextlib.suppress(ChildProcessError):
                status = os.waitpid(pid, 0)[1]
                if popen is not None:
                    popen.returncode = os.waitstatus_to_exitcode(status)
        for process in list(self._processes):
            self._forget(process)
        for slot in self._slots.values():
            slot.close()
        self._binds.close()
        self._notifier.close()
        self.board.close()
        os.close(self._payload)

    # --- processes

    def _execute(self, module: str, call: str, *descriptors: int) -> "subprocess.Popen[bytes]":
        """Start a fresh interpreter that imports the module and makes the call."""
        code = (
            f"import sys; sys.path[:] = filter(None, sys.path); "
            f"{_PACKAGE_ROOT!r} in sys.path or sys.path.insert(0, {_PACKAGE_ROOT!r}); "
            f"from fastserve.supervisor.{module} import main; {call}"
        )
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
        signal.pthread_sigmask(signal.SIG_BLOCK, WITHHELD_SIGNALS)
        try:
            return subprocess.Popen([sys.executable, *flags, "-c", code], pass_fds=(self._payload, *descriptors))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WITHHELD_SIGNALS)

    def _start_zygote(self) -> Zygote:
        ours, theirs = control.pair()
        try:
            call = f"main({theirs.fileno()}, {self._payload}, {self.board.fd})"
            zygote = Zygote(Control(ours), self._execute("zygote", call, theirs.fileno(), self.board.fd))
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._selector.register(zygote.connection, selectors.EVENT_READ, lambda: self._hear_zygote(zygote))
        return zygote

    def _fork(self, *descriptors: int) -> None:
        if self._zygote is None:
            self._zygote = self._start_zygote()
        # Whoever asks closes them after this, and the message may still be waiting then.
        duplicates = [os.dup(descriptor) for descriptor in descriptors]
        self._zygote.connection.send({"do": "fork"}, duplicates, close=True)

    def _zygotes(self) -> list[Zygote]:
        current = [zygote for zygote in (self._zygote, self._next_zygote) if zygote is not None]
        return current + self._old_zygotes

    def _dismiss(self, zygote: Zygote, number: int | None = None) -> None:
        """Have a zygote end: its connection closes, which one that listens obeys; the others get a signal."""
        if zygote is self._zygote:
            self._zygote = None
        if zygote is self._next_zygote:
            self._next_zygote = None
        if not zygote.gone:
            zygote.gone = True
            self._old_zygotes.append(zygote)
            self._selector.unregister(zygote.connection)
            zygote.connection.close()
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(zygote.popen.pid, number)

    def _hear_zygote(self, zygote: Zygote) -> None:
        # An event may be older than the end of its process.
        if zygote.gone:
            return
        for message in zygote.connection.receive():
            if message.content["say"] == "ready" and zygote is self._next_zygote:
                self._next_zygote = None
                if self._zygote is not None:
                    self._dismiss(self._zygote)
                self._zygote = zygote
                self.events.rebuilt(None)
        if zygote.connection.ended:
            self._selector.unregister(zygote.connection)

    def _zygote_exited(self, zygote: Zygote, status: int) -> None:
        if zygote.gone:
            self._old_zygotes.remove(zygote)
            return
        zygote.gone = True
        with contextlib.suppress(KeyError):
            self._selector.unregister(zygote.connection)
        zygote.connection.close()
        if zygote is self._next_zygote:
            self._next_zygote = None
            self.events.rebuilt(f"process [{zygote.popen.pid}] {_ending(status)}")
        else:
            self._zygote = None
            logger.error("Preloading process [%d] %s.", zygote.popen.pid, _ending(status))

    def _heard(self, process: Incarnation) -> None:
        # An event may be older than the end of its process.
        if not process.gone:
            self._hear(process)

    def _hear(self, process: Incarnation) -> None:
        for message in process.connection.receive():
            for descriptor in message.descriptors:
                os.close(descriptor)
            content = message.content
            match content.get("say"):
                case "started":
                    process.known_as(content["pid"])
                    self.board.set_pid(process.cell, process.pid)
                case "report":
                    self.events.reported(process, content["text"])
                # What it wanted to do means nothing any more if it is gone.
                case "ready" if not process.gone:
                    self.events.ready(process)
                case "stopping" if not process.gone:
                    self.events.stopping(process)
                case "limit" if not process.gone:
                    self.events.limit_reached(process)
        if process.connection.ended and not process.gone:
            self._selector.unregister(process.connection)
            if not process.pid:
                # The zygote ended without forking it.
                self._exited(process, STARTUP_FAILURE)
        if process.pid and not process.gone and process.pid in self._exits:
            self._exited(process, self._exits.pop(process.pid))

    def _reaped(self, pid: int, status: int) -> None:
        for process in self._processes:
            if process.pid == pid:
                self._exited(process, status)
                return
        for zygote in self._zygotes():
            if zygote.popen.pid == pid:
                zygote.popen.returncode = status
                self._zygote_exited(zygote, status)
                return
        if any(not process.pid for process in self._processes):
            # It may be a worker that has not been heard of yet.
            self._exits[pid] = status
            if len(self._exits) > _EXITS_REMEMBERED:
                self._exits.popitem(last=False)
        else:
            self._exits.clear()

    def _exited(self, process: Incarnation, status: int) -> None:
        process.gone = True
        self._hear(process)
        self._read_dump(process)
        if process.dumped:
            self._report_dump(process)
        kills, self._oom_kills = self._oom_kills, oom_kills()
        if process.popen is not None:
            process.popen.returncode = status
        self._forget(process)
        self.events.exited(process, Exit(status, oom=status == -signal.SIGKILL and self._oom_kills > kills))

    def _forget(self, process: Incarnation) -> None:
        process.gone = True
        process.last_words = self.board.description(process.cell)
        with contextlib.suppress(KeyError):
            self._selector.unregister(process.connection)
        process.connection.close()
        self._close_dump(process)
        del self._processes[process]
        self._release_cell(process)

    def _release_cell(self, process: Incarnation) -> None:
        # Last in line: connections that have been counted for it may still be on their way.
        self.board.clear(process.cell)
        self._free_cells.append(process.cell)

    # --- stack dumps

    def _read_dump(self, process: Incarnation) -> None:
        while process.dump >= 0:
            try:
                piece = os.read(process.dump, _RECEIVE_SIZE)
            except BlockingIOError:
                return
            if not piece:
                self._close_dump(process)
            elif len(process.dumped) < _DUMP_LIMIT:
                process.dumped += piece
                process.dumped_at = self.now()

    def _report_dump(self, process: Incarnation) -> None:
        text, process.dumped = process.dumped.decode(errors="replace").rstrip(), b""
        self.events.reported(process, text)

    def _close_dump(self, process: Incarnation) -> None:
        if process.dump >= 0:
            self._selector.unregister(process.dump)
            os.close(process.dump)
            process.dump = -1


def _keep(data: bytes) -> int:
    """A descriptor that every process may read `data` from, from its beginning."""
    descriptor = os.memfd_create("fastserve-settings")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    return descriptor


def _preparation(main_module: bool) -> dict[str, Any]:
    """What a fresh interpreter needs to be like this one: sys.path, sys.argv, working directory, `__main__`.

    The working directory is the one that the user named: where that is a symbolic link to the newest release, new
    workers follow it.
    """
    data = multiprocessing.spawn.get_preparation_data("fastserve")
    kept = {"sys_path", "sys_argv", "dir", "orig_dir"}
    if main_module:
        kept |= {"init_main_from_name", "init_main_from_path"}
    data = {name: value for name, value in data.items() if name in kept}
    here, named = os.getcwd(), os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(named) and os.path.samefile(named, here):
            data["dir"] = named
            data["sys_path"] = [named if entry in ("", here) else entry for entry in data["sys_path"]]
    return data


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit code {status}"
    return f"was ended by {signal.Signals(-status).name}"
