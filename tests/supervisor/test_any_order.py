"""Whatever happens in whatever order: the world checks its invariants after every event, this file the rest.

a voluntary action never costs a ready worker
once the faults are over, every slot has its worker again
SIGTERM is the end, in bounded time
"""

import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.supervisor.world import FakeProcess, World

STATUSES = [0, 1, 3, -signal.SIGKILL, -signal.SIGSEGV]

Event = tuple[str, int, Any]

_which = st.integers(0, 50)

EVENTS: st.SearchStrategy[Event] = st.one_of(
    # Readiness twice as likely as failure, or nothing ever gets on its way.
    st.tuples(st.just("ready"), _which, st.none()),
    st.tuples(st.just("ready"), _which, st.none()),
    st.tuples(st.just("exit"), _which, st.sampled_from(STATUSES)),
    st.tuples(st.just("leave"), _which, st.none()),
    st.tuples(st.just("limit"), _which, st.none()),
    st.tuples(st.just("stopping"), _which, st.none()),
    st.tuples(st.just("stall"), _which, st.none()),
    st.tuples(st.just("wake"), _which, st.none()),
    st.tuples(st.just("grow"), _which, st.none()),
    st.tuples(st.just("send"), st.just(0),
              st.sampled_from([signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2])),
    st.tuples(st.just("rebuilt"), st.just(0), st.sampled_from([None, "SyntaxError"])),
    st.tuples(st.just("refuse"), _which, st.booleans()),
    st.tuples(st.just("advance"), st.just(0), st.sampled_from([0.1, 1.0, 3.0, 20.0, 65.0])),
    st.tuples(st.just("sleep"), st.just(0), st.sampled_from([1.0, 10.0, 100.0])),
)  # fmt: skip

SETTINGS = st.fixed_dictionaries(
    {
        "workers": st.integers(1, 4),
        "preload": st.booleans(),
        "timeout_worker_startup": st.sampled_from([None, 10.0, 60.0]),
        "timeout_worker_healthcheck": st.sampled_from([None, 10.0, 30.0]),
        "limit_max_rss": st.sampled_from([None, 1000]),
        "limit_worker_lifetime": st.sampled_from([None, 50.0]),
    }
)

COSTS_NOBODY = {signal.SIGHUP, signal.SIGTTIN, signal.SIGUSR1, signal.SIGUSR2}


def happen(world: World, event: Event, building: list[int]) -> None:
    what, which, argument = event
    pick: Callable[[list[FakeProcess]], FakeProcess | None] = lambda some: some[which % len(some)] if some else None  # noqa: E731
    before = len(world.serving)
    if what == "ready" and (process := pick(world.starting)):
        world.ready(process)
        assert len(world.serving) >= before
    elif what == "exit" and (process := pick(world.alive)):
        world.exit(process, argument)
    elif what == "leave" and (process := pick([one for one in world.alive if one.is_leaving])):
        world.leave(process)
        assert len(world.serving) == before
    elif what == "limit" and (process := pick(world.serving)):
        world.limit_reached(process)
        assert len(world.serving) == before
    elif what == "stopping" and (process := pick(world.serving)):
        world.stopping(process)
    elif what == "stall" and (process := pick(world.serving)):
        process.stalled_at = world.now
    elif what == "wake" and (process := pick(world.alive)):
        process.stalled_at = None
    elif what == "grow" and (process := pick(world.serving)):
        process.rss = 2000
    elif what == "send":
        world.send(argument)
        if argument in COSTS_NOBODY:
            assert len(world.serving) == before
        else:
            assert len(world.serving) >= max(before - 1, min(before, 1))
    elif what == "rebuilt" and world.system.rebuilds > building[0]:
        building[0] += 1
        world.rebuilt(argument)
        assert world.policy.exit_code is not None or len(world.serving) == before
    elif what == "refuse" and argument:
        world.system.refuses_spawn.add(which % 4)
    elif what == "refuse":
        world.system.refuses_spawn.clear()
    elif what == "advance":
        world.advance(argument)
    elif what == "sleep":
        world.system.clock += argument
        world.advance(0)


def recover(world: World, building: list[int]) -> None:
    """From now on everything works."""
    world.system.refuses_spawn.clear()
    for _ in range(150):
        if world.system.rebuilds > building[0]:
            building[0] += 1
            world.rebuilt()
        for process in world.alive:
            process.stalled_at, process.rss = None, 0
            if process.is_starting:
                world.ready(process)
            elif process.is_leaving:
                world.leave(process)
        world.advance(1)


@pytest.mark.parametrize("at_once", [False, True])
@settings(max_examples=150)
@given(options=SETTINGS, events=st.lists(EVENTS, max_size=60))
def test_any_order(at_once: bool, options: dict[str, Any], events: list[Event]) -> None:
    world = World(**options).start()
    building = [0]
    for event in events:
        happen(world, event, building)
        if world.policy.exit_code is not None:
            assert world.policy.exit_code == 3
            return
    if not at_once:
        recover(world, building)
        if world.policy.exit_code is None:
            status = [state for state in world.system.notified if state.startswith("status")][-1]
            ready, wanted = map(int, re.findall(r"\d+", status))
            assert ready == wanted == len(world.serving)
            assert "ready" in world.system.notified
            last = [state for state in world.system.notified if state in ("ready", "reloading")][-1]
            assert last == "ready"
            for process in world.serving:
                assert process.slot in (process.served or ())
    for process in world.alive:
        process.stalled_at = None
    world.send(signal.SIGTERM)
    world.advance(41)
    assert world.policy.exit_code in (0, 3)
    assert world.alive == []


@settings(max_examples=100)
@given(options=SETTINGS, events=st.lists(EVENTS, max_size=30), later=st.lists(EVENTS, max_size=30))
def test_any_order_while_stopping(options: dict[str, Any], events: list[Event], later: list[Event]) -> None:
    world = World(**options).start()
    building = [0]
    for event in events:
        happen(world, event, building)
    world.send(signal.SIGTERM)
    processes = len(world.processes)
    for what, which, argument in later:
        if what in ("exit", "leave", "stall", "wake", "advance", "sleep", "rebuilt", "send"):
            happen(world, (what, which, argument), building)
    world.advance(41)
    assert len(world.processes) == processes
    assert world.policy.exit_code in (0, 3)
