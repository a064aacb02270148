"""Fixtures: pairs of servers, started when first asked for and kept for the session, and the comparison itself."""

import pytest

from tests.parity import server
from tests.parity.server import Pair
from tests.parity.wire import Transcript, play

COMPARES_WITH_ITSELF = server.MODULES["fastserve"] == "uvicorn"


class Pairs:
    def __init__(self, directory):
        self._directory = directory
        self._pairs = {}

    def __call__(self, application, *options, unix=False):
        """uvicorn and fastserve serving `tests.parity.apps.<application>:app`."""
        key = (application, options, unix)
        if key not in self._pairs:
            path = str(self._directory / str(len(self._pairs))) if unix else None
            self._pairs[key] = Pair(f"tests.parity.apps.{application}:app", *options, socket_path=path)
        return self._pairs[key]

    def stop(self):
        for pair in self._pairs.values():
            pair.ask_to_stop()
        return [fault for pair in self._pairs.values() for fault in pair.stop()]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    pairs = Pairs(tmp_path_factory.mktemp("sockets"))
    yield pairs
    faults = pairs.stop()
    assert not faults, "\n\n".join(faults)


@pytest.fixture(scope="session")
def raw(pairs):
    return pairs("raw")


@pytest.fixture(scope="session")
def compare():
    """Plays a case against both servers of a pair and asserts that they agree, or differ as written.

    `view` says what of the transcripts is compared, where that is not everything.
    """

    def compare(pair, case, view=Transcript.lines):
        ours, theirs = play(pair.fastserve, case), play(pair.uvicorn, case)
        if case.differs is None:
            assert view(ours) == view(theirs)
        else:
            assert case.differs.view(theirs) == case.differs.uvicorn
            if not COMPARES_WITH_ITSELF:
                assert case.differs.view(ours) == case.differs.fastserve
        return ours, theirs

    return compare
