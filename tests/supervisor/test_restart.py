"""Rolling restarts (SIGHUP): the new worker first, one slot at a time, and what may come between."""

import signal

import pytest

from tests.supervisor.world import World


def restart(world: World) -> None:
    """Every replacement starts, every old worker ends at once."""
    for _ in range(10):
        if not world.starting:
            return
        [new] = world.starting
        old = next(process for process in world.serving if process.slot == new.slot)
        world.ready(new)
        world.leave(old)
    raise AssertionError("it goes on for ever")


def test_one_slot_after_the_other(world: World) -> None:
    first, second = world.processes
    world.send(signal.SIGHUP)
    [third] = world.starting
    assert third.slot == 0
    assert not first.is_leaving
    world.ready(third)
    assert first.retired
    assert first.signals == []
    # The next does not wait for the end of the old one.
    [fourth] = world.starting
    assert fourth.slot == 1
    assert not second.is_leaving
    world.ready(fourth)
    assert second.retired
    assert world.log() == ["Received SIGHUP, restarting processes.", "All processes have been restarted."]


def test_the_new_one_accepts_before_the_old_one_retires(world: World) -> None:
    old = world.processes[0]
    world.send(signal.SIGHUP)
    world.told()
    new = world.starting[0]
    world.ready(new)
    assert world.told() == [(new, "serve", {0}), (old, "retire", None)]
    assert world.system.published[0] is new


def test_the_service_manager_hears_of_it(world: World) -> None:
    world.system.notified.clear()
    world.send(signal.SIGHUP)
    assert world.system.notified == ["reloading"]
    restart(world)
    assert world.system.notified == ["reloading", "ready"]


def test_a_replacement_that_is_not_ready_in_time(world: World) -> None:
    first, second = world.processes
    world.system.notified.clear()
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.log()
    world.advance(60)
    assert world.log() == [
        "New child process [102] was not ready in time; keeping worker [100] and aborting the restart."
    ]
    assert third.signals == [signal.SIGUSR2]
    world.advance(1)
    assert not third.alive
    world.advance(1000)
    assert world.alive == [first, second]
    assert world.system.notified[-1] == "watchdog"
    assert [state for state in world.system.notified if state != "watchdog"] == ["reloading", "ready"]


def test_a_replacement_that_fails(world: World) -> None:
    world.send(signal.SIGHUP)
    world.log()
    world.advance(0.3)
    world.exit(world.starting[0], 3)
    assert world.log() == [
        "New child process [102] failed to start (exit code 3 after 0.3 s); "
        "keeping worker [100] and aborting the restart."
    ]
    world.advance(1000)
    assert world.alive == world.processes[:2]


def test_a_replacement_that_the_system_refuses(world: World) -> None:
    world.system.refuses_spawn = {0}
    world.send(signal.SIGHUP)
    assert world.log("ERROR") == [
        "Cannot start a process for worker slot 0: no more processes",
        "No new child process; keeping worker [100] and aborting the restart.",
    ]
    assert len(world.serving) == 2


def test_a_failure_halfway_keeps_what_is_new(world: World) -> None:
    _, second = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.ready(third)
    world.exit(world.starting[0], 1)
    assert world.serving == [second, third]
    world.send(signal.SIGHUP)
    assert [process.slot for process in world.starting] == [0]


def test_hup_during_hup_starts_over(world: World) -> None:
    first, second = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.ready(third)
    fourth = world.starting[0]
    world.send(signal.SIGHUP)
    assert fourth.signals == [signal.SIGTERM]
    [fifth] = world.starting
    assert fifth.slot == 0
    world.exit(fourth, -signal.SIGTERM)
    restart(world)
    assert third.retired
    assert second.retired
    assert not any("died" in line or "fail" in line for line in world.log())
    assert len(world.serving) == 2
    assert all(process not in world.serving for process in (first, second, third, fourth))


def test_hup_gets_past_a_hung_replacement(world: World) -> None:
    world.send(signal.SIGHUP)
    hung = world.starting[0]
    world.advance(5)
    world.send(signal.SIGHUP)
    assert hung.is_leaving
    world.log()
    restart(world)
    world.advance(10)
    assert world.log("ERROR") == ["Child process [102] did not end within 10 s, killing it."]
    world.advance(1)
    assert not hung.alive
    assert len(world.serving) == 2


