"""One worker: the process that the supervisor starts, and the server in it.

A worker is told everything through its control connection: its slot, the listeners and channels of every slot, from
which of them to accept, when to retire. It says when it has started, when it is ready, when it has served its number of
requests. Its heartbeat goes to the board. When the control connection ends the supervisor is gone, and the worker stops
by itself.

Signals: TERM stops gracefully, TERM later than half a second after that and QUIT at once; USR1 reopens log files;
USR2 writes the stacks of all threads to a pipe of the supervisor, from C and thus also while Python code does not get
to run, and reports the running requests where it does. INT and HUP are the supervisor's: a terminal sends them to every
process of the group.
"""

import asyncio
import contextlib
import faulthandler
import logging
import multiprocessing.spawn
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Final

from fastserve.compat import install as install_compat
from fastserve.compat import share_loggers
from fastserve.config import STARTUP_FAILURE
from fastserve.server import environment, logs
from fastserve.server.config import Config
from fastserve.server.drain import Drain
from fastserve.server.server import Server
from fastserve.supervisor import host
from fastserve.supervisor.control import Control, Message
from fastserve.transport._balance import Balancer
from fastserve.transport._board import DRAINING, READY, Board
from fastserve.transport.accept import LoopServer, NativeServer, NativeTransport, Transport
from fastserve.types import WorkerProtocol

if TYPE_CHECKING:
    from fastserve.server.assembly import Assembly
    from fastserve.transport._epoll import NativeChannel

HEARTBEAT: Final = 0.5
"""Seconds between two beats."""

COMMON: Final = -1
"""The pseudo-slot of the listeners that all workers share."""

WITHHELD_SIGNALS: Final = (
    signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""Blocked while a process starts, until it has its own handlers: the default action of most would end it."""

_IGNORED_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)

preparing = False
"""The main module of the program is being imported for the sake of what the settings need of it."""

_REQUESTS_NAMED = 10

# Characters of a method or a path in a log line.
_WORD = 200

logger = logging.getLogger("fastserve.error")


@dataclass
class Slot:
    """The sockets of one slot as this worker has them: listeners by their index, and the channel's two ends."""

    listeners: dict[int, socket.socket] = field(default_factory=dict)
    receive: socket.socket | None = None
    send: socket.socket | None = None

    def close_listeners(self) -> None:
        for listener in self.listeners.values():
            listener.close()
        self.listeners = {}


class Served:
    """What a worker does in one slot: servers on duplicates of its listeners, and the reader of its channel."""

    def __init__(self) -> None:
        self.servers: list[tuple[asyncio.AbstractServer, socket.socket]] = []
        self.channel: NativeChannel | None = None

    async def begin(self, slot: Slot, transport: Transport, backlog: int) -> None:
        for index, listener in slot.listeners.items():
            # A duplicate: some event loops close the socket with the server.
            sock = listener.dup()
            self.servers.append((await transport.accept_on(sock, backlog, index), sock))
        if slot.receive is not None and isinstance(transport, NativeTransport):
            self.channel = transport.receive_on(slot.receive)

    def leave(self) -> None:
        """Leave the slot to another worker, with everything that is queued in it."""
        if self.channel is not None:
            self.channel.close(accept_queued=False)
        self._close(accept_queued=False)

    def finish(self) -> None:
        """Accept what is queued, and stop listening. What others pass on is still received."""
        self._close(accept_queued=True)

    def _close(self, *, accept_queued: bool) -> None:
        for server, sock in self.servers:
            if isinstance(server, NativeServer | LoopServer):
                server.close(accept_queued)
            else:
                server.close()
            sock.close()


class WorkerProcess:
    """This process as the supervisor sees it, from its first message to its last."""

    def __init__(self, control: Control, dump_fd: int, board: Board) -> None:
        self.control = control
        self.board = board
        self.slot = COMMON
        self.cell = -1
        self.slots: dict[int, Slot] = {}
        self.server: WorkerServer | None = None
        self.reopen_pending = False
        """Log files are to be reopened as soon as there is a loop to do it."""
        self._stopping = False
        self._dump = os.fdopen(dump_fd, "wb", buffering=0)
        self._handle_signals()
        control.send({"say": "started", "pid": os.getpid()})

    def wait_for_start(self) -> None:
        """Block until the supervisor has said which slot this is. Ends the process where it is gone."""
        while self.slot == COMMON:
            for message in self.control.wait():
                self.handle(message)
            if self.control.ended:
                sys.exit(0)
        os.environ["FASTSERVE_WORKER_ID"] = str(self.slot)
        self.board.set_pid(self.cell, os.getpid())

    def serve(self, config: Config) -> None:
        """Load the application and serve it until told to stop. Ends in SystemExit where that cannot start."""
        host.set_process_title(f"{config.process_name}: worker {self.slot} [{config.app}]")
        config.load_app()
        if self._stopping:
            # Whatever was being imported did not let the exception through.
            sys.exit(0)
        self.server = server = WorkerServer(config, self)
        server.run()
        if not server.started and not server.should_exit:
            sys.exit(STARTUP_FAILURE)

    def handle(self, message: Message) -> None:
        content, descriptors = message
        match content.get("do"):
            case "slot":
                sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
                for sock in sockets:
                    # All workers share what is behind the descriptors. A socket object that is not told so takes them
                    # for blocking, and its dup() makes them so for everybody.
                    sock.setblocking(False)
                indexes: list[int] = content["listeners"]
                slot = self.slots[content["slot"]] = Slot(dict(zip(indexes, sockets, strict=False)))
                if content["channel"]:
                    slot.receive, slot.send = sockets[len(indexes) :]
                if self.server is not None:
                    self.server.slot_added(content["slot"])
            case "start":
                self.slot, self.cell = content["slot"], content["cell"]
            case "serve":
                if self.server is not None:
                    self.server.serve_slots(frozenset(content["slots"]))
            case "retire":
                if self.server is not None:
                    self.server.retire()

    def say(self, what: str, **content: object) -> None:
        self.control.send({"say": what, **content})

    def _handle_signals(self) -> None:
        for number in _IGNORED_SIGNALS:
            signal.signal(number, ignore)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGQUIT, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_reopen)
        signal.signal(signal.SIGUSR2, self._on_dump)
        if not faulthandler.is_enabled():
            # What it was doing when it died of SIGSEGV and the like is for the supervisor's log as well.
            faulthandler.enable(file=self._dump, all_threads=True)
        faulthandler.register(signal.SIGUSR2, file=self._dump, all_threads=True, chain=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WITHHELD_SIGNALS)

    @property
    def should_exit(self) -> bool:
        """Some libraries find the server as the owner of SIGTERM's handler, and end their streams when this is True."""
        return self._stopping or (self.server is not None and self.server.should_exit)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.server is not None:
            self.server.handle_exit(number, frame)
        else:
            # Still importing the application: there is nothing to finish.
            self._stopping = True
            sys.exit(0)

    def _on_reopen(self, number: int, frame: FrameType | None) -> None:
        # Not here: this may have interrupted the writing of a record.
        if self.server is None or not self.server.call_soon(logs.reopen):
            self.reopen_pending = True

    def _on_dump(self, number: int, frame: FrameType | None) -> None:
        state = self.server.server_state if self.server is not None else None
        if state is not None and state.worker is not None:
            text = "Running: " + (describe(state.worker, separator="\n") or "nothing")
            if state.threads is not None:
                text += f"\nThreads: {state.threads.busy} busy, {state.threads.waiting} requests wait for one, "
                text += f"{state.threads.refused} were refused"
            self.say("report", text=text)


