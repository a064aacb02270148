"""RFC 6455 and RFC 7692 once more, literally and slowly: what MessageReader must say of the same bytes.

It is shown ever longer beginnings of the input and starts anew each time, so it cannot depend on how they are cut.
"""

import zlib
from dataclasses import dataclass
from typing import Any

from fastserve._deflate import Deflate

Event = tuple[Any, ...]


class Failed(Exception):
    """The code to close with."""

    def __init__(self, code: int) -> None:
        self.code = code


class Incomplete(Exception):
    """More bytes are needed."""


@dataclass
class Head:
    """What a frame's head says."""

    opcode: int
    final: bool
    rsv1: bool
    size: int
    key: bytes
    end: int


def read_head(data: bytes, at: int, *, continues: bool, deflate: bool) -> Head:
    """The head at this offset, judged byte by byte."""
    left = data[at:]
    if not left:
        raise Incomplete
    final, rsv1, rsv2, rsv3 = (bool(left[0] & bit) for bit in (0x80, 0x40, 0x20, 0x10))
    opcode = left[0] & 0x0F
    control = opcode >= 8
    if rsv2 or rsv3 or (rsv1 and (not deflate or control or opcode == 0)):
        raise Failed(1002)
    if opcode not in {0, 1, 2, 8, 9, 10} or (control and not final):
        raise Failed(1002)
    if not control and (opcode == 0) != continues:
        raise Failed(1002)
    if len(left) < 2:
        raise Incomplete
    size = left[1] & 0x7F
    if not left[1] & 0x80 or (control and size > 125):
        raise Failed(1002)
    extended = {126: 2, 127: 8}.get(size, 0)
    if extended == 8 and len(left) > 2 and left[2] & 0x80:
        raise Failed(1002)
    if len(left) < 2 + extended:
        raise Incomplete
    if extended:
        size = int.from_bytes(left[2 : 2 + extended], "big")
        if size < (126 if extended == 2 else 65536):
            raise Failed(1002)
    if len(left) < 6 + extended:
        raise Incomplete
    return Head(opcode, final, rsv1, size, left[2 + extended : 6 + extended], at + 6 + extended)


# RFC 3629 section 4: the ranges of the bytes of one character.
CHARACTERS = [
    ["\x00\x7f"],
    ["\xc2\xdf", "\x80\xbf"],
    ["\xe0\xe0", "\xa0\xbf", "\x80\xbf"],
    ["\xe1\xec", "\x80\xbf", "\x80\xbf"],
    ["\xed\xed", "\x80\x9f", "\x80\xbf"],
    ["\xee\xef", "\x80\xbf", "\x80\xbf"],
    ["\xf0\xf0", "\x90\xbf", "\x80\xbf", "\x80\xbf"],
    ["\xf1\xf3", "\x80\xbf", "\x80\xbf", "\x80\xbf"],
    ["\xf4\xf4", "\x80\x8f", "\x80\xbf", "\x80\xbf"],
]


def _fitting(data: bytes, ranges: list[str]) -> int:
    """How many bytes at the start can be this kind of character."""
    for place, (byte, (low, high)) in enumerate(zip(data, ranges, strict=False)):
        if not ord(low) <= byte <= ord(high):
            return place
    return min(len(data), len(ranges))


def text_problem(data: bytes, *, whole: bool = False) -> int | None:
    """The offset of the first byte that no character goes on with, or where a `whole` text ends within one."""
    at = 0
    while at < len(data):
        left = data[at : at + 4]
        best, ended = max((_fitting(left, ranges), _fitting(left, ranges) == len(ranges)) for ranges in CHARACTERS)
        if not ended:
            return at + best if whole or best < len(left) else None
        at += best
    return None


@dataclass
class Stream:
    """A deflate stream: what its window was filled with, and all of it so far."""

    window: bytes = b""
    data: bytes = b""


def inflated(payload: bytes, stream: Stream, *, whole: bool, bits: int) -> tuple[bytes, Stream]:
    """The message, or its beginning, and the stream behind it. Its blocks may have the final bit."""
    tail = b"\x00\x00\xff\xff"
    data = payload + tail * whole
    found = b""
    blocks = 0
    try:
        while True:
            inflater = zlib.decompressobj(-bits, zdict=stream.window[-(1 << bits) :])
            inflater.decompress(stream.data)
            found += inflater.decompress(data)
            if not inflater.eof:
                return found, Stream(stream.window, stream.data + data)
            data = inflater.unused_data
            blocks += 1
            if blocks > 16:
                raise Failed(1002)
            if data in {b"", tail}:
                return found, Stream()
            stream = Stream(found)
    except zlib.error:
        raise Failed(1002) from None


def read(data: bytes, max_size: int = 0, deflate: Deflate | None = None) -> list[Event]:
    """Every event in `data`, up to a close or a failure; the text of a failure is not told."""
    events: list[Event] = []
    try:
        _read(data, max_size or 1 << 61, deflate, events)
    except Incomplete:
        pass
    except Failed as failure:
        events.append(("failed", failure.code))
    return events


def _read(data: bytes, max_size: int, deflate: Deflate | None, events: list[Event]) -> None:
    at = 0
    kind = 0
    compressed = False
    payload = b""
    stream = Stream()
    bits = max(9, deflate.client_max_window_bits) if deflate else 0
    while True:
        head = read_head(data, at, continues=kind != 0, deflate=deflate is not None)
        at = head.end
        if head.opcode < 8:
            if head.opcode:
                kind, compressed, payload = head.opcode, head.rsv1, b""
            room = max_size + (max_size // 8 + max_size // 64 + 1024 if compressed else 0)
            if len(payload) + head.size > room:
                raise Failed(1009)
        arrived = data[at : at + head.size]
        at += len(arrived)
        arrived = bytes(byte ^ head.key[index % 4] for index, byte in enumerate(arrived))
        complete = len(arrived) == head.size
        if head.opcode >= 8:
            if not complete:
                raise Incomplete
            _control(head.opcode, arrived, events)
            if head.opcode == 8:
                return
            continue
        payload += arrived
        whole = complete and head.final
        said, after = inflated(payload, stream, whole=whole, bits=bits) if compressed else (payload, stream)
        if len(said) > max_size:
            raise Failed(1009)
        if kind == 1 and text_problem(said, whole=whole) is not None:
            raise Failed(1007)
        if not complete:
            raise Incomplete
        if whole:
            events.append(("text", said.decode()) if kind == 1 else ("binary", said))
            stream = Stream() if deflate and deflate.client_no_context_takeover else after
            kind = 0


def _control(opcode: int, payload: bytes, events: list[Event]) -> None:
    if opcode == 9:
        events.append(("ping", payload))
    elif opcode == 10:
        events.append(("pong", payload))
    elif not payload:
        events.append(("close", 1005, ""))
    else:
        code = int.from_bytes(payload[:2], "big")
        if len(payload) < 2 or code not in {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}:
            raise Failed(1002)
        if text_problem(payload[2:], whole=True) is not None:
            raise Failed(1007)
        events.append(("close", code, payload[2:].decode()))
