"""Sockets as the kernel sees them: families, ports, files, modes and the words of what goes wrong."""

import contextlib
import errno
import os
import socket
import stat
import threading

import pytest

from fastserve.bind import Bind
from fastserve.transport import listeners
from fastserve.transport.listeners import (
    SlotBinds,
    bind_all,
    bind_tcp,
    bind_unix,
    close_all,
    inherit,
    passed_sockets,
)


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


def test_several_binds(opened, path):
    binds = [Bind("127.0.0.1", 0), Bind("127.0.0.1", 0), Bind(path=path, mode=0o600)]
    bound = opened(bind_all(binds, 5))
    assert [listener.bind for listener in bound] == binds
    assert [answers(listener.sock.family, listener.sock.getsockname()) for listener in bound] == [True] * 3
    assert bound[0].sock.getsockname() != bound[1].sock.getsockname()
    assert mode(path) == 0o600


def test_one_bind_that_fails_undoes_the_others(opened, path):
    [taken] = opened(bind_tcp("127.0.0.1", 0, 5))
    with pytest.raises(OSError, match="address already in use"):
        bind_all([Bind(path=path), Bind("127.0.0.1", taken.sock.getsockname()[1])], 5)
    assert not os.path.exists(path)


@pytest.fixture
def reserve():
    """Finds a free port that nobody is given by chance until the end of the test: it is bound, and not listened on."""
    with contextlib.ExitStack() as stack:

        def reserve(host):
            holder = stack.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((host, 0))
            return holder.getsockname()[1]

        yield reserve


@needs_ipv6
def test_every_ipv4_and_every_ipv6_address_apart(opened, reserve):
    port = reserve("127.0.0.1")
    bound = opened(bind_all([Bind("::", port), Bind("0.0.0.0", port)], 5))
    assert [listener.sock.family for listener in bound] == [socket.AF_INET6, socket.AF_INET]
    assert bound[0].sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


