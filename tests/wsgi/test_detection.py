"""Nobody has to say which interface an application speaks, however it is written; and where it matters one can."""

import json
import subprocess
import sys

import pytest

from tests.process.conftest import PACKAGE_ROOT
from tests.wsgi.apps.ways import ASGI, NO_APPLICATION, UNCLEAR, WAYS
from tests.wsgi.client import ask
from tests.wsgi.conftest import SUBJECT

pytestmark = pytest.mark.skipif(SUBJECT != "fastserve", reason="other servers are told")


@pytest.fixture(scope="session")
def detected():
    """Import string -> interface; all of them in one process, since importing frameworks takes its time."""
    command = [sys.executable, "-m", "tests.wsgi.apps.ways", *WAYS.values(), *ASGI.values()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=PACKAGE_ROOT)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("way", WAYS)
def test_wsgi(detected, way):
    assert detected[WAYS[way]] == "wsgi"


@pytest.mark.parametrize("way", ASGI)
def test_asgi(detected, way):
    assert detected[ASGI[way]] == ("asgi2" if way.startswith("ASGI 2") else "asgi3")


@pytest.mark.parametrize("options", [[], ["--interface", "wsgi"]], ids=["auto", "told"])
def test_an_application_whose_signature_says_nothing(start, options):
    """The validator's takes anything, and fails when it is tried without arguments."""
    process = start("tests.wsgi.apps.rules:checked", "--port", "0", *options)
    assert ask(process, "/hello").body == b"hello"
    assert process.stop() == 0


def test_what_cannot_be_known_is_said(start):
    process = start(f"tests.wsgi.apps.{UNCLEAR}", "--port", "0")
    process.wait_for("^WARNING: .*served as ASGI 2.*--interface wsgi")
    assert process.stop() == 0
    told = start(f"tests.wsgi.apps.{UNCLEAR}", "--port", "0", "--interface", "wsgi")
    assert ask(told, "/").body == b"hello"
    told.stop()
    assert not [line for line in told.stderr if "WARNING" in line]


def test_what_is_no_application_does_not_start(start):
    process = start(f"tests.wsgi.apps.{NO_APPLICATION}", "--port", "0")
    process.wait_for("^ERROR: .*not callable, but dict")
    assert process.wait() == 3


def test_a_factory_that_is_named(start):
    process = start("tests.wsgi.apps.flask_app:create_app", "--factory", "--port", "0")
    assert process.get("/hello")[1] == b"Hello, World!"
    assert not [line for line in process.stderr if "WARNING" in line]


def test_no_websockets(start):
    """A WSGI application is not asked whether it wants one."""
    process = start("tests.wsgi.apps.ways:function", "--port", "0")
    with process.connect() as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head, body = process.read(client)
    assert head.startswith("http/1.1 200 ")
    assert body == b"hello"
