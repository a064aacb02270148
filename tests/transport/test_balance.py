"""Several workers on real sockets in one process, as a supervisor sets them up: each with its slot, its own cell of the
board, and a channel. Connections are spread over them, and change hands without a client noticing."""

import asyncio
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from fastserve._exchange import PythonHandler
from fastserve.protocol._worker import Worker
from fastserve.transport._balance import Balancer
from fastserve.transport._board import DRAINING, READY, Board
from fastserve.transport._loop import protocol_factory
from fastserve.transport.accept import LoopTransport, NativeServer, NativeTransport

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE = 25
INDEX = 3
"""Of the bind; anything but 0, which is what is there when nobody has set it."""


def naming(cell):
    """A handler whose answers name the worker by its cell."""

    def handle(exchange):
        body = b"%d" % cell
        exchange.start(200, [(b"content-length", b"%d" % len(body))])
        exchange.body(body)

    return handle


def waiting(cell):
    """A handler that leaves its exchanges to the test."""
    return lambda exchange: None


class Site:
    """What a supervisor owns: the board, a listening socket, and a channel for each slot."""

    def __init__(self, slots, family=socket.AF_INET, address=("127.0.0.1", 0)):
        self.loop = asyncio.get_running_loop()
        self.board = Board(slots=8, cells=64)
        self.listening = socket.socket(family)
        self.listening.bind(address)
        self.listening.listen(2048)
        # The mode is the open socket's, whoever has a descriptor of it; and dup() sets it to that of its original.
        self.listening.setblocking(False)
        self.address = self.listening.getsockname()
        self.channels = [socket.socketpair() for _ in range(slots)]
        self.members = []
        self.clients = []

    async def start(self, slot, handler=naming, publish=True, accepting=True, receiving=True, cell=None, **options):
        member = Member(self, slot, len(self.members) if cell is None else cell, handler, **options)
        self.members.append(member)
        if accepting:
            member.server = await member.transport.accept_on(member.sock, 2048, INDEX)
        if receiving and isinstance(member.transport, NativeTransport):
            member.receive()
        if publish:
            self.board.set_slot_cell(slot, member.cell)
        return member

    async def connect(self, receive_buffer=None):
        sock = socket.socket(self.listening.family)
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client = Client(self.loop, sock)
        self.clients.append(client)
        await self.loop.sock_connect(sock, self.address)
        return client

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)

    def counts(self):
        return [self.board.connections(member.cell) for member in self.members]

    def is_exact(self):
        """Every count on the board is what its worker really has."""
        return all(self.board.connections(member.cell) == member.worker.connections for member in self.members)

    async def close(self):
        for client in self.clients:
            client.sock.close()
        for member in self.members:
            member.close()
        for ends in self.channels:
            for end in ends:
                end.close()
        self.listening.close()
        await asyncio.sleep(0)
        assert self.counts() == [0] * len(self.members)
        self.board.close()


class Member:
    """One worker of a site."""

    def __init__(self, site, slot, cell, handler, transport="native", **options):
        self.site, self.slot, self.cell = site, slot, cell
        self.calls = []
        self._function = handler(cell)
        options = {"timeout_keep_alive": None, "timeout_header": None, "timeout_write": None, **options}
        self.worker = Worker(PythonHandler(self._handle), site.loop, date_header=False, **options)
        self.balancer = Balancer(site.board, slot, cell)
        for number, (_, send) in enumerate(site.channels):
            self.balancer.add_slot(number, send.dup())
        self.transport = (
            NativeTransport(self.worker, site.loop, self.balancer)
            if transport == "native"
            else LoopTransport(site.loop, protocol_factory(self.worker))
        )
        # Descriptors of its own, as another process would have.
        self.sock = site.listening.dup()
        self.end = site.channels[slot][0].dup()
        self.server = self.channel = None
        site.board.set_state(cell, READY)
        # No heartbeat in these tests but where they are about it.
        site.board.set_heartbeat(cell, time.monotonic() + 1000)

    def _handle(self, exchange):
        self.calls.append(exchange)
        self._function(exchange)

    def receive(self):
        self.channel = self.transport.receive_on(self.end)

    def leave(self):
        """Stop accepting; what is queued is somebody else's."""
        self.site.board.set_state(self.cell, DRAINING)
        if isinstance(self.server, NativeServer):
            self.server.close(accept_queued=False)
        elif self.server is not None:
            self.server.close()
        if self.channel is not None:
            self.channel.close(accept_queued=False)

    def retire(self):
        self.leave()
        self.worker.drain(hand_on=True)

    def close(self):
        if self.server is not None and not isinstance(self.server, NativeServer):
            self.server.close()
        self.worker.abort()
        self.transport.close()
        self.worker.close()
        self.balancer.close()
        self.sock.close()
        self.end.close()
        self.calls.clear()


