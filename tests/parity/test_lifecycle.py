"""A process from its start to its end: what it logs, in which order, and its exit status."""

import signal
import sys

import pytest

from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.server import Server, has_ipv6
from tests.parity.wire import request

LIFESPANS = "tests.parity.apps.lifespans"
GET = request("GET", "/", "Connection: close")


@pytest.fixture
def both():
    """Starts uvicorn and fastserve with these arguments; the test ends them."""
    started = []

    def both(*arguments, only=None):
        servers = [Server(name, *arguments) for name in ("uvicorn", "fastserve") if only in (None, name)]
        started.extend(servers)
        return servers

    yield both
    for server in started:
        server.kill()


RUNS = {
    "complete": (f"{LIFESPANS}:complete",),
    "lifespan-on": (f"{LIFESPANS}:complete", "--lifespan", "on"),
    "lifespan-off": (f"{LIFESPANS}:complete", "--lifespan", "off"),
    "unsupported": (f"{LIFESPANS}:unsupported",),
    "startup-raises": (f"{LIFESPANS}:startup_raises",),
    "ends-after-startup": (f"{LIFESPANS}:ends_after_startup",),
    "shutdown-fails": (f"{LIFESPANS}:shutdown_fails",),
    "shutdown-raises": (f"{LIFESPANS}:shutdown_raises",),
    "shutdown-raises-lifespan-on": (f"{LIFESPANS}:shutdown_raises", "--lifespan", "on"),
    "factory": (f"{LIFESPANS}:factory", "--factory"),
    "factory-undeclared": (f"{LIFESPANS}:factory",),
    "attribute-of-attribute": (f"{LIFESPANS}:holder.app",),
    "asgi2": (f"{LIFESPANS}:generation_two",),
    "asgi2-declared": (f"{LIFESPANS}:generation_two", "--interface", "asgi2"),
    "app-dir": ("lifespans:complete", "--app-dir", "tests/parity/apps"),
    "no-access-log": (f"{LIFESPANS}:complete", "--no-access-log"),
    "asyncio": (f"{LIFESPANS}:complete", "--loop", "asyncio"),
    "colours": (f"{LIFESPANS}:complete", "--use-colors"),
    "http-httptools": (f"{LIFESPANS}:complete", "--http", "httptools"),
}


@pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS)
def test_run(both, arguments):
    """Started, asked once, stopped by SIGTERM."""
    uvicorn, fastserve = servers = both(*arguments, "--port", "0")
    answers = []
    for server in servers:
        server.wait_until_running()
        with server.connect() as client:
            client.send(GET)
            answers.append(client.read_response("GET").lines())
        server.signal(signal.SIGTERM)
    ends = [server.wait() for server in servers]
    # Ours says which of uvicorn's choices it does not have.
    assert [line for line in fastserve.started if "has no effect" not in line] == uvicorn.started
    assert answers[1] == answers[0]
    assert ends[1] == ends[0]
    assert ends[0][0] == -signal.SIGTERM


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_run_on_ipv6(both):
    uvicorn, fastserve = both(f"{LIFESPANS}:complete", "--host", "::1", "--port", "0")
    for server in (uvicorn, fastserve):
        server.wait_until_running()
        with server.connect() as client:
            client.send(GET)
            assert client.read_response("GET").body == b"hello"
        server.signal(signal.SIGINT)
    assert fastserve.started == uvicorn.started
    assert fastserve.wait() == uvicorn.wait()


def test_interrupt_exits_with_zero(both):
    uvicorn, fastserve = both(f"{LIFESPANS}:complete", "--port", "0")
    for server in (uvicorn, fastserve):
        server.wait_until_running()
        server.signal(signal.SIGINT)
    ends = [server.wait() for server in (uvicorn, fastserve)]
    assert ends[1] == ends[0]
    assert ends[0][0] == 0


FAILURES = {
    "startup-fails": (f"{LIFESPANS}:startup_fails",),
    "startup-fails-silently": (f"{LIFESPANS}:startup_fails_silently",),
    "startup-raises-lifespan-on": (f"{LIFESPANS}:startup_raises", "--lifespan", "on"),
    "unsupported-lifespan-on": (f"{LIFESPANS}:unsupported", "--lifespan", "on"),
    "module-missing": ("tests.parity.apps.missing:app",),
    "attribute-missing": (f"{LIFESPANS}:missing",),
    "factory-wants-arguments": (f"{LIFESPANS}:act", "--factory"),
    "format": ("no-colon",),
    "format-empty-attribute": (f"{LIFESPANS}:",),
}
USAGE = {
    "no-application": (),
    "unknown-option": (f"{LIFESPANS}:complete", "--unheard-of"),
    "port-not-a-number": (f"{LIFESPANS}:complete", "--port", "http"),
    "unknown-loop": (f"{LIFESPANS}:complete", "--lifespan", "maybe"),
    "log-config-missing": (f"{LIFESPANS}:complete", "--log-config", "does-not-exist.ini"),
}


