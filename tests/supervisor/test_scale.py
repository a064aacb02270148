"""More and fewer workers (SIGTTIN, SIGTTOU), and the signals that are passed on."""

import signal

from tests.supervisor.world import World


def test_one_more(world: World) -> None:
    world.send(signal.SIGTTIN)
    assert world.system.opened == [0, 1, 2]
    assert world.log() == ["Received SIGTTIN, increasing the number of processes."]
    [third] = world.starting
    # Its listeners exist from now on; somebody has to accept from them.
    assert sorted(len(process.served or ()) for process in world.serving) == [1, 2]
    world.ready(third)
    assert [process.served for process in world.serving] == [{0}, {1}, {2}]
    assert world.system.notified[-1] == "status 3 of 3 workers ready"


def test_one_fewer(world: World) -> None:
    first, second = world.processes
    world.told()
    world.send(signal.SIGTTOU)
    assert world.log() == ["Received SIGTTOU, decreasing number of processes."]
    assert world.told() == [(first, "serve", {0, 1}), (second, "retire", None)]
    assert world.system.published[1] is None
    world.leave(second)
    world.advance(100)
    assert world.alive == [first]
    assert world.system.notified[-2:] != ["status 1 of 2 workers ready"]


def test_the_last_one_stays() -> None:
    world = World(1).started()
    world.send(signal.SIGTTOU)
    assert world.log() == [
        "Received SIGTTOU, decreasing number of processes.",
        "Already reached one process, cannot decrease the number of processes anymore.",
    ]
    assert len(world.serving) == 1


def test_back_in_the_same_slot(world: World) -> None:
    world.send(signal.SIGTTOU)
    world.send(signal.SIGTTIN)
    [new] = world.starting
    assert new.slot == 1
    assert world.system.opened == [0, 1]
    world.ready(new)
    assert [process.served for process in world.serving] == [{0}, {1}]


def test_rather_one_that_serves_nobody() -> None:
    world = World(3).started()
    world.exit(world.processes[1], 1)
    world.send(signal.SIGTTOU)
    assert [process.slot for process in world.serving] == [0, 2]
    world.advance(100)
    assert [process.slot for process in world.alive if not process.is_leaving] == [0, 2]
    world.send(signal.SIGTTIN)
    assert [process.slot for process in world.starting] == [1]


def test_a_slot_that_cannot_be_opened(world: World) -> None:
    world.system.refuses_slots = {2}
    world.send(signal.SIGTTIN)
    assert world.log("ERROR") == ["Cannot open worker slot 2: no more descriptors"]
    assert world.starting == []
    assert world.system.notified[-1] == "status 2 of 2 workers ready"
    world.system.refuses_slots = set()
    world.send(signal.SIGTTIN)
    assert [process.slot for process in world.starting] == [2]


def test_a_new_worker_that_fails_is_tried_again(world: World) -> None:
    world.send(signal.SIGTTIN)
    world.exit(world.starting[0], 1)
    assert [process.slot for process in world.starting] == [2]
    world.exit(world.starting[0], 1)
    world.advance(1)
    assert [process.slot for process in world.starting] == [2]


def test_removed_while_it_starts(world: World) -> None:
    world.send(signal.SIGTTIN)
    third = world.starting[0]
    world.send(signal.SIGTTOU)
    assert third.signals == [signal.SIGTERM]
    world.ready(third)
    assert third.served is None
    world.exit(third, 0)
    assert len(world.alive) == 2
    assert not world.log("ERROR")


def test_removed_while_it_is_replaced_for_wear(world: World) -> None:
    second = world.processes[1]
    world.limit_reached(second)
    third = world.starting[0]
    world.send(signal.SIGTTOU)
    assert second.retired
    assert third.signals == [signal.SIGTERM]
    world.limit_reached(world.processes[0])
    # Nothing is in the way of the next replacement.
    assert [process.slot for process in world.starting] == [0]


def test_up_and_down_many_times(world: World) -> None:
    for _ in range(50):
        world.send(signal.SIGTTIN)
        world.ready(world.starting[0])
        world.send(signal.SIGTTOU)
        for process in world.alive:
            if process.is_leaving:
                world.leave(process)
    assert world.system.opened == [0, 1, 2]
    assert len(world.serving) == 2
    assert world.policy.exit_code is None


def test_signals_passed_on(world: World) -> None:
    world.send(signal.SIGHUP)
    world.told()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        world.send(number)
        assert world.told() == [(process, "signal", number.name) for process in world.processes]


def test_other_signals_are_ignored(world: World) -> None:
    world.told()
    world.send(signal.SIGWINCH)
    world.send(signal.SIGTERM)
    world.told()
    world.send(signal.SIGHUP)
    assert world.told() == []
    assert len(world.processes) == 2