class Client:
    def __init__(self, loop, sock):
        self.loop, self.sock = loop, sock

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def read(self, size):
        """Exactly `size` bytes, or those up to the end."""
        data = bytearray()
        async with asyncio.timeout(PATIENCE):
            while len(data) < size and (piece := await self.loop.sock_recv(self.sock, min(65536, size - len(data)))):
                data += piece
        return bytes(data)

    async def response(self):
        """The next response's head and body, framed by Content-Length."""
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            piece = await self.read(1)
            if not piece:
                raise ConnectionError(f"closed after {bytes(head)!r}")
            head += piece
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await self.read(size)
        assert len(body) == size
        return bytes(head), body

    async def ask(self):
        """Which worker answers on this connection."""
        await self.send(GET)
        head, body = await self.response()
        assert b"connection: close" not in head
        return int(body)


@pytest.fixture
def site(event_loop_factory):
    """Run a scenario, a coroutine function of a Site, on every kind of event loop."""

    def run(scenario, slots=2, **options):
        async def main():
            place = Site(slots, **options)
            try:
                async with asyncio.timeout(6 * PATIENCE):
                    return await scenario(place)
            finally:
                await place.close()

        with asyncio.Runner(loop_factory=event_loop_factory) as runner:
            return runner.run(main())

    return run


# --- balance


def test_long_lived_connections_are_spread(site):
    """The promise: four workers, 64 connections, none more than two off the mean."""

    async def scenario(place):
        for slot in range(4):
            await place.start(slot)
        for _ in range(64):
            await (await place.connect()).ask()
        assert sum(place.counts()) == 64
        assert all(14 <= count <= 18 for count in place.counts()), place.counts()
        assert place.is_exact()
        answers = [await client.ask() for client in place.clients]
        assert [answers.count(cell) for cell in range(4)] == place.counts()

    site(scenario, slots=4)


def test_all_at_once_through_one_listener(site):
    """The worst case for a hash: every connection comes to the same worker."""

    async def scenario(place):
        await place.start(0)
        for slot in range(1, 4):
            await place.start(slot, accepting=False)
        clients = await asyncio.gather(*[place.connect() for _ in range(64)])
        await place.until(lambda: sum(place.counts()) == 64 and place.is_exact())
        assert all(14 <= count <= 18 for count in place.counts()), place.counts()
        assert sorted({await client.ask() for client in clients}) == [0, 1, 2, 3]

    site(scenario, slots=4)


def test_who_comes_later_gets_a_share(site):
    """Of idle connections and of those that are never idle for long."""

    async def scenario(place):
        first = await place.start(0)
        clients = [await place.connect() for _ in range(64)]
        for client in clients:
            await client.ask()
        stopping = False

        async def keep_asking(client):
            while not stopping:
                await client.ask()

        tasks = [asyncio.create_task(keep_asking(client)) for client in clients[:32]]
        assert first.balancer.surplus() == 0
        for slot in range(1, 4):
            await place.start(slot)
        assert first.balancer.surplus() == 48
        first.worker.shed(48)
        await place.until(lambda: place.counts() == [16] * 4 and place.is_exact())
        assert all(member.balancer.surplus() == 0 for member in place.members)
        stopping = True
        await asyncio.gather(*tasks)
        answers = [await client.ask() for client in clients]
        assert [answers.count(cell) for cell in range(4)] == [16] * 4

    site(scenario, slots=4)


def test_a_small_difference_is_left_alone(site):
    async def scenario(place):
        first = await place.start(0)
        for _ in range(2):
            await (await place.connect()).ask()
        await place.start(1)
        assert first.balancer.surplus() == 0

    site(scenario, slots=2)


def test_nobody_takes_the_surplus(site):
    async def scenario(place):
        first = await place.start(0)
        clients = [await place.connect() for _ in range(8)]
        for client in clients:
            await client.ask()
        first.worker.shed(4)
        assert [await client.ask() for client in clients] == [0] * 8
        # What nobody took then is not passed on by surprise later.
        await place.start(1)
        assert [await client.ask() for client in clients] == [0] * 8

    site(scenario, slots=2)