class TestSlots:
    """Sockets of worker slots: who gets the connections, and that nobody else does."""

    @pytest.fixture
    def make(self):
        with contextlib.ExitStack() as stack:

            def make(*binds, slots=4):
                made = SlotBinds([*binds], 64)
                stack.callback(made.close)
                for slot in range(slots):
                    made.slot(slot)
                return made

            yield make

    @staticmethod
    def take(listener):
        """Accept all that is there; returns how many connections."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                listener.sock.accept()[0].close()
                count += 1
        return count

    @pytest.mark.parametrize(
        "bind", [Bind("127.0.0.1", 0), pytest.param(Bind("::1", 0), marks=needs_ipv6), pytest.param(Bind("", 0))]
    )
    def test_connections_are_spread_over_the_slots_and_none_is_lost(self, make, bind):
        slots = make(bind)
        address = slots.places[0].sock.getsockname()
        with contextlib.ExitStack() as stack:
            # Fewer than one queue holds, so that it does not depend on chance.
            for _ in range(60):
                stack.enter_context(socket.create_connection((bind.host or "127.0.0.1", address[1])))
            taken = [self.take(listener) for number in range(4) for _, listener in slots.slot(number)]
        assert sum(taken) == 60
        assert min(taken) > 0

    def test_all_slots_share_the_free_port(self, make, monkeypatch):
        resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
        slots = make(Bind("name", 0))
        names = [[listener.sock.getsockname() for _, listener in slots.slot(number)] for number in range(4)]
        assert [host for host, _ in names[0]] == ["127.0.0.1", "127.0.0.2"]
        assert len({port for slot in names for _, port in slot}) == 1
        assert all(slot == names[0] for slot in names)
        assert slots.common() == []

    def test_indexes_are_positions_in_the_whole_list(self, make, path):
        with socket.create_server(("127.0.0.1", 0)) as given:
            slots = make(Bind(path=path), Bind("127.0.0.1", 0), Bind(fd=given.fileno()), Bind("127.0.0.1", 0))
        assert [index for index, _ in slots.common()] == [0, 2]
        for number in range(4):
            assert [index for index, _ in slots.slot(number)] == [1, 3]
            for index, listener in slots.slot(number):
                assert listener.sock.getsockname() == slots.places[index].sock.getsockname()
                assert not listener.sock.getblocking()
                assert not listener.sock.get_inheritable()

    def test_a_slot_is_made_once(self, make):
        slots = make(Bind("127.0.0.1", 0))
        assert slots.slot(9)[0][1].sock.fileno() == slots.slot(9)[0][1].sock.fileno()
        assert slots.slot(0)[0][1] is slots.places[0]

    def test_a_port_that_another_server_has_is_refused(self, opened):
        [taken] = opened(bind_tcp("127.0.0.1", 0, 5))
        port = taken.sock.getsockname()[1]
        with pytest.raises(OSError, match="address already in use") as raised:
            SlotBinds([Bind("127.0.0.1", port)], 5)
        assert str(raised.value) == (
            f"[Errno 98] error while attempting to bind on address ('127.0.0.1', {port}): address already in use"
        )

    def test_a_second_one_cannot_join(self, make):
        port = make(Bind("127.0.0.1", 0)).places[0].sock.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(OSError, match="address already in use"):
                SlotBinds([Bind(host, port)], 5)
        with pytest.raises(OSError, match="address already in use"):
            bind_tcp("127.0.0.1", port, 5)

    def test_of_many_that_start_together_one_gets_the_port(self, reserve):
        """There is no moment between the test of a port and taking it."""
        for _ in range(10):
            bind = Bind("127.0.0.1", reserve("127.0.0.1"))
            barrier = threading.Barrier(4)
            made = []

            def start(bind=bind, barrier=barrier, made=made):
                barrier.wait()
                with contextlib.suppress(OSError):
                    binds = SlotBinds([bind], 5)
                    made.append(binds)
                    binds.slot(1)
                    binds.slot(2)

            threads = [threading.Thread(target=start) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            complete = [len(binds.slot(number)) for binds in made for number in range(3)]
            for binds in made:
                binds.close()
            assert complete == [1, 1, 1]

    def test_a_port_whose_connections_are_still_ending_is_free(self, make):
        first = make(Bind("127.0.0.1", 0), slots=1)
        address = first.places[0].sock.getsockname()
        with socket.create_connection(address) as client:
            first.places[0].sock.setblocking(True)
            first.places[0].sock.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""
        first.close()
        second = make(Bind(*address))
        assert len({listener.sock.fileno() for number in range(4) for _, listener in second.slot(number)}) == 4

    def test_another_one_that_is_about_to_listen_is_kept_out_and_does_not_disturb(self, make):
        with socket.socket() as rival:
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            rival.bind(("127.0.0.1", 0))
            slots = make(Bind(*rival.getsockname()))
            assert slots.slot(3)[0][1].sock.getsockname() == rival.getsockname()
            with pytest.raises(OSError, match="Address already in use"):
                rival.listen(5)

    def test_a_slot_that_cannot_be_made_leaves_nothing(self, make, monkeypatch):
        slots = make(Bind("127.0.0.1", 0), Bind("127.0.0.1", 0), slots=1)
        before = len(os.listdir("/proc/self/fd"))
        real, calls = listeners._bind_address, []

        def fails_second(*arguments, **options):
            calls.append(arguments)
            if len(calls) > 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return real(*arguments, **options)

        monkeypatch.setattr(listeners, "_bind_address", fails_second)
        with pytest.raises(OSError, match=r"\[Errno 24\] error .* on address .*: too many open files"):
            slots.slot(1)
        assert len(os.listdir("/proc/self/fd")) == before

    def test_without_reuse_of_ports_there_is_one_common_socket(self, make, monkeypatch):
        monkeypatch.delattr(socket, "SO_REUSEPORT")
        slots = make(Bind("127.0.0.1", 0))
        assert [index for index, _ in slots.common()] == [0]
        assert [slots.slot(number) for number in range(4)] == [[]] * 4

    def test_close_gives_everything_back(self, make, path):
        before = len(os.listdir("/proc/self/fd"))
        slots = make(Bind(path=path, mode=0o600), Bind("127.0.0.1", 0))
        address = slots.places[1].sock.getsockname()
        assert mode(path) == 0o600
        slots.close()
        slots.close()
        assert not os.path.exists(path)
        assert not answers(socket.AF_INET, address)
        assert len(os.listdir("/proc/self/fd")) == before


class TestPassedSockets:
    """What the service manager's variables say; real descriptors in tests/process."""

    @pytest.fixture(autouse=True)
    def _no_descriptor_is_touched(self, monkeypatch):
        monkeypatch.setattr(os, "set_inheritable", lambda fd, inheritable: None)

    def test_descriptors_and_names(self):
        environ = {"LISTEN_FDS": "3", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "web:admin", "OTHER": "1"}
        assert passed_sockets(environ) == [Bind(fd=3, name="web"), Bind(fd=4, name="admin"), Bind(fd=5)]
        assert environ == {"OTHER": "1"}

    def test_those_of_another_process(self):
        environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
        assert passed_sockets(environ) == []
        assert environ == {}

    def test_none(self):
        assert passed_sockets({}) == []
        assert passed_sockets({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}) == []

    @pytest.mark.parametrize(
        ("count", "pid"),
        [("x", str(os.getpid())), ("-1", str(os.getpid())), ("1", ""), ("1", "me")],
        ids=["no number", "negative", "no pid", "pid is no number"],
    )
    def test_nonsense(self, count, pid):
        with pytest.raises(OSError, match=f"LISTEN_FDS='{count}' and LISTEN_PID='{pid}': not numbers"):
            passed_sockets({"LISTEN_FDS": count, "LISTEN_PID": pid})
