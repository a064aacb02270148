"""The steps of a stop and their times, on a clock that jumps."""

import asyncio

import pytest

from fastserve.config import Settings
from fastserve.server.changes import Changes
from fastserve.server.drain import REQUESTS_NAMED, Drain

WAITING = "INFO Waiting for connections to close. (CTRL+C to force quit)"
BACKGROUND = "INFO Waiting for background tasks to complete. (CTRL+C to force quit)"
NAMED = "WARNING Still running after 7.2 s: GET /slow from 127.0.0.1:1234"
DISCONNECT = "WARNING Disconnect 1 running request(s), timeout graceful disconnect exceeded"
CANCEL = "ERROR Cancel 1 running task(s), timeout graceful shutdown exceeded"
ABORT = "ERROR Abort 1 running request(s), timeout graceful cancel exceeded"


@pytest.fixture
def drained(worker, run_jumping):
    """Drains `worker`; `at` maps times to what then happens. Returns the time it took."""

    def drain(at=None, hand_on=False, **options):
        async def main():
            loop = asyncio.get_running_loop()
            changes = Changes(loop)
            stop = Drain(worker, Settings("a:a", log_config=None, **options), changes, hand_on=hand_on)
            for when, action in (at or {}).items():
                loop.call_at(when, action, stop)
            await stop.run()
            return round(loop.time(), 1)

        return run_jumping(main())

    return drain


def test_nothing_open(drained, worker, log_lines):
    assert drained() == 0.0
    assert worker.steps == [("drain", 0.0)]
    assert log_lines() == []


def test_idle_connections_close_without_a_word(drained, worker, log_lines):
    worker.connections = 3
    worker.ends_at = "drain"
    assert drained() == 0.0
    assert log_lines() == []


def test_running_request_finishes(drained, worker, log_lines):
    worker.serve("/slow")
    assert drained(at={3.0: lambda stop: worker.finish()}) == 3.0
    assert worker.steps == [("drain", 0.0)]
    assert log_lines() == [WAITING]


def test_task_without_connection_finishes(drained, worker, log_lines):
    worker.serve("/slow")
    worker.connections = 0
    assert drained(at={3.0: lambda stop: worker.requests.clear()}) == pytest.approx(3.0, abs=0.1)
    assert log_lines() == [BACKGROUND]


def test_task_outlives_its_connection(drained, worker, log_lines):
    def hang_up(stop):
        worker.connections = 0
        worker.on_idle()

    worker.serve("/slow")
    at = {3.0: hang_up, 5.0: lambda stop: worker.requests.clear()}
    assert drained(at) == pytest.approx(5.0, abs=0.1)
    assert log_lines() == [WAITING, BACKGROUND]


def test_stream_ends_on_disconnect(drained, worker, log_lines):
    worker.serve("/slow")
    worker.ends_at = "disconnect"
    assert drained() == 20.0
    assert worker.steps == [("drain", 0.0), ("disconnect", 20.0)]
    assert log_lines() == [WAITING, NAMED, DISCONNECT]


def test_task_ends_on_cancel(drained, worker, log_lines):
    worker.serve("/slow")
    worker.ends_at = "cancel"
    assert drained() == 30.0
    assert worker.steps == [("drain", 0.0), ("disconnect", 20.0), ("cancel", 30.0)]
    assert log_lines() == [WAITING, NAMED, DISCONNECT, NAMED, CANCEL]


def test_connection_is_aborted_last(drained, worker, log_lines):
    worker.serve("/slow")
    assert drained() == 35.0
    assert worker.steps == [("drain", 0.0), ("disconnect", 20.0), ("cancel", 30.0), ("abort", 35.0)]
    assert log_lines() == [WAITING, NAMED, DISCONNECT, NAMED, CANCEL, NAMED, ABORT]


def test_times_are_options(drained, worker):
    worker.serve("/slow")
    drained(timeout_graceful_disconnect=1, timeout_graceful_shutdown=2.5, timeout_graceful_cancel=0.5)
    assert worker.steps == [("drain", 0.0), ("disconnect", 1.0), ("cancel", 2.5), ("abort", 3.0)]


def test_disconnect_left_out(drained, worker):
    worker.serve("/slow")
    drained(timeout_graceful_disconnect=None)
    assert worker.steps == [("drain", 0.0), ("cancel", 30.0), ("abort", 35.0)]


def test_disconnect_after_cancel_is_left_out(drained, worker):
    worker.serve("/slow")
    drained(timeout_graceful_shutdown=5)
    assert worker.steps == [("drain", 0.0), ("cancel", 5.0), ("abort", 10.0)]


