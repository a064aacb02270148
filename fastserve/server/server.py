"""`Server`: one worker process from start to end.

Start: load the application, run its lifespan's startup, bind and listen, say so. Then wait for a reason to stop: a
signal, `should_exit` set by anybody in any thread, or the request limit. Stop: close the listeners, drain the
connections, run the lifespan's shutdown, hand the signals on to whoever handled them before.

Nothing polls: `should_exit` and `force_exit` are properties that wake the loop. A subclass that overrides `on_tick`
gets its tick every 0.1 s, and pays for it.
"""

import asyncio
import contextlib
import functools
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sized
from email.utils import formatdate
from types import FrameType
from typing import TYPE_CHECKING, Any

from fastserve.config import STARTUP_FAILURE
from fastserve.server.changes import Changes
from fastserve.server.config import Config
from fastserve.server.drain import Drain
from fastserve.server.lifespan import LifespanOff, LifespanOn
from fastserve.server.logs import style
from fastserve.transport import listeners
from fastserve.transport.listeners import Listener
from fastserve.types import ThreadCounts, WorkerProtocol

if TYPE_CHECKING:
    from fastserve.server.assembly import Assembly
    from fastserve.transport.accept import Transport

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# A process group and a wrapper script both pass the same SIGTERM on: within this time it is one.
_ONE_SIGNAL = 0.5

_TICK = 0.1

# Seconds that handshakes under way get when the server stops.
_SETTLING = 2.0

# Seconds that cancelled tasks get to clean up when the exit is forced.
_FORCED = 1.0

logger = logging.getLogger("fastserve.error")


def _nothing() -> None:
    return None


async def _no_time(timeout: float) -> None:
    pass


class ServerState:
    """Counts of a running server, by uvicorn's names. Only the lengths of `connections` and `tasks` mean something."""

    def __init__(self) -> None:
        self.worker: WorkerProtocol | None = None
        self.threads: ThreadCounts | None = None
        """What the threads of a WSGI application have to do; None in an application without."""
        self.default_headers: list[tuple[bytes, bytes]] = []
        """The fields that every response starts with, once serving; the date among them is that of the start."""

    @property
    def total_requests(self) -> int:
        return self.worker.total_requests if self.worker is not None else 0

    @property
    def connections(self) -> Sized:
        return range(self.worker.connections if self.worker is not None else 0)

    @property
    def tasks(self) -> Sized:
        return self.worker.running() if self.worker is not None else []


