"""A client on a bare socket, which shows a response as it was on the wire; and cases: what to send, what to read."""

import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.parity import normalise

PATIENCE = 25.0
PROBE = b"GET /control/probe HTTP/1.1\r\nHost: parity\r\nConnection: close\r\n\r\n"


class MalformedResponse(AssertionError):
    """The bytes received are not an HTTP/1.1 response."""


@dataclass
class Response:
    status_line: str
    fields: list[str]
    framed: bytes = b""
    body: bytes = b""
    complete: bool = True

    @property
    def status(self):
        return int(self.status_line.split(" ")[1])

    def values(self, name):
        """The values of all fields called `name`, in order."""
        return [line.partition(": ")[2] for line in self.fields if line.startswith(f"{name}: ")]

    def lines(self):
        """The response as lines that can be compared and read."""
        framed = repr(self.framed) if len(self.framed) < 4096 else f"{len(self.framed)} bytes, {hash(self.framed)}"
        return [
            self.status_line,
            *map(normalise.field, self.fields),
            f"body {framed}",
            *([] if self.complete else ["cut short"]),
        ]


class Client:
    """A blocking connection. A reset by the server reads as the end of the stream."""

    receive_size = 262144

    def __init__(self, address, tls=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else None
        self.socket = socket.socket(family or socket.AF_INET)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.buffer = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def half_close(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes so that the server sees a reset instead of the end of the stream."""
        ends = None
        if self.socket.family == socket.AF_INET:
            ends = f":{self.socket.getpeername()[1]:04X}", f":{self.socket.getsockname()[1]:04X}"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        # On its way to another core the reset may be overtaken by what is sent after it.
        deadline = time.monotonic() + PATIENCE
        while ends is not None and _is_established(*ends) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _more(self):
        """Receives once; False at the end of the stream."""
        if not self.ended:
            try:
                data = self.socket.recv(self.receive_size)
            except ConnectionResetError:
                data = b""
            except TimeoutError:
                raise TimeoutError(f"waited for more after {self.buffer[-1000:]!r}") from None
            self.buffer += data
            self.ended = not data
        return not self.ended

    def _take(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _until(self, delimiter):
        """All up to and with `delimiter`, or None if the stream ends before."""
        while delimiter not in self.buffer:
            if not self._more():
                return None
        return self._take(self.buffer.index(delimiter) + len(delimiter))

    def _exactly(self, size):
        """`size` bytes, or fewer if the stream ends before."""
        while len(self.buffer) < size and self._more():
            pass
        return self._take(size)

    def read_rest(self):
        """All until the server closes."""
        while self._more():
            pass
        return self._take(len(self.buffer))

    def read_head(self):
        """A response without its body, or None if the server closed instead."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            if self.buffer:
                raise MalformedResponse(f"no end of a head: {self.buffer!r}")
            return None
        status_line, *fields = head[:-4].decode("latin-1").split("\r\n")
        if not re.fullmatch(r"HTTP/1\.[01] \d{3} .*", status_line):
            raise MalformedResponse(f"no status line: {status_line!r}")
        return Response(status_line, fields)

    def read_response(self, method):
        """The next response to a request with `method`; None if the server closed instead."""
        response = self.read_head()
        if response is None or method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return response
        lengths = response.values("content-length")
        if any(value.lower() == "chunked" for value in response.values("transfer-encoding")):
            self._read_chunks(response)
        elif lengths:
            response.body = response.framed = self._exactly(int(lengths[0]))
            response.complete = len(response.body) == int(lengths[0])
        else:
            response.body = response.framed = self.read_rest()
        return response

    def _read_chunks(self, response):
        while True:
            line = self._until(b"\r\n")
            if line is None:
                response.framed += self._take(len(self.buffer))
                response.complete = False
                return
            size = int(line[:-2], 16)
            response.framed += line
            if size == 0:
                break
            chunk = self._exactly(size + 2)
            response.framed += chunk
            response.body += chunk[:size]
        while True:
            line = self._until(b"\r\n")
            response.complete = line is not None
            response.framed += line or b""
            if line in (b"\r\n", None):
                return


def request(method, target, *fields, body=b"", version="1.1", host="parity"):
    """The bytes of a request; `fields` are field lines without their ends, content-length is added for a body."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines.extend(fields)
    if body and not any(line.lower().startswith("transfer-encoding") for line in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


# Steps of a case


@dataclass(frozen=True)
class Send:
    data: bytes


@dataclass(frozen=True)
class Final:
    """Read a response, and the interim ones before it."""

    method: str = "GET"


@dataclass(frozen=True)
class Interim:
    """Read one interim response."""


@dataclass(frozen=True)
class HalfClose:
    """Send nothing more, keep reading."""


@dataclass(frozen=True)
class Eof:
    """Read until the server closes."""


@dataclass(frozen=True)
class Differs:
    """A wanted difference: why, and what each side shows of it.

    `view` reduces a transcript to what the difference is about; by default the status codes and whether the
    connection is open.
    """

    reason: str
    uvicorn: object
    fastserve: object
    view: Callable = field(default=lambda transcript: transcript.summary)


@dataclass(frozen=True)
class Case:
    name: str
    steps: tuple
    differs: Differs | None = None

    def __str__(self):
        return self.name


def case(name, *steps, reads=None, differs=None):
    """A case. Bytes are sent; with nothing but bytes, one response is read, or those to the methods in `reads`."""
    if all(isinstance(step, bytes) for step in steps):
        methods = reads if reads is not None else (steps[0].split(b" ", 1)[0].decode("latin-1"),)
        steps = (*steps, *map(Final, methods))
    return Case(name, tuple(Send(step) if isinstance(step, bytes) else step for step in steps), differs)


@dataclass
class Transcript:
    responses: list = field(default_factory=list)
    end: str = "closed"
    log: list = field(default_factory=list)

    @property
    def summary(self):
        end = self.end.partition(":")[0]
        return " ".join([*(f"{each.status}{'' if each.complete else ' cut'}" for each in self.responses), end])

    def lines(self):
        return [line for response in self.responses for line in response.lines()] + [self.end, "log:", *self.log]


def play(server, case):
    """Runs a case against a server; then asks once more on the same connection, to learn whether it is open."""
    transcript = Transcript()
    with server.connect() as client:
        try:
            for step in case.steps:
                perform(step, client, transcript)
            if case.steps[-1] not in (Eof(), HalfClose()):
                probe(client, transcript)
            rest = client.read_rest()
            if rest:
                raise MalformedResponse(f"unasked bytes: {rest!r}")
        except MalformedResponse as error:
            transcript.end = f"malformed: {error}"
    transcript.log = server.take_log()
    return transcript


def perform(step, client, transcript):
    match step:
        case Send(data):
            client.send(data)
        case Final(method):
            while (response := client.read_response(method)) is not None:
                transcript.responses.append(response)
                if response.status >= 200:
                    break
        case Interim():
            response = client.read_head()
            if response is not None:
                transcript.responses.append(response)
        case HalfClose():
            client.half_close()
        case Eof():
            rest = client.read_rest()
            if rest:
                raise MalformedResponse(f"unasked bytes: {rest!r}")


def probe(client, transcript):
    client.send(PROBE)
    response = client.read_response("GET")
    if response is not None:
        if response.body != b"probe":
            raise MalformedResponse(f"not the response to the last request: {response}")
        transcript.end = "open"


def _is_established(local, remote):
    """Whether the kernel has a TCP connection with these two ports, written as its table writes them."""
    with open("/proc/net/tcp") as table:
        rows = (line.split() for line in table)
        return any(row[1].endswith(local) and row[2].endswith(remote) and row[3] == "01" for row in rows)
