"""`Server` as a library: in its own loop, in somebody else's, in a thread; its signals and its attributes.

The worker is a fake one, whose connections answer "ok" to whatever they read.
"""

import asyncio
import os
import signal
import socket
import threading

import pytest

from fastserve.server import server as server_module
from fastserve.server.assembly import Assembly
from fastserve.server.config import Config
from fastserve.server.server import Server
from fastserve.transport.accept import LoopTransport


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


class Answering(asyncio.Protocol):
    def __init__(self, worker):
        self.worker = worker

    def connection_made(self, transport):
        self.transport = transport
        self.worker.connections += 1
        self.worker.transports.append(transport)

    def data_received(self, data):
        self.transport.write(b"ok")
        self.worker.total_requests += 1
        if self.worker.total_requests == self.worker.request_limit:
            self.worker.on_limit()

    def connection_lost(self, error):
        self.worker.connections -= 1
        if not self.worker.connections and self.worker.on_idle is not None:
            self.worker.on_idle()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_name(request):
    return request.param


@pytest.fixture
def make_server(worker, loop_name):
    worker.transports = []
    finish = worker.drain

    def drain(hand_on=False, idle_grace=0.0):
        finish(hand_on, idle_grace)
        for transport in worker.transports:
            transport.close()

    worker.drain = drain

    class Assembled:
        def assemble(self, loop):
            transport = LoopTransport(loop, lambda: Answering(worker))
            return Assembly(worker, transport, lambda: worker.steps.append(("close", 0.0)))

    def make(application=app, cls=Server, **options):
        options = {"port": 0, "log_config": None, "loop": loop_name, **options}
        return type("Made", (Assembled, cls), {})(Config(application, **options))

    return make


def address(server):
    return server.servers[0].sockets[0].getsockname()


def ask(where, family=socket.AF_INET):
    with socket.socket(family) as client:
        client.connect(where)
        client.sendall(b"?")
        return client.recv(10)


async def started(server):
    """Serve in a task of this loop; returns the task when connections are accepted."""
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.001)
    return task


def in_loop(server, action):
    """Serve in a loop of our own, as a library does, and run `action(server, task)` meanwhile."""

    async def main():
        task = await started(server)
        try:
            await action(server, task)
        finally:
            server.should_exit = True
            await task

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())


def process_lines(*between):
    pid = os.getpid()
    return [f"INFO Started server process [{pid}]", *between, f"INFO Finished server process [{pid}]"]


def test_a_whole_life(make_server, log_lines, worker):
    server = make_server(lifespan="on")
    seen = []

    async def action(server, task):
        seen.append(address(server))
        assert await asyncio.to_thread(ask, seen[0]) == b"ok"
        # Nobody is woken for every last connection that closes.
        assert worker.on_idle is None

    in_loop(server, action)
    assert log_lines() == process_lines(
        "INFO Waiting for application startup.",
        "INFO Application startup complete.",
        f"INFO Fastserve running on http://127.0.0.1:{seen[0][1]} (Press CTRL+C to quit)",
        "INFO Shutting down",
        "INFO Waiting for application shutdown.",
        "INFO Application shutdown complete.",
    )
    assert worker.steps[0][0] == "drain"
    with pytest.raises(ConnectionRefusedError):
        ask(seen[0])


def test_in_a_thread_and_stopped_from_another(make_server):
    server = make_server()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        assert ask(address(server)) == b"ok"
    finally:
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()
    assert server.server_state.total_requests == 1