def test_counts_follow_connections_that_end_in_any_way(site):
    async def scenario(place):
        for slot in range(2):
            await place.start(slot)
        clients = [await place.connect() for _ in range(24)]
        for number, client in enumerate(clients):
            await client.ask()
            if number % 4 == 0:
                client.sock.close()
            elif number % 4 == 1:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sock.close()
            elif number % 4 == 2:
                await client.send(b"GET / HTTP/1.0\r\n\r\n")
                assert await client.read(1 << 20)
        await place.until(lambda: sum(place.counts()) == 6)
        assert place.is_exact()

    site(scenario)


def test_a_connection_that_ends_in_its_first_turn_is_no_load(site):
    async def scenario(place):
        await place.start(0)
        await place.start(1, accepting=False)
        for _ in range(50):
            client = await place.connect()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.read(1 << 20)).endswith(b"0")
        assert not place.members[1].calls

    site(scenario)


@pytest.mark.parametrize("reason", ["draining", "stalled", "unpublished", "no channel"])
def test_nothing_goes_to_a_worker_that_does_not_take_it(site, reason):
    async def scenario(place):
        await place.start(0)
        other = await place.start(1, accepting=False)
        if reason == "draining":
            place.board.set_state(other.cell, DRAINING)
        elif reason == "stalled":
            place.board.set_heartbeat(other.cell, time.monotonic() - 2.1)
        elif reason == "unpublished":
            place.board.set_slot_cell(1, -1)
        else:
            place.members[0].balancer.close()
        for _ in range(10):
            assert await (await place.connect()).ask() == 0
        assert place.counts() == [10, 0]

    site(scenario)


def test_a_full_channel_means_served_here(site):
    async def scenario(place):
        # The other takes nothing from its channel.
        await place.start(0)
        await place.start(1, accepting=False, receiving=False)
        for end in place.channels[1]:
            end.setblocking(False)
        try:
            while True:
                place.channels[1][1].send(b"\xff\xff\x03\x00")
        except BlockingIOError:
            pass
        for _ in range(10):
            assert await (await place.connect()).ask() == 0
        assert place.counts() == [10, 0]
        assert place.is_exact()

    site(scenario)


def test_who_passed_connections_were_accepted_for(site, tmp_path):
    """The address of the bind, and of the client, are those of the connection, wherever it is served."""

    async def scenario(place):
        await place.start(0)
        other = await place.start(1)
        other.server.pause()
        clients = [await place.connect() for _ in range(6)]
        for client in clients:
            await client.ask()
        endpoints = {call.request.endpoint.client for call in other.calls}
        names = {client.sock.getsockname() for client in clients}
        assert len(endpoints) == 3
        assert endpoints <= names
        assert {call.request.endpoint.server for call in other.calls} == {place.address}

    site(scenario)


def test_unix_sockets(site, tmp_path):
    path = str(tmp_path / "s")

    async def scenario(place):
        await place.start(0)
        other = await place.start(1)
        other.server.pause()
        for _ in range(6):
            await (await place.connect()).ask()
        assert len(other.calls) == 3
        assert {(call.request.endpoint.client, call.request.endpoint.server) for call in other.calls} == {
            (None, (path, None))
        }

    site(scenario, family=socket.AF_UNIX, address=path)


def test_a_bind_that_the_receiver_does_not_have(site):
    async def scenario(place):
        await place.start(0)
        other = await place.start(1, accepting=False)
        clients = [await place.connect() for _ in range(4)]
        for client in clients:
            await client.ask()
        assert {call.request.endpoint.server for call in other.calls} == {place.address}
        assert {call.request.endpoint.client for call in other.calls} <= {c.sock.getsockname() for c in clients}
        assert len(other.calls) == 2

    site(scenario)


def test_what_waits_in_the_channel_of_a_dead_worker_is_served_by_the_next(site):
    async def scenario(place):
        await place.start(0)
        dead = await place.start(1, accepting=False, receiving=False)
        clients = [await place.connect() for _ in range(8)]
        await place.until(lambda: sum(place.counts()) == 8)
        assert place.counts() == [4, 4]
        for client in clients:
            await client.send(GET)
        # Its process ends; the supervisor gives its cell up and starts another.
        place.board.set_slot_cell(1, -1)
        place.board.clear(dead.cell)
        successor = await place.start(1, accepting=False)
        answers = [int((await client.response())[1]) for client in clients]
        assert answers.count(successor.cell) == 4
        assert place.counts() == [4, 0, 4]
        assert place.is_exact()

    site(scenario)


