"""Applications in threads: who waits for whom, and who does not."""

import contextlib
import signal
import socket

import pytest

from tests.parity.wire import request
from tests.wsgi.client import answer, ask, chunks, connect, wait_until_taken
from tests.wsgi.conftest import MODES, SUBJECT, THREADS, start_subject

only_ours = pytest.mark.skipif(SUBJECT != "fastserve", reason="its own options")


@pytest.fixture
def server(servers):
    """One that no other test has left work in."""
    return servers("rules:app", "--backlog", "100", *MODES["threads"])


@contextlib.contextmanager
def held(server, folder, count, prefix="held"):
    """Connections whose requests run until the file of each is made: pairs of both."""
    with contextlib.ExitStack() as stack:
        pairs = []
        for number in range(count):
            path = folder / f"{prefix}-{number}"
            client = stack.enter_context(connect(server))
            client.send(request("GET", f"/holds?{path}"))
            server.wait_for(f"^{path} runs$")
            pairs.append((client, path))
        yield pairs
        for client, path in pairs:
            path.touch()
            if not client.ended:
                answer(client)


def release(client, path):
    path.touch()
    response = answer(client)
    client.ended = True
    return response


def test_a_slow_request_delays_nobody_while_a_thread_is_free(server, tmp_path):
    with held(server, tmp_path, THREADS - 1) as pairs:
        for _ in range(20):
            assert ask(server, "/hello").body == b"hello"
        threads = {release(*pair).body for pair in pairs}
    assert len(threads) == THREADS - 1


def test_requests_wait_in_order_when_all_threads_are_busy(server, tmp_path):
    with contextlib.ExitStack() as stack, held(server, tmp_path, THREADS) as pairs:
        waiting = []
        for name in "abcdef":
            client = stack.enter_context(connect(server))
            client.send(request("GET", f"/thread?{tmp_path}-{name}"))
            wait_until_taken(client)
            waiting.append(client)
        # One thread becomes free, and does them all.
        body = release(*pairs[0]).body
        assert [answer(client).body for client in waiting] == [body] * 6
    server.wait_for(f"^{tmp_path}-", 6)
    order = [line.split()[0][-1] for line in server.stdout if line.startswith(f"{tmp_path}-")]
    assert order == list("abcdef")


def test_an_upload_that_is_slow_has_no_thread(server):
    body = bytes(range(256)) * 40
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(THREADS * 2):
            client = stack.enter_context(connect(server))
            if number % 2:
                whole = request("POST", "/digest", "Transfer-Encoding: chunked", body=chunks(body, 1000))
            else:
                whole = request("POST", "/digest", body=body)
            client.send(whole[:5000])
            wait_until_taken(client)
            clients.append((client, whole[5000:]))
        assert ask(server, "/hello").body == b"hello"
        for client, rest in clients:
            client.send(rest)
        assert {answer(client).body.split()[0] for client, _ in clients} == {b"10240"}


def test_a_download_that_is_slow_has_no_thread(server, tmp_path):
    """More is answered than the kernel holds: the calls end, and their responses are kept until they are read."""
    pieces = 128
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(THREADS * 2):
            client = stack.enter_context(connect(server))
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.send(request("GET", f"/large?{pieces:0{number + 4}}"))
            clients.append(client)
        for number in range(THREADS * 2):
            server.wait_for(f"^{pieces:0{number + 4}} closed$")
        assert ask(server, "/hello").body == b"hello"
        expected = b"".join(bytes([number % 251]) * 65536 for number in range(pieces))
        assert answer(clients[-1]).body == expected
        for client in clients[:-1]:
            client.reset()
    assert ask(server, "/hello").body == b"hello"


@only_ours
def test_a_queue_that_is_full(start, tmp_path):
    process = start_subject(start, "tests.wsgi.apps.rules:app", "--limit-queue", "2", "--threads", "2")
    with contextlib.ExitStack() as stack, held(process, tmp_path, 2) as pairs:
        waiting = [stack.enter_context(connect(process)) for _ in range(2)]
        for client in waiting:
            client.send(request("GET", "/thread?waited"))
            wait_until_taken(client)
        # Sent while the server does not run, and so refused within one second: what it says depends on that.
        refused = [stack.enter_context(connect(process)) for _ in range(30)]
        process.send_signal(signal.SIGSTOP)
        for client in refused:
            client.send(request("GET", "/thread?refused"))
        process.send_signal(signal.SIGCONT)
        for response in map(answer, refused):
            assert response.status == 503
            assert response.values("retry-after")
        release(*pairs[0])
        assert [answer(client).status for client in waiting] == [200, 200]
        assert ask(process, "/hello").body == b"hello"
    process.stop()
    assert not [line for line in process.stdout if line.startswith("refused")]
    # Not one for each.
    assert 0 < len([line for line in process.stderr if "WARNING" in line]) < 15


@only_ours
def test_a_request_that_has_waited_too_long(start, tmp_path):
    process = start_subject(start, "tests.wsgi.apps.rules:app", "--timeout-queue", "1", "--threads", "2")
    with held(process, tmp_path, 2):
        refused = ask(process, "/thread?refused")
        assert refused.status == 503
        assert refused.values("retry-after")
    assert ask(process, "/hello").body == b"hello"
    process.stop()
    assert not [line for line in process.stdout if line.startswith("refused")]
    assert [line for line in process.stderr if "WARNING" in line]


def test_a_stop_waits_for_the_threads(start, tmp_path):
    process = start_subject(start, "tests.wsgi.apps.rules:app", *MODES["threads"])
    path = tmp_path / "go"
    with connect(process) as client:
        client.send(request("GET", f"/holds?{path}"))
        process.wait_for(f"^{path} runs$")
        process.send_signal(signal.SIGTERM)
        process.wait_for("Shutting down|Handling signal: term")
        path.touch()
        assert answer(client).status == 200
    assert process.wait() == (0 if SUBJECT == "gunicorn" else -signal.SIGTERM)


@only_ours
@pytest.mark.parametrize("mode", MODES)
def test_a_stream_without_end_ends_when_it_is_time_to_cancel(start, mode):
    process = start("tests.wsgi.apps.rules:app", "--port", "0", *MODES[mode], "--timeout-graceful-shutdown", "0.5",
                    "--timeout-graceful-disconnect", "0.1")  # fmt: skip
    with connect(process) as client:
        client.send(request("GET", "/endless?cancelled"))
        assert client.socket.recv(100_000)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionResetError):
            while client.socket.recv(1_000_000):
                pass
    process.wait_for("^cancelled closed$")
    process.wait_for(r"Still running after \d+\.\d s: GET /endless")
    assert process.wait() == -signal.SIGTERM


@only_ours
def test_threads_that_do_not_end_are_named(start):
    process = start("tests.wsgi.apps.rules:app", "--port", "0", *MODES["threads"], "--timeout-graceful-shutdown", "0.5",
                    "--timeout-graceful-disconnect", "none", "--timeout-graceful-cancel", "0.2")  # fmt: skip
    with connect(process) as client:
        client.send(request("GET", "/forever?named", "User-Agent: x"))
        process.wait_for("^named runs$")
        process.stop(signal.SIGTERM)
    process.wait_for(r"Still running after \d+\.\d s: GET /forever .*in thread wsgi-\d+")
    process.wait_for(r"Thread wsgi-\d+ has not come back")
