"""`Policy`: what the supervisor does about everything that happens to its workers; a pure state machine."""

import logging
import math

from fastserve.supervisor.interfaces import Exit, Process, Settings, System

__all__ = ["Exit", "Policy", "Process", "Settings", "System"]

_logger = logging.getLogger("fastserve.error")


class Policy:
    """Decides; `system` does. Every method returns at once; `deadline` says when `tick` is due next."""

    exit_code: int | None = None
    """Not None: every process is gone, and the supervisor ends with this."""

    def __init__(self, settings: Settings, system: System, logger: logging.Logger = _logger) -> None:
        self._settings = settings
        self._system = system
        self._logger = logger

    def start(self) -> None:
        """Start all workers; with preload, have the zygote built first."""

    def signalled(self, number: int) -> None:
        """The supervisor has received a signal."""

    def ready(self, process: Process) -> None:
        """The application of this worker has started: it can serve."""

    def stopping(self, process: Process) -> None:
        """This worker ends by itself (somebody sent it SIGTERM): it accepts no more."""

    def limit_reached(self, process: Process) -> None:
        """This worker has served its number of requests. It goes on until it is told to retire."""

    def reported(self, process: Process, text: str) -> None:
        """What a worker says about itself after SIGUSR2: stacks, running requests."""

    def exited(self, process: Process, exit: Exit) -> None:
        """The process is gone and has been waited for."""

    def rebuilt(self, error: str | None) -> None:
        """The zygote that `System.rebuild` asked for is ready, or why there is none."""

    def tick(self) -> None:
        """Do what is due by now. Calling it too early or too often is harmless."""

    def deadline(self) -> float:
        """When `tick` has to be called, on the clock of `System.now`; inf: no time limit is running."""
        return math.inf
