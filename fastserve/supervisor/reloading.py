"""`Reloading`: what the supervisor does with `--reload`; a pure state machine in the place of `Policy`.

There is one slot. A change sends its worker away and makes a new one:

    change          the next process starts, held back; the worker retires: it finishes its requests and passes its
                    connections on to the slot, where they wait
    worker gone     the next process begins: only now it imports anything of the application, so that the code of two
                    versions never runs at once
    ready           it serves what has been waiting

A worker that does not end in time is killed, whatever it does. A start that fails waits for the next change, the first
one too: the error is on the screen, and connections wait. A worker that dies later is started again. How long anything
takes to start, and whether its event loop is blocked, nobody asks: a developer may be looking at it in a debugger.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from fastserve.config import STARTUP_FAILURE
from fastserve.server.logs import style
from fastserve.supervisor.deciding import REFUSED, Deciding
from fastserve.supervisor.endings import Endings
from fastserve.supervisor.exits import cause, explain
from fastserve.supervisor.interfaces import Exit, Process, Settings, System
from fastserve.supervisor.slot import Incarnation, Slot, State
from fastserve.supervisor.watched import displayed

_logger = logging.getLogger("fastserve.error")

_SLOT = 0

# Seconds that a worker gets beyond its own time limits, and between asking for its stacks and SIGKILL.
_MARGIN = 0.5
_LAST_WORDS = 0.2


class Reloading(Deciding):
    """Decides; `system` does. The methods and their meaning are those of `Policy`, and `changed`.

    name: of the source of changes, for the log. before_start: called before a process begins to import the application,
    and after the one before has gone.
    """

    def __init__(
        self,
        settings: Settings,
        system: System,
        name: str,
        before_start: Callable[[], None] = lambda: None,
        logger: logging.Logger = _logger,
    ) -> None:
        super().__init__(system, logger, Endings(settings, system, logger, margin=_MARGIN, last_words=_LAST_WORDS))
        self._name = name
        self._before_start = before_start
        self._slot = Slot(_SLOT)
        self._held: Incarnation | None = None
        self._announced = False

    # Events

    def start(self) -> None:
        self._logger.info(
            "Started reloader process [%d] using %s", os.getpid(), self._name,
            extra={"color_message": f"Started reloader process [{_highlighted('%d')}] using {_highlighted('%s')}"},
        )  # fmt: skip
        try:
            self._system.open_slot(_SLOT)
        except OSError as error:
            self._logger.error("Cannot open worker slot %d: %s", _SLOT, error)
            self._stop(STARTUP_FAILURE)
        else:
            self._reload()
        self._settle()

    def changed(self, paths: Sequence[Path]) -> None:
        """These files have changed."""
        if self._stop_code is None:
            names = ", ".join(map(displayed, paths))
            self._logger.warning("%s detected changes in %s. Reloading...", self._name, names)
            self._slot.backoff.reset()
            self._reload()
        self._settle()

    def signalled(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._asked_to_stop()
        elif number == signal.SIGQUIT:
            self._asked_to_stop()
            self._force()
        elif number in (signal.SIGUSR1, signal.SIGUSR2):
            for worker in self._known.values():
                # A process that is held back has nothing to tell.
                if worker is not self._held:
                    worker.process.signal(number)
        elif number == signal.SIGHUP and self._stop_code is None:
            self._logger.info("Received SIGHUP, restarting processes.")
            self._slot.backoff.reset()
            self._reload()
        else:
            self._logger.debug("Ignored signal %d.", number)
        self._settle()

    def ready(self, process: Process) -> None:
        worker = self._known.get(process)
        if worker is None or worker.state is not State.STARTING:
            return
        worker.state, worker.ready_at = State.READY, self._system.now()
        self._system.publish(_SLOT, process)
        worker.serving = frozenset({_SLOT})
        process.serve(worker.serving)
        if not self._announced:
            self._announced = True
            self._system.notify("ready")

    def stopping(self, process: Process) -> None:
        if (worker := self._stops_by_itself(process)) is not None:
            self._vacate(worker)
            self._reload()
            self._settle()

    def limit_reached(self, process: Process) -> None:
        worker = self._known.get(process)
        if worker is not None and worker.is_ready:
            self._logger.info("Child process [%d] will be replaced: request limit reached.", worker.pid)
            self._reload()
            self._settle()

    def exited(self, process: Process, exit: Exit) -> None:
        worker = self._known.pop(process, None)
        if worker is None:
            return
        now = self._system.now()
        if worker is self._held:
            self._held = None
            if self._stop_code is None:
                self._logger.error("Child process [%d] has ended before its start: %s", worker.pid, cause(exit))
                self._slot.retry_at = now + REFUSED
        elif worker.state is State.STARTING:
            self._vacate(worker)
            how = explain(exit, age=now - worker.born)
            self._logger.error("Child process [%d] failed to start (%s), waiting for changes.", worker.pid, how)
        elif worker.state is State.READY:
            self._vacate(worker)
            how = explain(exit, age=now - worker.born, running=process.last_seen())
            self._logger.error("Child process [%d] died: %s", worker.pid, how)
            self._slot.retry_at = now + self._slot.backoff.failed(now - worker.ready_at)
        else:
            self._logger.debug("Child process [%d] has ended: %s", worker.pid, cause(exit))
        self._settle()

    def rebuilt(self, error: str | None) -> None:
        """There is no zygote."""

    def tick(self) -> None:
        for worker in list(self._known.values()):
            self._endings.tick(worker)
        self._settle()

    def deadline(self) -> float:
        if self.exit_code is not None:
            return inf
        due = self._slot.retry_at
        for worker in self._known.values():
            due = min(due, worker.patience, worker.kill_at)
        return due

    # Reloads

    def _reload(self) -> None:
        """Have a process ready that begins when nobody else is left, and send away the one that is there."""
        self._slot.retry_at = inf
        if self._held is None:
            try:
                process = self._system.spawn(_SLOT, hold=True)
            except OSError as error:
                self._logger.error("Cannot start a process: %s", error)
                self._slot.retry_at = self._system.now() + REFUSED
                return
            self._held = self._known[process] = Incarnation(process, self._slot, self._system.now(), 0)
        if (worker := self._slot.current) is None:
            return
        self._vacate(worker)
        if worker.is_ready:
            # It passes its connections on to the next one, as if that were there.
            self._system.publish(_SLOT, self._held.process)
            self._endings.retire(worker)
        else:
            self._endings.terminate(worker)

    def _vacate(self, worker: Incarnation) -> None:
        if self._slot.current is worker:
            self._slot.current = None
            self._system.publish(_SLOT, None)

    # The end

    def _asked_to_stop(self) -> None:
        if self._stop_code is None:
            self._stop(0)
        elif self._is_asked_again():
            self._force()

    def _stop(self, code: int) -> None:
        self._stop_code, self._stopped_at = code, self._system.now()
        self._slot.retry_at = inf
        self._system.notify("stopping")
        # What is passed on now would be lost.
        self._system.publish(_SLOT, None)
        self._slot.current = None
        for worker in self._known.values():
            self._endings.terminate(worker)

    # What follows from every event

    def _settle(self) -> None:
        if self.exit_code is not None:
            return
        if self._stop_code is not None:
            if not self._known:
                self._logger.info(
                    "Stopping reloader process [%d]", os.getpid(),
                    extra={"color_message": f"Stopping reloader process [{_highlighted('%d')}]"},
                )  # fmt: skip
                self.exit_code = self._stop_code
            return
        if self._slot.retry_at <= self._system.now():
            self._reload()
        if (worker := self._held) is not None and len(self._known) == 1:
            self._held = None
            self._slot.current = worker
            worker.born = self._system.now()
            self._before_start()
            worker.process.begin()


def _highlighted(text: str) -> str:
    return style(text, fg="cyan", bold=True)
