"""`Reloading`: one worker, sent away when files change; and if it does not go, or the next one does not come."""

import logging
import signal
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastserve.supervisor.interfaces import Exit
from fastserve.supervisor.reloading import Reloading
from tests.supervisor.world import FakeProcess, FakeSystem, Lines

PATHS = [Path("/somewhere/app.py")]


class World:
    """A policy in its world; after every event at most one process runs the application."""

    def __init__(self) -> None:
        self.system = FakeSystem()
        self.lines = Lines()
        self.prepared = 0
        logger = logging.Logger("reloading", logging.INFO)
        logger.addHandler(self.lines)
        settings = SimpleNamespace(timeout_graceful_shutdown=2.0, timeout_graceful_cancel=0.5)
        self.policy = Reloading(settings, self.system, "Looking", self._prepare, logger)  # type: ignore[arg-type]

    def _prepare(self) -> None:
        assert not self.running, "the code of two versions runs at once"
        self.prepared += 1

    @property
    def running(self) -> list[FakeProcess]:
        return [process for process in self.system.processes if process.alive and not process.is_held]

    @property
    def held(self) -> list[FakeProcess]:
        return [process for process in self.system.processes if process.alive and process.is_held]

    def do(self, event: Callable[..., None], *arguments: object) -> None:
        event(*arguments)
        self.check()
        while self.system.dying:
            process, status = self.system.dying.pop(0)
            if process.alive:
                self.exit(process, status)

    def check(self) -> None:
        assert len(self.running) <= 1, "the code of two versions runs at once"
        assert len(self.held) <= 1
        if self.policy.exit_code is not None:
            assert not self.running
            assert not self.held
            assert self.policy.deadline() == inf

    def start(self) -> "World":
        self.do(self.policy.start)
        return self

    def ready(self) -> FakeProcess:
        (process,) = self.running
        process.is_ready = True
        self.do(self.policy.ready, process)
        return process

    def exit(self, process: FakeProcess, status: int = 0) -> None:
        process.alive = False
        self.do(self.policy.exited, process, Exit(status))

    def change(self) -> None:
        self.do(self.policy.changed, PATHS)

    def send(self, number: int) -> None:
        self.do(self.policy.signalled, number)

    def advance(self, seconds: float) -> None:
        end = self.system.clock + seconds
        while self.policy.deadline() <= end:
            self.system.clock = max(self.system.clock, self.policy.deadline())
            self.do(self.policy.tick)
        self.system.clock = end

    def log(self) -> list[str]:
        records, self.lines.records = self.lines.records, []
        return [text for _, text in records]


@pytest.fixture
def world() -> World:
    world = World().start()
    world.ready()
    world.log()
    return world


def test_start() -> None:
    world = World().start()
    assert world.prepared == 1
    worker = world.ready()
    assert worker.served == {0}
    assert world.system.published[0] is worker
    assert world.system.notified == ["ready"]


def test_the_old_worker_goes_before_the_new_one_begins(world: World) -> None:
    (old,) = world.running
    world.change()
    assert world.log() == ["Looking detected changes in '/somewhere/app.py'. Reloading..."]
    assert old.retired
    (new,) = world.held
    # Connections that the old one passes on are for the new one.
    assert world.system.published[0] is new
    world.exit(old)
    assert world.running == [new]
    assert world.prepared == 2
    assert world.ready() is new
    assert world.system.published[0] is new


def test_changes_while_the_old_worker_goes_are_one(world: World) -> None:
    (old,) = world.running
    world.change()
    world.change()
    world.exit(old)
    assert len(world.system.processes) == 2


def test_a_change_during_the_start_starts_again(world: World) -> None:
    (old,) = world.running
    world.change()
    world.exit(old)
    (second,) = world.running
    world.change()
    assert second.signals == [signal.SIGTERM]
    world.exit(second, -signal.SIGTERM)
    assert world.ready() is world.system.processes[2]
    assert not [line for line in world.log() if "failed" in line]


