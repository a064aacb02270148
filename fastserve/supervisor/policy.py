"""`Policy`: what the supervisor does about everything that happens to its workers; a pure state machine.

Events come in through its methods, decisions go out through `System` and `Process`; the time is `System.now`, and
`deadline` says when `tick` is due. Nothing here waits, so a signal is dealt with at once whatever else is going on.

    slot      current STARTING -> READY                 the way up; a failed start is tried again after a back-off
              current READY, successor STARTING         a replacement: ready, it takes over and the old one retires;
                                                        failed, the old one stays. At most one at a time, in one slot
    process   STARTING -> READY -> LEAVING -> gone      leaving, it belongs to no slot any more, but has to end in time

Three queues feed the replacements: a restart (SIGHUP; every slot in turn), then worn workers (requests, memory, age).
Every event ends in `_settle`, which does what has become possible: start what is due, replace the next worker, share
out the slots, tell the service manager, end.
"""

import logging
import os
import random as random_module
import signal
from collections.abc import Callable
from math import inf

from fastserve.config import STARTUP_FAILURE
from fastserve.supervisor.backoff import LOOP, Backoff
from fastserve.supervisor.deciding import REFUSED, Deciding
from fastserve.supervisor.endings import Endings
from fastserve.supervisor.exits import cause, explain, is_foreign_kill
from fastserve.supervisor.health import Finding, Health
from fastserve.supervisor.interfaces import Exit, Process, Settings, System
from fastserve.supervisor.sharing import share
from fastserve.supervisor.slot import Incarnation, Slot, State
from fastserve.supervisor.wear import Wear

__all__ = ["Exit", "Policy", "Process", "Settings", "System"]

_logger = logging.getLogger("fastserve.error")


