"""The servers under test: started when first asked for, kept for the session, stopped and looked through at its end."""

import os
import signal
import ssl

import pytest

from tests.authority import Authority
from tests.process.conftest import folder, start, starting

__all__ = ["folder", "start"]

SUBJECT = os.environ.get("WSGI_SUBJECT", "fastserve")
OPTIONS = os.environ.get("WSGI_OPTIONS", "").split()
THREADS = 4
MODES = {"loop": ("--threads", "1"), "threads": ("--threads", str(THREADS))}


class Servers:
    """Server processes by application and options; `servers("rules:app", "--threads", "1")` is one of them."""

    def __init__(self, start):
        self._start = start
        self._processes = {}

    def __call__(self, app, *options):
        key = (app, options)
        if key not in self._processes:
            self._processes[key] = start_subject(self._start, f"tests.wsgi.apps.{app}", *options)
        return self._processes[key]

    def stop(self):
        """End all; what went wrong, in words."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        faults = []
        for key, process in self._processes.items():
            process.wait()
            lines = process.stderr + process.stdout
            faults += [f"{key}: {line}" for line in lines if "without being closed" in line]
        return faults


def start_subject(start, app, *options, **more):
    """A process of the server under test, on a port of its own, for `start` of tests/process."""
    if SUBJECT == "gunicorn":
        worker = "sync" if options[-2:] == MODES["loop"] else "gthread"
        quiet = ("--no-control-socket", "--log-level", "info")
        return start("--bind", "127.0.0.1:0", *quiet, "-k", worker, *options, app, server="gunicorn", **more)
    return start(app, "--port", "0", "--no-access-log", *OPTIONS, *options, **more)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    with starting(tmp_path_factory.mktemp("wsgi")) as start:
        servers = Servers(start)
        yield servers
        faults = servers.stop()
    assert not faults, "\n".join(faults)


@pytest.fixture(params=MODES, scope="session")
def mode(request):
    """How the application is called: in the loop, or in threads."""
    return request.param


@pytest.fixture
def server(servers, mode):
    """A server of `apps/rules.py`."""
    return servers("rules:app", *MODES[mode])


@pytest.fixture
def plain(servers, mode):
    """The same without the validator, for applications that break the rules and calls that it does not know."""
    return servers("rules:plain", *MODES[mode])


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls(authority):
    """What a client of `elsewhere` needs."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.check_hostname = False
    return context


@pytest.fixture(scope="session")
def elsewhere(servers, authority, mode):
    """A server of the same over TLS, at a prefix, with two workers: not every option needs a process of its own."""
    issued = authority.issue("server")
    options = ["--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(issued.key)]
    if SUBJECT == "gunicorn":
        options = ["--certfile", options[1], "--keyfile", options[3], "--env", "SCRIPT_NAME=/base"]
    else:
        options += ["--root-path", "/base"]
    return servers("rules:plain", *options, "--workers", "2", *MODES[mode])
