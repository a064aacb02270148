"""Notifications as a service manager receives them: on a datagram socket."""

import os
import socket
import time
import uuid

import pytest

from fastserve.supervisor.systemd import Notifier


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """A service manager: (its socket, the environment that it gives to a service)."""
    monkeypatch.chdir(tmp_path)
    name = str(tmp_path / "n") if request.param == "file" else f"@fastserve-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(5)
        yield sock, {"NOTIFY_SOCKET": name}


def heard(sock):
    return sock.recv(4096).decode().split("\n")


def test_states(manager):
    sock, environ = manager
    notifier = Notifier(environ)
    assert notifier.enabled
    notifier.notify("ready")
    assert heard(sock) == ["READY=1", f"MAINPID={os.getpid()}"]
    before = time.monotonic_ns() // 1000
    notifier.notify("reloading")
    state, moment = heard(sock)
    assert state == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.notify("status", "2 of 4 workers ready\nREADY=1")
    assert heard(sock) == ["STATUS=2 of 4 workers ready READY=1"]
    notifier.notify("watchdog")
    assert heard(sock) == ["WATCHDOG=1"]
    notifier.notify("stopping")
    assert heard(sock) == ["STOPPING=1"]
    notifier.close()
    notifier.notify("ready")
    assert not notifier.enabled


def test_unknown_state(manager):
    notifier = Notifier(manager[1])
    with pytest.raises(ValueError, match="'resting' is not a state"):
        notifier.notify("resting")
    notifier.close()


def test_without_a_service_manager():
    notifier = Notifier({})
    notifier.notify("ready")
    assert not notifier.enabled
    assert notifier.watchdog is None


def test_children_do_not_inherit_the_variables(manager):
    environ = {**manager[1], "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "OTHER": "1"}
    notifier = Notifier(environ)
    assert environ == {"OTHER": "1"}
    assert notifier.watchdog == 3.0
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog(manager, variables, seconds):
    notifier = Notifier({**manager[1], **variables})
    assert notifier.watchdog == seconds
    notifier.close()


def test_watchdog_without_a_socket():
    assert Notifier({"WATCHDOG_USEC": "500000"}).watchdog is None


def test_a_service_manager_that_is_gone_is_named_once(tmp_path, caplog):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.notify("ready")
    notifier.notify("stopping")
    notifier.close()
    assert [record.getMessage() for record in caplog.records] == [
        "The service manager cannot be notified: [Errno 2] No such file or directory"
    ]


def test_an_address_that_is_no_unix_socket(caplog):
    notifier = Notifier({"NOTIFY_SOCKET": "vsock:2:1234"})
    notifier.notify("ready")
    assert not notifier.enabled
    assert "NOTIFY_SOCKET=vsock:2:1234 is not a Unix socket" in caplog.text
