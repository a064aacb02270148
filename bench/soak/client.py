"""The client: keeps up the load, and writes down what became of every single request.

A process of its own, so that nothing the harness does delays it. Three kinds of users, each with one request at a time:
*busy* keeps its connection and sends the next request at once, *pausing* keeps it and waits up to two seconds between
requests, *reconnecting* has a new connection for each and says so by `Connection: close`. Before it sends on a kept
connection, a user looks whether the server has closed it: that is no failure, a new one is opened. Once the request is
sent, whatever is not its whole and right answer is a failure. Nothing is ever tried again.

Times are seconds of time.monotonic(), the same clock for all processes of a machine.
"""

import argparse
import asyncio
import errno
import gc
import itertools
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Any

SOURCES = 32
"""Loopback addresses that connections come from in turn, 127.0.0.1 and following: one would run out of ports."""

LONGEST_PAUSE = 2.0
AFTER_FAILURE = 0.02
"""Seconds a user waits after a failure, so that a dead server is not asked a million times."""

LAG_INTERVAL = 0.01
LARGEST_HEAD = 65536


class Outcome(Enum):
    """What became of a request."""

    ANSWERED = "answered"
    REFUSED = "refused"
    RESET = "reset before the response"
    CLOSED = "closed without a byte"
    TRUNCATED = "truncated"
    STATUS = "wrong status"
    WRONG = "wrong answer"
    TIMEOUT = "timeout"


class User(Enum):
    """How a user treats connections."""

    BUSY = "busy"
    PAUSING = "pausing"
    RECONNECTING = "reconnecting"


@dataclass(frozen=True, slots=True)
class Record:
    """One request. `served`: how many were answered on its connection before; `before`: the worker that did so last.

    `connection` is the client's end, "ADDRESS:PORT", empty where none came about; `opened` is when it was begun.
    `began` is when the request was about to be sent (or its connection opened), `ended` when its fate was known.
    `worker` is the process that answered. Processes that are not known are 0.
    """

    request: str
    user: User
    outcome: Outcome
    detail: str
    began: float
    ended: float
    connection: str
    opened: float
    served: int
    worker: int
    before: int

    def as_row(self) -> list[Any]:
        return [value.value if isinstance(value, Enum) else value for value in astuple(self)]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "Record":
        request, user, outcome, *rest = row
        return cls(request, User(user), Outcome(outcome), *rest)


class ClientError(Exception):
    """The client itself could not go on (no ports, no descriptors): the run says nothing about the server."""


class _FailedRequest(Exception):
    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        super().__init__(outcome, detail)
        self.outcome = outcome
        self.detail = detail


