"""gunicorn's worker class: `gunicorn -k fastserve.workers.FastserveWorker app:app`.

gunicorn binds, forks, watches and restarts; a worker of this class serves what it is given, ASGI or WSGI. The settings
come from gunicorn's by the names in the option table: those that somebody has set, and of the rest the times. A
subclass says more in `CONFIG_KWARGS`, in `Config`'s names.

The logs are gunicorn's: its handlers and their levels, for the server's messages and for the access log.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator
from types import FrameType
from typing import Any, ClassVar, Final

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

from fastserve.options import OPTIONS, Flag, Integer, Option, Size
from fastserve.server.config import Config
from fastserve.server.server import Server

__all__ = ["FastserveWorker", "UvicornH11Worker", "UvicornWorker"]

# Settings that the arbiter itself obeys, or that mean something else to it: its `timeout` is that of the heartbeat.
_ARBITERS: Final = frozenset({
    "accesslog", "bind", "logconfig", "loglevel", "pidfile", "preload_app", "proc_name", "pythonpath", "reload",
    "timeout", "umask", "workers", "wsgi_app",
})  # fmt: skip

# Taken also where nobody has set them: gunicorn's times are what its users count on.
_ALWAYS: Final = frozenset({"keepalive", "graceful_timeout"})

# The arbiter kills what still runs when its graceful_timeout is over: by then tasks have been cancelled, and have had
# time for it.
_GRACEFUL_SHARE: Final = 0.85
_CANCEL_SHARE: Final = 0.1

# Seconds between two heartbeats, at most.
_HEARTBEAT: Final = 0.5


class FastserveWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A worker process of gunicorn that serves with fastserve."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {}
    """More of `Config`'s parameters, for a subclass to set; they override what gunicorn's settings say."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, log in (("fastserve.error", self.log.error_log), ("fastserve.access", self.log.access_log)):
            logger = logging.getLogger(name)
            logger.handlers = log.handlers
            logger.setLevel(log.level)
            logger.propagate = False
        self.server: GunicornServer | None = None
        self._mistake: Exception | None = None
        try:
            self.config = Config(**{"app": None, "log_config": None, **config_kwargs(self.cfg), **self.CONFIG_KWARGS})
        except (TypeError, ValueError) as error:
            # This is the arbiter's process: only a worker may fail to boot.
            self._mistake = error

    def init_process(self) -> None:
        if self._mistake is not None:
            self.log.error("The worker's configuration makes no sense: %s", self._mistake)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        super().init_process()

    def init_signals(self) -> None:
        # Our server handles TERM and INT while it serves; until then they end the process.
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.siginterrupt(signal.SIGUSR1, False)
        signal.signal(signal.SIGWINCH, self.handle_winch)
        signal.signal(signal.SIGABRT, self.handle_abort)
        signal.signal(signal.SIGQUIT, self.handle_quit)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        # Not here: this may have interrupted the writing of a record.
        if self.server is None or not self.server.call_soon(self.log.reopen_files):
            self.log.reopen_files()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once; twice, or before there is anything to stop: now."""
        if self.server is None or self.server.force_exit:
            super().handle_quit(sig, frame)
            return
        self.alive = False
        self.cfg.worker_int(self)
        self.server.force_exit = True
        self.server.should_exit = True

    def run(self) -> None:
        """Serve until told to stop. Exits with `Arbiter.WORKER_BOOT_ERROR` where serving could not start."""
        self.config.app = self.wsgi
        self.config.among_others = True
        self.server = server = GunicornServer(self.config, self)
        # Raw sockets: gunicorn's remove the file of a Unix socket when they are closed.
        server.run(sockets=[getattr(bound, "sock", bound) for bound in self.sockets])
        if not server.started and not server.should_exit:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


class UvicornWorker(FastserveWorker):
    """The class by the name that people write in their subclasses and command lines."""


class UvicornH11Worker(UvicornWorker):
    """uvicorn's variant without compiled parts."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "asyncio", "http": "h11"}


class GunicornServer(Server):
    """A server that tells gunicorn's arbiter that it lives, and stops when it is told to or left alone."""

    def __init__(self, config: Config, worker: FastserveWorker) -> None:
        super().__init__(config)
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat()
        await super().serve(sockets)

    def call_soon(self, function: Any) -> bool:
        """Call in the loop; from a signal handler. Returns whether there is one."""
        if self._loop is None or self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(function)
        return True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Nobody handled them before, and the arbiter is to see an exit, not a signal: its hooks run after this.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._worker.alive = False
        super().handle_exit(sig, frame)

    def _beat(self) -> None:
        worker = self._worker
        worker.notify()
        if not self.should_exit:
            if os.getppid() != worker.ppid:
                worker.log.info("Parent changed, shutting down: %s", worker)
                self.should_exit = True
            elif not worker.alive:
                # gunicorn's reloader has seen a change, or a hook wants the worker to go.
                self.should_exit = True
        asyncio.get_running_loop().call_later(_HEARTBEAT, self._beat)


def config_kwargs(cfg: Any) -> dict[str, Any]:
    """`Config`'s parameters for `cfg`, gunicorn's settings: those that the option table names."""
    found: dict[str, Any] = {}
    for row in OPTIONS.values():
        setting = cfg.settings.get(row.gunicorn) if row.gunicorn is not None else None
        if setting is None or row.gunicorn in _ARBITERS or not row.setting:
            continue
        value = setting.get()
        usual = setting.validator(setting.default) if callable(setting.validator) else setting.default
        if row.gunicorn in _ALWAYS or value != usual:
            found[row.param] = _converted(row, value)
    graceful = found["timeout_graceful_shutdown"]
    found["timeout_graceful_shutdown"] = graceful * _GRACEFUL_SHARE
    found["timeout_graceful_cancel"] = graceful * _CANCEL_SHARE
    found["workers"] = 1
    return found


def _converted(row: Option, value: Any) -> Any:
    """A setting's value as the row's: gunicorn's 0 for no limit is None, or the most that the row allows."""
    if value == 0 and isinstance(row.type, Integer) and row.type.minimum > 0:
        return None if row.optional else 2**31 - 1
    if isinstance(row.type, Flag):
        return value not in (False, None, "", "off")
    if isinstance(row.type, Size) and row.param == "limit_request_head":
        # gunicorn limits one field, we all of them.
        return max(int(value), row.default if isinstance(row.default, int) else 0)
    return value