@pytest.mark.parametrize("arguments", FAILURES.values(), ids=FAILURES)
def test_failed_start(both, arguments):
    uvicorn, fastserve = [server.wait() for server in both(*arguments, "--port", "0")]
    assert fastserve == uvicorn
    assert uvicorn[0] == 3


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE)
def test_usage_error(both, arguments):
    """The words of the message are each program's own."""
    uvicorn, fastserve = [server.wait() for server in both(*arguments)]
    assert fastserve[0] == uvicorn[0] == 2
    assert any("Error" in line or "error" in line for line in fastserve[1])
    assert not any("Traceback" in line for line in fastserve[1])


def test_port_in_use(raw, both):
    port = str(raw.uvicorn.address[1])
    uvicorn, fastserve = [server.wait() for server in both(f"{LIFESPANS}:complete", "--port", port)]
    assert fastserve[0] == uvicorn[0] == 3
    assert bind_error(fastserve[1]) == bind_error(uvicorn[1])


def bind_error(lines):
    """The line about the address, with its port and the words in which the system's loops differ left out."""
    (line,) = [line for line in lines if "[Errno 98]" in line or "[Errno PID]" in line]
    return line.replace(line[line.index("('") : line.index(")") + 1], "ADDRESS")


def test_request_in_flight_is_finished(both):
    """SIGTERM while one request runs, another connection is idle, a third never said anything."""
    seen = []
    for server in both("tests.parity.apps.raw:app", "--port", "0"):
        server.wait_until_running()
        with server.connect() as running, server.connect() as idle, server.connect() as silent:
            idle.send(request("GET", "/"))
            idle.read_response("GET")
            running.send(request("POST", "/watch/finish/stop", "Content-Length: 10") + b"first")
            server.wait_for("stop", "entered")
            server.signal(signal.SIGTERM)
            # Before, the answer would not say that the connection closes.
            assert server.errors.find(lambda line: "Waiting for connections to close" in line)
            running.send(b"later")
            response = running.read_response("POST")
            # Ours gives the idle ones a time of grace, which is an option.
            rests = [running.read_rest(), idle.read_rest(), silent.read_rest()]
            seen.append((response and response.lines(), rests, *server.wait()))
    assert seen[1] == seen[0]


def test_second_interrupt_forces(both):
    """A request that never ends does not hold up the second Ctrl-C, which leaves out the lifespan's shutdown."""
    for server in both("tests.parity.apps.raw:app", "--port", "0"):
        server.wait_until_running()
        with server.connect() as client:
            client.send(request("GET", "/watch/respond/never"))
            server.wait_for("never", "entered")
            server.signal(signal.SIGINT)
            assert server.errors.find(lambda line: "Waiting for connections to close" in line)
            server.signal(signal.SIGINT)
            status, lines = server.wait()
            assert status == 0
            assert not any("application shutdown" in line for line in lines)


def test_space_in_header_option(both):
    """A wanted difference: uvicorn puts the space after the colon on the wire as part of the value."""
    values = []
    for server in both(f"{LIFESPANS}:complete", "--port", "0", "--header", "X-Own: some value"):
        server.wait_until_running()
        with server.connect() as client:
            client.send(GET)
            values += client.read_response("GET").values("x-own")
    assert values[0] == " some value"
    assert values[1] == ("some value" if not COMPARES_WITH_ITSELF else values[0])


def test_socket_file_is_removed(both, tmp_path):
    """A wanted difference: after SIGTERM uvicorn leaves the file of its socket behind (not on 3.13)."""
    left = []
    for name in ("uvicorn", "fastserve"):
        path = tmp_path / name
        (server,) = both(f"{LIFESPANS}:complete", "--uds", str(path), only=name)
        server.wait_until_running()
        assert path.is_socket()
        server.signal(signal.SIGTERM)
        assert server.wait()[0] == -signal.SIGTERM
        left.append(path.exists())
    left_by_uvicorn = sys.version_info < (3, 13)
    assert left == [left_by_uvicorn, left_by_uvicorn and COMPARES_WITH_ITSELF]


def test_factory_that_raises(both):
    """The factory's fault, shown as it is: both end with the traceback."""
    uvicorn, fastserve = [server.wait() for server in both(f"{LIFESPANS}:broken_factory", "--factory", "--port", "0")]
    assert fastserve[0] == uvicorn[0] == 1
    assert fastserve[1][-1] == uvicorn[1][-1] == "ValueError: in the factory"
