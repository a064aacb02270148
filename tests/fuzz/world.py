"""Connections in memory that are played at random: what a client, a kernel and an event loop may do to a worker.

A `World` is a worker on a real event loop and a manual clock, with connections over both kinds of stream: MemoryStream,
and LoopStream over a transport that is played here (`Transport`, plain or as if under TLS). What it holds against them:

- nothing raises, nothing is logged as a defect, and the transport is asked nothing that event loops refuse;
- a client that falls silent, and whose application has ended, is rid of in finite time;
- when all clients are gone and what waits has been cancelled, no connection and no request is left.
"""

import asyncio
import gc
import logging
import random
import re
import socket
from collections.abc import Callable
from typing import Any

from fastserve import _live
from fastserve._exchange import Endpoint
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.transport._loop import LoopProtocol, protocol_factory
from fastserve.transport._memory import MemoryStream

PATTERN = bytes(range(256)) * 1024


class Errors(logging.Handler):
    """Keeps what a worker says of defects."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        failure = AssertionError(record.getMessage())
        failure.__cause__ = (record.exc_info or (None, None))[1]
        self.found.append(failure)


class Transport(asyncio.Transport):
    """What an event loop's transport does for LoopStream; the kernel takes `capacity` bytes, None is all."""

    def __init__(self, loop: asyncio.AbstractEventLoop, capacity: int | None, tls: socket.socket | None) -> None:
        super().__init__({"sslcontext": object(), "socket": tls} if tls is not None else {})
        self.loop = loop
        self.capacity = capacity
        self.tls = tls is not None
        self.protocol: Any = None
        self.sent = bytearray()
        self.waiting = bytearray()
        self.high = self.low = 0
        self.full = self.paused = self.eof = self.closing = self.gone = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high, self.low = high or 0, low or 0

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof, "write after write_eof"
        if self.gone:
            return
        assert len(data), "an empty write"
        room = len(data) if self.capacity is None else max(0, self.capacity - len(self.sent))
        if self.waiting:
            room = 0
        self.sent += data[:room]
        self.waiting += data[room:]
        if len(self.waiting) > self.high and not self.full:
            self.full = True
            self.protocol.pause_writing()

    def drain(self) -> None:
        self.sent += self.waiting
        self.waiting.clear()
        if self.full and not self.gone:
            self.full = False
            self.protocol.resume_writing()
        if self.closing and not self.gone:
            self.lose()

    def pause_reading(self) -> None:
        assert not self.paused or self.closing, "paused twice"
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused or self.closing, "resumed twice"
        self.paused = False

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.waiting:
                self.loop.call_soon(self.lose)

    def abort(self) -> None:
        self.closing = True
        self.waiting.clear()
        self.loop.call_soon(self.lose)

    def is_closing(self) -> bool:
        return self.closing

    def lose(self, reason: BaseException | None = None) -> None:
        if not self.gone:
            self.gone = self.closing = True
            self.protocol.connection_lost(reason)


class Client:
    """The other end of one connection."""

    def __init__(self, world: "World", capacity: int | None, kind: str) -> None:
        self.world = world
        self.gone = self.half_closed = False
        self.received = bytearray()
        self.transport: Transport | None = None
        if kind == "memory":
            # It may have to be told of its own end by the caller.
            self.stream = MemoryStream(
                world.worker, Endpoint(("127.0.0.1", 50000), ("127.0.0.1", 8000)), capacity=capacity
            )
            return
        self.transport = Transport(world.loop, capacity, world.socket if kind == "tls" else None)
        self.protocol: LoopProtocol = world.factory()
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    @property
    def closing(self) -> bool:
        """Whether the server has closed the connection, or is about to."""
        if self.transport is not None:
            return self.transport.closing
        return self.stream.closed or self.stream.aborted or self.stream.handed_on

    @property
    def aborted(self) -> bool:
        return self.stream.aborted if self.transport is None else False

    def feed(self, data: bytes) -> None:
        """Send; what comes after the end of our half, or to who does not read any more, goes nowhere."""
        if self.gone or self.half_closed or self.closing:
            return
        if self.transport is None:
            self.stream.feed(data)
            return
        while data and not self.transport.paused and not self.transport.closing:
            # A transport reads when the loop says so; what it does not read now waits in the kernel, here for good.
            view = self.protocol.get_buffer(-1)
            size = min(len(data), len(view))
            view[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]
        if data:
            self.half_closed = True

    def end(self) -> None:
        if self.gone or self.half_closed or self.closing:
            return
        self.half_closed = True
        if self.transport is None:
            self.stream.end()
        elif not self.transport.paused and not self.protocol.eof_received():
            self.transport.close()

    def lose(self, reason: BaseException | None = None) -> None:
        if not self.gone:
            self.take()
            self.gone = True
            if self.transport is None:
                self.stream.lose(reason)
            else:
                self.transport.lose(reason)

    def drain(self) -> None:
        if self.gone:
            return
        if self.transport is None:
            self.stream.drain()
        else:
            self.transport.drain()
            self.gone = self.transport.gone

    def take(self) -> None:
        """Read what the kernel has."""
        if self.transport is None:
            self.received += self.stream.take()
        else:
            self.received += self.transport.sent
            self.transport.sent.clear()


