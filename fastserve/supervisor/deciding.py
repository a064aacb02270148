"""What `Policy` and `Reloading` do alike: whom they know, how they end in a hurry, what a worker says of itself."""

import logging
from math import inf
from typing import Final

from fastserve.supervisor.endings import Endings
from fastserve.supervisor.interfaces import Process, System
from fastserve.supervisor.slot import Incarnation

SAME_REQUEST: Final = 0.5
"""Seconds. One Ctrl-C arrives twice where a parent passes it on; a user needs longer for the second."""

REFUSED: Final = 1.0
"""Seconds before a start is tried again that the system refused, or that was killed from outside."""


class Deciding:
    """Processes by the handle that the system has for them, and the state of a stop."""

    exit_code: int | None = None
    """Not None: every process is gone, and the supervisor ends with this."""

    def __init__(self, system: System, logger: logging.Logger, endings: Endings) -> None:
        self._system = system
        self._logger = logger
        self._endings = endings
        self._known: dict[Process, Incarnation] = {}
        self._stop_code: int | None = None  # not None: stopping
        self._stopped_at = inf
        self._forced = False

    def reported(self, process: Process, text: str) -> None:
        """What a worker says about itself after SIGUSR2: stacks, running requests."""
        self._logger.warning("Child process [%d] reports:\n%s", process.pid, text.rstrip())

    def _stops_by_itself(self, process: Process) -> Incarnation | None:
        """The worker of `process`, from now on expected to end; None if it was not ready."""
        worker = self._known.get(process)
        if worker is None or not worker.is_ready:
            return None
        self._logger.info("Child process [%d] is stopping by itself.", worker.pid)
        self._endings.expect(worker)
        return worker

    def _is_asked_again(self) -> bool:
        """Whether a signal to stop is another than the one that began the stop."""
        return self._system.now() - self._stopped_at > SAME_REQUEST

    def _force(self) -> None:
        if not self._forced:
            self._forced = True
            for worker in self._known.values():
                self._endings.stop_now(worker)