@pytest.mark.parametrize("first", [True, False])
def test_a_failed_start_waits_for_a_change(world: World, first: bool) -> None:
    if first:
        world = World().start()
    else:
        (old,) = world.running
        world.change()
        world.exit(old)
    (process,) = world.running
    world.exit(process, 3)
    assert "failed to start (exit code 3" in world.log()[-1]
    assert world.policy.deadline() == inf
    assert world.policy.exit_code is None
    world.change()
    world.ready()


def test_a_worker_that_does_not_go_is_killed(world: World) -> None:
    (old,) = world.running
    world.change()
    world.advance(3.5)
    assert old.signals == [signal.SIGUSR2, signal.SIGKILL]
    assert "did not end within 3 s, killing it." in world.log()[1]
    world.ready()


def test_a_start_that_hangs_has_no_limit_and_no_grace() -> None:
    world = World().start()
    world.advance(3600)
    (process,) = world.running
    world.change()
    world.advance(1.5)
    assert process.signals == [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL]
    world.ready()


def test_a_blocked_loop_is_left_alone(world: World) -> None:
    (process,) = world.running
    process.stalled_at = world.system.clock
    world.advance(3600)
    assert process.signals == []


def test_a_crash(world: World) -> None:
    world.exit(world.running[0], -signal.SIGSEGV)
    assert "died: killed by SIGSEGV" in world.log()[0]
    world.exit(world.ready(), -signal.SIGSEGV)
    assert world.running == []
    # A second one in a row waits, but not if somebody has mended it.
    world.change()
    world.ready()


def test_a_process_that_ends_before_it_began(world: World) -> None:
    (old,) = world.running
    world.change()
    world.exit(world.held[0], -signal.SIGKILL)
    world.exit(old)
    assert world.running == []
    world.advance(1.0)
    world.ready()


def test_the_system_refuses_a_process(world: World) -> None:
    world.system.refuses_spawn.add(0)
    (old,) = world.running
    world.change()
    assert not old.retired
    world.system.refuses_spawn.clear()
    world.advance(1.0)
    assert old.retired


def test_a_worker_that_stops_by_itself(world: World) -> None:
    (old,) = world.running
    old.is_leaving = True
    world.do(world.policy.stopping, old)
    world.exit(old)
    world.ready()


def test_a_worker_that_has_served_its_requests(world: World) -> None:
    (old,) = world.running
    world.do(world.policy.limit_reached, old)
    assert old.retired
    world.exit(old)
    world.ready()


def test_hangup(world: World) -> None:
    world.send(signal.SIGHUP)
    assert world.system.processes[0].retired


@pytest.mark.parametrize("changed", [True, False])
def test_stop(world: World, changed: bool) -> None:
    (worker,) = world.running
    if changed:
        world.change()
        world.log()
    world.send(signal.SIGINT)
    for process in world.running + world.held:
        assert process.signals == [signal.SIGTERM]
    for process in world.held:
        world.exit(process, -signal.SIGTERM)
    assert world.policy.exit_code is None
    world.exit(worker)
    assert world.policy.exit_code == 0
    (line,) = world.log()
    assert line.startswith("Stopping reloader process [")


def test_stop_while_nothing_runs() -> None:
    world = World().start()
    world.exit(world.running[0], 3)
    world.send(signal.SIGINT)
    assert world.policy.exit_code == 0


def test_no_reload_while_stopping(world: World) -> None:
    world.send(signal.SIGTERM)
    world.change()
    world.send(signal.SIGHUP)
    assert world.held == []


def test_a_second_ctrl_c(world: World) -> None:
    (worker,) = world.running
    world.send(signal.SIGINT)
    world.send(signal.SIGINT)
    assert worker.signals == [signal.SIGTERM]
    world.advance(1.0)
    world.send(signal.SIGINT)
    world.advance(0.2)
    assert worker.signals == [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL]
    assert world.policy.exit_code == 0


def test_no_slot() -> None:
    world = World()
    world.system.refuses_slots.add(0)
    world.start()
    assert world.policy.exit_code == 3
