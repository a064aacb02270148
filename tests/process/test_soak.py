"""Under load from every kind of client, while workers are restarted, killed, replaced, added, removed and stopped, no
request is lost but those that were running in a killed worker. `python -m bench.soak` is the long version.
"""

import re

import pytest

from bench.soak.accounts import Cause
from bench.soak.client import User
from bench.soak.run import Result, Soak, run
from bench.soak.scenarios import SCENARIOS
from bench.soak.servers import chosen

SHORT = Soak(
    seconds=4.0, workers=2, restarts=2, users={User.BUSY: 8, User.PAUSING: 8, User.RECONNECTING: 8}, timeout=20.0
)


def soak(scenario: str, server: str = "fastserve") -> Result:
    result = run(chosen(server), next(one for one in SCENARIOS if one.name == scenario), SHORT)
    told = [*result.problems, *result.contradictions, *map(str, result.of(Cause.UNEXPLAINED)), result.log]
    assert result.is_flawless(), "\n".join(told)
    assert result.requests > 50
    return result


def counted(result: Result) -> int:
    """How often it happened, as the scenario's own note says."""
    (note,) = result.notes
    found = re.match(r"\d+", note)
    assert found is not None, note
    return int(found[0])


@pytest.mark.parametrize("server", ["fastserve", "fastserve --preload", "fastserve --transport loop --loop uvloop"])
def test_a_rolling_restart_loses_nothing(server: str) -> None:
    result = soak("hup", server)
    assert counted(result) == SHORT.restarts
    assert result.failures == []


def test_a_killed_worker_loses_only_what_it_was_running() -> None:
    result = soak("kill")
    assert counted(result) >= 2
    # And what had been sent to it in the moment of its death, on connections that nobody else could have answered on.
    # Each user has one request at a time.
    assert result.of(Cause.RUNNING)
    assert len(result.of(Cause.RUNNING)) + len(result.of(Cause.NOT_BEGUN)) <= 24 * counted(result)


def test_adding_and_removing_workers_loses_nothing() -> None:
    result = soak("scale")
    assert counted(result) >= 6
    assert result.failures == []


def test_replacing_workers_after_so_many_requests_loses_nothing() -> None:
    result = soak("recycle")
    assert counted(result) > SHORT.workers
    assert result.failures == []


def test_a_stopping_server_turns_away_only_new_connections() -> None:
    result = soak("stop")
    assert all(failure.cause is Cause.AFTER_STOP for failure in result.failures)
    assert all(failure.record.served == 0 for failure in result.failures)