def ignore(number: int, frame: FrameType | None) -> None:
    """A handler that does nothing. Unlike SIG_IGN it is not inherited by the programs that an application starts."""


def describe(worker: WorkerProtocol, separator: str = "; ") -> str:
    """The oldest running requests, in words; empty where there is none."""
    words = [
        f"{request.method[:_WORD]} {request.path[:_WORD]} from {request.client or 'a unix socket'} "
        f"for {request.age:.1f} s"
        for request in worker.running(_REQUESTS_NAMED)
    ]
    if worker.tasks > _REQUESTS_NAMED:
        words.append(f"{worker.tasks - _REQUESTS_NAMED} more")
    return separator.join(words)


def main(control_fd: int, dump_fd: int, settings_fd: int, board_fd: int) -> None:
    """The whole of a spawned worker; the interpreter has just started."""
    connection = socket.socket(fileno=control_fd)
    for descriptor in (control_fd, dump_fd, settings_fd, board_fd):
        os.set_inheritable(descriptor, False)
    process = WorkerProcess(Control(connection), dump_fd, Board(board_fd))
    process.wait_for_start()
    process.serve(read_settings(settings_fd))


def read_settings(descriptor: int) -> Config:
    """Make this interpreter like the supervisor's, and the configuration that it runs with."""
    size = os.fstat(descriptor).st_size
    settings = pickle.loads(os.pread(descriptor, size, 0))
    os.close(descriptor)
    if settings["compat"]:
        install_compat()
    if settings["env_file"] is not None:
        environment.reload(settings["env_file"], settings["environment"])
    # The configuration may name things of `__main__`: not before that is there.
    global preparing
    preparing = True
    multiprocessing.spawn.prepare(settings["preparation"])
    preparing = False
    config: Config = pickle.loads(settings["config"])
    config.configure_logging()
    share_loggers()
    return config


