"""Workers that have served enough (requests, memory, age) and are to be replaced, in the order they wore out."""

import logging
from collections.abc import Callable, Iterable
from math import inf

from fastserve.supervisor.exits import MEBIBYTE
from fastserve.supervisor.interfaces import Settings
from fastserve.supervisor.slot import Incarnation

_MEASURE = 5.0  # seconds between looks at the workers' memory

_LIFETIME_JITTER = 0.1


class Wear:
    """`worn`: the ready workers whose replacement is due. `random` returns numbers in [0, 1)."""

    def __init__(self, settings: Settings, logger: logging.Logger, random: Callable[[], float]) -> None:
        self._memory_limit = settings.limit_max_rss
        self._lifetime = settings.limit_worker_lifetime
        self._logger = logger
        self._random = random
        self.worn: list[Incarnation] = []
        self.due = inf
        """When to measure memory next; each worker's end of life is its own (`Incarnation.expires`)."""

    def expect(self, worker: Incarnation, now: float) -> None:
        """The worker has become ready."""
        self.due = min(self.due, now + _MEASURE)
        if self._lifetime is not None:
            # Workers that started together are not to be replaced together.
            worker.expires = now + self._lifetime * (1 + _LIFETIME_JITTER * self._random())

    def wear_out(self, worker: Incarnation, reason: str) -> None:
        if worker.is_ready and worker not in self.worn:
            self.worn.append(worker)
            self._logger.info("Child process [%d] will be replaced: %s.", worker.pid, reason)

    def forget(self, worker: Incarnation) -> None:
        """The worker serves no more."""
        worker.expires = inf
        if worker in self.worn:
            self.worn.remove(worker)

    def tick(self, now: float, workers: Iterable[Incarnation]) -> None:
        """Do what is due by now."""
        ready = [worker for worker in workers if worker.is_ready]
        for worker in ready:
            if now >= worker.expires:
                worker.expires = inf
                self.wear_out(worker, f"{now - worker.ready_at:.0f} s old")
        if now < self.due:
            return
        self.due = now + _MEASURE if ready else inf
        limit = self._memory_limit
        for worker in ready:
            worker.memory = worker.process.memory() or worker.memory
            if limit is not None and worker.memory > limit:
                self.wear_out(worker, f"{worker.memory / MEBIBYTE:.0f} MiB, more than {limit / MEBIBYTE:.0f} MiB")
