"""Sections 3 and 4: reserved bits and reserved opcodes, neither of which has a meaning here."""

from tests.websocket.cases.framing import NOT_TEXT
from tests.websocket.cases.script import (
    CLOSE,
    PING,
    TEXT,
    Case,
    Frame,
    Message,
    Section,
    Send,
    binary,
    ping,
    refused,
    text,
)

HELLO = b"Hello, world!"
ECHO = Message(TEXT, HELLO)


def _after_a_message(case: str, does: str, bad: Frame, chop: int | None = None, each: bool = False) -> Case:
    """A message, which is echoed; then the bad frame; then a ping, which is not answered."""
    return refused(case, does, Send([text(HELLO), bad, ping()], chop, each), events=(ECHO,))


def _opcodes(section: str, first: int, kind: str) -> list[Case]:
    after = "A text message, then a frame with the reserved {} opcode {:#x}{}, then a ping{}"
    payload, chopped = " and a payload", ", byte by byte"
    return [
        refused(
            f"{section}.1", f"A frame with the reserved {kind} opcode {first:#x}, without payload", Send([Frame(first)])
        ),
        refused(
            f"{section}.2",
            f"A frame with the reserved {kind} opcode {first + 1:#x} and a payload",
            Send([Frame(first + 1, HELLO)]),
        ),
        _after_a_message(f"{section}.3", after.format(kind, first + 2, "", ""), Frame(first + 2)),
        _after_a_message(f"{section}.4", after.format(kind, first + 3, payload, ""), Frame(first + 3, HELLO)),
        _after_a_message(f"{section}.5", after.format(kind, first + 4, payload, chopped), Frame(first + 4, HELLO), 1),
    ]


SECTIONS = [
    Section(
        "3",
        "Reserved bits",
        [
            refused("3.1", "A text message with reserved bits 1", Send([text(HELLO, rsv=1)])),
            _after_a_message("3.2", "A text message, one with reserved bits 2, a ping", text(HELLO, rsv=2)),
            _after_a_message(
                "3.3", "A text message, one with reserved bits 3, a ping, each by itself", text(HELLO, rsv=3), each=True
            ),
            _after_a_message(
                "3.4", "A text message, one with reserved bits 4, a ping, byte by byte", text(HELLO, rsv=4), 1
            ),
            refused("3.5", "A binary message with reserved bits 5", Send([binary(NOT_TEXT, rsv=5)])),
            refused("3.6", "A ping with reserved bits 6", Send([Frame(PING, HELLO, rsv=6)])),
            refused("3.7", "A close frame with reserved bits 7", Send([Frame(CLOSE, rsv=7)])),
        ],
    ),
    Section("4.1", "Reserved opcodes of messages", _opcodes("4.1", 0x3, "message")),
    Section("4.2", "Reserved opcodes of control frames", _opcodes("4.2", 0xB, "control")),
]