def test_a_cell_that_has_been_given_to_another_worker_is_not_charged(site):
    """The message is older than the cell's present owner, whose count it must leave alone."""

    async def scenario(place):
        await place.start(0)
        cell = (await place.start(1, accepting=False, receiving=False)).cell
        clients = [await place.connect() for _ in range(4)]
        await place.until(lambda: place.counts() == [2, 2])
        place.board.clear(cell)
        place.board.set_state(cell, READY)
        place.board.set_heartbeat(cell, time.monotonic() + 1000)
        place.members[1].receive()
        assert {await client.ask() for client in clients} == {0, 1}
        assert place.counts() == [2, 2]

    site(scenario)


def test_a_sibling_serves_the_channel_of_a_worker_that_hangs(site):
    async def scenario(place):
        first = await place.start(0)
        await place.start(1, accepting=False, receiving=False)
        clients = [await place.connect() for _ in range(8)]
        await place.until(lambda: place.counts() == [4, 4])
        channel = first.transport.receive_on(place.channels[1][0])
        assert {await client.ask() for client in clients} == {0}
        assert place.counts() == [8, 0]
        channel.close(accept_queued=False)

    site(scenario)


def test_two_readers_of_one_channel(site):
    """As while one incarnation follows the other: each message is received whole, by one of them."""

    async def scenario(place):
        await place.start(0)
        await place.start(1, accepting=False)
        await place.start(1, accepting=False, publish=False)
        clients = await asyncio.gather(*[place.connect() for _ in range(100)])
        for client in clients:
            await client.ask()
        assert sum(place.counts()) == 100
        assert place.is_exact()

    site(scenario)


