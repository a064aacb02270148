"""Sockets as the kernel sees them: families, ports, files, modes and the words of what goes wrong."""

import contextlib
import errno
import os
import socket
import stat

import pytest

from fastserve.transport.listeners import bind_tcp, bind_unix, close_all, inherit


@pytest.fixture
def opened():
    with contextlib.ExitStack() as stack:

        def keep(result):
            for listener in result if isinstance(result, list) else [result]:
                stack.callback(listener.close)
            return result

        yield keep


def answers(family, address) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        return client.connect_ex(address) == 0


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


def test_ipv4_and_free_port(opened):
    [listener] = opened(bind_tcp("127.0.0.1", 0, 5))
    host, port = listener.sock.getsockname()
    assert host == "127.0.0.1"
    assert port > 0
    assert answers(socket.AF_INET, (host, port))
    assert not listener.sock.get_inheritable()
    listener.close()
    assert not answers(socket.AF_INET, (host, port))


@needs_ipv6
def test_one_ipv6_address_leaves_ipv4_alone(opened):
    [listener] = opened(bind_tcp("::1", 0, 5))
    port = listener.sock.getsockname()[1]
    assert answers(socket.AF_INET6, ("::1", port))
    assert not answers(socket.AF_INET, ("127.0.0.1", port))


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "", None])
def test_every_address_is_one_dual_stack_socket(opened, host):
    [listener] = opened(bind_tcp(host, 0, 5))
    port = listener.sock.getsockname()[1]
    assert answers(socket.AF_INET6, ("::1", port))
    assert answers(socket.AF_INET, ("127.0.0.1", port))


def test_every_address_without_ipv6(opened, monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    [listener] = opened(bind_tcp("", 0, 5))
    assert listener.sock.getsockname()[0] == "0.0.0.0"


def resolve_to(monkeypatch, *hosts):
    def getaddrinfo(host, port, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port)) for found in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_name_with_several_addresses_has_one_port(opened, monkeypatch):
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.1")
    bound = opened(bind_tcp("name", 0, 5))
    assert [listener.sock.getsockname()[0] for listener in bound] == ["127.0.0.1", "127.0.0.2"]
    assert len({listener.sock.getsockname()[1] for listener in bound}) == 1


def test_address_of_another_machine_is_skipped(opened, monkeypatch):
    resolve_to(monkeypatch, "192.0.2.1", "127.0.0.1")
    [listener] = opened(bind_tcp("name", 0, 5))
    assert listener.sock.getsockname()[0] == "127.0.0.1"


def test_no_address_of_this_machine(monkeypatch):
    resolve_to(monkeypatch, "192.0.2.1")
    with pytest.raises(OSError, match=r"on address \('192.0.2.1', 1\): cannot assign requested address"):
        bind_tcp("name", 1, 5)


def test_port_in_use(opened):
    [listener] = opened(bind_tcp("127.0.0.1", 0, 5))
    port = listener.sock.getsockname()[1]
    with pytest.raises(OSError, match="address already in use") as raised:
        bind_tcp("127.0.0.1", port, 5)
    assert str(raised.value) == (
        f"[Errno 98] error while attempting to bind on address ('127.0.0.1', {port}): address already in use"
    )


def test_one_taken_address_frees_the_others(opened, monkeypatch):
    [taken] = opened(bind_tcp("127.0.0.2", 0, 5))
    port = taken.sock.getsockname()[1]
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    with pytest.raises(OSError, match=r"127\.0\.0\.2"):
        bind_tcp("name", port, 5)
    assert not answers(socket.AF_INET, ("127.0.0.1", port))


def test_unknown_host():
    with pytest.raises(OSError, match=r"error while attempting to resolve host 'no-such-host.invalid': "):
        bind_tcp("no-such-host.invalid", 80, 5)


def test_impossible_host_name():
    with pytest.raises(OSError, match="error while attempting to resolve host"):
        bind_tcp("a" * 70 + ".b", 80, 5)


