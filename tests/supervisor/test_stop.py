"""The end: every signal that asks for it, in any state, and how long it may take at most."""

import math
import os
import signal

import pytest

from tests.supervisor.world import World

PARENT = os.getpid()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_graceful(world: World, number: signal.Signals) -> None:
    first, second = world.processes
    world.send(number)
    assert [process.signals for process in world.processes] == [[signal.SIGTERM]] * 2
    assert world.policy.exit_code is None
    world.leave(second)
    world.leave(first)
    assert world.policy.exit_code == 0
    assert world.policy.deadline() == math.inf
    assert world.log() == [
        f"Received {number.name}, exiting.",
        "Terminated child process [100]",
        "Terminated child process [101]",
        "Waiting for child process [100]",
        "Waiting for child process [101]",
        f"Stopping parent process [{PARENT}]",
    ]


def test_nothing_is_passed_to_a_worker_that_stops(world: World) -> None:
    world.send(signal.SIGTERM)
    assert world.system.published == {0: None, 1: None}
    assert world.system.notified[-1] == "stopping"


def test_nobody_comes_back(world: World) -> None:
    first, second = world.processes
    world.limit_reached(first)
    world.send(signal.SIGTERM)
    world.exit(first, -signal.SIGSEGV)
    world.send(signal.SIGHUP)
    world.send(signal.SIGTTIN)
    world.send(signal.SIGTTOU)
    world.limit_reached(second)
    world.ready(world.processes[2])
    world.advance(20)
    assert len(world.processes) == 3


def test_a_worker_that_does_not_end(world: World) -> None:
    first, second = world.processes
    first.running = "GET /slow (41.0 s)"
    world.send(signal.SIGTERM)
    world.leave(second)
    world.log(), world.told()
    world.advance(39.9)
    assert (world.log(), world.told()) == ([], [])
    world.advance(0.1)
    assert world.log() == ["Child process [100] did not end within 40 s, killing it. Still running: GET /slow (41.0 s)"]
    assert world.told() == [(first, "signal", "SIGUSR2")]
    world.advance(1)
    assert world.policy.exit_code == 0


def test_without_a_limit_it_waits(world: World) -> None:
    world = World(1, timeout_graceful_shutdown=None).started()
    world.send(signal.SIGTERM)
    world.advance(1000)
    assert world.policy.exit_code is None
    world.send(signal.SIGTERM)
    world.advance(1)
    assert world.policy.exit_code == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_twice(world: World, second: signal.Signals) -> None:
    world.send(signal.SIGINT)
    world.advance(0.6)
    world.log(), world.told()
    world.send(second)
    assert [argument for _, _, argument in world.told()] == ["SIGQUIT", "SIGQUIT"]
    assert world.log() == [f"Received {second.name} again, exiting at once."]
    world.advance(0.9)
    assert len(world.alive) == 2
    world.advance(0.1)
    assert world.policy.exit_code == 0


def test_twice_within_a_moment_is_once(world: World) -> None:
    world.send(signal.SIGINT)
    world.advance(0.4)
    world.send(signal.SIGTERM)
    world.advance(5)
    assert len(world.alive) == 2


def test_thrice(world: World) -> None:
    world.send(signal.SIGTERM)
    world.advance(0.6)
    world.send(signal.SIGTERM)
    world.advance(0.6)
    world.told()
    world.send(signal.SIGTERM)
    assert world.told() == []
    world.advance(0.4)
    assert world.policy.exit_code == 0


def test_quit(world: World) -> None:
    world.send(signal.SIGQUIT)
    assert [process.signals[-1] for process in world.processes] == [signal.SIGQUIT] * 2
    assert world.log()[0] == "Received SIGQUIT, exiting."
    world.advance(1)
    assert world.policy.exit_code == 0


def test_quit_while_stopping_is_at_once(world: World) -> None:
    world.send(signal.SIGTERM)
    world.send(signal.SIGQUIT)
    world.advance(1)
    assert world.policy.exit_code == 0


def test_retiring_workers_are_stopped_too(world: World) -> None:
    old = world.processes[0]
    world.send(signal.SIGHUP)
    world.ready(world.starting[0])
    world.send(signal.SIGTERM)
    assert old.retired
    assert old.signals == [signal.SIGTERM]
    for process in world.alive:
        world.leave(process)
    assert world.policy.exit_code == 0


def test_a_retiring_worker_keeps_its_deadline(world: World) -> None:
    old = world.processes[0]
    world.send(signal.SIGHUP)
    world.ready(world.starting[0])
    world.advance(30)
    world.send(signal.SIGTERM)
    world.advance(11)
    assert not old.alive


def test_term_during_an_exit_for_failure() -> None:
    world = World(2, timeout_worker_startup=10.0).start()
    first, second = world.processes
    world.exit(first, 3)
    second.stuck = True
    world.advance(10)
    world.send(signal.SIGTERM)
    assert second.signals[0] == signal.SIGUSR2
    world.advance(3)
    world.exit(second, -signal.SIGKILL)
    assert world.policy.exit_code == 3


def test_in_a_crash_loop() -> None:
    world = World(1).started()
    for _ in range(4):
        world.exit(world.in_slot(0), 1)
        world.advance(4 if world.starting == [] else 0)
    world.exit(world.in_slot(0), 1)
    assert world.alive == []
    world.send(signal.SIGTERM)
    assert world.policy.exit_code == 0
    assert world.log()[-2:] == ["Received SIGTERM, exiting.", f"Stopping parent process [{PARENT}]"]


def test_stalled_workers_are_stopped_by_the_health_check(world: World) -> None:
    for process in world.processes:
        process.stalled_at = world.now
    world.advance(20)
    world.send(signal.SIGTERM)
    world.advance(11)
    assert world.policy.exit_code == 0


def test_after_the_end_nothing_happens(world: World) -> None:
    world.send(signal.SIGQUIT)
    world.advance(1)
    world.log(), world.told()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGUSR2):
        world.send(number)
    world.advance(100)
    assert world.told() == []
    assert world.policy.exit_code == 0
    assert world.log() == []


def test_forced_just_before_it_would_have_been_too_late(world: World) -> None:
    world.send(signal.SIGTERM)
    world.advance(39.5)
    world.send(signal.SIGTERM)
    world.advance(1)
    assert world.policy.exit_code == 0
    assert not any("did not end" in line for line in world.log())


def test_one_that_not_even_sigkill_ends_is_waited_for(world: World) -> None:
    first, second = world.processes
    first.stuck = True
    first.stalled_at = world.now
    world.advance(31)
    world.send(signal.SIGTERM)
    world.leave(second)
    world.leave(world.in_slot(0))
    world.advance(100)
    assert first.signals == [signal.SIGUSR2, signal.SIGKILL, signal.SIGTERM]
    assert world.policy.exit_code is None
    world.exit(first, -signal.SIGKILL)
    assert world.policy.exit_code == 0
