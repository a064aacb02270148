"""How processes are told to end, and what follows if they do not.

asked      retire or SIGTERM; the process has its own time limits, and a margin beyond them here
too late   SIGUSR2, so that its stacks and requests get into the log
1 s more   SIGKILL
"""

import logging
import signal
from math import inf

from fastserve.supervisor.interfaces import Settings, System
from fastserve.supervisor.slot import Incarnation, State

# Between asking a process for its stacks, or to stop at once, and SIGKILL.
_LAST_WORDS = 1.0

# What a worker gets beyond its own time limits.
_MARGIN = 5.0


class Endings:
    """Every method takes a process that is alive; none of them changes its slot.

    `margin` and `last_words` are the seconds beyond a worker's own time limits, and those before SIGKILL.
    """

    def __init__(
        self,
        settings: Settings,
        system: System,
        logger: logging.Logger,
        *,
        margin: float = _MARGIN,
        last_words: float = _LAST_WORDS,
    ) -> None:
        self._system = system
        self._logger = logger
        self._last_words = last_words
        self._short = settings.timeout_graceful_cancel + margin
        shutdown = settings.timeout_graceful_shutdown
        self._long = inf if shutdown is None else shutdown + self._short

    def expect(self, worker: Incarnation, grace: float | None = None) -> None:
        """It is to end within `grace` seconds, by default what a worker with requests gets; a shorter limit stays."""
        now = self._system.now()
        worker.state = State.LEAVING
        worker.startup_limit = worker.expires = inf
        worker.left_at = min(worker.left_at, now)
        if not worker.killed:
            worker.patience = min(worker.patience, now + (self._long if grace is None else grace))

    def retire(self, worker: Incarnation) -> None:
        self.expect(worker)
        worker.process.retire()

    def terminate(self, worker: Incarnation) -> None:
        # What has not been ready has no requests to finish.
        self.expect(worker, None if worker.has_been_ready else self._short)
        worker.process.signal(signal.SIGTERM)

    def stop_now(self, worker: Incarnation) -> None:
        """No more grace: SIGQUIT."""
        worker.process.signal(signal.SIGQUIT)
        worker.patience = inf
        worker.kill_at = min(worker.kill_at, self._system.now() + self._last_words)

    def give_up(self, worker: Incarnation) -> None:
        """Hear what it is doing, then kill it."""
        self.expect(worker)
        worker.process.signal(signal.SIGUSR2)
        worker.patience = inf
        worker.kill_at = self._system.now() + self._last_words

    def kill(self, worker: Incarnation) -> None:
        self.expect(worker)
        worker.killed = True
        worker.kill_at = worker.patience = inf
        worker.process.signal(signal.SIGKILL)

    def tick(self, worker: Incarnation) -> None:
        """Do what is due by now."""
        now = self._system.now()
        if now >= worker.patience:
            running = worker.process.last_seen()
            self._logger.error(
                "Child process [%d] did not end within %.0f s, killing it.%s",
                worker.pid, now - worker.left_at, f" Still running: {running}" if running else "",
            )  # fmt: skip
            self.give_up(worker)
        if now >= worker.kill_at:
            self.kill(worker)