@pytest.fixture
def path(tmp_path, monkeypatch):
    # Short, whatever the depth of the temporary directory.
    monkeypatch.chdir(tmp_path)
    return "s.sock"


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize(("permissions", "expected"), [(None, 0o666), (0o600, 0o600), (0o660, 0o660)])
def test_unix_socket_and_its_mode(opened, path, permissions, expected):
    listener = opened(bind_unix(path, permissions, 5))
    assert mode(path) == expected
    assert answers(socket.AF_UNIX, path)
    listener.close()
    listener.close()
    assert not os.path.exists(path)


def leave_stale_socket(path, permissions):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    os.chmod(path, permissions)


def test_stale_socket_is_replaced_and_its_mode_kept(opened, path):
    leave_stale_socket(path, 0o620)
    opened(bind_unix(path, None, 5))
    assert mode(path) == 0o620
    assert answers(socket.AF_UNIX, path)


def test_mode_given_wins_over_that_of_the_stale_socket(opened, path):
    leave_stale_socket(path, 0o620)
    opened(bind_unix(path, 0o600, 5))
    assert mode(path) == 0o600


def test_live_socket_is_not_replaced(opened, path):
    opened(bind_unix(path, None, 5))
    with pytest.raises(OSError, match=r"\[Errno 98\] .* unix socket 's.sock': another server listens on it"):
        bind_unix(path, None, 5)
    assert answers(socket.AF_UNIX, path)


def test_live_socket_with_a_full_queue_is_not_replaced(opened, path):
    opened(bind_unix(path, None, 0))
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(path)
        with pytest.raises(OSError, match="another server listens on it"):
            bind_unix(path, None, 5)


def test_a_file_is_not_replaced(path):
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(OSError, match=r"unix socket 's.sock': path exists and is not a socket"):
        bind_unix(path, None, 5)
    with open(path) as file:
        assert file.read() == "precious"


def test_path_too_long():
    with pytest.raises(OSError, match="path is longer than 107 bytes") as raised:
        bind_unix("x" * 108, None, 5)
    assert raised.value.errno == errno.ENAMETOOLONG


def test_longest_path(opened, path):
    opened(bind_unix("x" * 107, None, 5))


def test_missing_directory():
    with pytest.raises(OSError, match=r"unix socket '/nowhere/s.sock': no such file or directory"):
        bind_unix("/nowhere/s.sock", None, 5)


def test_file_of_a_successor_is_left_alone(opened, path):
    first = opened(bind_unix(path, None, 5))
    os.unlink(path)
    opened(bind_unix(path, None, 5))
    first.close()
    assert answers(socket.AF_UNIX, path)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_inherited_socket(opened, path, family):
    with socket.socket(family) as given:
        given.bind(path if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener = opened(inherit(given.fileno(), 5))
        assert listener.sock.family == family
        assert answers(family, given.getsockname())
        listener.close()
        assert os.fstat(given.fileno())
        if family == socket.AF_UNIX:
            assert os.path.exists(path)


def test_inherited_descriptor_that_is_closed():
    with socket.socket() as given:
        number = given.fileno()
    with pytest.raises(OSError, match=f"file descriptor {number}: bad file descriptor"):
        inherit(number, 5)


def test_inherited_descriptor_that_is_a_file(tmp_path):
    with open(tmp_path / "f", "w") as file, pytest.raises(OSError, match="socket operation on non-socket"):
        inherit(file.fileno(), 5)


def test_inherited_datagram_socket():
    with socket.socket(type=socket.SOCK_DGRAM) as given, pytest.raises(OSError, match="not a stream socket"):
        inherit(given.fileno(), 5)


def test_inherited_connection(opened):
    [listener] = opened(bind_tcp("127.0.0.1", 0, 5))
    with socket.create_connection(listener.sock.getsockname()) as client, pytest.raises(OSError, match="connected"):
        inherit(client.fileno(), 5)


def test_close_all(opened):
    bound = [opened(bind_tcp("127.0.0.1", 0, 5))[0] for _ in range(2)]
    close_all(bound)
    assert all(listener.sock.fileno() == -1 for listener in bound)
