"""What every transport must do alike, on real sockets: bytes in order, pressure both ways, and every way to end."""

import asyncio
import os
import resource
import socket
import struct

import pytest

from fastserve.protocol._forwarded import Forwarding
from fastserve.trust import TrustedPeers
from tests.transport.conftest import PATIENCE

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def hello(exchange):
    exchange.start(200, [(b"content-length", b"5")])
    exchange.body(b"hello")


def nothing(exchange):
    pass


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def has_ipv6_loopback():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_request_and_response(serve):
    async def scenario(served):
        client = await served.connect()
        for _ in range(3):
            await served.send(client, GET)
            assert await served.read(client, len(OK)) == OK
        assert served.worker.connections == 1

    serve(hello, scenario)


def test_both_ends_are_known(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        await served.read(client, len(OK))
        endpoint = served.calls[0].request.endpoint
        assert endpoint.client == client.getsockname()
        assert endpoint.server == served.address
        assert endpoint.scheme == "http"

    serve(hello, scenario)


def test_both_ends_of_a_wildcard_listener(serve):
    async def scenario(served):
        served.address = ("127.0.0.1", served.address[1])
        client = await served.connect()
        await served.send(client, GET)
        await served.read(client, len(OK))
        endpoint = served.calls[0].request.endpoint
        assert (endpoint.client, endpoint.server) == (client.getsockname(), client.getpeername())

    serve(hello, scenario, address=("0.0.0.0", 0))


def test_ipv6(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        assert await served.read(client, len(OK)) == OK
        endpoint = served.calls[0].request.endpoint
        assert endpoint.client == client.getsockname()[:2]
        assert endpoint.server == served.address[:2]

    if not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback address")
    serve(hello, scenario, family=socket.AF_INET6, address=("::1", 0))


def test_unix_socket(serve, tmp_path):
    path = str(tmp_path / "s")

    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        assert await served.read(client, len(OK)) == OK
        endpoint = served.calls[0].request.endpoint
        assert (endpoint.client, endpoint.server) == (None, (path, None))
        assert endpoint.peer_uid == os.getuid()

    serve(hello, scenario, family=socket.AF_UNIX, address=path)


def test_malformed_request_of_a_client_that_is_gone(serve, caplog):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        assert await served.read(client, len(OK)) == OK
        # Both are in the kernel before the server looks; its answer is answered by a reset.
        client.send(b"nonsense\r\n\r\n")
        client.close()
        await served.until(lambda: served.worker.connections == 0)
        assert served.worker.rejected == 1

    serve(hello, scenario)
    assert [record.getMessage() for record in caplog.records if "Exception" in record.getMessage()] == []


def test_proxy_protocol(serve):
    """In the first read or cut, once for the connection; in its own worker's words from there on."""

    async def scenario(served):
        client = await served.connect()
        await served.send(client, b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n" + GET)
        assert await served.read(client, len(OK)) == OK
        await served.send(client, GET)
        assert await served.read(client, len(OK)) == OK
        other = await served.connect()
        await served.send(other, b"PROXY TCP4 4.3.2.1")
        await served.until(lambda: served.worker.connections == 2)
        await served.send(other, b" 5.6.7.8 1111 80\r\n" + GET)
        assert await served.read(other, len(OK)) == OK
        ends = [(call.request.endpoint.client, call.request.endpoint.server) for call in served.calls]
        assert ends == [(("1.2.3.4", 1111), ("5.6.7.8", 80))] * 2 + [(("4.3.2.1", 1111), ("5.6.7.8", 80))]
        bad = await served.connect()
        await served.send(bad, b"PROXY nonsense\r\n" + GET)
        assert (await served.read_all(bad)).startswith(b"HTTP/1.1 400 ")
        client.close()
        other.close()
        bad.close()
        await served.until(lambda: served.worker.connections == 0)

    serve(hello, scenario, proxy_protocol=TrustedPeers("127.0.0.1"))


def test_proxy_protocol_of_an_untrusted_peer(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        assert await served.read(client, len(OK)) == OK
        assert served.calls[0].request.endpoint.client == client.getsockname()
        await served.send(client, b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n" + GET)
        assert (await served.read_all(client)).startswith(b"HTTP/1.1 400 ")

    serve(hello, scenario, proxy_protocol=TrustedPeers("10.0.0.1"))


@pytest.mark.parametrize(("user", "trusted"), [("unix", True), (f"unix:{os.getuid()}", True), ("unix:54321", False)])
def test_proxy_on_a_unix_socket_is_known_by_its_user(serve, tmp_path, user, trusted):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
        assert await served.read(client, len(OK)) == OK
        assert served.calls[0].request.endpoint.client == (("1.2.3.4", 0) if trusted else None)

    forwarding = Forwarding(TrustedPeers(user))
    serve(hello, scenario, family=socket.AF_UNIX, address=str(tmp_path / "s"), forwarding=forwarding)


def test_connection_close(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, b"GET / HTTP/1.0\r\n\r\n")
        assert (await served.read_all(client)).endswith(b"hello")
        await served.until(lambda: served.worker.connections == 0)

    serve(hello, scenario)


def test_half_closed_client_is_answered(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET + GET)
        client.shutdown(socket.SHUT_WR)
        assert await served.read_all(client) == OK + OK
        await served.until(lambda: served.worker.connections == 0)

    serve(hello, scenario)


def test_end_of_the_client_is_told_while_a_request_runs(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        await served.until(lambda: served.calls)
        told = []
        served.calls[0].on_disconnect = lambda: told.append(True)
        client.close()
        await served.until(lambda: told)

    serve(nothing, scenario)


def test_reset_is_told_while_a_request_runs(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        await served.until(lambda: served.calls)
        reset(client)
        await served.until(lambda: served.worker.connections == 0)
        assert served.calls[0].request.detached

    serve(nothing, scenario)


def test_reset_after_a_half_close_is_told(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        await served.until(lambda: served.calls)
        client.shutdown(socket.SHUT_WR)
        await served.until(lambda: served.calls[0].request.disconnected)
        reset(client)
        served.calls[0].start(200, [])
        for _ in range(3):
            served.calls[0].body(b"x" * 100, more=True)
            await asyncio.sleep(0.01)
        await served.until(lambda: served.worker.connections == 0)

    serve(nothing, scenario)


def test_large_response_to_a_slow_client(serve):
    body = bytes(range(256)) * 40_000

    def large(exchange):
        exchange.start(200, [])
        exchange.body(b"start", more=True)
        exchange.body(body, more=True)
        exchange.body(b"end")

    async def scenario(served):
        client = await served.connect(receive_buffer=4096)
        await served.send(client, b"GET / HTTP/1.0\r\n\r\n")
        data = await served.read_all(client)
        assert data.partition(b"\r\n\r\n")[2] == b"start" + body + b"end"

    serve(large, scenario)


def test_many_pieces_to_a_slow_client_stay_in_order(serve):
    pieces = [bytes([number % 251]) * (1 + number * 37 % 5000) for number in range(2000)]

    def many(exchange):
        exchange.start(200, [])
        for piece in pieces:
            exchange.body(piece, more=True)
        exchange.body(b"")

    async def scenario(served):
        client = await served.connect(receive_buffer=4096)
        await served.send(client, b"GET / HTTP/1.0\r\n\r\n")
        data = await served.read_all(client)
        assert data.partition(b"\r\n\r\n")[2] == b"".join(pieces)

    serve(many, scenario)


def test_pressure_is_felt_and_released(serve):
    async def scenario(served):
        client = await served.connect(receive_buffer=4096)
        await served.send(client, GET)
        await served.until(lambda: served.calls)
        exchange = served.calls[0]
        exchange.start(200, [])
        sent = 0
        while exchange.writable:
            exchange.body(b"x" * 100_000, more=True)
            sent += 100_000
            assert sent < 100_000_000
        released = []
        exchange.on_writable = lambda: released.append(True)
        got = 0
        while not released:
            got += len(await served.loop.sock_recv(client, 1 << 20))
        assert exchange.writable
        exchange.body(b"")

    serve(nothing, scenario)


def test_reading_pauses_and_goes_on(serve):
    size = 20_000_000

    async def scenario(served):
        client = await served.connect()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        sending = asyncio.create_task(served.send(client, head + bytes(size)))
        await served.until(lambda: served.calls)
        # What the kernel holds and what we do is far less than the body: the client cannot get rid of it.
        await asyncio.sleep(0.05)
        assert not sending.done()
        got = 0

        async def consume():
            nonlocal got
            while not served.calls[0].complete or got < size:
                got += len(served.calls[0].read())
                await asyncio.sleep(0)

        await asyncio.wait_for(consume(), PATIENCE)
        await sending
        assert got == size

    serve(nothing, scenario)


def test_answer_survives_unread_input(serve):
    """Closing with unread input resets a connection and can take the answer with it: the server must linger."""

    async def scenario(served):
        client = await served.connect()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
        sending = asyncio.create_task(served.send(client, head + bytes(3_000_000)))
        assert (await served.read(client, 12)) == b"HTTP/1.1 413"
        rest = await served.read_all(client)
        assert rest.endswith(b"limit of 1000\n")
        await sending
        client.close()
        await served.until(lambda: served.worker.connections == 0)

    serve(hello, scenario, limit_request_body=1000)


def test_abort_resets(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        await served.until(lambda: served.calls)
        assert served.worker.abort() == 1
        with pytest.raises(ConnectionResetError):
            await served.read_all(client)
        await served.until(lambda: served.calls[0].request.disconnected)

    serve(nothing, scenario)


def test_thousand_connections_at_once(serve):
    async def scenario(served):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        try:
            clients = await asyncio.gather(*[served.connect() for _ in range(1000)])
            for client in clients:
                await served.send(client, GET)
            for client in clients:
                assert await served.read(client, len(OK)) == OK
            assert served.worker.connections == 1000
            for client in clients:
                client.close()
            await served.until(lambda: served.worker.connections == 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    serve(hello, scenario, timeout_keep_alive=None)


def test_closed_server_takes_no_new_connection_and_keeps_the_old(serve):
    async def scenario(served):
        client = await served.connect()
        await served.send(client, GET)
        await served.read(client, len(OK))
        assert served.server.is_serving()
        assert served.server.sockets
        served.server.close()
        served.listening.close()
        assert not served.server.is_serving()
        await served.send(client, GET)
        assert await served.read(client, len(OK)) == OK
        with pytest.raises(ConnectionRefusedError):
            await served.connect()

    serve(hello, scenario)


def test_busy_connections_do_not_starve_the_loop(serve):
    async def scenario(served):
        clients = [await served.connect() for _ in range(50)]
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for client in clients:
            await served.send(client, GET * 100)
        before = turns
        for client in clients:
            assert await served.read(client, 100 * len(OK)) == OK * 100
        assert turns > before
        counting.cancel()

    serve(hello, scenario)


def test_deadlines_run_on_real_time(serve):
    async def scenario(served):
        client = await served.connect()
        assert await served.read_all(client) == b""

    serve(hello, scenario, timeout_header=0.2)
