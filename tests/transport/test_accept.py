"""Accepting: running out of descriptors, and connections that wait when the server closes."""

import asyncio
import errno
import os
import resource
import socket

from tests.transport.test_streams import GET, OK, hello


def test_out_of_descriptors_is_said_once_and_passes(serve, caplog, monkeypatch):
    async def scenario(served):
        clients = [socket.socket() for _ in range(3)]
        served.clients += clients
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Nothing beyond what is open now: accept fails with EMFILE.
        spare = os.open("/dev/null", os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            os.close(spare)
            filler = os.open("/dev/null", os.O_RDONLY) if spare > max(each.fileno() for each in clients) + 1 else None
            for client in clients:
                client.setblocking(False)
                assert client.connect_ex(served.address) in (0, errno.EINPROGRESS)
            await served.until(lambda: "Cannot accept connections" in caplog.text)
            assert not served.server.is_serving()
            if filler is not None:
                os.close(filler)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            await served.send(client, GET)
            assert await served.read(client, len(OK)) == OK
        assert caplog.text.count("Cannot accept connections: Too many open files.") == 1

    serve(hello, scenario)


def test_connections_in_the_queue_are_served_when_the_server_closes(serve):
    async def scenario(served):
        clients = []
        for _ in range(20):
            client = socket.create_connection(served.address)
            client.sendall(GET)
            client.setblocking(False)
            clients.append(client)
        served.clients += clients
        # No turn of the loop since: all of them wait in the kernel.
        served.server.close()
        served.listening.close()
        for client in clients:
            assert await served.read(client, len(OK)) == OK

    serve(hello, scenario)


def test_a_paused_listener_leaves_connections_in_the_queue(serve):
    async def scenario(served):
        served.server.pause()
        client = await served.connect()
        await served.send(client, GET)
        await asyncio.sleep(0.02)
        assert served.worker.connections == 0
        await served.server.start_serving()
        assert await served.read(client, len(OK)) == OK

    serve(hello, scenario)


def test_a_closed_listener_can_leave_its_queue_to_the_next(serve):
    """The socket lives on elsewhere: what waits in it is for whoever serves it then."""

    async def scenario(served):
        served.server.pause()
        client = await served.connect()
        await served.send(client, GET)
        served.server.close(accept_queued=False)
        assert served.worker.connections == 0
        served.server = await served.transport.accept_on(served.listening, 10)
        assert await served.read(client, len(OK)) == OK

    serve(hello, scenario)
