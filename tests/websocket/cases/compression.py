"""Sections 12 and 13: permessage-deflate (RFC 7692), with different contents and with different parameters."""

from tests.websocket.cases.material import OPCODES
from tests.websocket.cases.script import Case, Echoes, RoundTrips, Section
from tests.websocket.cases.sizes import COUNT, KIB, size

# Sizes of the messages, and of the fragments they are sent in; a size of text is in characters.
PLAIN = (16, 64, 256, KIB, 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB)
SIZES: list[tuple[int, int | None]] = [(length, None) for length in PLAIN]
SIZES += [(length * KIB, 256) for length in (8, 16, 32, 64, 128)]
SIZES += [(128 * KIB, fragment) for fragment in (KIB, 4 * KIB, 32 * KIB)]

# What every client offers: it can do without its own context, and with a smaller window of its own.
OFFER = "permessage-deflate; client_no_context_takeover; client_max_window_bits"

CONTENTS = {
    "records": "JSON",
    "picture": "a picture",
    "prose": "prose",
    "markup": "HTML",
    "document": "a document that is compressed itself",
}

FRESH, SMALL, LARGE = "; server_no_context_takeover", "; server_max_window_bits=9", "; server_max_window_bits=15"
OFFERS = {
    "no wishes": OFFER,
    "a server without context takeover": OFFER + FRESH,
    "a server's window of 9 bits": OFFER + SMALL,
    "a server's window of 15 bits": OFFER + LARGE,
    "a server without context takeover, a window of 9 bits": OFFER + FRESH + SMALL,
    "a server without context takeover, a window of 15 bits": OFFER + FRESH + LARGE,
    "three offers, the first with both wishes": ", ".join((OFFER + FRESH + SMALL, OFFER + FRESH, OFFER)),
}


def does(length: int, fragment: int | None) -> str:
    return f"{COUNT} messages of {size(length)}" + (f" in fragments of {size(fragment)}" if fragment else "")


def _section(section: str, title: str, source: str, offer: str) -> Section:
    cases = [
        Case(
            f"{section}.{number}",
            does(length, fragment),
            (RoundTrips(OPCODES[source], length, COUNT, source, fragment),),
            (Echoes(),),
            offer=offer,
        )
        for number, (length, fragment) in enumerate(SIZES, 1)
    ]
    return Section(section, title, cases)


SECTIONS = [
    _section(f"12.{number}", f"Compressed: {title}", source, OFFER)
    for number, (source, title) in enumerate(CONTENTS.items(), 1)
] + [
    _section(f"13.{number}", f"Compressed JSON; the client offers {title}", "records", offer)
    for number, (title, offer) in enumerate(OFFERS.items(), 1)
]
