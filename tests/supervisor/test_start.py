"""Start-up, failures of starts, and what the service manager hears of it."""

import os
import signal

import pytest

from tests.supervisor.world import World


def test_all_slots_start_at_once() -> None:
    world = World(4).start()
    assert [process.slot for process in world.processes] == [0, 1, 2, 3]
    assert world.system.opened == [0, 1, 2, 3]
    assert world.log() == [f"Started parent process [{os.getpid()}]"]


def test_the_first_ready_worker_serves_every_slot_until_the_others_are() -> None:
    world = World(3).start()
    first, second, third = world.processes
    world.ready(second)
    assert second.served == {0, 1, 2}
    world.ready(first)
    assert (first.served, second.served) == ({0}, {1, 2})
    world.ready(third)
    assert [process.served for process in world.processes] == [{0}, {1}, {2}]
    assert world.system.published == {0: first, 1: second, 2: third}


def test_who_accepts_anew_is_told_before_who_leaves() -> None:
    world = World(2).start()
    first, second = world.processes
    world.ready(second)
    world.told()
    world.ready(first)
    assert world.told() == [(first, "serve", {0}), (second, "serve", {1})]


def test_ready_once_everybody_is() -> None:
    world = World(2).start()
    for process in world.processes:
        assert "ready" not in world.system.notified
        world.ready(process)
    assert world.system.notified == ["status 0 of 2 workers ready", "status 1 of 2 workers ready", "ready",
                                     "status 2 of 2 workers ready"]  # fmt: skip


def test_ready_when_one_serves_and_the_rest_has_failed() -> None:
    world = World(2).start()
    first, second = world.processes
    world.exit(first, 1)
    assert "ready" not in world.system.notified
    world.ready(second)
    assert "ready" in world.system.notified


def test_nobody_can_start() -> None:
    world = World(2).start()
    first, second = world.processes
    world.log()
    world.advance(0.5)
    world.exit(first, 3)
    world.advance(0.5)
    assert world.log() == ["Child process [100] failed to start (exit code 3 after 0.5 s)."]
    assert world.processes == [first, second]
    world.exit(second, 3)
    assert world.policy.exit_code == 3
    assert world.log() == [
        "Child process [101] failed to start (exit code 3 after 1.0 s).",
        "Child process [101] failed to start, stopping the parent process.",
        f"Stopping parent process [{os.getpid()}]",
    ]


def test_a_failed_start_is_tried_again_once_another_worked() -> None:
    world = World(2).start()
    first, second = world.processes
    world.exit(first, 1)
    world.advance(50)
    assert world.alive == [second]
    world.ready(second)
    assert [process.slot for process in world.starting] == [0]


def test_delays_of_failing_starts() -> None:
    world = World(2).started()
    begin = world.now
    world.exit(world.processes[0], 1)
    delays = []
    for _ in range(8):
        while not world.starting:
            world.advance(0.5)
        delays.append(world.now - begin)
        begin = world.now
        world.exit(world.starting[0], 1)
    # The crash was the first failure.
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_life_of_a_minute_forgives() -> None:
    world = World(2).started()
    for _ in range(4):
        world.exit(world.in_slot(0), 1)
        world.advance(10)
    world.ready(world.in_slot(0))
    world.advance(59)
    world.exit(world.in_slot(0), 1)
    assert world.starting == []
    world.advance(8)
    world.ready(world.in_slot(0))
    world.advance(60)
    world.exit(world.in_slot(0), 1)
    assert [process.slot for process in world.starting] == [0]


def test_a_crash_loop_is_named_once() -> None:
    world = World(2).started()
    for _ in range(9):
        world.exit(world.in_slot(0), 1)
        world.advance(31)
        world.advance(0.0)
    named = [line for line in world.log("ERROR") if "crash loop" in line]
    assert named == ["Worker slot 0 is in a crash loop: 5 processes in a row died young. Starting the next in 8 s."]


def test_all_in_a_crash_loop_before_readiness_is_the_end() -> None:
    world = World(2).started()
    for process in list(world.processes):
        world.exit(process, 1)
    for _ in range(1000):
        if world.policy.exit_code is not None:
            break
        for process in world.starting:
            if process.alive:
                world.exit(process, 1)
        world.advance(1)
    assert world.policy.exit_code == 3
    assert [len([one for one in world.processes if one.slot == slot]) for slot in (0, 1)] in ([6, 6], [6, 5], [5, 6])


def test_crashes_after_readiness_are_no_failed_starts() -> None:
    world = World(1).started()
    for _ in range(20):
        world.exit(world.in_slot(0), 1)
        world.advance(30)
        world.ready(world.in_slot(0))
    assert world.policy.exit_code is None


def test_recovery_from_a_crash_loop() -> None:
    world = World(2).started()
    for process in list(world.processes):
        world.exit(process, 1)
    for _ in range(4):
        world.exit(world.in_slot(0), 1)
        world.advance(30)
    world.ready(world.in_slot(0))
    assert world.in_slot(0).served == {0, 1}
    world.ready(world.in_slot(1))
    assert world.policy.exit_code is None
    assert world.system.notified[-1] == "status 2 of 2 workers ready"


def test_an_unready_worker_has_its_time() -> None:
    world = World(2, timeout_worker_startup=10.0).started()
    world.exit(world.processes[0], 1)
    slow = world.in_slot(0)
    world.log(), world.told()
    world.advance(9.9)
    assert world.log() == []
    world.advance(0.1)
    assert world.log() == ["Child process [102] was not ready in time."]
    assert world.told() == [(slow, "signal", "SIGUSR2")]
    world.advance(1.0)
    assert (slow, "signal", "SIGKILL") in world.told()
    assert not slow.alive
    assert [process.slot for process in world.starting] == [0]


