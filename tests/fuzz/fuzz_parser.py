"""Fuzz the HTTP/1.1 parsers.

The invariant: whatever bytes a client sends, cut anywhere, with any limits, in any memory, the parsers either accept or
reject for a documented reason with an offset inside the input; they never read outside it (guard pages), never go back,
and their verdict does not depend on how the input was cut, on the scan in use, or on the state having moved. What they
say is what the slow twin (tests/parser/oracle.py) says.

    python -m tests.fuzz.fuzz_parser [--seconds 10] [--seed N]

Without --seconds the environment variable FUZZ_SECONDS counts, else ten.

Inputs are files of tests/corpus/h1, cut, joined and mutated. A failure prints the seed and the input; put that input
into the corpus.
"""

import random
import time
from math import inf
from pathlib import Path
from typing import Any

from fastserve._parser import rejection_reasons, scan_implementations, use_scan
from fastserve._request_parser import RequestParser
from fastserve.errors import RequestRejected
from tests.fuzz.running import main
from tests.parser import oracle
from tests.parser.driver import HEAD_LIMITS, run

CORPUS = Path(__file__).parent.parent / "corpus" / "h1"
LARGE = 3000
WORDS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b": ",
    b",",
    b";",
    b"=",
    b'"',
    b"\\",
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"GET / ",
    b"*",
    b"http://",
    b"[::1]",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff",
    b"a" * 16,
    b"v" * 33,
]


def mutated(chance: random.Random, corpus: list[bytes]) -> bytes:
    data = chance.choice(corpus)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((0, 0, 1, 1, 2, 10, 40)))
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + chance.choice(WORDS) + data[end:]
        elif kind == 1:
            data = data[:at] + bytes([chance.randrange(256)]) + data[end:]
        elif kind == 2:
            data = data[:at] + data[end:]
        elif kind == 3:
            other = chance.choice(corpus)
            start = chance.randrange(len(other) + 1)
            data = data[:at] + other[start : start + chance.randrange(80)] + data[end:]
        else:
            data = data[:end] + data[at:]
    return data[: 2 * LARGE]


def limits_for(chance: random.Random) -> dict[str, int]:
    limits = {}
    for name, most in (
        ("request_line", 60),
        ("head", 200),
        ("fields", 5),
        ("extensions", 20),
        ("trailers", 40),
        ("trailer_fields", 3),
    ):
        if chance.random() < 0.1:
            limits[name] = chance.randrange(most)
    return limits


def expected(data: bytes, limits: dict[str, int]) -> tuple[str, Any]:
    """What the twin says: the outcome, and the message or the reason."""
    try:
        head, size = oracle.read_head(data, **{name: limits[name] for name in HEAD_LIMITS if name in limits})
        message: dict[str, Any] = vars(head)
        if head.chunked:
            others = {name: limits[name] for name in limits if name not in HEAD_LIMITS}
            message["body"], _ = oracle.read_chunked(data[size:], **others)
        else:
            length = head.content_length or 0
            message["body"] = data[size : size + length]
            if len(message["body"]) < length:
                return "incomplete", None
    except oracle.Incomplete:
        return "incomplete", None
    except oracle.Rejected as error:
        return "rejected", error.code
    return "accepted", message


def read_publicly(data: bytes) -> RequestRejected | None:
    """All requests in `data` through a RequestParser; the rejection, if there was one."""
    parser = RequestParser()
    try:
        for start in range(0, len(data), 50):
            parser.feed(data[start : start + 50])
            for _ in parser:
                pass
    except RequestRejected as error:
        return error
    return None


def check(data: bytes, limits: dict[str, int], chance: random.Random) -> None:
    reasons = rejection_reasons()
    use_scan("scalar")
    outcome, detail, consumed = run(data, [len(data)], limits)
    if outcome == "rejected":
        status, reason, offset = detail
        assert reasons[reason][0] == status
        assert 0 <= offset <= len(data)
        assert expected(data, limits) == (outcome, reason)
    else:
        assert expected(data, limits) == (outcome, detail)
    for scan in scan_implementations():
        use_scan(scan)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 2, 5))))
        sizes = [*cuts, len(data)]
        if len(data) < 400 and chance.random() < 0.2:
            sizes = list(range(len(data) + 1))
        again = run(data, sizes, limits, front=chance.random() < 0.5, move=chance.random() < 0.5)
        assert again[:2] == (outcome, detail), (scan, sizes)
        assert outcome == "rejected" or again[2] == consumed
    rejection = read_publicly(data)
    if rejection is not None:
        assert (rejection.status, rejection.reason) == reasons[rejection.code]
        assert 0 <= rejection.offset <= len(data)


def fuzz(seconds: float, seed: int, most: float = inf) -> int:
    """Run for that long, or for `most` inputs; the number tried. Raises AssertionError with the seed and the input."""
    chance = random.Random(seed)
    corpus = [data for path in sorted(CORPUS.glob("*/*.http")) if len(data := path.read_bytes()) < LARGE]
    deadline = time.monotonic() + seconds
    tried = 0
    while tried < most and time.monotonic() < deadline:
        data = mutated(chance, corpus)
        limits = limits_for(chance)
        try:
            check(data, limits, chance)
        except Exception as error:
            raise AssertionError(f"seed {seed}, input number {tried}: {data!r} with {limits}") from error
        tried += 1
    use_scan(scan_implementations()[-1])
    return tried


if __name__ == "__main__":
    main("fuzz_parser", __doc__, fuzz)