class Server:
    """A server of one `Config`. `run` blocks; `serve` is its coroutine, for a loop that is somebody else's."""

    lifespan: LifespanOn | LifespanOff

    def __init__(self, config: Config) -> None:
        self.config = config
        self.server_state = ServerState()
        self.servers: list[asyncio.AbstractServer] = []
        self.started = False
        """True from the moment connections are accepted."""
        self._should_exit = False
        self._force_exit = False
        self._changes: Changes | None = None
        self._drain: Drain | None = None
        self._close_worker: Callable[[], None] = _nothing
        self._settle: Callable[[float], Coroutine[Any, Any, None]] = _no_time
        self._listeners: list[Listener] = []
        self._captured_signals: list[int] = []
        self._first_signal_at = 0.0

    @property
    def should_exit(self) -> bool:
        """Set to stop gracefully; from any thread, before or while the server runs."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._notify()

    @property
    def force_exit(self) -> bool:
        """Set to stop at once: running requests are cancelled and the lifespan's shutdown is left out."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        if value and self._drain is not None:
            self._drain.force()
        self._notify()

    @functools.cached_property
    def limit_max_requests(self) -> int | None:
        """The request limit of this process: the option and its random addition."""
        if self.config.limit_max_requests is None:
            return None
        return self.config.limit_max_requests + random.randint(0, self.config.limit_max_requests_jitter)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on a new event loop until the server stops. Ctrl-C ends in KeyboardInterrupt, after the stop."""
        runner = asyncio.Runner(loop_factory=self.config.get_loop_factory())
        try:
            runner.run(self.serve(sockets=sockets))
        finally:
            # Closing a runner waits for every task, for ever. One that ignores its cancellation is left behind.
            if self._cancel_tasks(runner.get_loop()):
                runner.close()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the running loop until the server stops, on `sockets` (closed at the end) where they are given.

        Handles SIGINT and SIGTERM meanwhile, on the main thread only; afterwards the previous handlers are back and
        get the signals that came.
        """
        with self.capture_signals():
            await self._serve(sockets)

    async def _serve(self, sockets: list[socket.socket] | None) -> None:
        if not self.config.loaded:
            self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        self._log_process("Started server process [%d]")
        try:
            await self.startup(sockets=sockets)
            if not self.should_exit:
                await self.main_loop()
            if self.started:
                await self.shutdown(sockets=sockets)
            else:
                await self._end_lifespan()
        except BaseException:
            self._release(sockets)
            raise
        finally:
            if self.force_exit:
                self._release(sockets)
            self._changes = None
        self._log_process("Finished server process [%d]")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the lifespan's startup, then listen. A stop requested meanwhile leaves it at the startup."""
        if not await self._start_application():
            return
        if sockets is None:
            try:
                self._listeners = self.config.listen()
            except OSError as error:
                logger.error(error)
                await self.lifespan.shutdown()
                sys.exit(STARTUP_FAILURE)
        transport = self._start_worker()
        for sock in sockets if sockets is not None else [listener.sock for listener in self._listeners]:
            self.servers.append(await transport.accept_on(sock, self.config.backlog))
        if sockets is None:
            self.config.announce(self._listeners)
        self.started = True

    async def _start_application(self) -> bool:
        """Run the lifespan's startup; returns False where the server is to stop instead of serving."""
        await self._unless_forced(
            self.lifespan.startup(),
            "Waiting for application startup before shutting down. (CTRL+C to force quit)",
        )
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        return not self.should_exit

    def _start_worker(self) -> "Transport":
        """Put together what serves on the running loop; returns what gives it connections."""
        assembly = self.assemble(asyncio.get_running_loop())
        worker, transport, self._close_worker = assembly.worker, assembly.transport, assembly.close
        self._settle = transport.settle
        if self.limit_max_requests is not None:
            worker.request_limit = self.limit_max_requests
            worker.on_limit = self._on_limit
        self.server_state.worker = worker
        self.server_state.threads = assembly.threads
        self.server_state.default_headers = [*self._date(), *self.config.encoded_headers]
        return transport

    def _date(self) -> list[tuple[bytes, bytes]]:
        return [(b"date", formatdate(usegmt=True).encode())] if self.config.date_header else []

    def assemble(self, loop: asyncio.AbstractEventLoop) -> "Assembly":
        """What serves on `loop`."""
        # Compiled; needed where requests are served, not where a command line is read or children are watched.
        from fastserve.server.assembly import assemble

        return assemble(self.config, loop, self.lifespan.state)

    async def main_loop(self) -> None:
        """Return when the server is to stop. Calls `callback_notify` meanwhile, every `timeout_notify` seconds."""
        callback, notifying = self.config.callback_notify, None
        if callback is not None:
            notifying = asyncio.get_running_loop().create_task(self._call_back(callback))
        try:
            await self._until_exit()
        finally:
            if notifying is not None:
                notifying.cancel()

    async def _call_back(self, callback: Callable[..., Awaitable[None]]) -> None:
        while True:
            try:
                await callback()
            except Exception:
                logger.exception("callback_notify failed")
            await asyncio.sleep(self.config.timeout_notify)

    async def _until_exit(self) -> None:
        if type(self).on_tick is Server.on_tick and "on_tick" not in self.__dict__:
            await self._watch().until(lambda: self.should_exit)
            return
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864000
            await self._watch().until(lambda: self.should_exit, deadline=asyncio.get_running_loop().time() + _TICK)

    async def on_tick(self, counter: int) -> bool:
        """For subclasses: called every 0.1 s if overridden, with the number of the call; True stops the server."""
        return self.should_exit

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, drain the connections, run the lifespan's shutdown."""
        logger.info("Shutting down")
        self._close_listeners(sockets)
        worker = self.server_state.worker
        if worker is not None:
            if not self.force_exit:
                await self._settle(_SETTLING)
            self._drain = self._make_drain(worker)
            if self.force_exit:
                self._drain.force()
            await self._drain.run()
            self._drain = None
            self._close_worker()
        for server in self.servers:
            # Every connection has been closed or aborted; a loop that still counts one does not hold up the stop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await server.wait_closed()
        self.servers = []
        await self._end_lifespan()

    def _make_drain(self, worker: WorkerProtocol) -> Drain:
        return Drain(worker, self.config, self._watch())

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle SIGINT and SIGTERM with `handle_exit`; afterwards raise those that came for the previous handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # signal.signal, not loop.add_signal_handler: only this gives the previous handlers back.
        previous = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        for captured in reversed(self._captured_signals):
            signal.raise_signal(captured)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler. The first signal stops gracefully; a second SIGINT, or a later SIGTERM, forces."""
        now = time.monotonic()
        repeated = bool(self._captured_signals) and now - self._first_signal_at > _ONE_SIGNAL
        if not self._captured_signals:
            self._first_signal_at = now
        self._captured_signals.append(sig)
        if repeated or (sig == signal.SIGINT and self.should_exit):
            self.force_exit = True
        else:
            self.should_exit = True

    def _watch(self) -> Changes:
        if self._changes is None:
            self._changes = Changes(asyncio.get_running_loop())
        return self._changes

    def _notify(self) -> None:
        if self._changes is not None:
            self._changes.notify()

    def _on_limit(self) -> None:
        logger.info("Maximum request limit of %d exceeded. Terminating process.", self.limit_max_requests)
        self.should_exit = True

    async def _end_lifespan(self) -> None:
        if not self.force_exit:
            await self._unless_forced(self.lifespan.shutdown())

    async def _unless_forced(self, step: Coroutine[Any, Any, None], notice: str | None = None) -> None:
        """Run `step` of the lifespan; when the exit is forced, give it up. Logs `notice` if a signal has to wait."""
        changes = self._watch()
        task = asyncio.get_running_loop().create_task(step)
        task.add_done_callback(lambda _: changes.notify())
        try:
            if notice is not None:
                await changes.until(lambda: task.done() or self.should_exit)
                if self._captured_signals and not task.done():
                    logger.info(notice)
            await changes.until(lambda: task.done() or self.force_exit)
        finally:
            if not task.done():
                task.cancel()
        if task.done():
            task.result()

    def _close_listeners(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        listeners.close_all(self._listeners)
        self._listeners = []
        for sock in sockets or []:
            sock.close()

    def _release(self, sockets: list[socket.socket] | None) -> None:
        """Give back what is left when serving ends in an exception or by force."""
        self._close_listeners(sockets)
        worker = self.server_state.worker
        if worker is not None:
            if worker.connections:
                worker.cancel()
                worker.abort()
            self._close_worker()
        self.lifespan.cancel()

    def _cancel_tasks(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Cancel what the application left running; returns whether all of it ended in time."""
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return True
        for task in tasks:
            task.cancel()
        timeout = _FORCED if self.force_exit else self.config.timeout_graceful_cancel
        _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=timeout))
        for task in pending:
            logger.error("Abandon a task that ignores its cancellation: %r", task)
        return not pending

    def _log_process(self, message: str) -> None:
        color_message = message.replace("%d", style("%d", fg="cyan"))
        logger.info(message, os.getpid(), extra={"color_message": color_message})
