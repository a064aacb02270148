"""What compressed messages are cut from: five kinds of content, made up here, the same in every run.

They differ in how well they compress: markup best, then records and prose, then a picture; a document that is
compressed already hardly at all.
"""

import json
import random
import zlib
from functools import cache

from tests.websocket.cases.script import BINARY, TEXT

SIZE = 192 * 1024
"""Bytes, or characters, of each at least; a message that reaches the end goes on at the beginning."""

SYLLABLES = ("an", "bel", "cor", "dem", "er", "fas", "gen", "hol", "is", "jun", "kar", "len", "mär", "nor", "ost")
SYLLABLES += ("pel", "quo", "ras", "süd", "tor", "um", "vel", "win", "zas", "öd")


def _words(chance: random.Random, count: int) -> list[str]:
    return ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(count)]


def _prose(chance: random.Random) -> str:
    """Sentences in paragraphs; few words are frequent, many rare, as in a language."""
    vocabulary = _words(chance, 3000)
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    paragraphs = []
    written = 0
    while written < SIZE:
        words = chance.choices(vocabulary, weights, k=chance.randint(40, 160))
        for start in range(0, len(words), 11):
            words[start] = words[start].capitalize()
        paragraphs.append(" ".join(words) + ".\n\n")
        written += len(paragraphs[-1])
    return "".join(paragraphs)


def _records(chance: random.Random) -> str:
    """A list of JSON objects; some of its strings are not ASCII."""
    names = _words(chance, 400)
    entries: list[str] = []
    written = 0
    while written < SIZE:
        entry = {
            "id": len(entries),
            "name": " ".join(chance.choices(names, k=2)),
            "balance": f"{chance.random() * 4000:.2f} €",
            "active": chance.random() < 0.5,
            "tags": chance.sample(names, 5),
            "position": [round(chance.uniform(-90, 90), 6), round(chance.uniform(-180, 180), 6)],
        }
        entries.append(json.dumps(entry, ensure_ascii=False, indent=2))
        written += len(entries[-1])
    return "[" + ",\n".join(entries) + "]"


def _markup(chance: random.Random) -> str:
    """A page of HTML: a long table."""
    names = _words(chance, 300)
    rows: list[str] = []
    written = 0
    while written < SIZE:
        cells = "".join(
            f'<td class="cell wide"><a href="/{name}">{name}</a></td>' for name in chance.choices(names, k=6)
        )
        rows.append(f'  <tr class="row {"odd" if len(rows) % 2 else "even"}">{cells}</tr>\n')
        written += len(rows[-1])
    return "<!doctype html>\n<table>\n" + "".join(rows) + "</table>\n"


def _picture(chance: random.Random) -> bytes:
    """Grey values, 512 to a row, that change slowly and with noise."""
    values = bytearray()
    level = 128.0
    while len(values) < SIZE:
        above = values[-512] if len(values) >= 512 else level
        level = min(250.0, max(5.0, 0.55 * level + 0.45 * above + chance.gauss(0, 4)))
        values.append(int(level))
    return bytes(values)


def _document(chance: random.Random) -> bytes:
    """Numbered objects, most of them compressed streams."""
    parts = [b"%PDF-1.4\n"]
    written = 0
    while written < SIZE:
        stream = zlib.compress(" ".join(_words(chance, 1500)).encode(), 9)
        parts.append(b"%d 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n" % (len(parts), len(stream)))
        parts.append(stream + b"\nendstream\nendobj\n")
        written += len(stream)
    return b"".join(parts)


MAKERS = {"records": _records, "picture": _picture, "prose": _prose, "markup": _markup, "document": _document}
OPCODES = {"records": TEXT, "picture": BINARY, "prose": BINARY, "markup": TEXT, "document": BINARY}


@cache
def content(source: str) -> str | bytes:
    """All of it: a string where its messages are text and are cut between characters, else bytes."""
    made = MAKERS[source](random.Random(source))
    return made.encode() if isinstance(made, str) and OPCODES[source] == BINARY else made


def messages(source: str, size: int, count: int) -> list[bytes]:
    """So many messages of so many characters or bytes: one after another, round and round; text as UTF-8."""
    whole = content(source)
    cut = []
    start = 0
    for _ in range(count):
        piece = (whole[start:] + whole)[:size]  # type: ignore[operator]
        cut.append(piece.encode() if isinstance(piece, str) else piece)
        start = (start + size) % len(whole)
    return cut