@pytest.mark.parametrize("limit", [None, 0, 0.0])
def test_a_start_without_limit(limit: float | None) -> None:
    world = World(2, timeout_worker_startup=limit).start()
    world.advance(1000)
    assert len(world.starting) == 2
    assert world.policy.deadline() == float("inf")


def test_readiness_that_comes_too_late_is_not_heard() -> None:
    world = World(2, timeout_worker_startup=10.0).started()
    world.exit(world.processes[0], 1)
    slow = world.in_slot(0)
    world.advance(10.5)
    world.ready(slow)
    assert slow.served is None
    assert world.system.published[0] is None


def test_all_too_slow_is_a_failed_start() -> None:
    world = World(2, timeout_worker_startup=10.0).start()
    world.advance(12)
    assert world.policy.exit_code == 3
    assert all(process.signals == [signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL] or
               process.signals == [signal.SIGUSR2, signal.SIGKILL] for process in world.processes)  # fmt: skip


def test_the_system_refuses_the_first_processes() -> None:
    world = World(2)
    world.system.refuses_spawn = {0, 1}
    world.start()
    assert world.policy.exit_code == 3
    assert "No child process can be started, stopping the parent process." in world.log("ERROR")


def test_the_system_refuses_one_process() -> None:
    world = World(2)
    world.system.refuses_spawn = {0}
    world.start()
    [second] = world.processes
    world.ready(second)
    assert second.served == {0, 1}
    assert "Cannot start a process for worker slot 0: no more processes" in world.log("ERROR")
    world.system.refuses_spawn = set()
    world.advance(2)
    assert [process.slot for process in world.starting] == [0]


def test_a_slot_that_cannot_be_opened_at_start() -> None:
    world = World(2)
    world.system.refuses_slots = {1}
    world.start()
    assert world.processes == []
    assert world.policy.exit_code == 3


class TestPreload:
    def test_workers_start_after_the_zygote(self) -> None:
        world = World(2, preload=True).start()
        assert (world.system.rebuilds, world.processes) == (1, [])
        world.rebuilt()
        assert len(world.starting) == 2

    def test_without_a_zygote_there_is_no_server(self) -> None:
        world = World(2, preload=True).start()
        world.rebuilt("SyntaxError")
        assert world.policy.exit_code == 3
        assert "The application cannot be loaded (SyntaxError), stopping the parent process." in world.log("ERROR")

    def test_stopped_before_the_zygote_is_there(self) -> None:
        world = World(2, preload=True).start()
        world.send(signal.SIGTERM)
        assert world.policy.exit_code == 0
        world.rebuilt()
        assert world.processes == []

    def test_slots_added_and_removed_before_the_zygote_is_there(self) -> None:
        world = World(2, preload=True).start()
        world.send(signal.SIGTTIN)
        world.send(signal.SIGTTIN)
        world.send(signal.SIGTTOU)
        assert world.processes == []
        world.rebuilt()
        assert [process.slot for process in world.starting] == [0, 1, 2] or len(world.starting) == 3

    def test_hup_before_the_zygote_is_there_builds_another(self) -> None:
        world = World(2, preload=True).start()
        world.send(signal.SIGHUP)
        assert world.system.rebuilds == 1
        world.rebuilt("SyntaxError")
        assert (world.system.rebuilds, world.processes) == (2, [])
        world.rebuilt()
        assert len(world.starting) == 2


class TestSignalsDuringStart:
    def test_term(self) -> None:
        world = World(2).start()
        first, second = world.processes
        world.ready(first)
        world.send(signal.SIGTERM)
        assert [process.signals for process in world.processes] == [[signal.SIGTERM]] * 2
        world.exit(first, 0)
        world.exit(second, -signal.SIGTERM)
        assert world.policy.exit_code == 0

    def test_term_and_a_start_that_does_not_end(self) -> None:
        world = World(2, timeout_graceful_shutdown=None).start()
        world.send(signal.SIGTERM)
        world.advance(9.9)
        assert len(world.alive) == 2
        world.advance(1.2)
        assert world.policy.exit_code == 0

    def test_hup_replaces_what_has_not_started_one_by_one(self) -> None:
        world = World(2).start()
        first, second = world.processes
        world.send(signal.SIGHUP)
        assert (first.signals, second.signals) == ([signal.SIGTERM], [])
        third = world.in_slot(0)
        assert third.is_starting
        world.ready(third)
        assert second.signals == [signal.SIGTERM]
        world.ready(world.in_slot(1))
        world.exit(first, -signal.SIGTERM)
        world.exit(second, -signal.SIGTERM)
        assert len(world.alive) == 2
        assert world.policy.exit_code is None

    def test_hup_gives_failed_slots_another_chance(self) -> None:
        world = World(2).start()
        first, second = world.processes
        world.exit(first, 1)
        world.send(signal.SIGHUP)
        assert [process.slot for process in world.starting] == [0, 1]
        assert second.signals == [signal.SIGTERM]

    def test_ttou_rather_removes_what_has_failed(self) -> None:
        world = World(3).start()
        world.exit(world.processes[1], 1)
        world.send(signal.SIGTTOU)
        assert [process.slot for process in world.starting] == [0, 2]
        for process in world.starting:
            world.exit(process, 1)
        assert world.policy.exit_code == 3
