"""Section 6: text is UTF-8 (RFC 3629), whole and in parts, and what is not is refused as soon as it is seen.

The sequences are those of Markus Kuhn's stress test for UTF-8 decoders.
"""

from collections.abc import Sequence

from tests.websocket.cases.script import (
    INVALID_PAYLOAD,
    TEXT,
    Case,
    Chops,
    Fragments,
    Message,
    Section,
    Send,
    Silence,
    continuation,
    echoed,
    refused,
    text,
)

MIXED = "Hello-µ@ßöäüàá-UTF-8!!".encode()
AT = MIXED.index("ü".encode())
# Its second letter takes three bytes, the others two.
GREEK = "κ\u1f79σμε".encode()
# A surrogate makes byte 13 of it wrong, a code point above U+10FFFF likewise.
SURROGATE = GREEK + b"\xed\xa0\x80" + b"edited"
ABOVE = b"\xf4\x90\x80\x80"
REST = b"edited"
MIDDLE = b"the middle fragment"


def _whole(case: str, payload: bytes, valid: bool) -> Case:
    does = f"A text message of the bytes {payload.hex(' ')}"
    send = Send([text(payload)])
    if valid:
        return echoed(case, does, send, Message(TEXT, payload))
    return refused(case, does, send, code=INVALID_PAYLOAD)


def _sequences(section: str, title: str, valid: Sequence[bytes], invalid: Sequence[bytes] = ()) -> Section:
    payloads = [(payload, True) for payload in valid] + [(payload, False) for payload in invalid]
    cases = [_whole(f"{section}.{number}", *row) for number, row in enumerate(payloads, 1)]
    return Section(section, title, cases)


def _prefixes(section: str) -> Section:
    """Every prefix of a text; those that end inside of a character are no text."""
    ends = {len(GREEK.decode()[:count].encode()) for count in range(6)}
    cases = [_whole(f"{section}.{size}", GREEK[:size], size in ends) for size in range(1, len(GREEK) + 1)]
    return Section(section, "Every prefix of a text", cases)


# Sequences without their last byte, by length: the smallest, and the largest.
CUT_SHORT = [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"]
CUT_SHORT += [b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"]

# First bytes of a sequence, each followed by a space: (first, last) of the runs.
LONELY = [(0xC0, 0xDE), (0xE0, 0xEE), (0xF0, 0xF6), (0xF8, 0xFA), (0xFC, 0xFC)]

HIGH = (b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf")
LOW = (b"\xed\xb0\x80", b"\xed\xbf\xbf")


def _noncharacters() -> list[bytes]:
    """The last two code points of every plane."""
    return [chr(plane << 16 | last).encode() for plane in range(17) for last in (0xFFFE, 0xFFFF)]


SECTIONS = [
    Section(
        "6.1",
        "Empty fragments",
        [
            echoed("6.1.1", "An empty text message", Send([text(b"")]), Message(TEXT, b"")),
            echoed(
                "6.1.2",
                "A text message in three empty fragments",
                Send([text(b"", fin=False), continuation(b"", fin=False), continuation(b"")]),
                Message(TEXT, b""),
            ),
            echoed(
                "6.1.3",
                "A text message in three fragments, the first and the last empty",
                Send([text(b"", fin=False), continuation(MIDDLE, fin=False), continuation(b"")]),
                Message(TEXT, MIDDLE),
            ),
        ],
    ),
    Section(
        "6.2",
        "Text cut between characters and inside of them",
        [
            echoed("6.2.1", "A text in one frame", Send([text(MIXED)]), Message(TEXT, MIXED)),
            echoed(
                "6.2.2",
                "A text in two fragments, cut between characters",
                Send([text(MIXED[:AT], fin=False), continuation(MIXED[AT:])]),
                Message(TEXT, MIXED),
            ),
            echoed("6.2.3", "A text in fragments of one byte", Fragments(TEXT, MIXED, 1), Message(TEXT, MIXED)),
            echoed("6.2.4", "Greek in fragments of one byte", Fragments(TEXT, GREEK, 1), Message(TEXT, GREEK)),
        ],
    ),
    Section(
        "6.3",
        "No text, in one frame and in many",
        [
            refused("6.3.1", "A surrogate in a text, in one frame", Send([text(SURROGATE)]), code=INVALID_PAYLOAD),
            refused("6.3.2", "The same in fragments of one byte", Fragments(TEXT, SURROGATE, 1), code=INVALID_PAYLOAD),
        ],
    ),
    Section(
        "6.4",
        "No text, refused before the message is complete",
        [
            refused(
                "6.4.1",
                "A text, a fragment with a code point above U+10FFFF, and no more",
                Send([text(GREEK, fin=False)]),
                Silence(),
                Send([continuation(ABOVE, fin=False)]),
                code=INVALID_PAYLOAD,
            ),
            refused(
                "6.4.2",
                "A text and the first byte of that code point, a fragment with the byte that makes it wrong",
                Send([text(GREEK + ABOVE[:1], fin=False)]),
                Silence(),
                Send([continuation(ABOVE[1:2], fin=False)]),
                code=INVALID_PAYLOAD,
            ),
            refused(
                "6.4.3",
                "As 6.4.1, but parts of one frame",
                Chops(text(GREEK + ABOVE + REST), (GREEK, ABOVE)),
                code=INVALID_PAYLOAD,
            ),
            refused(
                "6.4.4",
                "As 6.4.2, but parts of one frame",
                Chops(text(GREEK + ABOVE + REST), (GREEK + ABOVE[:1], ABOVE[1:2])),
                code=INVALID_PAYLOAD,
            ),
        ],
    ),
    _sequences(
        "6.5",
        "Some text",
        [b"hello$world", "hello¢world".encode(), "hello€world".encode(), "hello𤭢world".encode(), GREEK],
    ),
    _prefixes("6.6"),
    _sequences(
        "6.7", "The first sequence of each length", [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]
    ),
    _sequences("6.8", "The first of five and six bytes", [], [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
    _sequences("6.9", "The last sequence of each length", [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
    _sequences(
        "6.10",
        "The last of four, five and six bytes that the bits would give",
        [],
        [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    ),
    _sequences(
        "6.11",
        "Other boundaries",
        [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"],
        [b"\xf4\x90\x80\x80"],
    ),
    _sequences(
        "6.12",
        "Continuation bytes that continue nothing",
        [],
        [b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:size] for size in range(2, 7)), bytes(range(0x80, 0xBF))],
    ),
    _sequences(
        "6.13",
        "First bytes that nothing continues",
        [],
        [b"".join(bytes((byte, 0x20)) for byte in range(first, last + 1)) for first, last in LONELY],
    ),
    _sequences("6.14", "Sequences without their last byte", [], CUT_SHORT),
    _sequences("6.15", "All of those in a row", [], [b"".join(CUT_SHORT)]),
    _sequences("6.16", "Bytes that never occur", [], [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
    _sequences(
        "6.17",
        "A slash in more bytes than it needs",
        [],
        [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
    ),
    _sequences(
        "6.18",
        "The highest code points in more bytes than they need",
        [],
        [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"],
    ),
    _sequences(
        "6.19",
        "NUL in more bytes than it needs",
        [],
        [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
    ),
    _sequences("6.20", "Single surrogates", [], [*HIGH, LOW[0], b"\xed\xbe\x80", LOW[1]]),
    _sequences("6.21", "Surrogates in pairs", [], [high + low for high in HIGH for low in LOW]),
    _sequences("6.22", "Noncharacters, which are text", _noncharacters()),
    _sequences("6.23", "Specials, which are text", [chr(point).encode() for point in range(0xFFF9, 0x10000)]),
]
