"""The pid file: whose it is, and what happens to it."""

import os
import signal
import subprocess
import sys

import pytest

from fastserve.supervisor import pidfile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "server.pid"


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_it_is_there_while_held(path):
    with pidfile.held(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o022 == 0
    assert not path.exists()


def test_a_stale_one_is_replaced(path, ended):
    path.write_text(f"{ended}\n")
    pidfile.write(str(path))
    assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["", "\n", "99999999999999999999\n"])
def test_a_number_of_nobody_is_stale(path, content):
    path.write_text(content)
    pidfile.write(str(path))
    assert path.read_text() == f"{os.getpid()}\n"


def test_our_own_number_is_stale(path):
    """In a container every start may have the same one."""
    path.write_text(f"{os.getpid()}\n")
    with pidfile.held(str(path)):
        pass
    assert not path.exists()


@pytest.mark.parametrize("pid", [os.getppid(), 1])
def test_a_living_one_is_refused(path, pid):
    path.write_text(f"{pid}\n")
    with pytest.raises(OSError, match=rf"^\[Errno 17\] error .* pid file '{path}': process {pid} is running$"):
        pidfile.write(str(path))
    assert path.read_text() == f"{pid}\n"


@pytest.mark.parametrize("content", ["import antigravity\n", "-7\n", "1" * 100])
def test_a_file_of_another_kind_is_left_alone(path, content):
    path.write_text(content)
    with pytest.raises(OSError, match="the file exists and is not a pid file"):
        pidfile.write(str(path))
    assert path.read_text() == content


def test_a_link_is_not_followed(path, tmp_path):
    (tmp_path / "victim").write_text("")
    path.symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="too many levels of symbolic links"):
        pidfile.write(str(path))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="no such file or directory"):
        pidfile.write(str(tmp_path / "none" / "pid"))


def test_the_file_of_a_successor_stays(path):
    with pidfile.held(str(path)):
        path.write_text(f"{os.getppid()}\n")
    assert path.read_text() == f"{os.getppid()}\n"


def test_a_folder_change_does_not_lose_it(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pidfile.held(path.name):
        monkeypatch.chdir("/")
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_deadly_signal_removes_it(path, number):
    code = "import sys, os, time\nfrom fastserve.supervisor import pidfile\n"
    code += "with pidfile.held(sys.argv[1]):\n    assert os.path.exists(sys.argv[1])\n    print('held', flush=True)\n"
    # No pause(2): a signal just before it would be handled after the next one.
    code += "    while True:\n        time.sleep(0.01)\n"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"held\n"
            child.send_signal(number)
            assert child.wait(60) == -number
        finally:
            child.kill()
    assert not path.exists()


def test_handlers_are_as_before(path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    with pidfile.held(str(path)):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
