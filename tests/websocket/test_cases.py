"""Every case is played against fastserve as its users start it, and docs/websocket.md says what came of it."""

from collections.abc import Callable, Iterator

import pytest

from docs.websocket_table import PAGE, section
from tests.websocket.cases.everything import CASES
from tests.websocket.cases.script import Case
from tests.websocket.play import Verdict, play
from tests.websocket.serving import served

Player = Callable[[Case], Verdict]


@pytest.fixture(scope="module")
def verdict() -> Iterator[Player]:
    """What comes of a case, which is played once."""
    known: dict[str, Verdict] = {}
    with served("fastserve") as address:

        def of(case: Case) -> Verdict:
            if case.id not in known:
                known[case.id] = play(case, address)
            return known[case.id]

        yield of


@pytest.fixture(scope="module")
def verdict_on_the_loop() -> Iterator[Player]:
    """What comes of a case where the event loop's transports carry the bytes."""
    with served("fastserve --transport loop --loop asyncio") as address:
        yield lambda case: play(case, address)


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.id)
def test_case(case: Case, verdict: Player) -> None:
    found = verdict(case)
    assert found.passed, f"{case.does}: {found.said}"


SMALL = [case for case in CASES.values() if not case.id.startswith(("9.", "12.", "13."))]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_case_on_the_event_loops_transports(case: Case, verdict_on_the_loop: Player) -> None:
    found = verdict_on_the_loop(case)
    assert found.passed, f"{case.does}: {found.said}"


def test_the_page_says_what_came_of_each_case(verdict: Player) -> None:
    wanted = section([verdict(case) for case in CASES.values()])
    assert wanted in PAGE.read_text(encoding="utf-8"), "out of date: make docs"