def test_signals_belong_to_the_main_thread(make_server):
    before = signal.getsignal(signal.SIGTERM)
    server = make_server()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def caught():
    """Signals that reach the handlers that were there before the server."""
    numbers = []
    before = {
        number: signal.signal(number, lambda number, frame: numbers.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_and_is_handed_on(make_server, caught, number):
    async def action(server, task):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(asyncio.shield(task), 10)
        assert not server.force_exit

    in_loop(make_server(), action)
    assert caught == [number]


def test_signals_are_handed_on_last_first(make_server, caught):
    async def action(server, task):
        server.handle_exit(signal.SIGTERM, None)
        server.handle_exit(signal.SIGINT, None)
        await task

    in_loop(make_server(), action)
    assert caught == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize(
    ("signals", "forced"),
    [
        ([(signal.SIGINT, 0)], False),
        ([(signal.SIGTERM, 0)], False),
        ([(signal.SIGINT, 0), (signal.SIGINT, 0.01)], True),
        ([(signal.SIGTERM, 0), (signal.SIGINT, 0.01)], True),
        ([(signal.SIGTERM, 0), (signal.SIGTERM, 0.1)], False),
        ([(signal.SIGTERM, 0), (signal.SIGTERM, 1.0)], True),
        ([(signal.SIGINT, 0), (signal.SIGTERM, 0.1)], False),
    ],
)
def test_second_signal_forces(make_server, monkeypatch, signals, forced):
    server = make_server()
    for number, when in signals:
        monkeypatch.setattr(server_module.time, "monotonic", lambda when=when: 100.0 + when)
        server.handle_exit(number, None)
    assert server.should_exit
    assert server.force_exit is forced


def test_first_signal_after_a_stop_from_the_program_does_not_force(make_server):
    server = make_server()
    server.should_exit = True
    server.handle_exit(signal.SIGTERM, None)
    assert not server.force_exit


def test_should_exit_before_serving(make_server, log_lines):
    server = make_server(lifespan="on")
    server.should_exit = True
    server.run()
    assert not server.started
    assert log_lines() == process_lines(
        "INFO Waiting for application startup.",
        "INFO Application startup complete.",
        "INFO Waiting for application shutdown.",
        "INFO Application shutdown complete.",
    )


def test_force_ends_a_startup_that_hangs(make_server, log_lines):
    async def hangs(scope, receive, send):
        await receive()
        server.should_exit = True
        asyncio.get_running_loop().call_later(0.01, setattr, server, "force_exit", True)
        await asyncio.Event().wait()

    server = make_server(hangs, lifespan="on")
    server.run()
    assert log_lines() == process_lines("INFO Waiting for application startup.")


def test_force_ends_a_shutdown_that_hangs(make_server, log_lines):
    async def hangs(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        asyncio.get_running_loop().call_later(0.01, setattr, server, "force_exit", True)
        await asyncio.Event().wait()

    async def action(server, task):
        pass

    server = make_server(hangs, lifespan="on")
    in_loop(server, action)
    assert log_lines()[-2:] == process_lines("INFO Waiting for application shutdown.")[1:]


def test_force_skips_the_lifespan_shutdown(make_server, log_lines, worker):
    async def action(server, task):
        worker.serve("/slow")
        server.force_exit = True

    in_loop(make_server(lifespan="on"), action)
    assert [name for name, _ in worker.steps][:3] == ["drain", "cancel", "abort"]
    assert worker.steps[-1][0] == "close"
    assert "INFO Waiting for application shutdown." not in log_lines()


def test_startup_failure(make_server, log_lines):
    async def fails(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    server = make_server(fails)
    with pytest.raises(SystemExit) as raised:
        server.run()
    assert raised.value.code == 3
    assert not server.started
    assert log_lines()[1:] == [
        "INFO Waiting for application startup.",
        "ERROR no database",
        "ERROR Application startup failed. Exiting.",
    ]


def test_port_in_use(make_server, log_lines):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as raised:
            make_server(port=port, lifespan="on").run()
    assert raised.value.code == 3
    assert log_lines()[3:] == [
        f"ERROR [Errno 98] error while attempting to bind on address ('127.0.0.1', {port}): address already in use",
        "INFO Waiting for application shutdown.",
        "INFO Application shutdown complete.",
    ]


def test_request_limit(make_server, log_lines, worker):
    async def action(server, task):
        assert await asyncio.to_thread(ask, address(server)) == b"ok"
        assert worker.request_limit == 2
        assert not server.should_exit
        assert await asyncio.to_thread(ask, address(server)) == b"ok"
        await task

    in_loop(make_server(limit_max_requests=2), action)
    assert "INFO Maximum request limit of 2 exceeded. Terminating process." in log_lines()


def test_request_limit_jitter(make_server):
    drawn = {make_server(limit_max_requests=10, limit_max_requests_jitter=5).limit_max_requests for _ in range(200)}
    assert min(drawn) >= 10
    assert max(drawn) <= 15
    assert len(drawn) > 1
    assert make_server(limit_max_requests_jitter=5).limit_max_requests is None


def test_unix_socket(make_server, log_lines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def action(server, task):
        assert await asyncio.to_thread(ask, "s.sock", socket.AF_UNIX) == b"ok"

    in_loop(make_server(uds="s.sock"), action)
    assert "INFO Fastserve running on unix socket s.sock (Press CTRL+C to quit)" in log_lines()
    assert os.listdir(tmp_path) == []


def test_unix_socket_is_gone_before_the_signal_is_handed_on(make_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: files.append(os.listdir(tmp_path)))

    async def action(server, task):
        assert os.listdir(tmp_path) == ["s.sock"]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(asyncio.shield(task), 10)

    try:
        in_loop(make_server(uds="s.sock"), action)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert files == [[]]


def test_inherited_socket(make_server, log_lines):
    with socket.create_server(("127.0.0.1", 0)) as given:

        async def action(server, task):
            assert await asyncio.to_thread(ask, given.getsockname()) == b"ok"

        in_loop(make_server(fd=given.fileno()), action)
        assert f"INFO Fastserve running on socket {given.getsockname()} (Press CTRL+C to quit)" in log_lines()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_sockets_of_the_caller(make_server, log_lines, tmp_path, monkeypatch, family):
    monkeypatch.chdir(tmp_path)
    given = socket.socket(family)
    given.bind("s.sock" if family == socket.AF_UNIX else ("127.0.0.1", 0))
    where = given.getsockname()
    server = make_server()

    async def main():
        task = asyncio.create_task(server.serve(sockets=[given]))
        while not server.started:
            await asyncio.sleep(0.001)
        assert await asyncio.to_thread(ask, where, family) == b"ok"
        server.should_exit = True
        await task

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())
    assert given.fileno() == -1
    assert not any("running on" in line for line in log_lines())
    assert os.listdir(tmp_path) == (["s.sock"] if family == socket.AF_UNIX else [])


def test_serve_that_is_cancelled_gives_everything_back(make_server, worker):
    server = make_server()
    seen = []

    async def main():
        task = await started(server)
        seen.append(address(server))
        worker.serve("/slow")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())
    assert [name for name, _ in worker.steps] == ["cancel", "abort", "close"]
    with pytest.raises(ConnectionRefusedError):
        ask(seen[0])


def test_on_tick_of_a_subclass(make_server):
    class Ticking(Server):
        async def on_tick(self, counter):
            self.ticks = counter
            return counter == 2

    server = make_server(cls=Ticking)
    server.run()
    assert server.ticks == 2


def test_handle_exit_of_a_subclass(make_server, caught):
    class Handling(Server):
        def handle_exit(self, sig, frame):
            self.handled = sig
            super().handle_exit(sig, frame)

    async def action(server, task):
        os.kill(os.getpid(), signal.SIGINT)
        await task
        assert server.handled == signal.SIGINT

    in_loop(make_server(cls=Handling), action)


def test_server_state(make_server, worker):
    server = make_server()
    state = server.server_state
    assert (state.total_requests, len(state.connections), len(state.tasks)) == (0, 0, 0)
    state.worker = worker
    worker.serve("/a", "/b")
    worker.total_requests = 7
    assert (state.total_requests, len(state.connections), len(state.tasks)) == (7, 2, 2)


def test_bind_socket(make_server, log_lines):
    with make_server().config.bind_socket() as sock:
        port = sock.getsockname()[1]
        assert sock.get_inheritable()
        assert log_lines() == [f"INFO Fastserve running on http://127.0.0.1:{port} (Press CTRL+C to quit)"]
        with pytest.raises(SystemExit) as raised:
            make_server(port=port).config.bind_socket()
        assert raised.value.code == 3


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("::", "[::]"), ("", "[::]"), ("localhost",) * 2])
def test_address_shown(make_server, log_lines, host, shown):
    if ":" in shown and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 on this machine")
    with make_server(host=host).config.bind_socket() as sock:
        port = sock.getsockname()[1]
    assert log_lines() == [f"INFO Fastserve running on http://{shown}:{port} (Press CTRL+C to quit)"]


def test_an_idle_server_does_not_wake_up(make_server, run_jumping):
    server = make_server()

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(1000, setattr, server, "should_exit", True)
        await server.serve(sockets=[])
        return loop.selector.waits

    assert run_jumping(main()) == [pytest.approx(1000)]


def test_a_task_that_ignores_its_cancellation_is_left_behind(make_server, log_lines):
    """Such a task would make asyncio wait for ever."""
    left = []
    stubborn = [True]

    async def ignore_cancellation():
        while stubborn:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    async def leave_it(scope, receive, send):
        left.append(asyncio.create_task(ignore_cancellation(), name="stubborn"))
        await app(scope, receive, send)

    server = make_server(leave_it, timeout_graceful_cancel=0)
    server.should_exit = True
    server.run()
    assert "ERROR Abandon a task that ignores its cancellation: <Task cancelling name='stubborn'" in log_lines()[-1]
    stubborn.clear()
    loop = left[0].get_loop()
    left[0].cancel()
    loop.run_until_complete(left[0])
    loop.close()