def test_zero_cancels_at_once(drained, worker):
    worker.serve("/slow")
    worker.ends_at = "cancel"
    assert drained(timeout_graceful_shutdown=0) == 0.1
    assert worker.steps == [("drain", 0.0), ("cancel", 0.1)]


def test_for_ever_is_uvicorns_default(drained, worker):
    worker.serve("/slow")
    at = {10_000.0: lambda stop: worker.finish()}
    assert drained(at, timeout_graceful_shutdown=None, timeout_graceful_disconnect=None) == 10_000.0
    assert worker.steps == [("drain", 0.0)]


def test_for_ever_with_disconnect(drained, worker):
    worker.serve("/slow")
    worker.ends_at = "disconnect"
    assert drained(timeout_graceful_shutdown=None) == 20.0


@pytest.mark.parametrize("when", [0.05, 3.0, 25.0])
def test_force(drained, worker, log_lines, when):
    worker.serve("/slow")
    worker.ends_at = "cancel"
    assert drained(at={when: lambda stop: stop.force()}) == pytest.approx(when, abs=0.06)
    assert worker.steps[-1][0] == "cancel"
    assert not any("Cancel" in line for line in log_lines())


def test_force_while_cancelled_tasks_clean_up(drained, worker):
    worker.serve("/slow")
    assert drained(at={31.0: lambda stop: stop.force()}) == 31.0
    assert worker.steps[-1] == ("abort", 31.0)


def test_connection_without_request_is_aborted_when_time_is_up(drained, worker):
    worker.connections = 1
    assert drained() == 30.0
    assert worker.steps == [("drain", 0.0), ("cancel", 30.0), ("abort", 30.0)]


def test_abort_that_leaves_something_ends_all_the_same(drained, worker, monkeypatch):
    worker.serve("/slow")
    monkeypatch.setattr(worker, "finish", lambda: None)
    assert drained() == 36.0


def test_many_requests_are_counted(drained, worker, log_lines):
    worker.serve(*["/slow"] * 25)
    worker.ends_at = "disconnect"
    drained()
    assert log_lines().count(NAMED) == REQUESTS_NAMED
    assert "WARNING Still running: 15 more" in log_lines()
    assert "WARNING Disconnect 25 running request(s), timeout graceful disconnect exceeded" in log_lines()


# --- what has just become idle


def test_idle_connections_get_their_grace_without_a_word(drained, worker, log_lines):
    worker.connections = 2
    assert drained(at={0.9: lambda stop: worker.finish()}) == pytest.approx(0.9, abs=0.1)
    assert worker.graces == [1.0]
    assert log_lines() == []


def test_the_grace_is_an_option(drained, worker):
    worker.connections = 2
    drained(at={0.5: lambda stop: worker.finish()}, timeout_graceful_idle=3)
    assert worker.graces == [3.0]


def test_the_grace_ends_when_the_stop_does(drained, worker):
    worker.connections = 2
    drained(at={0.3: lambda stop: worker.finish()}, timeout_graceful_shutdown=0.5)
    assert worker.graces == [0.5]


# --- handing on


def test_what_others_take_is_gone_at_once(drained, worker, log_lines):
    worker.connections = 3
    worker.ends_at = "hand on"
    assert drained(hand_on=True) == 0.0
    assert worker.steps == [("hand on", 0.0)]
    assert log_lines() == []


def test_what_nobody_takes_closes_at_the_disconnect(drained, worker, log_lines):
    worker.connections = 1
    worker.ends_at = "drain"
    assert drained(hand_on=True) == 20.0
    assert worker.steps == [("hand on", 0.0), ("drain", 20.0)]
    assert log_lines() == [WAITING]


def test_requests_that_run_on_are_stopped_as_in_any_stop(drained, worker):
    worker.serve("/slow")
    assert drained(hand_on=True) == 35.0
    steps = ["hand on", "drain", "disconnect", "cancel", "abort"]
    assert worker.steps == list(zip(steps, [0.0, 20.0, 20.0, 30.0, 35.0], strict=True))


def test_what_nobody_takes_closes_before_anything_is_cancelled(drained, worker, log_lines):
    worker.connections = 1
    worker.ends_at = "drain"
    assert drained(hand_on=True, timeout_graceful_disconnect=None) == pytest.approx(30.0, abs=0.1)
    assert worker.steps == [("hand on", 0.0), ("drain", 30.0)]
    assert log_lines() == [WAITING]
    assert worker.graces[-1] == 0.0


def test_handing_on_may_take_for_ever(drained, worker):
    worker.connections = 1
    at = {10_000.0: lambda stop: worker.finish()}
    assert drained(at, hand_on=True, timeout_graceful_shutdown=None, timeout_graceful_disconnect=None) == 10_000.0
    assert worker.steps == [("hand on", 0.0)]
