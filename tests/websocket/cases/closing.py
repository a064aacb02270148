"""Section 7: the closing handshake, close frames of every length, and which codes they may hold."""

from collections.abc import Sequence

from tests.websocket.cases.script import (
    INVALID_PAYLOAD,
    NORMAL,
    PROTOCOL_ERROR,
    TEXT,
    Case,
    Closes,
    Frame,
    Message,
    Repeated,
    Section,
    Send,
    close,
    continuation,
    ping,
    text,
)
from tests.websocket.cases.text import SURROGATE

HELLO = b"Hello World!"
LARGE = Repeated(b"BAsd7&jh23", 256 * 1024)

VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
INVALID = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
UNDEFINED = (5000, 65535)


def _closed(case: str, does: str, *frames: Frame, codes: Sequence[int | None] = (NORMAL,), **more: object) -> Case:
    return Case(case, does, (Send(frames),), closes=Closes.SCRIPT, codes=codes, **more)  # type: ignore[arg-type]


SECTIONS = [
    Section(
        "7.1",
        "The closing handshake",
        [
            Case("7.1.1", "A message, then a close", (Send([text(HELLO)]),), (Message(TEXT, HELLO),)),
            _closed("7.1.2", "Two close frames", close(), Frame(0x8)),
            _closed("7.1.3", "A close, then a ping, which is not answered", close(), ping()),
            _closed("7.1.4", "A close, then a message, which is ignored", close(), text(HELLO)),
            _closed(
                "7.1.5",
                "A close between two fragments of a message",
                text(b"fragment", fin=False),
                close(),
                continuation(b"fragment"),
            ),
            _closed(
                "7.1.6",
                "256 KiB, a short message, a close and a ping at once",
                text(LARGE),
                text(HELLO),
                close(),
                ping(),
                informational=True,
            ),
        ],
    ),
    Section(
        "7.3",
        "Close frames by length",
        [
            _closed("7.3.1", "A close frame without payload", close(None), codes=(NORMAL, None)),
            _closed("7.3.2", "A close frame of one byte", close(None, b"a"), codes=(PROTOCOL_ERROR,)),
            _closed("7.3.3", "A close frame of two bytes, a code", close()),
            _closed("7.3.4", "A close frame with a reason", close(NORMAL, HELLO)),
            _closed("7.3.5", "A close frame with the longest reason, 123 bytes", close(NORMAL, b"*" * 123)),
            _closed("7.3.6", "A close frame with a reason of 124", close(NORMAL, b"*" * 124), codes=(PROTOCOL_ERROR,)),
        ],
    ),
    Section(
        "7.5",
        "Close frames by content",
        [
            _closed(
                "7.5.1",
                "A close frame whose reason is not UTF-8",
                close(NORMAL, SURROGATE),
                codes=(PROTOCOL_ERROR, INVALID_PAYLOAD),
            )
        ],
    ),
    Section(
        "7.7",
        "Codes that may be sent",
        [
            _closed(f"7.7.{number}", f"A close with code {code}", close(code), codes=(NORMAL, code))
            for number, code in enumerate(VALID, 1)
        ],
    ),
    Section(
        "7.9",
        "Codes that must not be sent",
        [
            _closed(f"7.9.{number}", f"A close with code {code}", close(code), codes=(PROTOCOL_ERROR,))
            for number, code in enumerate(INVALID, 1)
        ],
    ),
    Section(
        "7.13",
        "Codes of which nothing is said",
        [
            _closed(f"7.13.{number}", f"A close with code {code}", close(code), informational=True)
            for number, code in enumerate(UNDEFINED, 1)
        ],
    ),
]
