"""Workers that die: replaced at once, explained, and their slots served meanwhile."""

import signal

import pytest

from fastserve.supervisor.backoff import Backoff
from fastserve.supervisor.exits import explain
from fastserve.supervisor.interfaces import Exit
from tests.supervisor.world import World

MEBIBYTE = 1024 * 1024


def test_a_crash_is_replaced_at_once_and_explained(world: World) -> None:
    first, second = world.processes
    first.rss = 200 * MEBIBYTE
    first.running = "GET /boom (0.1 s)"
    world.advance(12.5)
    world.told()
    world.exit(first, -signal.SIGSEGV)
    assert world.log() == [
        "Child process [100] died: killed by SIGSEGV after 12.5 s, 200 MiB; "
        "running at its last heartbeat: GET /boom (0.1 s)"
    ]
    assert world.told() == [(second, "serve", {0, 1})]
    assert world.system.published[0] is None
    [third] = world.starting
    world.ready(third)
    assert world.told() == [(third, "serve", {0}), (second, "serve", {1})]


@pytest.mark.parametrize(
    ("exit", "text"),
    [
        (Exit(0), "exit code 0 after 1.0 s"),
        (Exit(137), "exit code 137 after 1.0 s"),
        (Exit(-signal.SIGKILL), "killed by SIGKILL after 1.0 s"),
        (Exit(-signal.SIGKILL, oom=True), "killed by SIGKILL (out of memory) after 1.0 s"),
        (Exit(-signal.SIGABRT), "killed by SIGABRT after 1.0 s"),
        (Exit(-63), "killed by signal 63 after 1.0 s"),
    ],
)
def test_causes(exit: Exit, text: str) -> None:
    assert explain(exit, age=1.0) == text


def test_backoff() -> None:
    backoff = Backoff()
    assert [backoff.failed(1.0) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    for _ in range(5000):
        backoff.failed(59.9)
    assert backoff.delay == 30
    assert backoff.failed(60.0) == 0


def test_dying_young_is_answered_with_patience() -> None:
    world = World(2).started()
    gaps = []
    for _ in range(5):
        world.advance(1)
        world.exit(world.in_slot(0), 1)
        died = world.now
        while not world.starting:
            world.advance(0.25)
        gaps.append(world.now - died)
        world.ready(world.in_slot(0))
    assert gaps == [0, 1, 2, 4, 8]


def test_a_slow_start_is_no_life() -> None:
    world = World(2, timeout_worker_startup=None).started()
    for _ in range(3):
        world.exit(world.in_slot(0), 1)
        world.advance(4)
        world.advance(100)
        world.ready(world.in_slot(0))
    world.exit(world.in_slot(0), 1)
    assert world.starting == []


def test_kills_from_outside_are_not_held_against_the_application(world: World) -> None:
    for turn in range(30):
        world.exit(world.serving[turn % 2], -signal.SIGKILL)
        [new] = world.starting
        world.advance(0.3)
        world.ready(new)
        world.advance(0.7)
    assert len(world.serving) == 2
    assert not any("crash loop" in line for line in world.log())


def test_kills_from_outside_during_the_start(world: World) -> None:
    for _ in range(20):
        for process in world.alive:
            world.exit(process, -signal.SIGKILL)
        world.advance(1)
        assert len(world.starting) == 2
    for process in world.starting:
        world.ready(process)
    assert world.policy.exit_code is None
    assert len(world.serving) == 2


def test_running_out_of_memory_is_held_against_it(world: World) -> None:
    world.exit(world.in_slot(0), -signal.SIGKILL, oom=True)
    world.ready(world.in_slot(0))
    world.exit(world.in_slot(0), -signal.SIGKILL, oom=True)
    assert world.starting == []
    assert all("(out of memory)" in line for line in world.log("ERROR"))


def test_orphans_are_spread() -> None:
    world = World(5).started()
    for slot in (0, 1, 2):
        world.exit(world.in_slot(slot), 1)
    assert sorted(len(process.served or ()) for process in world.serving) == [2, 3]


def test_who_helps_goes_on_helping() -> None:
    world = World(4).started()
    world.exit(world.in_slot(0), 1)
    [helper] = [process for process in world.serving if 0 in (process.served or ())]
    other = next(process for process in world.serving if process is not helper)
    world.told()
    world.exit(other, 1)
    assert 0 in (helper.served or ())
    assert [process for process, what, _ in world.told() if what == "serve"] != [helper]


def test_nobody_is_left_for_a_moment(world: World) -> None:
    for process in list(world.processes):
        world.exit(process, 1)
    assert len(world.starting) == 2
    world.ready(world.starting[0])
    assert world.serving[0].served == {0, 1}


def test_the_last_of_the_dead_does_not_free_a_living_place(world: World) -> None:
    first, _ = world.processes
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.ready(third)
    world.exit(first, -signal.SIGSEGV)
    assert world.system.published[0] is third
    assert "Child process [100] died: killed by SIGSEGV after 0.0 s" in world.log("WARNING")


def test_a_worker_that_somebody_terminates_is_replaced_before_it_has_ended(world: World) -> None:
    first, second = world.processes
    world.stopping(first)
    assert second.served == {0, 1}
    assert [process.slot for process in world.starting] == [0]
    world.exit(first, 0)
    world.ready(world.in_slot(0))
    assert len(world.serving) == 2
    assert world.log() == ["Child process [100] is stopping by itself."]


def test_one_that_is_terminated_and_does_not_end(world: World) -> None:
    world.stopping(world.processes[0])
    world.advance(41)
    assert not world.processes[0].alive


def test_strangers_are_ignored(world: World) -> None:
    first = world.processes[0]
    world.exit(first, 1)
    before = list(world.processes)
    world.policy.ready(first)
    world.policy.exited(first, Exit(1))
    world.policy.limit_reached(first)
    world.policy.stopping(first)
    assert world.processes == before