class Policy(Deciding):
    """Decides; `system` does. Every method returns at once; `deadline` says when `tick` is due next.

    `random` returns numbers in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        system: System,
        logger: logging.Logger = _logger,
        *,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        super().__init__(system, logger, Endings(settings, system, logger))
        self._settings = settings
        self._slots: dict[int, Slot] = {}
        self._generation = 0

        self._launched = False  # the first processes have been started
        self._any_was_ready = False
        self._announced = False  # the service manager knows that we serve
        self._status = ""

        self._rebuilding = False
        self._rebuild_again = False
        self._restart: list[Slot] | None = None  # still to be restarted; None: no restart is going on
        self._replacement: Incarnation | None = None  # the one that is starting

        self._health = Health(settings.timeout_worker_healthcheck)
        self._wear = Wear(settings, logger, random)

        self._farewell: list[Incarnation] = []  # to be waited for in the log, in this order
        self._waiting_for: Incarnation | None = None

    # Events

    def start(self) -> None:
        """Start all workers; with preload, have the zygote built first."""
        self._logger.info("Started parent process [%d]", os.getpid())
        for number in range(self._settings.workers):
            if not self._open(number):
                self._stop(STARTUP_FAILURE)
                break
        else:
            if self._settings.preload:
                self._rebuild()
            else:
                self._launch_all()
        self._settle()

    def signalled(self, number: int) -> None:
        """The supervisor has received a signal."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self._asked_to_stop(number)
        elif number == signal.SIGQUIT:
            self._asked_to_stop(number)
            self._force()
        elif number in (signal.SIGUSR1, signal.SIGUSR2):
            for worker in self._known.values():
                worker.process.signal(number)
        elif self._stop_code is not None:
            self._logger.debug("Ignored signal %d while stopping.", number)
        elif number == signal.SIGHUP:
            self._logger.info("Received SIGHUP, restarting processes.")
            self._asked_to_restart()
        elif number == signal.SIGTTIN:
            self._logger.info("Received SIGTTIN, increasing the number of processes.")
            self._add_slot()
        elif number == signal.SIGTTOU:
            self._logger.info("Received SIGTTOU, decreasing number of processes.")
            self._remove_slot()
        else:
            self._logger.debug("Ignored signal %d.", number)
        self._settle()

    def ready(self, process: Process) -> None:
        """The application of this worker has started: it can serve."""
        worker = self._known.get(process)
        if worker is None or worker.state is not State.STARTING:
            return
        now, slot = self._system.now(), worker.slot
        worker.state, worker.ready_at, worker.startup_limit = State.READY, now, inf
        slot.failed_starts = 0
        self._any_was_ready = True
        self._retry_held_slots(now)
        self._health.expect(now)
        self._wear.expect(worker, now)
        if self._replacement is worker:
            self._replacement = None
            slot.replace_backoff.reset()
        old = slot.current if slot.successor is worker else None
        if old is not None:
            slot.current, slot.successor = worker, None
            self._wear.forget(old)
        self._system.publish(slot.number, worker.process)
        # The new one accepts before the old one stops.
        self._share()
        if old is not None:
            self._endings.retire(old)
        self._settle()

    def stopping(self, process: Process) -> None:
        """This worker ends by itself (somebody sent it SIGTERM): it accepts no more."""
        if (worker := self._stops_by_itself(process)) is not None:
            self._vacate(worker)
            self._refill(worker.slot, delay=0.0)
            self._settle()

    def limit_reached(self, process: Process) -> None:
        """This worker has served its number of requests. It goes on until it is told to retire."""
        if (worker := self._known.get(process)) is not None:
            self._wear.wear_out(worker, "request limit reached")
            self._settle()

    def exited(self, process: Process, exit: Exit) -> None:
        """The process is gone and has been waited for."""
        worker = self._known.pop(process, None)
        if worker is None:
            return
        if worker.state is State.STARTING:
            how = explain(exit, age=self._system.now() - worker.born)
            self._start_failed(worker, how, foreign=is_foreign_kill(exit))
        elif worker.state is State.READY:
            self._crashed(worker, exit)
        elif worker.has_been_ready and exit.status not in (0, -signal.SIGTERM) and not self._forced:
            self._logger.warning("Child process [%d] died: %s", worker.pid, self._explain(worker, exit))
        else:
            self._logger.debug("Child process [%d] has ended: %s", worker.pid, cause(exit))
        self._settle()

    def rebuilt(self, error: str | None) -> None:
        """The zygote that `System.rebuild` asked for is ready, or why there is none."""
        self._rebuilding = False
        if self._stop_code is not None:
            pass
        elif self._rebuild_again:
            self._rebuild()
        elif error is not None and not self._launched:
            self._logger.error("The application cannot be loaded (%s), stopping the parent process.", error)
            self._stop(STARTUP_FAILURE)
        elif error is not None:
            self._logger.error("The application cannot be loaded (%s); keeping the workers.", error)
            # A restart that had begun before goes on: what it forks from is there.
            if self._restart is None:
                self._restart_over()
        elif not self._launched:
            self._launch_all()
        else:
            self._begin_restart()
        self._settle()

    def tick(self) -> None:
        """Do what is due by now. Calling it too early or too often is harmless."""
        now = self._system.now()
        for worker in list(self._known.values()):
            if now >= worker.startup_limit:
                self._not_ready_in_time(worker)
            self._endings.tick(worker)
        if now >= self._health.due:
            self._check_health(now)
        self._wear.tick(now, self._known.values())
        self._settle()

    def deadline(self) -> float:
        """When `tick` has to be called, on the clock of `System.now`; inf: no time limit is running."""
        if self.exit_code is not None:
            return inf
        due = min(self._health.due, self._wear.due)
        for worker in self._known.values():
            due = min(due, worker.startup_limit, worker.patience, worker.kill_at, worker.expires)
        for slot in self._slots.values():
            due = min(due, slot.retry_at)
        if self._may_replace() and self._restart is None:
            due = min([due, *(worker.slot.replace_at for worker in self._wear.worn)])
        return due

    # Slots and starts

    def _open(self, number: int) -> bool:
        try:
            self._system.open_slot(number)
        except OSError as error:
            self._logger.error("Cannot open worker slot %d: %s", number, error)
            return False
        slot = self._slots.setdefault(number, Slot(number))
        slot.active = True
        return True

    def _active(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.active]

    def _launch_all(self) -> None:
        self._launched = True
        for slot in self._active():
            if self._stop_code is None:
                self._launch(slot)

    def _launch(self, slot: Slot) -> Incarnation | None:
        """Start the slot's worker, as successor of the one it has. None where the system refuses."""
        slot.retry_at = inf
        try:
            process = self._system.spawn(slot.number)
        except OSError as error:
            self._logger.error("Cannot start a process for worker slot %d: %s", slot.number, error)
            if slot.current is None:
                self._count_failed_start(slot, at_least=REFUSED)
            return None
        worker = Incarnation(process, slot, self._system.now(), self._generation)
        worker.startup_limit = worker.born + (self._settings.timeout_worker_startup or inf)
        self._known[process] = worker
        if slot.current is None:
            slot.current = worker
        else:
            slot.successor = worker
        return worker

    def _add_slot(self) -> None:
        number = next((slot.number for slot in self._slots.values() if not slot.active), len(self._slots))
        if self._open(number) and self._launched:
            self._refill(self._slots[number], delay=0.0)

    def _remove_slot(self) -> None:
        active = self._active()
        if len(active) <= 1:
            self._logger.info("Already reached one process, cannot decrease the number of processes anymore.")
            return
        # The last, but rather one that serves nobody just now, and rather one that fails than one that starts.
        slot = min(reversed(active), key=lambda slot: 2 if slot.ready else 1 if slot.current else 0)
        slot.active, slot.retry_at = False, inf
        slot.backoff, slot.replace_backoff = Backoff(), Backoff()
        slot.failed_starts, slot.replace_at = 0, -inf
        for worker in (slot.successor, slot.current):
            if worker is None:
                continue
            if worker.is_ready:
                self._vacate(worker)
                # Whoever is to accept from the slot does before its worker stops.
                self._share()
                self._endings.retire(worker)
            else:
                self._drop(worker)

    def _vacate(self, worker: Incarnation) -> None:
        """The worker's place is free: its successor's, if there is one."""
        slot = worker.slot
        if slot.successor is worker:
            slot.successor = None
        elif slot.current is worker:
            slot.current, slot.successor = slot.successor, None
            if worker.has_been_ready:
                self._system.publish(slot.number, None)
        if self._replacement is worker:
            self._replacement = None
        self._wear.forget(worker)

    def _refill(self, slot: Slot, delay: float) -> None:
        if slot.active and slot.current is None and self._stop_code is None:
            slot.retry_at = self._system.now() + delay

    def _retry_held_slots(self, now: float) -> None:
        """Slots whose first start failed wait for the first success: without one the server does not start at all."""
        for slot in self._active():
            if slot.current is None and slot.retry_at == inf:
                slot.retry_at = now

    # Failures

    def _start_failed(self, worker: Incarnation, how: str, *, foreign: bool = False) -> None:
        """The worker will not be ready. `how` in words; empty: not in time."""
        slot, replacing, pid = worker.slot, self._replacement is worker, worker.pid
        kept = slot.current if slot.successor is worker else None
        self._vacate(worker)
        failure = f"failed to start ({how})" if how else "was not ready in time"
        kept_text = f" keeping worker [{kept.pid}]" if kept is not None else ""
        if replacing and self._restart is not None:
            text = f"{failure};{kept_text}{' and' if kept_text else ''} aborting the restart."
            self._logger.error("New child process [%d] %s", pid, text)
            self._restart_over()
        elif kept is not None:
            self._logger.error("New child process [%d] %s;%s.", pid, failure, kept_text)
        else:
            self._logger.error("Child process [%d] %s.", pid, failure)
        if kept is not None:
            self._postpone_replacement(slot)
        elif foreign and self._any_was_ready:
            self._refill(slot, delay=REFUSED)
        else:
            self._count_failed_start(slot, pid=pid)

    def _count_failed_start(self, slot: Slot, *, pid: int | None = None, at_least: float = 0.0) -> None:
        slot.failed_starts += 1
        # However long it took to fail, the process has not lived.
        delay = max(at_least, slot.backoff.failed(0.0))
        # Before the first success there is no second try.
        self._refill(slot, delay if self._any_was_ready else inf)
        if self._is_hopeless():
            if pid is not None:
                self._logger.error("Child process [%d] failed to start, stopping the parent process.", pid)
            else:
                self._logger.error("No child process can be started, stopping the parent process.")
            self._stop(STARTUP_FAILURE)
        else:
            self._name_crash_loop(slot)

    def _is_hopeless(self) -> bool:
        slots = self._active()
        if not self._any_was_ready:
            return all(slot.current is None and slot.failed_starts for slot in slots)
        return all(slot.ready is None and slot.failed_starts >= LOOP for slot in slots)

    def _name_crash_loop(self, slot: Slot) -> None:
        if slot.backoff.failures == LOOP:
            self._logger.error(
                "Worker slot %d is in a crash loop: %d processes in a row died young. Starting the next in %.0f s.",
                slot.number, LOOP, slot.backoff.delay,
            )  # fmt: skip

    def _crashed(self, worker: Incarnation, exit: Exit) -> None:
        self._vacate(worker)
        self._logger.error("Child process [%d] died: %s", worker.pid, self._explain(worker, exit))
        # Somebody's SIGKILL says nothing about the application.
        self._replace_lost(worker, counts=not is_foreign_kill(exit))

    def _replace_lost(self, worker: Incarnation, *, counts: bool = True) -> None:
        slot = worker.slot
        if not counts:
            self._refill(slot, delay=0.0)
            return
        # A slow start is no life: what dies at its first request after it is young.
        delay = slot.backoff.failed(self._system.now() - worker.ready_at)
        self._refill(slot, delay)
        self._name_crash_loop(slot)

    def _explain(self, worker: Incarnation, exit: Exit) -> str:
        age = self._system.now() - worker.born
        return explain(exit, age=age, memory=worker.memory, running=worker.process.last_seen())

    def _not_ready_in_time(self, worker: Incarnation) -> None:
        self._endings.give_up(worker)
        self._start_failed(worker, "")

    def _drop(self, worker: Incarnation) -> None:
        """A start that nobody wants any more."""
        self._vacate(worker)
        self._endings.terminate(worker)

    # Health

    def _check_health(self, now: float) -> None:
        watched = [worker for worker in self._known.values() if worker.has_been_ready and not worker.killed]
        for worker, finding, silence in self._health.look(now, watched):
            pid, running = worker.pid, worker.process.last_seen()
            if finding is Finding.SILENT:
                self._logger.debug("Child process [%d] has not answered for %.1f s.", pid, silence)
            elif finding is Finding.RECOVERED:
                self._logger.debug("Child process [%d] answers again after %.1f s.", pid, silence)
            elif finding is Finding.STALLED:
                self._logger.warning(
                    "Child process [%d] has not answered for %.1f s.%s",
                    pid, silence, f" Running: {running}" if running else "",
                )  # fmt: skip
                worker.process.signal(signal.SIGUSR2)
            else:
                self._logger.error("Child process [%d] has not answered for %.1f s, killing it.", pid, silence)
                served = worker.is_ready
                self._vacate(worker)
                self._endings.kill(worker)
                if served:
                    self._replace_lost(worker)
        if any(worker.is_ready and not worker.silent for worker in watched):
            self._system.notify("watchdog")

    # Restarts and replacements

    def _asked_to_restart(self) -> None:
        if self._announced:
            self._system.notify("reloading")
        if not self._settings.preload:
            self._begin_restart()
        elif self._rebuilding:
            self._rebuild_again = True
        else:
            self._rebuild()

    def _rebuild(self) -> None:
        self._rebuilding, self._rebuild_again = True, False
        self._system.rebuild()

    def _begin_restart(self) -> None:
        """Replace every process that was started before now, one that is starting as replacement among them."""
        self._generation += 1
        if (unfinished := self._replacement) is not None:
            self._replacement = None
            if unfinished.slot.successor is unfinished:
                self._drop(unfinished)
        self._restart = self._active()
        for slot in self._restart:
            slot.replace_at = -inf
            if slot.current is None:
                # Nothing to keep: what failed may be mended.
                slot.backoff.reset()
                slot.failed_starts = 0
                slot.retry_at = self._system.now()

    def _restart_over(self) -> None:
        self._restart = None
        if self._announced and not self._rebuilding:
            self._system.notify("ready")

    def _may_replace(self) -> bool:
        return self._replacement is None and self._stop_code is None and not self._rebuilding and self._launched

    def _replace_next(self) -> None:
        while self._may_replace() and self._restart is not None:
            if not self._restart:
                self._logger.info("All processes have been restarted.")
                self._restart_over()
            else:
                self._restart_slot(self._restart.pop(0))
        now = self._system.now()
        while self._may_replace() and self._restart is None:
            worker = next((worker for worker in self._wear.worn if worker.slot.replace_at <= now), None)
            if worker is None:
                return
            self._replacement = self._launch(worker.slot)
            if self._replacement is None:
                self._postpone_replacement(worker.slot)

    def _postpone_replacement(self, slot: Slot) -> None:
        slot.replace_at = self._system.now() + max(REFUSED, slot.replace_backoff.failed(0.0))

    def _restart_slot(self, slot: Slot) -> None:
        old = slot.current
        if not slot.active or old is None or old.generation == self._generation:
            return
        if not old.is_ready:
            # It serves nobody, and what it waits for may be what has been changed.
            self._drop(old)
        self._replacement = self._launch(slot)
        if self._replacement is None and self._stop_code is None:
            kept = f" keeping worker [{slot.current.pid}] and" if slot.current is not None else ""
            self._logger.error("No new child process;%s aborting the restart.", kept)
            self._restart_over()

    # The end

    def _asked_to_stop(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._stop_code is None:
            self._logger.info("Received %s, exiting.", name)
            self._stop(0)
        elif not self._forced and self._is_asked_again():
            self._logger.info("Received %s again, exiting at once.", name)
            self._force()

    def _stop(self, code: int) -> None:
        self._stop_code, self._stopped_at = code, self._system.now()
        self._restart, self._rebuild_again = None, False
        self._system.notify("stopping")
        for slot in self._slots.values():
            slot.retry_at = inf
            # What is passed on now would reach a worker that stops.
            self._system.publish(slot.number, None)
        for worker in list(self._known.values()):
            self._vacate(worker)
            self._logger.info("Terminated child process [%d]", worker.pid)
            self._endings.terminate(worker)
        self._farewell = list(self._known.values())

    # What follows from every event

    def _settle(self) -> None:
        if self.exit_code is not None:
            return
        if self._stop_code is None:
            now = self._system.now()
            for slot in self._active():
                if slot.retry_at <= now and self._stop_code is None:
                    self._launch(slot)
            self._replace_next()
        self._share()
        if self._stop_code is None:
            self._tell_service_manager()
        else:
            self._end_if_gone()

    def _share(self) -> None:
        """Tell workers what to serve, where that changes; who accepts from a slot anew before who leaves it."""
        wanted = share(self._slots.values())
        changed = [worker for worker, numbers in wanted.items() if numbers != worker.serving]
        for worker in sorted(changed, key=lambda worker: bool((worker.serving or frozenset()) - wanted[worker])):
            worker.serving = wanted[worker]
            worker.process.serve(wanted[worker])

    def _tell_service_manager(self) -> None:
        slots = self._active()
        ready = sum(slot.ready is not None for slot in slots)
        # Everybody has had a chance.
        tried = all(slot.ready is not None or slot.failed_starts for slot in slots)
        if not self._announced and ready and tried:
            self._announced = True
            self._system.notify("ready")
        status = f"{ready} of {len(slots)} workers ready"
        if status != self._status:
            self._status = status
            self._system.notify("status", status)

    def _end_if_gone(self) -> None:
        while self._farewell:
            worker = self._farewell[0]
            if self._waiting_for is not worker:
                self._waiting_for = worker
                self._logger.info("Waiting for child process [%d]", worker.pid)
            if worker.process in self._known:
                return
            self._farewell.pop(0)
        self._logger.info("Stopping parent process [%d]", os.getpid())
        self.exit_code = self._stop_code
