"""Section 20: what the Autobahn test suite does not ask: masks, lengths, limits, and how compressed data may look."""

from tests.websocket.cases.compression import OFFER
from tests.websocket.cases.script import (
    BINARY,
    CLOSE,
    INVALID_PAYLOAD,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Case,
    Closes,
    Deflated,
    Frame,
    Message,
    Payload,
    Pong,
    Repeated,
    Section,
    Send,
    binary,
    continuation,
    ping,
    refused,
    text,
)
from tests.websocket.cases.sizes import MIB

HELLO = b"Hello, world!"
LIMIT = 16 * MIB
RSV1 = 4
COMPRESSED = bytes(Deflated(HELLO))
# Blocks of RFC 1951 byte by byte: a stored one; one of fixed codes that is empty, and an empty stored one behind it.
STORED = b"\x00\x05\x00\xfa\xffstore"
EMPTY = b"\x02\x00\x00\x00\xff\xff"


def _compressed(case: str, does: str, *frames: Frame, echo: Payload, opcode: int = TEXT) -> Case:
    return Case(case, does, (Send(frames),), (Message(opcode, echo),), offer=OFFER)


def _corrupt(case: str, does: str, *frames: Frame, codes: tuple[int, ...] = (PROTOCOL_ERROR,)) -> Case:
    return Case(case, does, (Send(frames),), closes=Closes.SERVER, codes=codes, offer=OFFER)


SECTIONS = [
    Section(
        "20.1",
        "Masks and lengths",
        [
            refused("20.1.1", "A frame that is not masked", Send([text(HELLO, masked=False)])),
            refused("20.1.2", "A length of 13 in 16 bits", Send([text(HELLO, width=16)])),
            refused("20.1.3", "A length of 13 in 64 bits", Send([text(HELLO, width=64)])),
            refused("20.1.4", "A length of 2^63", Send([binary(b"", declared=1 << 63)])),
            refused("20.1.5", "A ping's length of 13 in 16 bits", Send([ping(HELLO, width=16)])),
            refused("20.1.6", "The head of a ping of 2^40 bytes", Send([ping(declared=1 << 40)])),
            refused("20.1.7", "A close frame in fragments", Send([Frame(CLOSE, b"\x03\xe8", fin=False)])),
        ],
    ),
    Section(
        "20.2",
        "Limits",
        [
            refused(
                "20.2.1", "The head of a message of 2^62 bytes", Send([binary(b"", declared=1 << 62)]), code=TOO_BIG
            ),
            refused(
                "20.2.2",
                "The head of a message of 16 MiB and one byte",
                Send([binary(b"", declared=LIMIT + 1)]),
                code=TOO_BIG,
            ),
            refused(
                "20.2.3",
                "A fragment of 16 MiB, then the head of one of one byte",
                Send([binary(Repeated(b"*", LIMIT), fin=False), continuation(b"", declared=1)]),
                code=TOO_BIG,
            ),
            Case(
                "20.2.4",
                "A compressed message that is 17 MiB of zeros",
                (Send([binary(Deflated(Repeated(b"\0", 17 * MIB)), rsv=RSV1)]),),
                closes=Closes.SERVER,
                codes=(TOO_BIG,),
                offer=OFFER,
            ),
            Case(
                "20.2.5",
                "Two messages right behind the opening request",
                (),
                (Message(TEXT, HELLO), Message(TEXT, HELLO)),
                early=(text(HELLO), text(HELLO)),
            ),
        ],
    ),
    Section(
        "20.3",
        "Compressed data",
        [
            _compressed("20.3.1", "A message that is not compressed", text(HELLO), echo=HELLO),
            _compressed("20.3.2", "An empty message, compressed", text(b"\x00", rsv=RSV1), echo=b""),
            _compressed(
                "20.3.3", "A last block (RFC 7692, 7.2.3.4)", text(Deflated(HELLO, final=True), rsv=RSV1), echo=HELLO
            ),
            _compressed(
                "20.3.4",
                "A stored block and empty ones in a message",
                text(STORED + EMPTY, fin=False, rsv=RSV1),
                continuation(bytes(Deflated(b"and more"))),
                echo=b"storeand more",
            ),
            Case(
                "20.3.5",
                "A ping within a compressed message",
                (
                    Send(
                        [
                            binary(COMPRESSED[:4], fin=False, rsv=RSV1),
                            ping(b"between"),
                            continuation(COMPRESSED[4:]),
                        ]
                    ),
                ),
                (Pong(b"between"), Message(BINARY, HELLO)),
                offer=OFFER,
            ),
            _corrupt("20.3.6", "A compressed ping", ping(COMPRESSED, rsv=RSV1)),
            _corrupt(
                "20.3.7",
                "Reserved bits in the second fragment",
                text(HELLO, fin=False),
                continuation(COMPRESSED, rsv=RSV1),
            ),
            _corrupt(
                "20.3.8",
                "What is no compressed data",
                binary(b"\xff" * 16, rsv=RSV1),
                codes=(PROTOCOL_ERROR, INVALID_PAYLOAD),
            ),
            _corrupt(
                "20.3.9",
                "A compressed text that is not UTF-8",
                text(Deflated(b"\xed\xa0\x80"), rsv=RSV1),
                codes=(INVALID_PAYLOAD,),
            ),
            _corrupt(
                "20.3.10",
                "A compressed message that refers to before its beginning",
                binary(b"\x02\x02\x00", rsv=RSV1),
                codes=(PROTOCOL_ERROR, INVALID_PAYLOAD),
            ),
        ],
    ),
]
