"""What a case is written in: frames to send, what has to come back, and how the connection has to end.

A case is data. `tests.websocket.play` plays it against a server that echoes every message, and judges strictly: nothing
else may arrive, the close frame has to arrive with one of the codes named, and it is the server that ends the TCP
connection then.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NORMAL = 1000
PROTOCOL_ERROR = 1002
INVALID_PAYLOAD = 1007
TOO_BIG = 1009


@dataclass(frozen=True)
class Repeated:
    """A payload of `size` bytes: the pattern over and over. Many of them are too large to be held all the time."""

    pattern: bytes
    size: int

    def __bytes__(self) -> bytes:
        return (self.pattern * (self.size // len(self.pattern) + 1))[: self.size]

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class Deflated:
    """The payload of a compressed message (RFC 7692, section 7.2.1), by a compressor that has seen nothing before.

    `final`: its last block says that it is the last.
    """

    content: bytes | Repeated
    final: bool = False

    def __bytes__(self) -> bytes:
        compressor = zlib.compressobj(wbits=-15)
        data = compressor.compress(bytes(self.content))
        if self.final:
            return data + compressor.flush() + b"\x00"
        return (data + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")

    def __len__(self) -> int:
        return len(bytes(self))


Payload = bytes | Repeated | Deflated


@dataclass(frozen=True)
class Frame:
    """One frame as the client sends it; `rsv` has RSV1 as its 4, RSV2 as 2, RSV3 as 1.

    `declared`: a length in the head other than the payload's. `masked` off is what only servers may do. `width`: the
    bits that the length takes, 7, 16 or 64, where not the least that hold it.
    """

    opcode: int
    payload: Payload = b""
    fin: bool = True
    rsv: int = 0
    declared: int | None = None
    masked: bool = True
    width: int | None = None


@dataclass(frozen=True)
class Send:
    """Frames sent: in one piece, `each` in a piece of its own, or `chop` bytes at a time."""

    frames: Sequence[Frame]
    chop: int | None = None
    each: bool = False


@dataclass(frozen=True)
class Chops:
    """The beginning of a frame: its head with the first piece of its payload, then each other one after a silence.

    The rest of it is never sent: the server has to answer without.
    """

    frame: Frame
    pieces: Sequence[bytes]


@dataclass(frozen=True)
class Await:
    """Nothing more is sent until so many of the expected events are there."""

    count: int


@dataclass(frozen=True)
class Silence:
    """Nothing arrives for a moment: the server waits for more, and does not object to what it has."""


@dataclass(frozen=True)
class Fragments:
    """One message in fragments of `size` bytes."""

    opcode: int
    payload: Payload
    size: int


@dataclass(frozen=True)
class RoundTrips:
    """`count` messages of `size`, each sent when the last is back, and compared; all together are one event, Echoes.

    `source`: one of the texts of `tests.websocket.cases.material`, or None for one character over and over. With
    permessage-deflate they are compressed. `fragment`: in fragments of so many bytes of what is sent.
    """

    opcode: int
    size: int
    count: int
    source: str | None = None
    fragment: int | None = None


Step = Send | Chops | Await | Silence | Fragments | RoundTrips


@dataclass(frozen=True)
class Message:
    """A message that the server sends; its kind and its content."""

    opcode: int
    payload: Payload


@dataclass(frozen=True)
class Pong:
    payload: bytes


@dataclass(frozen=True)
class Echoes:
    """What RoundTrips sent came back."""


Event = Message | Pong | Echoes


class Closes(Enum):
    """Who begins the closing handshake."""

    CLIENT = "the client, with code 1000, once everything expected is there"
    SCRIPT = "the client, by a frame of the case"
    SERVER = "the server, which fails the connection"


@dataclass(frozen=True)
class Case:
    """One case. `codes`: what the server's close frame may say, None for a close frame without a code.

    `informational`: what happens is not laid down, it is only written down.
    `offer`: the value of Sec-WebSocket-Extensions; the extension then has to be agreed on. `early`: frames sent right
    behind the opening request.
    """

    id: str
    does: str
    steps: Sequence[Step]
    events: Sequence[Event] = ()
    closes: Closes = Closes.CLIENT
    codes: Sequence[int | None] = (NORMAL,)
    informational: bool = False
    offer: str | None = None
    early: Sequence[Frame] = ()

    @property
    def section(self) -> str:
        """What comes before the last point of the id."""
        return self.id.rpartition(".")[0]


@dataclass(frozen=True)
class Section:
    """Cases under one heading."""

    id: str
    title: str
    cases: Sequence[Case]


def text(payload: Payload, **more: object) -> Frame:
    return Frame(TEXT, payload, **more)  # type: ignore[arg-type]


def binary(payload: Payload, **more: object) -> Frame:
    return Frame(BINARY, payload, **more)  # type: ignore[arg-type]


def continuation(payload: Payload, **more: object) -> Frame:
    return Frame(CONTINUATION, payload, **more)  # type: ignore[arg-type]


def ping(payload: bytes = b"", **more: object) -> Frame:
    return Frame(PING, payload, **more)  # type: ignore[arg-type]


def pong(payload: bytes = b"", **more: object) -> Frame:
    return Frame(PONG, payload, **more)  # type: ignore[arg-type]


def close(code: int | None = NORMAL, reason: bytes = b"", **more: object) -> Frame:
    return Frame(CLOSE, (b"" if code is None else code.to_bytes(2)) + reason, **more)  # type: ignore[arg-type]


def echoed(case: str, does: str, send: Step, message: Message) -> Case:
    """One message, and it comes back."""
    return Case(case, does, (send,), (message,))


def refused(case: str, does: str, *steps: Step, events: Sequence[Event] = (), code: int = PROTOCOL_ERROR) -> Case:
    """The server fails the connection."""
    return Case(case, does, steps, events, Closes.SERVER, (code,))
