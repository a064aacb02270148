"""Heartbeats: a silent worker gets help, a stalled one is asked, a lost one is killed and replaced."""

import math
import signal

import pytest

from tests.supervisor.world import World


def test_help_then_question_then_end(world: World) -> None:
    first, second = world.processes
    first.running = "GET /block (14.9 s)"
    world.advance(3.0)
    world.told()
    first.stalled_at = world.now
    world.advance(1.9)
    assert world.told() == []
    world.advance(0.1)
    assert world.told() == [(second, "serve", {0, 1})]
    assert world.log() == []
    world.advance(12.9)
    assert world.log() == []
    world.advance(0.6)
    assert world.log() == ["Child process [100] has not answered for 15.0 s. Running: GET /block (14.9 s)"]
    assert world.told() == [(first, "signal", "SIGUSR2")]
    world.policy.reported(first, "Thread 0x1:\n  File app.py, line 3 in block\n")
    assert world.log("WARNING") == ["Child process [100] reports:\nThread 0x1:\n  File app.py, line 3 in block"]
    world.advance(14.0)
    assert (world.log(), world.told()) == ([], [])
    world.advance(0.5)
    assert world.told() == [(first, "signal", "SIGKILL")]
    assert world.log() == [
        "Child process [100] has not answered for 30.0 s, killing it.",
        "Child process [100] died: killed by SIGKILL after 33.0 s; running at its last heartbeat: GET /block (14.9 s)",
    ]
    [third] = world.starting
    world.ready(third)
    assert (third.served, second.served) == ({0}, {1})


def test_a_silent_worker_keeps_its_slot(world: World) -> None:
    first, second = world.processes
    first.stalled_at = world.now
    world.advance(5)
    assert (first.served, second.served) == ({0}, {0, 1})
    assert world.system.published[0] is first


def test_recovery(world: World) -> None:
    first, second = world.processes
    first.stalled_at = world.now
    world.advance(20)
    first.stalled_at = None
    world.advance(1)
    assert second.served == {1}
    assert len(world.log("DEBUG")) == 2
    first.stalled_at = world.now
    world.advance(16)
    assert len([line for line in world.log("WARNING") if "15." in line or "16." in line]) == 1


def test_each_stall_is_said(world: World) -> None:
    first = world.processes[0]
    for _ in range(3):
        first.stalled_at = world.now
        world.advance(16)
        first.stalled_at = None
        world.advance(1)
    assert len(world.log("WARNING")) == 3


def test_all_silent(world: World) -> None:
    for process in world.processes:
        process.stalled_at = world.now
    world.advance(10)
    assert [process.served for process in world.serving] == [{0}, {1}]
    world.processes[1].stalled_at = None
    world.advance(1)
    assert [process.served for process in world.serving] == [{0}, {0, 1}]


def test_a_silent_worker_does_not_help_others() -> None:
    world = World(3).started()
    first, second, third = world.processes
    second.stalled_at = world.now
    world.advance(3)
    world.exit(first, 1)
    assert third.served == {0, 1, 2}
    assert second.served == {1}


def test_before_the_first_heartbeat_the_time_counts_from_readiness() -> None:
    world = World(1).start()
    [process] = world.processes
    world.advance(50)
    process.stalled_at = 0.0
    world.ready(process)
    world.advance(29)
    assert process.alive
    world.advance(2)
    assert not process.alive


def test_the_start_has_no_heartbeat() -> None:
    world = World(1, timeout_worker_startup=None).start()
    world.advance(500)
    assert world.processes[0].alive


@pytest.mark.parametrize("limit", [None, 0])
def test_switched_off_a_silent_worker_still_gets_help(limit: float | None) -> None:
    world = World(2, timeout_worker_healthcheck=limit).started()
    first, second = world.processes
    first.stalled_at = world.now
    world.advance(1000)
    assert first.alive
    assert first.signals == []
    assert second.served == {0, 1}


def test_a_short_limit() -> None:
    world = World(2, timeout_worker_healthcheck=2.0).started()
    first = world.processes[0]
    first.stalled_at = world.now
    world.advance(2.5)
    assert not first.alive
    assert first.signals == [signal.SIGUSR2, signal.SIGKILL]


def test_one_that_has_been_killed_is_not_looked_at_again(world: World) -> None:
    first = world.processes[0]
    first.stalled_at = world.now
    first.stuck = True
    world.advance(35)
    assert first.signals == [signal.SIGUSR2, signal.SIGKILL]
    # Its replacement does not wait for the kernel, and it is nobody's worker any more.
    assert [process.slot for process in world.starting] == [0]
    world.ready(world.starting[0])
    world.limit_reached(first)
    assert world.starting == []


def test_it_was_the_supervisor_that_slept(world: World) -> None:
    for process in world.processes:
        process.stalled_at = world.now
    world.system.clock += 100
    world.policy.tick()
    for process in world.processes:
        process.stalled_at = None
    world.advance(5)
    assert world.alive == world.processes
    assert world.log() == []


def test_then_who_does_not_wake_up_is_lost(world: World) -> None:
    first = world.processes[0]
    first.stalled_at = world.now
    world.system.clock += 100
    world.policy.tick()
    world.advance(31)
    assert not first.alive


def test_the_watchdog_is_fed_while_somebody_answers(world: World) -> None:
    def fed(seconds: float) -> int:
        world.system.notified.clear()
        world.advance(seconds)
        return world.system.notified.count("watchdog")

    assert fed(10) >= 5
    world.processes[0].stalled_at = world.now
    assert fed(10) >= 5
    world.processes[1].stalled_at = world.now
    fed(2.0)
    assert fed(10) == 0
    world.processes[1].stalled_at = None
    assert fed(10) >= 5


def test_a_quiet_supervisor_wakes_rarely(world: World) -> None:
    world.advance(10)
    wakes = 0
    end = world.now + 60
    while world.policy.deadline() <= end:
        world.system.clock = world.policy.deadline()
        world.policy.tick()
        wakes += 1
    assert wakes <= 45


def test_a_crash_of_a_silent_worker(world: World) -> None:
    first, second = world.processes
    first.stalled_at = world.now
    world.advance(5)
    world.exit(first, 1)
    assert second.served == {0, 1}
    world.ready(world.in_slot(0))
    assert second.served == {1}


def test_killed_while_its_replacement_starts(world: World) -> None:
    first, _ = world.processes
    first.stalled_at = world.now
    world.advance(25)
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.advance(6)
    assert not first.alive
    assert world.starting == [third]
    world.ready(third)
    assert third.served == {0}


def test_nothing_to_watch_nothing_to_do() -> None:
    world = World(2, timeout_worker_startup=None).started()
    for process in world.processes:
        process.alive = False
    assert world.policy.deadline() < math.inf
    world = World(2, timeout_worker_startup=None).start()
    assert world.policy.deadline() == math.inf