def test_term_during_a_hung_restart_ends_in_time(world: World) -> None:
    old = world.processes[0]
    world.send(signal.SIGHUP)
    new = world.starting[0]
    world.ready(new)
    world.advance(3)
    # The old one hangs in a request, the replacement of the next slot in its start.
    hung = world.starting[0]
    world.send(signal.SIGTERM)
    for process in world.alive:
        assert process.signals == [signal.SIGTERM]
    world.leave(new)
    world.leave(world.processes[1])
    world.advance(40 - 3)
    assert not hung.alive
    assert old.signals == [signal.SIGTERM, signal.SIGUSR2]
    world.advance(1)
    assert world.policy.exit_code == 0


def test_an_old_worker_crashes_while_its_replacement_starts(world: World) -> None:
    first, second = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.exit(first, -signal.SIGSEGV)
    assert second.served == {0, 1}
    assert world.starting == [third]
    world.ready(third)
    assert (second.served, third.served) == ({1}, {0})
    assert [process.slot for process in world.starting] == [1]


def test_then_the_replacement_fails_too(world: World) -> None:
    first, _ = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.exit(first, -signal.SIGSEGV)
    world.log()
    world.advance(0.5)
    world.exit(third, 1)
    assert world.log() == ["New child process [102] failed to start (exit code 1 after 0.5 s); aborting the restart."]
    world.advance(2)
    assert [process.slot for process in world.starting] == [0]
    world.ready(world.starting[0])
    assert len(world.serving) == 2
    assert world.starting == []


def test_another_hup_after_the_old_worker_crashed(world: World) -> None:
    first, _ = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.exit(first, -signal.SIGSEGV)
    world.send(signal.SIGHUP)
    # It may have read the code of before.
    assert third.signals == [signal.SIGTERM]
    [fourth] = world.starting
    world.exit(third, -signal.SIGTERM)
    world.ready(fourth)
    [fifth] = world.starting
    world.ready(fifth)
    assert world.serving == [fourth, fifth]


def test_what_crashes_during_a_restart_comes_back_new(world: World) -> None:
    first, second = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.exit(second, 1)
    fourth = world.in_slot(1)
    world.ready(fourth)
    world.ready(third)
    assert first.retired
    # Slot 1 has been started since.
    assert world.starting == []
    assert "All processes have been restarted." in world.log()


def test_hup_mends_a_crash_loop() -> None:
    world = World(1).started()
    for _ in range(4):
        world.exit(world.in_slot(0), 1)
        world.advance(4 if not world.starting else 0)
    world.exit(world.in_slot(0), 1)
    assert world.alive == []
    world.send(signal.SIGHUP)
    assert len(world.starting) == 1
    world.ready(world.starting[0])
    assert len(world.serving) == 1


def test_ttin_during_a_restart(world: World) -> None:
    world.send(signal.SIGHUP)
    world.send(signal.SIGTTIN)
    assert [process.slot for process in world.starting] == [0, 2]
    world.ready(world.in_slot(2))
    world.ready(world.in_slot(0))
    world.ready(world.in_slot(1))
    # The third slot has never been old.
    assert world.starting == []
    assert len(world.serving) == 3


def test_ttou_during_a_restart_of_the_slot_that_goes(world: World) -> None:
    first, second = world.processes
    world.send(signal.SIGHUP)
    world.ready(world.starting[0])
    fourth = world.starting[0]
    assert fourth.slot == 1
    world.send(signal.SIGTTOU)
    assert fourth.signals == [signal.SIGTERM]
    assert second.retired
    world.exit(fourth, -signal.SIGTERM)
    world.leave(second)
    world.leave(first)
    assert [process.served for process in world.serving] == [{0, 1}]
    assert "All processes have been restarted." in world.log()
    assert world.starting == []


def test_ttou_during_a_restart_before_its_turn(world: World) -> None:
    world.send(signal.SIGHUP)
    world.send(signal.SIGTTOU)
    restart(world)
    assert [process.slot for process in world.serving] == [0]
    assert world.starting == []


