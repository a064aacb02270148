"""Servers for WebSocket clients: processes, as in tests/process, some of them kept for the whole session.

PARITY_SUBJECT=uvicorn runs the tests on uvicorn instead: what fails then is a fault of the tests, or is asserted of
fastserve alone.
"""

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.server import MODULES
from tests.process.conftest import Process, start  # noqa: F401

SUBJECT = MODULES["fastserve"]
ON_UVICORN = SUBJECT == "uvicorn"
UNWANTED = re.compile(
    "never awaited|never retrieved|destroyed but it is pending|Future exception|Fatal|Exception ignored|"
    "runtime error:|AddressSanitizer"
)

_keys = itertools.count()


class Served(Process):
    """A server of one of the applications here, which runs for the whole session."""

    def __init__(self, application, folder, *options):
        application = f"tests.websocket.apps.{application}:app"
        super().__init__([sys.executable, "-m", SUBJECT, application, "--port", "0", *options], folder)

    @property
    def address(self):
        return "127.0.0.1", self.port

    def lines_of(self, key):
        """What the application told about a conversation, so far."""
        return [line.removeprefix(f"{key}: ") for line in self.stdout if line.startswith(f"{key}: ")]

    def told(self, key, what):
        """Waits for the application to say it."""
        self.wait_for(rf"^{re.escape(f'{key}: {what}')}")


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """served("starlette_app", *options): a server, started when first asked for."""
    servers = {}

    def served(application, *options):
        if (application, options) not in servers:
            servers[application, options] = Served(application, tmp_path_factory.mktemp("served"), *options)
        return servers[application, options]

    yield served
    faults = []
    for server in servers.values():
        server.send_signal(signal.SIGTERM)
    for server in servers.values():
        try:
            server.wait()
        except subprocess.TimeoutExpired:
            faults.append("did not stop by SIGTERM:\n" + "\n".join(server.stderr))
            server.child.kill()
            server.wait()
        faults += [line for line in server.stderr if UNWANTED.search(line)]
    assert not faults


@pytest.fixture
def key():
    """A name for one conversation, which the application uses in what it tells."""
    return f"key-{next(_keys)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `start` starts servers."""
    return tmp_path
