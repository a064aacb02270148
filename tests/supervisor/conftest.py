"""Fixtures of the supervisor's tests."""

import pytest

from tests.supervisor.world import World


@pytest.fixture
def world() -> World:
    """Two workers, both ready; what was said and told until then is forgotten."""
    return World(2).started()