_OWN_FAULTS = {errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Connection:
    def __init__(self, source: str, opened: float) -> None:
        self.opened = opened
        self.name = ""
        self.served = 0
        self.worker = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The port is chosen by connect(2), which knows the other end: one port serves many pairs.
        self.socket.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        self.socket.bind((source, 0))

    async def connect(self, address: tuple[str, int]) -> None:
        try:
            await asyncio.get_running_loop().sock_connect(self.socket, address)
            host, port = self.socket.getsockname()
        except ConnectionRefusedError as error:
            raise _FailedRequest(Outcome.REFUSED) from error
        except OSError as error:
            if error.errno in _OWN_FAULTS:
                raise ClientError(f"connect: {error.strerror}") from error
            raise _FailedRequest(Outcome.RESET, f"connect: {error.strerror}") from error
        self.name = f"{host}:{port}"

    def closed_by_server(self) -> str:
        """How the server has ended the connection or spoiled it for another request; empty: it has not."""
        try:
            early = self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return ""
        except OSError:
            return "reset"
        return "unasked bytes" if early else "closed"

    async def exchange(self, request: bytes) -> tuple[bytes, bytes]:
        """Send it, and give the head and the body of the answer, both complete."""
        loop = asyncio.get_running_loop()
        broken = None
        try:
            await loop.sock_sendall(self.socket, request)
        except OSError as error:
            # An answer may be there nevertheless; if there is none, this is why.
            broken = error
        received, needed = bytearray(), -1
        head_end = -1
        while needed < 0 or len(received) < needed:
            try:
                piece = await loop.sock_recv(self.socket, 65536)
            except OSError as error:
                outcome = Outcome.TRUNCATED if received else Outcome.RESET
                raise _FailedRequest(outcome, f"{len(received)} bytes, then {error.strerror}") from error
            if not piece:
                if received:
                    raise _FailedRequest(Outcome.TRUNCATED, f"{len(received)} bytes, then the end")
                if broken is not None:
                    raise _FailedRequest(Outcome.RESET, f"send: {broken.strerror}")
                raise _FailedRequest(Outcome.CLOSED)
            received += piece
            if needed < 0:
                head_end = received.find(b"\r\n\r\n")
                if head_end >= 0:
                    needed = head_end + 4 + _content_length(bytes(received[:head_end]))
                elif len(received) > LARGEST_HEAD:
                    raise _FailedRequest(Outcome.WRONG, "a head without an end")
        if len(received) > needed:
            raise _FailedRequest(Outcome.WRONG, f"{len(received) - needed} bytes too many")
        return bytes(received[:head_end]), bytes(received[head_end + 4 :])

    def close(self) -> None:
        self.socket.close()


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.strip().lower(), value.strip()


def _content_length(head: bytes) -> int:
    for name, value in _fields(head):
        if name == b"content-length" and value.isdigit():
            return int(value)
    raise _FailedRequest(Outcome.WRONG, f"no content-length: {head[:200]!r}")


def _worker_of(head: bytes, body: bytes, request: str) -> int:
    """The process that answered `request`. Raises _FailedRequest where this is not its answer."""
    status = head.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if status != [b"200"]:
        raise _FailedRequest(Outcome.STATUS, head.split(b"\r\n", 1)[0].decode("latin-1"))
    pid, _, rest = body.partition(b" ")
    if not pid.isdigit() or not rest.startswith(request.encode() + b" "):
        raise _FailedRequest(Outcome.WRONG, f"body {body[:40]!r}")
    return int(pid)


def _says_close(head: bytes) -> bool:
    return any(name == b"connection" and value.lower() == b"close" for name, value in _fields(head))


class Client:
    """All users of one run. `records` has every request whose fate is known, in the order of their ends.

    timeout: seconds for one request; it may be changed, for those that begin after.
    """

    def __init__(self, address: tuple[str, int], users: Sequence[User], timeout: float = 10.0) -> None:
        self.records: list[Record] = []
        self.idle_ends: Counter[str] = Counter()
        self.worst_lag = 0.0
        self._address = address
        self._users = users
        self.timeout = timeout
        self._stopping = asyncio.Event()
        self._sources = itertools.cycle(f"127.0.0.{number}" for number in range(1, SOURCES + 1))

    def stop(self) -> None:
        """Send no further request; run() ends when those under way have."""
        self._stopping.set()

    async def run(self, requests: int | None = None) -> None:
        """Until stopped, or until each user has sent so many requests. Raises ClientError."""
        watch = asyncio.create_task(self._watch_lag())
        users = [asyncio.create_task(self._use(kind, number, requests)) for number, kind in enumerate(self._users)]
        try:
            await asyncio.gather(*users)
        finally:
            for task in (watch, *users):
                task.cancel()
            await asyncio.gather(watch, *users, return_exceptions=True)

    async def _watch_lag(self) -> None:
        while True:
            due = time.monotonic() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self.worst_lag = max(self.worst_lag, time.monotonic() - due)

    async def _use(self, user: User, number: int, requests: int | None) -> None:
        connection: _Connection | None = None
        counted = itertools.count() if requests is None else range(requests)
        try:
            for count in counted:
                if self._stopping.is_set():
                    return
                connection, answered = await self._request(user, f"{user.value}-{number}-{count}", connection)
                if not answered:
                    await self._pause(AFTER_FAILURE)
                elif user is User.PAUSING:
                    await self._pause(random.random() ** 3 * LONGEST_PAUSE)
        finally:
            if connection is not None:
                connection.close()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _request(
        self, user: User, request: str, connection: _Connection | None
    ) -> tuple[_Connection | None, bool]:
        """One request on `connection`, on a new one where that is None or at its end.

        Gives the connection for the next request, and whether this one was answered.
        """
        if connection is not None:
            how = connection.closed_by_server()
            if how:
                self.idle_ends[how] += 1
                connection.close()
                connection = None
        began = time.monotonic()
        outcome, detail, worker, reusable = Outcome.ANSWERED, "", 0, False
        fresh = connection is None
        if connection is None:
            try:
                connection = _Connection(next(self._sources), began)
            except OSError as error:
                raise ClientError(f"socket: {error.strerror}") from error
        closing = "Connection: close\r\n" if user is User.RECONNECTING else ""
        text = f"GET /{request} HTTP/1.1\r\nHost: soak\r\n{closing}\r\n".encode()
        phase = "connecting"
        try:
            async with asyncio.timeout(self.timeout):
                if fresh:
                    await connection.connect(self._address)
                phase = "waiting for the answer"
                head, body = await connection.exchange(text)
            worker = _worker_of(head, body, request)
            reusable = user is not User.RECONNECTING and not _says_close(head)
        except _FailedRequest as failure:
            outcome, detail = failure.outcome, failure.detail
        except TimeoutError:
            outcome, detail = Outcome.TIMEOUT, f"{phase} for {self.timeout:g} s"
        except BaseException:
            connection.close()
            raise
        self.records.append(
            Record(
                request, user, outcome, detail, began, time.monotonic(), connection.name, connection.opened,
                connection.served, worker, connection.worker,
            )
        )  # fmt: skip
        if not reusable:
            connection.close()
            return None, outcome is Outcome.ANSWERED
        connection.served += 1
        connection.worker = worker
        return connection, True


async def _serve_harness(client: Client) -> None:
    """Run until the harness closes our standard input."""
    loop = asyncio.get_running_loop()

    def told() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            client.stop()

    loop.add_reader(0, told)
    await client.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line about the client, then one for each request; 2 if the client itself failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak.client", description="Load until standard input ends.")
    parser.add_argument("address", help="ADDRESS:PORT")
    for user in User:
        parser.add_argument(f"--{user.value}", type=int, default=0, metavar="N", help=f"users of the kind {user.value}")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for one request (10)")
    options = parser.parse_args(arguments)
    host, _, port = options.address.rpartition(":")
    users = [user for user in User for _ in range(getattr(options, user.value))]

    async def run() -> Client:
        client = Client((host, int(port)), users, options.timeout)
        await _serve_harness(client)
        return client

    # Its pauses would be taken for the server's.
    gc.disable()
    try:
        client = asyncio.run(run())
    except ClientError as error:
        print(f"bench.soak.client: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"idle_ends": client.idle_ends, "worst_lag": client.worst_lag}))
    for record in client.records:
        print(json.dumps(record.as_row()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