class World:
    """A worker and its clients. handler: makes the gateway, given the loop and a logger for applications' errors."""

    def __init__(self, chance: random.Random, handler: Callable[..., Any], **options: Any) -> None:
        self.chance = chance
        self.loop = asyncio.get_running_loop()
        self.errors = Errors()
        strict = logging.Logger("fuzz.server")
        strict.addHandler(self.errors)
        self.application_errors = logging.Logger("fuzz.application", logging.CRITICAL + 1)
        self.clock = ManualClock(1000.0)
        self.handler = handler(self.loop, self.application_errors)
        self.worker = Worker(self.handler, self.loop, clock=self.clock, logger=strict, date_header=False, **options)
        self.factory = protocol_factory(self.worker)
        self.socket, self._other = socket.socketpair()
        self.clients: list[Client] = []
        # Futures that applications wait for.
        self.gates: list[asyncio.Future[None]] = []
        self.loop.set_exception_handler(self._failed)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failure = AssertionError(context["message"])
        failure.__cause__ = context.get("exception")
        self.errors.found.append(failure)

    async def happen(self, event: Callable[..., Any], *arguments: Any) -> Any:
        """Let something happen in a callback of the loop, where no task is current."""
        done = self.loop.create_future()

        def run() -> None:
            try:
                done.set_result(event(*arguments))
            except BaseException as error:
                done.set_exception(error)

        self.loop.call_soon(run)
        return await done

    async def connect(self) -> Client:
        kind = self.chance.choice(("memory", "memory", "plain", "tls"))
        capacity = self.chance.choice((None, None, 0, 100, 20000))
        client: Client = await self.happen(Client, self, capacity, kind)
        self.clients.append(client)
        return client

    def gate(self) -> "asyncio.Future[None]":
        self.gates.append(self.loop.create_future())
        return self.gates[-1]

    def open_gate(self) -> None:
        if self.gates:
            gate = self.gates.pop(self.chance.randrange(len(self.gates)))
            if not gate.done():
                gate.set_result(None)

    def pass_time(self, seconds: float) -> None:
        end = self.clock.time + seconds
        while self.clock.time < end:
            self.clock.time += 0.1 if seconds < 10 else 0.7
            self.worker.advance()

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def something(self, client: Client) -> None:
        """One event that has nothing to do with what the client says."""
        chance = self.chance
        kind = chance.randrange(100)
        if kind < 30:
            await self.turns(chance.randrange(1, 4))
        elif kind < 45:
            await self.happen(self.open_gate)
        elif kind < 60:
            client.take()
            await self.happen(client.drain)
        elif kind < 66:
            await self.happen(self.pass_time, chance.choice((0.1, 0.3, 1.2, 2.5, 6, 11, 21, 65)))
        elif kind < 70:
            await self.happen(client.end)
        elif kind < 73:
            await self.happen(client.lose, chance.choice((None, ConnectionResetError("reset"))))
        elif kind < 75:
            await self.happen(lambda: self.worker.drain(chance.random() < 0.5, chance.choice((0, 1))))
        elif kind == 75:
            await self.happen(self.worker.disconnect)
        elif kind == 76:
            await self.happen(self.worker.cancel)
        elif kind == 77:
            await self.happen(self.worker.abort)
        elif kind == 78:
            await self.happen(self.worker.shed, chance.randrange(3))
        elif kind == 79:
            self.worker.running()
        elif kind < 82 and client.transport is None:
            client.stream.taker = chance.choice((None, lambda fresh: chance.random() < 0.5))
            client.stream.unread = chance.random() < 0.1
        if client.closing and chance.random() < 0.5:
            await self.happen(client.drain)
            await self.happen(client.lose)

    async def finish(self) -> None:
        """The end of all: nothing may be left."""
        silent = self.chance.random() < 0.5
        if silent:
            # What is left to be sent to a client that does not take it has time until the write deadline.
            await self._cancel(20)
            for client in self.clients:
                if client.transport is None:
                    client.stream.unread = False
            await self.happen(self.pass_time, 200)
            await self.turns(3)
            for client in self.clients:
                assert client.gone or client.closing or client.aborted, "a silent client is served for ever"
        for client in self.clients:
            await self.happen(client.drain)
            await self.happen(client.lose)
        await self.turns(2)
        assert await self._cancel(1000), "a request does not end"
        assert self.worker.connections == 0
        self.worker.close()
        for gate in self.gates:
            gate.cancel()
        self.socket.close()
        self._other.close()
        self.loop.set_exception_handler(None)
        if self.errors.found:
            raise self.errors.found[0]

    async def _cancel(self, rounds: int) -> bool:
        """Cancel what runs; whether all of it has ended."""
        for _ in range(rounds):
            await self.turns(3)
            if not self.worker.tasks:
                return True
            await self.happen(self.worker.cancel)
            await self.happen(self.open_gate)
            await self.wait()
        return False

    async def wait(self) -> None:
        """Let others run than the loop."""