def test_an_old_worker_that_does_not_end_is_named_and_stopped(world: World) -> None:
    old = world.processes[0]
    old.running = "GET /slow (35.2 s)"
    world.send(signal.SIGHUP)
    world.ready(world.starting[0])
    world.log(), world.told()
    world.advance(39.9)
    assert world.log() == []
    world.advance(0.1)
    assert world.log() == ["Child process [100] did not end within 40 s, killing it. Still running: GET /slow (35.2 s)"]
    assert (old, "signal", "SIGUSR2") in world.told()
    world.advance(1)
    assert not old.alive
    assert world.log() == [
        "Child process [100] died: killed by SIGKILL after 41.0 s; running at its last heartbeat: GET /slow (35.2 s)"
    ]


def test_without_a_limit_an_old_worker_may_take_for_ever() -> None:
    world = World(1, timeout_graceful_shutdown=None).started()
    world.send(signal.SIGHUP)
    world.ready(world.starting[0])
    world.advance(1000)
    assert len(world.alive) == 2


def test_a_stalled_worker_that_retires_is_noticed() -> None:
    world = World(1, timeout_graceful_shutdown=None).started()
    old = world.processes[0]
    world.send(signal.SIGHUP)
    world.ready(world.starting[0])
    old.stalled_at = world.now
    world.log()
    world.advance(31)
    assert not old.alive
    assert world.log("WARNING") != []
    assert len(world.processes) == 2


class TestPreload:
    @pytest.fixture
    def world(self) -> World:
        world = World(2, preload=True).start()
        world.rebuilt()
        for process in world.processes:
            world.ready(process)
        world.log(), world.told()
        return world

    def test_the_zygote_first(self, world: World) -> None:
        world.send(signal.SIGHUP)
        assert (world.system.rebuilds, world.starting) == (2, [])
        world.rebuilt()
        assert len(world.starting) == 1
        restart(world)
        assert len(world.processes) == 4

    def test_broken_code_keeps_everything(self, world: World) -> None:
        world.send(signal.SIGHUP)
        world.rebuilt("SyntaxError: invalid syntax")
        assert world.log("ERROR") == [
            "The application cannot be loaded (SyntaxError: invalid syntax); keeping the workers."
        ]
        assert world.system.notified[-2:] == ["reloading", "ready"]
        assert world.alive == world.processes

    def test_hup_while_building_builds_again(self, world: World) -> None:
        world.send(signal.SIGHUP)
        world.send(signal.SIGHUP)
        world.send(signal.SIGHUP)
        assert world.system.rebuilds == 2
        world.rebuilt()
        assert (world.system.rebuilds, world.starting) == (3, [])
        world.rebuilt()
        restart(world)
        assert (world.system.rebuilds, len(world.processes)) == (3, 4)

    def test_a_restart_pauses_for_the_next_zygote(self, world: World) -> None:
        world.send(signal.SIGHUP)
        world.rebuilt()
        third = world.starting[0]
        world.send(signal.SIGHUP)
        world.ready(third)
        assert world.starting == []
        world.rebuilt()
        restart(world)
        assert third.retired
        assert len(world.serving) == 2

    def test_a_restart_goes_on_if_the_next_zygote_fails(self, world: World) -> None:
        world.send(signal.SIGHUP)
        world.rebuilt()
        world.send(signal.SIGHUP)
        world.ready(world.starting[0])
        world.rebuilt("SyntaxError")
        restart(world)
        assert world.system.notified[-1] == "ready"
        assert all(process not in world.serving for process in world.processes[:2])

    def test_what_crashes_while_building_is_restarted_with_the_rest(self, world: World) -> None:
        _, second = world.processes
        world.send(signal.SIGHUP)
        world.exit(second, 1)
        third = world.in_slot(1)
        world.ready(third)
        world.rebuilt()
        restart(world)
        # It was forked from the old zygote.
        assert third.retired

    def test_term_while_building(self, world: World) -> None:
        world.send(signal.SIGHUP)
        world.send(signal.SIGTERM)
        world.rebuilt()
        for process in world.processes:
            world.leave(process)
        assert world.policy.exit_code == 0
        assert len(world.processes) == 2
