"""What WebSockets see of a server that stops, restarts, reloads or is full; and of each way of listening."""

import os
import signal
import ssl

import httpx
import pytest
from gunicorn.config import Config as GunicornConfig

from tests.authority import Authority, needs_openssl
from tests.process.conftest import PATIENCE, children
from tests.websocket.client import WebSocketClient
from tests.websocket.conftest import ON_UVICORN, SUBJECT

APPLICATION = "tests.websocket.apps.plain:app"

PROGRAM = """
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected

async def app(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": "received"})
    try:
        await send({"type": "websocket.send", "text": "late"})
    except ClientDisconnected:
        print("caught", flush=True)

uvicorn.run(app, port=0, ws="websockets", ws_max_size=1000, ws_ping_interval=None, lifespan="off")
"""


@pytest.fixture
def serve(start):
    """serve(*options): a server of the application."""

    def serve(*options, application=APPLICATION, **more):
        return start(application, "--port", "0", *options, server=SUBJECT, **more)

    return serve


def connect(server, path, *fields, **options):
    return WebSocketClient(("127.0.0.1", server.port), path, *fields, **options)


def echoes(client, text="are you there?"):
    client.text(text)
    return client.receive_message() == ("text", text)


@pytest.mark.parametrize("transport", ["native", "loop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(serve, number, transport):
    """Every open WebSocket is closed with 1012, its application hears it, and the server ends at once."""
    server = serve(*(() if ON_UVICORN else ("--transport", transport)))
    clients = [connect(server, f"/echo/{n}") for n in range(20)]
    try:
        assert all(echoes(client) for client in clients)
        server.send_signal(number)
        for client in clients:
            assert client.finish() == [("close", 1012, "")]
        assert server.wait() == (0 if number == signal.SIGINT else -number)
    finally:
        for client in clients:
            client.close()
    for n in range(20):
        told = [line for line in server.stdout if line.startswith(f"{n}: disconnect")]
        assert told == [f"{n}: disconnect 1012 "]
    assert "lifespan is over" in server.stdout
    assert not any("Traceback" in line or "Cancel" in line for line in server.stderr)


def test_stop_while_connecting(serve):
    """A handshake that nobody has answered is refused, and its application told."""
    server = serve()
    with server.connect() as client:
        client.sendall(
            b"GET /hold/key HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        server.wait_for("key: connecting")
        server.send_signal(signal.SIGTERM)
        head, _ = server.read(client)
        assert head.split()[1] == ("500" if ON_UVICORN else "503")
        assert server.wait() == -signal.SIGTERM
    assert f"key: disconnect {1006 if ON_UVICORN else 1012}" in server.stdout
    assert not any("Disconnect" in line or "Traceback" in line for line in server.stderr)


def test_stop_with_an_application_that_does_not_listen(serve):
    """The client is told at once; the application has its time, and then is cancelled."""
    server = serve("--timeout-graceful-shutdown", "0.5")
    with connect(server, "/stubborn/key") as client:
        server.wait_for("key: accepted")
        server.send_signal(signal.SIGTERM)
        assert client.finish() == [("close", 1012, "")]
        assert server.wait() == -signal.SIGTERM
    server.wait_for("key: cancelled")
    server.wait_for("timeout graceful shutdown exceeded")


def test_stop_with_a_client_that_does_not_answer(serve):
    """A client that never answers the close does not hold up the stop."""
    server = serve("--timeout-graceful-shutdown", "0.5")
    with connect(server, "/echo/key") as client:
        assert echoes(client)
        server.send_signal(signal.SIGTERM)
        # It stays connected and says nothing until the server has gone.
        assert server.wait() == -signal.SIGTERM
    server.wait_for("key: disconnect 1012")


def test_force(serve):
    """A second Ctrl-C waits for nobody."""
    server = serve()
    with connect(server, "/stubborn/key"):
        server.wait_for("key: accepted")
        server.send_signal(signal.SIGINT)
        server.wait_for("Waiting for (connections|background)")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0


@pytest.mark.skipif(ON_UVICORN, reason="workers of uvicorn do not start so fast")
def test_workers_restart(serve):
    """SIGHUP: the WebSockets of the old workers end with 1012, and a client that comes back finds a new one."""
    server = serve("--workers", "2")
    server.wait_for("Application startup complete", 2)
    clients = [connect(server, f"/pid/{n}") for n in range(8)]
    try:
        old = {client.receive()[1] for client in clients}
        assert old <= {str(pid) for pid in children(server.child.pid)}
        server.send_signal(signal.SIGHUP)
        for client in clients:
            assert client.finish() == [("close", 1012, "")]
    finally:
        for client in clients:
            client.close()
    for n in range(8):
        server.wait_for(f"^{n}: disconnect 1012")
    with connect(server, "/pid/again") as client:
        new = client.receive()[1]
        assert new not in old
        server.send_signal(signal.SIGTERM)
        assert client.finish() == [("close", 1012, "")]
    assert server.wait() == 0


@pytest.mark.skipif(ON_UVICORN, reason="about one worker's end")
def test_a_killed_worker(serve):
    """Its WebSockets break; those of the others do not notice."""
    server = serve("--workers", "2")
    server.wait_for("Application startup complete", 2)
    by_pid = {}
    clients = []
    try:
        while len(by_pid) < 2:
            client = connect(server, f"/pid/{len(clients)}")
            clients.append(client)
            by_pid.setdefault(int(client.receive()[1]), client)
            assert len(clients) < 200
        (killed, broken), (_, other) = by_pid.items()
        os.kill(killed, signal.SIGKILL)
        assert broken.finish() == []
        other.ping(b"still there?")
        assert other.receive() == ("pong", b"still there?")
        with connect(server, "/echo/after") as after:
            assert echoes(after)
    finally:
        for client in clients:
            client.close()


@pytest.mark.skipif(ON_UVICORN, reason="it listens a little after it says so")
def test_reload(serve, folder):
    (folder / "reloaded.py").write_text("from tests.websocket.apps.plain import app\n")
    server = serve("--reload", "--reload-delay", "0.05", application="reloaded:app")
    server.wait_for("Application startup complete")
    with connect(server, "/echo/key") as client:
        assert echoes(client)
        (folder / "reloaded.py").write_text("from tests.websocket.apps.plain import app\nCHANGED = True\n")
        assert client.finish() == [("close", 1012, "")]
    server.wait_for("Application startup complete", 2)
    with connect(server, "/echo/again") as client:
        assert echoes(client)
    server.wait_for("key: disconnect 1012")


@pytest.mark.skipif(ON_UVICORN, reason="it counts HTTP alone")
def test_limit_concurrency(serve):
    """What is beyond the limit is refused; an end makes room."""
    server = serve("--limit-concurrency", "3")
    with connect(server, "/echo/1") as one, connect(server, "/echo/2") as two:
        assert echoes(one)
        assert echoes(two)
        with connect(server, "/echo/3") as three:
            assert three.response.status == 503
        assert httpx.get(f"http://127.0.0.1:{server.port}/", timeout=PATIENCE).status_code == 503
        two.say_close()
        assert two.finish() == [("close", 1000, "")]
    server.wait_for("^2: disconnect")
    server.wait_for("^1: disconnect")
    with connect(server, "/echo/4") as four:
        assert echoes(four)


@needs_openssl
def test_tls(serve, tmp_path):
    issued = Authority(tmp_path).issue("server")
    files = "--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(issued.key)
    server = serve(*files)
    context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    context.check_hostname = False
    with connect(server, "/echo/key", tls=context) as client:
        assert echoes(client)
        client.bytes(b"0123456789abcdef" * 65536)
        assert client.receive() == ("bytes", b"0123456789abcdef" * 65536)
        server.send_signal(signal.SIGTERM)
        assert client.finish() == [("close", 1012, "")]
    assert server.wait() == -signal.SIGTERM


def test_unix_socket(serve, folder):
    server = serve("--uds", "socket")
    server.wait_for("running on unix socket")
    with WebSocketClient(str(folder / "socket"), "/echo/key") as client:
        assert echoes(client)
        client.say_close(1000, "bye")
        assert client.finish() == [("close", 1000, "bye")]
    server.wait_for("key: disconnect 1000 bye")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_loops(serve, loop):
    server = serve("--loop", loop)
    with connect(server, "/echo/key", deflate=True) as client:
        assert client.deflated
        assert echoes(client)


def test_without_compression(serve):
    server = serve("--ws-per-message-deflate", "false")
    with connect(server, "/echo/key", deflate=True) as client:
        assert not client.deflated
        assert echoes(client, "again and " * 100)


def test_keepalive(serve):
    """A client that answers pings stays. (One that does not is closed with 1011: see the comparison with uvicorn.)"""
    server = serve("--ws-ping-interval", "0.1", "--ws-ping-timeout", "20")
    with connect(server, "/echo/key") as client:
        assert [client.receive()[0] for _ in range(4)] == ["ping"] * 4
        assert echoes(client)
        assert client.receive()[0] == "ping"
        client.say_close()
        assert client.finish()[-1] == ("close", 1000, "")
    server.wait_for("^key: disconnect 1000")


@pytest.mark.skipif(ON_UVICORN, reason="on uvloop it closes with 1011")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_answer_that_came_while_the_event_loop_stood_still(serve, loop):
    """It is there in time, although the server looks at its deadlines before it can read it."""
    server = serve("--loop", loop, "--ws-ping-interval", "0.5", "--ws-ping-timeout", "2")
    with connect(server, "/echo/patient") as client, connect(server, "/block/key") as other:
        client.send = lambda data: None
        assert client.receive() == ("ping", b"ping")
        del client.send
        other.text("3")
        server.wait_for("^key: blocking")
        client.send(b"\x8a\x84\0\0\0\0ping")
        server.wait_for("^key: blocked")
        assert echoes(client)


@pytest.mark.parametrize("interval", ["0", "-1"])
def test_no_keepalive(serve, interval):
    server = serve("--ws-ping-interval", interval, "--ws-ping-timeout", "0.1", "--timeout-keep-alive", "1")
    with connect(server, "/echo/key") as client:
        client.socket.settimeout(1.5)
        with pytest.raises(TimeoutError):
            client.receive()
        client.socket.settimeout(PATIENCE)
        assert echoes(client)


@pytest.mark.skipif(ON_UVICORN, reason="its worker class is another package")
@pytest.mark.parametrize("worker", ["fastserve.workers.FastserveWorker"])
def test_gunicorn(start, worker):
    """The arbiter's own ways to stop and to restart."""
    quiet = ["--no-control-socket"] if "control_socket" in GunicornConfig().settings else []
    arguments = ["--bind", "127.0.0.1:0", *quiet, "-k", worker, "--graceful-timeout", "5", APPLICATION]
    server = start(*arguments, server="gunicorn")
    address = "127.0.0.1", int(server.wait_for(r"Listening at: http://127.0.0.1:(\d+)")[1])
    with WebSocketClient(address, "/echo/first") as client:
        assert echoes(client)
        server.send_signal(signal.SIGHUP)
        assert client.finish() == [("close", 1012, "")]
    with WebSocketClient(address, "/echo/second") as client:
        assert echoes(client)
        server.send_signal(signal.SIGTERM)
        assert client.finish() == [("close", 1012, "")]
    assert server.wait() == 0
    server.wait_for("first: disconnect 1012")
    server.wait_for("second: disconnect 1012")


def test_in_uvicorns_place(start, folder):
    """A program that names uvicorn: its exception, and its arguments for WebSocket."""
    (folder / "program.py").write_text(PROGRAM)
    server = start("program.py", server="fastserve.compat")
    with connect(server, "/") as client:
        client.text("x" * 1000)
        assert client.receive() == ("text", "received")
        client.text("x" * 1001)
        assert client.finish()[0][:2] == ("close", 1009)
    server.wait_for("^caught$")
