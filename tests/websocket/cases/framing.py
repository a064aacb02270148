"""Sections 1 and 2: whole frames of every length encoding, and pings."""

from tests.websocket.cases.script import (
    BINARY,
    TEXT,
    Case,
    Closes,
    Frame,
    Message,
    Payload,
    Pong,
    Repeated,
    Section,
    Send,
    close,
    echoed,
    ping,
    pong,
    refused,
)

LENGTHS = (0, 125, 126, 127, 128, 65535, 65536)
CHOP = 997


def _lengths(section: str, kind: str, opcode: int, pattern: bytes) -> list[Case]:
    cases = []
    for number, size in enumerate((*LENGTHS, LENGTHS[-1]), 1):
        payload: Payload = Repeated(pattern, size)
        chop = CHOP if number > len(LENGTHS) else None
        does = f"A {kind} message of {size} bytes" + (f", sent {chop} bytes at a time" if chop else "")
        send = Send([Frame(opcode, payload)], chop)
        cases.append(echoed(f"{section}.{number}", does, send, Message(opcode, payload)))
    return cases


NOT_TEXT = bytes((0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF))
LONGEST = b"\xfe" * 125
UNASKED = pong(b"nobody asked")


def _pinged(case: str, does: str, payload: bytes, chop: int | None = None) -> Case:
    return Case(case, does, (Send([ping(payload)], chop),), (Pong(payload),))


def _many(case: str, does: str, chop: int | None) -> Case:
    payloads = [b"ping number %d" % number for number in range(10)]
    return Case(case, does, (Send([ping(payload) for payload in payloads], chop),), tuple(map(Pong, payloads)))


SECTIONS = [
    Section("1.1", "Text messages", _lengths("1.1", "text", TEXT, b"*")),
    Section("1.2", "Binary messages", _lengths("1.2", "binary", BINARY, b"\xfe")),
    Section(
        "2",
        "Pings and pongs",
        [
            _pinged("2.1", "A ping without payload", b""),
            _pinged("2.2", "A ping with a short text", b"Hello, world!"),
            _pinged("2.3", "A ping whose payload is not UTF-8", NOT_TEXT),
            _pinged("2.4", "A ping of 125 bytes, the longest there is", LONGEST),
            refused("2.5", "A ping of 126 bytes", Send([ping(LONGEST + b"\xfe")])),
            _pinged("2.6", "A ping of 125 bytes, sent byte by byte", LONGEST, chop=1),
            Case("2.7", "A pong that nobody asked for, then a close", (Send([pong(), close()]),), closes=Closes.SCRIPT),
            Case(
                "2.8",
                "A pong with payload that nobody asked for, then a close",
                (Send([UNASKED, close()]),),
                closes=Closes.SCRIPT,
            ),
            Case(
                "2.9", "A pong that nobody asked for, then a ping", (Send([UNASKED, ping(b"ping")]),), (Pong(b"ping"),)
            ),
            _many("2.10", "Ten pings at once, each answered in its order", None),
            _many("2.11", "Ten pings, sent byte by byte", 1),
        ],
    ),
]