def test_out_of_descriptors_connections_wait_in_the_channel(site, caplog):
    async def scenario(place):
        await place.start(0)
        await place.start(1, accepting=False, receiving=False)
        clients = [await place.connect() for _ in range(4)]
        await place.until(lambda: place.counts() == [2, 2])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.open("/dev/null", os.O_RDONLY)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            place.members[1].receive()
            await place.until(lambda: "Cannot accept connections: Too many open files" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not place.members[1].channel.accepting
        assert sorted([await client.ask() for client in clients]) == [0, 0, 1, 1]
        assert place.is_exact()

    site(scenario)


def test_a_message_without_its_descriptor_is_said(site, caplog):
    async def scenario(place):
        await place.start(0)
        place.channels[0][1].send(struct.pack("<HBB", 0, INDEX, 0))
        place.board.set_connections(0, 1)
        await place.until(lambda: "A connection was lost on its way" in caplog.text)
        assert place.counts() == [0]

    site(scenario)


def test_a_channel_whose_senders_are_gone_is_left_alone(site):
    async def scenario(place):
        member = await place.start(0)
        member.balancer.close()
        place.channels[0][1].close()
        await place.until(lambda: not member.channel.accepting)
        assert await (await place.connect()).ask() == 0

    site(scenario)


def test_a_final_stop_still_takes_what_is_passed(site):
    """Who passes a connection on cannot know yet that the other is about to stop."""

    async def scenario(place):
        await place.start(0)
        other = await place.start(1, accepting=False, receiving=False)
        clients = [await place.connect() for _ in range(4)]
        await place.until(lambda: place.counts() == [2, 2])
        for client in clients:
            await client.send(GET)
        other.receive()
        for member in place.members:
            place.board.set_state(member.cell, DRAINING)
            member.worker.drain(idle_grace=1.0)
        assert sorted([(await client.response())[1] for client in clients]) == [b"0", b"0", b"1", b"1"]
        await place.until(lambda: place.counts() == [0, 0])

    site(scenario)


# --- hand-over


def test_idle_connections_go_to_the_successor(site):
    async def scenario(place):
        old = await place.start(0)
        other = await place.start(1, accepting=False)
        place.board.set_state(other.cell, DRAINING)
        clients = [await place.connect() for _ in range(20)]
        assert {await client.ask() for client in clients} == {0}
        place.board.set_state(other.cell, READY)
        new = await place.start(0)
        idle = []
        old.worker.on_idle = lambda: idle.append(True)
        old.retire()
        await place.until(lambda: idle)
        assert {await client.ask() for client in clients} == {new.cell}
        assert place.counts() == [0, 0, 20]
        assert place.is_exact()

    site(scenario)


def test_without_a_successor_they_are_spread_over_the_others(site):
    async def scenario(place):
        members = [await place.start(slot) for slot in range(4)]
        for _ in range(40):
            await (await place.connect()).ask()
        place.board.set_slot_cell(0, -1)
        members[0].retire()
        await place.until(lambda: members[0].worker.connections == 0)
        for client in place.clients:
            assert await client.ask() != 0
        assert max(place.counts()[1:]) - min(place.counts()[1:]) <= 2
        assert sum(place.counts()) == 40
        assert place.is_exact()

    site(scenario, slots=4)


def test_fresh_connections_go_along(site):
    async def scenario(place):
        old = await place.start(0)
        clients = [await place.connect() for _ in range(5)]
        await place.until(lambda: place.counts() == [5])
        new = await place.start(0, timeout_keep_alive=0.001)
        old.retire()
        await place.until(lambda: place.counts() == [0, 5])
        # They have not had a response yet: it is not the keep-alive time that they are under.
        await asyncio.sleep(0.3)
        assert {await client.ask() for client in clients} == {new.cell}

    site(scenario, slots=1)


def test_idle_ones_are_under_the_keep_alive_time_of_the_successor(site):
    async def scenario(place):
        old = await place.start(0)
        client = await place.connect()
        await client.ask()
        await place.start(0, timeout_keep_alive=0.2, timeout_header=None)
        old.retire()
        assert await client.read(1) == b""

    site(scenario, slots=1)


def test_running_requests_finish_first(site):
    async def scenario(place):
        old = await place.start(0, waiting)
        client = await place.connect()
        await client.send(GET)
        await place.until(lambda: old.calls)
        new = await place.start(0)
        old.retire()
        await asyncio.sleep(0.05)
        assert place.counts() == [1, 0]
        naming(old.cell)(old.calls[0])
        head, body = await client.response()
        assert (b"connection: close" in head, body) == (False, b"0")
        assert await client.ask() == new.cell

    site(scenario, slots=1)


def test_pipelined_requests_are_answered_by_who_has_read_them(site):
    async def scenario(place):
        old = await place.start(0, waiting)
        client = await place.connect()
        await client.send(GET * 3)
        await place.until(lambda: old.calls)
        new = await place.start(0)
        old.retire()
        # This one is still in the kernel, or arrives later: either may answer it.
        await client.send(GET)
        for number in range(3):
            await place.until(lambda number=number: len(old.calls) > number)
            naming(old.cell)(old.calls[number])
            assert (await client.response())[1] == b"0"
        if len(old.calls) < 4:
            await asyncio.sleep(0.05)
        for call in old.calls[3:]:
            naming(old.cell)(call)
        assert (await client.response())[1] in (b"0", b"%d" % new.cell)
        assert await client.ask() == new.cell

    site(scenario, slots=1)


def test_half_a_head_is_answered_where_it_began(site):
    async def scenario(place):
        old = await place.start(0)
        client = await place.connect()
        await client.ask()
        await client.send(GET[:9])
        before = time.monotonic()
        await asyncio.sleep(0.05)
        new = await place.start(0)
        old.retire()
        await asyncio.sleep(0.25)
        assert place.counts() == [1, 0], time.monotonic() - before
        await client.send(GET[9:])
        assert (await client.response())[1] == b"0"
        assert await client.ask() == new.cell

    site(scenario, slots=1)


def test_a_large_response_to_a_slow_client_is_sent_to_its_end(site):
    body = bytes(range(256)) * 20_000

    def large(cell):
        def handle(exchange):
            exchange.start(200, [(b"content-length", b"%d" % len(body))])
            exchange.body(body)

        return handle

    async def scenario(place):
        old = await place.start(0, large)
        client = await place.connect(receive_buffer=4096)
        await client.send(GET)
        await client.read(1000)
        new = await place.start(0)
        old.retire()
        await asyncio.sleep(0.15)
        assert place.counts() == [1, 0]
        rest = await client.read(len(b"HTTP/1.1 200 OK\r\ncontent-length: 5120000\r\n\r\n") + len(body) - 1000)
        assert rest[-len(body) + 1000 :] == body[1000 - 45 :][-len(body) + 1000 :]
        assert await client.ask() == new.cell
        assert place.is_exact()

    site(scenario, slots=1)


def test_a_full_channel_is_tried_again(site):
    async def scenario(place):
        old = await place.start(0)
        clients = [await place.connect() for _ in range(3)]
        for client in clients:
            await client.ask()
        new = await place.start(0, receiving=False)
        old.leave()
        filler = socket.socket()
        place.channels[0][1].setblocking(False)
        filled = 0
        try:
            while True:
                socket.send_fds(place.channels[0][1], [struct.pack("<HBB", 0xFFFF, INDEX, 0)], [filler.fileno()])
                filled += 1
        except OSError:
            filler.close()
        old.worker.drain(hand_on=True)
        for _ in range(5):
            assert {await client.ask() for client in clients} == {old.cell}
            await asyncio.sleep(0.05)
        assert place.counts() == [3, 0]
        new.receive()
        await place.until(lambda: old.worker.connections == 0)
        assert {await client.ask() for client in clients} == {new.cell}
        await place.until(place.is_exact)

    site(scenario, slots=1)


def test_a_successor_that_dies_with_connections_on_their_way(site):
    async def scenario(place):
        old = await place.start(0)
        clients = [await place.connect() for _ in range(10)]
        for client in clients:
            await client.ask()
        dead = await place.start(0, accepting=False, receiving=False)
        old.retire()
        assert place.counts() == [0, 10]
        await place.until(lambda: old.worker.connections == 0)
        for client in clients:
            await client.send(GET)
        place.board.clear(dead.cell)
        third = await place.start(0)
        for client in clients:
            assert int((await client.response())[1]) == third.cell
        assert place.counts() == [0, 0, 10]
        assert place.is_exact()

    site(scenario, slots=1)


def test_clients_that_leave_while_their_connection_changes_hands(site):
    async def scenario(place):
        old = await place.start(0)
        clients = [await place.connect() for _ in range(10)]
        for client in clients:
            await client.ask()
        new = await place.start(0, receiving=False)
        old.retire()
        for number, client in enumerate(clients[:6]):
            if number % 2:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        new.receive()
        await place.until(lambda: place.counts() == [0, 4])
        assert place.is_exact()
        assert {await client.ask() for client in clients[6:]} == {new.cell}

    site(scenario, slots=1)


def test_no_request_fails_while_workers_follow_each_other(site):
    """Clients that never pause, on kept and on new connections, with one request or several at a time."""

    async def scenario(place):
        served = [await place.start(slot) for slot in range(2)]
        stopping = False
        asked = answered = 0

        async def keep_asking(pipelined):
            nonlocal asked, answered
            client = await place.connect()
            while not stopping:
                asked += pipelined
                await client.send(GET * pipelined)
                for _ in range(pipelined):
                    head, _ = await client.response()
                    assert b"connection: close" not in head
                    answered += 1

        async def keep_connecting():
            nonlocal asked, answered
            while not stopping:
                client = await place.connect()
                asked += 1
                await client.send(GET)
                await client.response()
                answered += 1
                client.sock.close()
                place.clients.remove(client)

        async def keep_dribbling():
            nonlocal asked, answered
            client = await place.connect()
            while not stopping:
                asked += 1
                for start in range(0, len(GET), 7):
                    await client.send(GET[start : start + 7])
                    await asyncio.sleep(0)
                await client.response()
                answered += 1

        tasks = [asyncio.create_task(keep_asking(1 + number % 3)) for number in range(12)]
        tasks += [asyncio.create_task(keep_connecting()) for _ in range(3)]
        tasks += [asyncio.create_task(keep_dribbling()) for _ in range(3)]
        retired = []
        for turn in range(20):
            before = answered
            await place.until(lambda before=before: answered >= before + 20 or any(task.done() for task in tasks))
            old = served[turn % 2]
            served[turn % 2] = await place.start(turn % 2)
            old.retire()
            retired.append(old)
            for task in tasks:
                if task.done():
                    task.result()
        stopping = True
        await asyncio.gather(*tasks)
        assert asked == answered
        await place.until(lambda: not any(old.worker.connections for old in retired))
        await place.until(place.is_exact)

    site(scenario)


def test_slow_answers_while_workers_follow_each_other(site):
    def slow(cell):
        def handle(exchange):
            asyncio.get_running_loop().call_later(0.001 * (len(handled) % 30), naming(cell), exchange)
            handled.append(cell)

        return handle

    handled = []

    async def scenario(place):
        served = [await place.start(slot, slow) for slot in range(2)]
        stopping = False

        async def keep_asking():
            client = await place.connect()
            while not stopping:
                await client.ask()

        tasks = [asyncio.create_task(keep_asking()) for _ in range(20)]
        retired = []
        for turn in range(10):
            await place.until(lambda: all(member.calls for member in served))
            old = served[turn % 2]
            served[turn % 2] = await place.start(turn % 2, slow)
            old.retire()
            retired.append(old)
        await place.until(lambda: len(set(handled)) == 12)
        stopping = True
        await asyncio.gather(*tasks)
        await place.until(lambda: not any(old.worker.connections for old in retired))
        assert place.is_exact()

    site(scenario)


def test_the_event_loops_transport_closes_with_the_next_response(site):
    async def scenario(place):
        old = await place.start(0, transport="loop", timeout_keep_alive=0.3)
        asking, silent = await place.connect(), await place.connect()
        await asking.ask()
        await silent.ask()
        new = await place.start(0, transport="loop")
        old.retire()
        await asking.send(GET)
        head, body = await asking.response()
        assert (b"connection: close" in head, body) == (True, b"0")
        assert await asking.read(1) == b""
        assert await silent.read(1) == b""
        assert await (await place.connect()).ask() == new.cell

    site(scenario, slots=1)


# --- processes

OTHER_PROCESS = """
import asyncio, socket, sys
from fastserve._exchange import PythonHandler
from fastserve.protocol._worker import Worker
from fastserve.transport._balance import Balancer
from fastserve.transport._board import READY, Board
from fastserve.transport.accept import NativeTransport

async def main():
    board, channel = Board(int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    worker = Worker(PythonHandler(handle), loop, date_header=False)
    transport = NativeTransport(worker, loop, Balancer(board, 1, 1))
    receiver = transport.receive_on(channel)
    board.beat(1, 0, 0, "")
    board.set_state(1, READY)
    while True:
        await asyncio.sleep(0.2)
        board.beat(1, worker.total_requests, len(worker.running()), "")

def handle(exchange):
    exchange.start(200, [(b"content-length", b"1")])
    exchange.body(b"1")

asyncio.run(main())
"""


def test_a_process_that_is_killed_with_connections_on_their_way(site):
    async def scenario(place):
        place.board.set_slot_cell(1, 1)
        descriptors = [place.board.fd, place.channels[1][0].fileno()]
        command = [sys.executable, "-c", OTHER_PROCESS, *map(str, descriptors)]
        child = subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL)
        try:
            await place.until(lambda: place.board.state(1) == READY)
            first = await place.start(0)
            clients = [await place.connect() for _ in range(8)]
            answers = [await client.ask() for client in clients]
            assert sorted(answers) == [0] * 4 + [1] * 4
            leaving = clients.pop(answers.index(1))
            leaving.sock.close()
            await place.until(lambda: place.board.connections(1) == 3)
            child.send_signal(signal.SIGSTOP)
            place.board.set_heartbeat(1, time.monotonic() + 1000)
            # Three of its own, which die with it, and four that are handed on to it.
            place.board.set_slot_cell(0, -1)
            first.retire()
            await place.until(lambda: first.worker.connections == 0)
            assert place.board.connections(1) == 7
        finally:
            child.kill()
            child.wait()
        place.board.clear(1)
        await place.start(1, accepting=False, cell=2)
        served = []
        for client in clients:
            try:
                served.append(await client.ask())
            except ConnectionError:
                pass
        assert served == [2] * 4
        assert (place.board.connections(1), place.board.connections(2)) == (0, 4)

    site(scenario)


def test_a_transport_that_closes_leaves_the_queues_to_others(site):
    async def scenario(place):
        first = await place.start(0)
        first.server.pause()
        first.channel.pause()
        clients = [await place.connect() for _ in range(3)]
        for client in clients:
            await client.send(GET)
        first.server._listener.resume()
        first.transport.close()
        second = await place.start(0)
        assert {(await client.response())[1] for client in clients} == {b"%d" % second.cell}

    site(scenario, slots=1)
