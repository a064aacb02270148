"""Section 9: large messages, small fragments, small pieces, many round trips."""

from tests.websocket.cases.script import (
    BINARY,
    TEXT,
    Case,
    Echoes,
    Fragments,
    Frame,
    Message,
    Repeated,
    RoundTrips,
    Section,
    Send,
    echoed,
)

KIB, MIB = 1024, 1024 * 1024
PATTERNS = {TEXT: b"BAsd7&jh23", BINARY: b"\x00\xfe\x23\xfa\xf0"}
NAMES = {TEXT: "text", BINARY: "binary"}

SIZES = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
FRAGMENTS = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
CHOPS = (64, 128, 256, 512, KIB, 2 * KIB)
ROUND_TRIPS = (0, 16, 64, 256, KIB, 4 * KIB)
COUNT = 1000


def size(number: int) -> str:
    """As people write it."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if number >= unit and number % unit == 0:
            return f"{number // unit} {name}"
    return f"{number} bytes"


def _sizes(section: str, opcode: int) -> Section:
    cases = [
        echoed(
            f"{section}.{number}",
            f"A {NAMES[opcode]} message of {size(length)}",
            Send([Frame(opcode, Repeated(PATTERNS[opcode], length))]),
            Message(opcode, Repeated(PATTERNS[opcode], length)),
        )
        for number, length in enumerate(SIZES, 1)
    ]
    return Section(section, f"Large {NAMES[opcode]} messages", cases)


def _fragments(section: str, opcode: int) -> Section:
    payload = Repeated(PATTERNS[opcode], 4 * MIB)
    cases = [
        echoed(
            f"{section}.{number}",
            f"A {NAMES[opcode]} message of 4 MiB in fragments of {size(length)}",
            Fragments(opcode, payload, length),
            Message(opcode, payload),
        )
        for number, length in enumerate(FRAGMENTS, 1)
    ]
    return Section(section, f"Large {NAMES[opcode]} messages in fragments", cases)


def _chops(section: str, opcode: int) -> Section:
    payload = Repeated(PATTERNS[opcode], MIB)
    cases = [
        echoed(
            f"{section}.{number}",
            f"A {NAMES[opcode]} message of 1 MiB, sent {size(length)} at a time",
            Send([Frame(opcode, payload)], chop=length),
            Message(opcode, payload),
        )
        for number, length in enumerate(CHOPS, 1)
    ]
    return Section(section, f"Large {NAMES[opcode]} messages in pieces", cases)


def _round_trips(section: str, opcode: int) -> Section:
    cases = [
        Case(
            f"{section}.{number}",
            f"{COUNT} {NAMES[opcode]} messages of {size(length)}, one after another",
            (RoundTrips(opcode, length, COUNT),),
            (Echoes(),),
        )
        for number, length in enumerate(ROUND_TRIPS, 1)
    ]
    return Section(section, f"Round trips of {NAMES[opcode]} messages", cases)


SECTIONS = [
    family(f"9.{number}", opcode)
    for number, family, opcode in (
        (1, _sizes, TEXT),
        (2, _sizes, BINARY),
        (3, _fragments, TEXT),
        (4, _fragments, BINARY),
        (5, _chops, TEXT),
        (6, _chops, BINARY),
        (7, _round_trips, TEXT),
        (8, _round_trips, BINARY),
    )
]
