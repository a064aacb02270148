"""`Multiprocess` and `ChangeReload`, on sockets that the program has bound itself, such as `Config.bind_socket()`."""

import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastserve.server.config import Config

__all__ = ["SIGNALS", "ChangeReload", "Multiprocess", "Process"]

_HANDLED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGWINCH,
)  # fmt: skip
SIGNALS: Final = {number: number.name.removeprefix("SIG") for number in _HANDLED}
"""The signals that uvicorn's supervisor knows, and their names; what they do here is in the documentation."""

_Target = Callable[..., Any]


class _Supervised:
    """`target` is taken and not needed: a worker serves `config.app`, an import string, by itself."""

    _home = ("fastserve.supervisor.supervisor", "Supervisor")

    def __init__(
        self,
        config: Config,
        target: _Target | Sequence[socket.socket] | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self.config = config
        self.sockets = list(sockets if target is None or callable(target) else target)

    def run(self) -> None:
        """Serve until a signal says to stop; on the main thread only. Ends in SystemExit where serving cannot start."""
        if self.sockets:
            # Duplicates: the supervisor closes what it listens on, and the program what it has bound.
            self.config.bind = [f"fd://{os.dup(sock.fileno())}" for sock in self.sockets]
        module, name = self._home
        if code := getattr(importlib.import_module(module), name)(self.config).run():
            sys.exit(code)


class Multiprocess(_Supervised):
    """`config.workers` processes that serve on `sockets`, or on what the configuration says."""


class ChangeReload(_Supervised):
    """One process that is replaced when its source files change."""

    _home = ("fastserve.supervisor.reloader", "Reloader")


class Process:
    """For programs that change `is_alive` or `ping`: there is nothing to change here.

    A worker's health is what its own event loop writes into shared memory; `timeout_worker_healthcheck` is the limit.
    """

    def is_alive(self, timeout: float = 5) -> bool:
        return True

    def ping(self, timeout: float = 5) -> bool:
        return True
