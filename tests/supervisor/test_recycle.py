"""Worn workers (requests, memory, age): one at a time, the replacement first."""

import signal

from tests.supervisor.world import World

MEBIBYTE = 1024 * 1024


def test_request_limit(world: World) -> None:
    first, second = world.processes
    world.limit_reached(first)
    assert world.log() == ["Child process [100] will be replaced: request limit reached."]
    [third] = world.starting
    assert not first.is_leaving
    world.ready(third)
    assert first.retired
    world.leave(first)
    assert world.serving == [second, third]


def test_one_at_a_time_in_the_order_of_wear() -> None:
    world = World(3).started()
    first, second, third = world.processes
    world.limit_reached(third)
    world.limit_reached(first)
    world.limit_reached(second)
    order = []
    for _ in range(3):
        [new] = world.starting
        order.append(new.slot)
        world.ready(new)
    assert order == [2, 0, 1]
    assert world.starting == []


def test_two_reasons_at_once() -> None:
    world = World(2, limit_max_rss=100 * MEBIBYTE).started()
    first = world.processes[0]
    first.rss = 150 * MEBIBYTE
    world.limit_reached(first)
    world.limit_reached(first)
    world.advance(20)
    assert world.log() == ["Child process [100] will be replaced: request limit reached."]
    world.ready(world.starting[0])
    assert world.starting == []
    assert len(world.processes) == 3


def test_memory_limit() -> None:
    world = World(2, limit_max_rss=100 * MEBIBYTE).started()
    first, second = world.processes
    first.rss = 100 * MEBIBYTE
    second.rss = 101 * MEBIBYTE
    world.advance(4.9)
    assert world.starting == []
    world.advance(0.1)
    assert [process.slot for process in world.starting] == [1]
    assert world.log() == ["Child process [101] will be replaced: 101 MiB, more than 100 MiB."]


def test_lifetime_has_jitter() -> None:
    # The world's chance is 0.5, of at most a tenth.
    world = World(1, limit_worker_lifetime=100.0).start()
    world.advance(50)
    world.ready(world.processes[0])
    world.advance(104.9)
    assert world.starting == []
    world.advance(0.2)
    assert len(world.starting) == 1
    new = world.starting[0]
    world.ready(new)
    world.leave(world.processes[0])
    world.advance(106)
    assert len(world.starting) == 1


def test_a_failed_replacement_keeps_the_old_one_and_is_tried_again(world: World) -> None:
    first = world.processes[0]
    world.limit_reached(first)
    world.log()
    begin, delays = world.now, []
    for _ in range(8):
        world.exit(world.starting[0], 1)
        while not world.starting:
            world.advance(0.5)
        delays.append(world.now - begin)
        begin = world.now
    assert delays == [1, 1, 2, 4, 8, 16, 30, 30]
    assert world.log("ERROR")[0] == (
        "New child process [102] failed to start (exit code 1 after 0.0 s); keeping worker [100]."
    )
    assert first.is_serving
    world.ready(world.starting[0])
    assert first.retired


def test_a_slow_replacement_keeps_the_old_one(world: World) -> None:
    world.limit_reached(world.processes[0])
    world.log()
    world.advance(60)
    assert world.log() == ["New child process [102] was not ready in time; keeping worker [100]."]
    world.advance(2)
    assert [process.slot for process in world.starting] == [0]


def test_a_refused_replacement_is_tried_again(world: World) -> None:
    world.system.refuses_spawn = {0}
    world.limit_reached(world.processes[0])
    world.advance(100)
    assert len(world.serving) == 2
    world.system.refuses_spawn = set()
    world.advance(31)
    assert len(world.starting) == 1


def test_another_worker_does_not_wait_for_one_that_cannot_be_replaced(world: World) -> None:
    world.limit_reached(world.processes[0])
    world.limit_reached(world.processes[1])
    world.exit(world.starting[0], 1)
    assert [process.slot for process in world.starting] == [1]


def test_a_worn_worker_that_crashes_first(world: World) -> None:
    first, second = world.processes
    world.limit_reached(second)
    world.limit_reached(first)
    world.exit(first, 1)
    third, fourth = world.starting
    world.ready(third)
    world.ready(fourth)
    assert world.starting == []
    assert len(world.serving) == 2


def test_a_restart_replaces_worn_workers_too(world: World) -> None:
    _, second = world.processes
    world.limit_reached(second)
    third = world.starting[0]
    world.send(signal.SIGHUP)
    # It may have read the code of before.
    assert third.signals == [signal.SIGTERM]
    assert [process.slot for process in world.starting] == [0]
    world.ready(world.starting[0])
    world.ready(world.starting[0])
    assert world.starting == []
    assert second.retired


def test_worn_during_a_restart_waits_for_its_end(world: World) -> None:
    world.send(signal.SIGHUP)
    third = world.starting[0]
    world.ready(third)
    world.limit_reached(third)
    assert [process.slot for process in world.starting] == [1]
    world.ready(world.starting[0])
    assert [process.slot for process in world.starting] == [0]


def test_an_aborted_restart_leaves_the_worn_to_be_replaced(world: World) -> None:
    _, second = world.processes
    world.send(signal.SIGHUP)
    world.limit_reached(second)
    world.exit(world.starting[0], 1)
    assert [process.slot for process in world.starting] == [1]


def test_wear_while_leaving_is_nothing(world: World) -> None:
    first = world.processes[0]
    world.limit_reached(first)
    world.ready(world.starting[0])
    world.limit_reached(first)
    assert world.starting == []


def test_a_stalled_worker_that_is_worn(world: World) -> None:
    first, _ = world.processes
    first.stalled_at = world.now
    world.advance(5)
    world.limit_reached(first)
    world.ready(world.starting[0])
    assert first.retired
    world.log()
    world.advance(40)
    assert not first.alive
    assert len(world.serving) == 2
    assert len(world.processes) == 3


def test_a_replacement_that_works_forgives_the_failures(world: World) -> None:
    world.limit_reached(world.processes[0])
    for _ in range(6):
        world.exit(world.starting[0], 1)
        world.advance(30)
    new = world.starting[0]
    world.ready(new)
    world.limit_reached(new)
    world.exit(world.starting[0], 1)
    world.advance(1)
    assert len(world.starting) == 1