class WorkerServer(Server):
    """A server that accepts from the slots it is told to, and ends by handing its connections on when it is retired."""

    def __init__(self, config: Config, process: WorkerProcess) -> None:
        super().__init__(config)
        self._process = process
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: Transport | None = None
        self._balancer: Balancer | None = None
        self._wanted: frozenset[int] = frozenset()
        self._served: dict[int, Served] = {}
        self._changing: asyncio.Task[None] | None = None
        self._retiring = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if self._process.reopen_pending:
            logs.reopen()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if not await self._start_application():
            return
        process = self._process
        self._transport = self._start_worker()
        self.started = True
        asyncio.get_running_loop().add_reader(process.control.fileno(), self._on_control)
        process.board.set_state(process.cell, READY)
        self._beat()
        process.say("ready")

    def assemble(self, loop: asyncio.AbstractEventLoop) -> "Assembly":
        from fastserve.server.assembly import assemble

        process = self._process
        if self.config.is_native:
            self._balancer = Balancer(process.board, process.slot, process.cell)
            for slot in process.slots:
                self._join(slot)
        return assemble(self.config, loop, self.lifespan.state, self._balancer)

    def call_soon(self, function: Callable[[], object]) -> bool:
        """Call in the loop; from a signal handler. Returns whether there is one."""
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(function)
        return True

    def slot_added(self, slot: int) -> None:
        self._join(slot)
        self.serve_slots(self._wanted)

    def serve_slots(self, slots: frozenset[int]) -> None:
        """Accept from the listeners and channels of `slots`, of the common listeners, and of no others."""
        self._wanted = slots | {COMMON}
        if self._changing is None or self._changing.done():
            self._changing = asyncio.get_running_loop().create_task(self._change())

    def retire(self) -> None:
        """Stop in favour of another worker, which is serving this one's slot by now."""
        if not self.should_exit:
            self._retiring = True
            self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGQUIT:
            self.force_exit = True
            self.should_exit = True
            return
        if not self.should_exit:
            self._process.say("stopping")
        super().handle_exit(sig, frame)
        if self._retiring:
            self.call_soon(self._stop_handing_on)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # The process has its handlers from the start to the end.
        yield

    def _join(self, slot: int) -> None:
        send = self._process.slots[slot].send
        if self._balancer is not None and send is not None:
            self._balancer.add_slot(slot, send)

    def _on_limit(self) -> None:
        logger.info("Maximum request limit of %d exceeded. Terminating process.", self.limit_max_requests)
        self._process.say("limit")

    def _make_drain(self, worker: WorkerProtocol) -> Drain:
        return Drain(worker, self.config, self._watch(), hand_on=self._retiring)

    def _stop_handing_on(self) -> None:
        # Told to stop while retiring: nobody is left to hand connections on to.
        worker = self.server_state.worker
        if self._retiring and worker is not None:
            self._retiring = False
            worker.drain(idle_grace=self.config.timeout_graceful_idle)

    def _on_control(self) -> None:
        control = self._process.control
        for message in control.receive():
            self._process.handle(message)
        if control.ended and self._loop is not None:
            self._loop.remove_reader(control.fileno())
            logger.error("The parent process has gone. Shutting down.")
            self._stop_handing_on()
            self.should_exit = True

    def _beat(self) -> None:
        process, worker = self._process, self.server_state.worker
        assert worker is not None
        if self._balancer is None:
            process.board.set_connections(process.cell, worker.connections)
        elif surplus := self._balancer.surplus():
            worker.shed(surplus)
        process.board.beat(process.cell, worker.total_requests, worker.tasks, describe(worker))
        process.control.flush()
        asyncio.get_running_loop().call_later(HEARTBEAT, self._beat)

    async def _change(self) -> None:
        transport = self._transport
        assert transport is not None
        while not self.should_exit:
            known = self._wanted & self._process.slots.keys()
            if known == self._served.keys():
                break
            for number in self._served.keys() - known:
                self._served.pop(number).leave()
            for number in known - self._served.keys():
                served = Served()
                try:
                    await served.begin(self._process.slots[number], transport, self.config.backlog)
                except OSError as error:
                    logger.error("Cannot accept from worker slot %d: %s", number, error)
                if self.should_exit:
                    served.leave()
                    return
                self._served[number] = served
        self.servers = [server for served in self._served.values() for server, _ in served.servers]

    def _close_listeners(self, sockets: list[socket.socket] | None) -> None:
        process = self._process
        process.board.set_state(process.cell, DRAINING)
        for served in self._served.values():
            if self._retiring:
                served.leave()
            else:
                served.finish()
        self._served = {}
        for slot in process.slots.values():
            slot.close_listeners()