async def play(scenario: Callable[[], Any]) -> None:
    """Run a scenario; what it made must be gone at its end, which debug builds can tell."""
    if not _live.enabled():
        await scenario()
        return
    before = _live.counts()
    await scenario()
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0)
        after = _live.counts()
        if all(after[kind] <= before[kind] for kind in before):
            return
    raise AssertionError(f"left alive: {before} became {after}")


STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [\t\x20-\x7e\x80-\xff]*\r\n")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ ]?([^\r\n\0]*)\r\n")


def read_responses(data: bytes, method: Callable[[int], str]) -> tuple[list[tuple[int, bytes, bool]], bytes | None]:
    """The final responses in `data`, (status, body, whole), the last of which may be cut short; what follows a 101.

    method: of the request with that index. Raises AssertionError for what is no response.
    """
    responses: list[tuple[int, bytes, bool]] = []
    while data:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            assert b"HTTP/1.1 "[: len(data)] == data[:9], data[:100]
            return responses, None
        head, data = data[: end + 2], data[end + 4 :]
        line = STATUS_LINE.match(head)
        assert line, head
        status = int(line[1])
        position, fields = line.end(), []
        while position < len(head):
            field = FIELD.match(head, position)
            assert field, head
            fields.append((field[1].lower(), field[2].strip()))
            position = field.end()
        if status == 101:
            return responses, data
        if status < 200:
            continue
        lengths = [value for name, value in fields if name == b"content-length"]
        chunked = (b"transfer-encoding", b"chunked") in fields
        assert len(lengths) <= 1, "two lengths"
        assert not (chunked and lengths), "two framings"
        if method(len(responses)) == "HEAD" and status not in (400, 408):
            body, whole = b"", True
        elif method(len(responses)) == "HEAD":
            # Who has not said all of its request may not have said its method.
            body, whole, data = data, True, b""
        elif status in (204, 304):
            body, whole = b"", True
        elif chunked:
            body, whole, data = read_chunks(data)
        elif lengths:
            body, whole = data[: int(lengths[0])], len(data) >= int(lengths[0])
            data = data[len(body) :]
        else:
            assert (b"connection", b"close") in fields, head
            # It ends with the connection.
            body, whole, data = data, False, b""
        responses.append((status, body, whole))
        if not whole:
            assert not data
        if (b"connection", b"close") in fields:
            assert not data, "something follows a response that closes the connection"
    return responses, None


def read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    """The body, whether it is whole, and what follows."""
    body = b""
    while True:
        size, line_end, rest = data.partition(b"\r\n")
        if not line_end:
            return body, False, b""
        assert re.fullmatch(rb"0|[1-9a-f][0-9a-f]*", size), size
        length = int(size, 16)
        if length == 0:
            break
        body += rest[:length]
        if len(rest) < length + 2:
            return body, False, b""
        assert rest[length : length + 2] == b"\r\n"
        data = rest[length + 2 :]
    while True:
        line, line_end, rest = rest.partition(b"\r\n")
        if not line_end:
            return body, False, b""
        if not line:
            return body, True, rest
        assert FIELD.fullmatch(line + b"\r\n"), line
