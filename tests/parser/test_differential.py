"""Our parser against llhttp and h11: what all accept is parsed alike, and every difference is a decision.

A difference that is not in one of the tables below fails the test: write down why, or change the parser.
"""

from pathlib import Path

import pytest
from hypothesis import example, given, settings

from tests.parser.heads import near_valid_heads
from tests.parser.peers import Parsed, by_h11, by_llhttp, by_us

CORPUS = Path(__file__).parent.parent / "corpus" / "h1"

# What we reject and the other parser takes.
STRICTER_THAN_BOTH = {
    "BARE_LF": "RFC 9112 section 2.2 permits a lone LF; requests hide where not every hop sees a line end",
    "BAD_HOST": "RFC 9112 section 3.2 asks for 400; the others leave Host to the application",
    "BAD_AUTHORITY": "the same for the authority of a target; user information is an error by RFC 9110 section 4.2.4",
    "BAD_ASTERISK": "RFC 9112 section 3.2.4: the asterisk is for OPTIONS",
    "BAD_TARGET_BYTE": "a fragment is never part of a request target (RFC 9112 section 3.2)",
    "MISSING_TARGET": "a fragment is no target (RFC 9112 section 3.2)",
    "BAD_TARGET": "a target has one of four forms (RFC 9112 section 3.2); h11 takes any visible bytes, llhttp '*/' too",
    "BAD_SCHEME": "the server stands for http and https resources only (RFC 9110 section 7.4)",
    "REQUEST_LINE_TOO_LONG": "the others leave limits to their users",
    "CONTENT_LENGTH_OVERFLOW": "our lengths have 63 bits",
    "UNSUPPORTED_VERSION": "the answer to another major version is 505",
    "MISSING_HOST": "RFC 9112 section 3.2 asks for 400; h11 does not ask it of HTTP/1.2",
    "ENCODING_IN_HTTP10": "RFC 9112 section 6.1: its framing is faulty",
    "HEAD_TOO_LARGE": "the others leave limits to their users",
    "TOO_MANY_FIELDS": "the others leave limits to their users",
}
STRICTER_THAN_LLHTTP = STRICTER_THAN_BOTH | {
    "BAD_VERSION": "llhttp skips any number of spaces before the version; RFC 9112 section 3 has one",
    "BARE_CR": "llhttp skips any CR and LF before the request line",
    "EMPTY_LINES": "llhttp skips any number of empty lines; RFC 9112 section 2.2 speaks of at least one, one is enough",
    "DUPLICATE_HOST": "RFC 9112 section 3.2 asks for 400",
    "UNKNOWN_CODING": "llhttp reads up to the end of the connection, where RFC 9112 section 6.1 asks for 501",
    "BAD_TRANSFER_ENCODING": "llhttp looks for chunked at the end of the value only",
    "MISSING_TARGET": "llhttp skips spaces before the target",
    "HTTP09": "llhttp reads an HTTP/0.9 request and takes the rest for fields",
}
STRICTER_THAN_H11 = STRICTER_THAN_BOTH | {
    "HTTP2_PREFACE": "h11 takes any version of the form DIGIT.DIGIT",
    "BAD_VALUE_BYTE": "h11 lets control bytes other than NUL, CR and LF pass",
    "OBS_FOLD": "h11 unfolds, as RFC 9112 section 5.2 permits",
    "BAD_CONTENT_LENGTH": "h11 merges lists of identical lengths",
    "REPEATED_CONTENT_LENGTH": "h11 merges identical lengths, as RFC 9110 section 8.6 permits; llhttp does not",
    "LENGTH_AND_ENCODING": "h11 takes chunked over the length; RFC 9112 section 6.1 calls it an attack and so do we",
}

# What we take and the other parser rejects, by its own words.
LOOSER_THAN_LLHTTP = {
    "Invalid method encountered": "any token is a method (RFC 9110 section 9.1), llhttp has a fixed list",
    "Expected HTTP/2 Connection Preface": "PRI is a preface with an asterisk only, a method like any other without",
    "Invalid HTTP version": "HTTP/1.2 and above are read as 1.1 (RFC 9110 section 2.5)",
    "Expected SOURCE method for ICE/x.x request": "llhttp knows a streaming protocol we do not",
    "Expected space after method": "the same for tokens that begin like one of the list",
}
LOOSER_THAN_H11 = {
    "no request line received": "an empty line before the request line is skipped (RFC 9112 section 2.2)",
}


def compare(ours: Parsed | str, theirs: Parsed | str, stricter: dict[str, str], looser: dict[str, str]) -> None:
    if isinstance(ours, str):
        assert not isinstance(theirs, Parsed) or ours in stricter, ours
    elif isinstance(theirs, str):
        assert theirs in looser, theirs
    else:
        assert (ours.method, ours.target) == (theirs.method, theirs.target)
        # RFC 9110 section 2.5: a higher minor version is answered as the highest known one.
        assert ours.version == min(theirs.version, "1.1")
        # White space at the end of a value: llhttp leaves HTAB there.
        assert ours.fields == [
            # h11 gives this one back in lower case.
            (name, ours_value if name == b"transfer-encoding" and value == ours_value.lower() else value.rstrip(b" \t"))
            for (name, value), (_, ours_value) in zip(theirs.fields, ours.fields, strict=True)
        ]
        # RFC 9112 section 9.3: close wins; llhttp does not look for it in HTTP/1.0 once it has seen keep-alive.
        values = b",".join(value.lower() for name, value in ours.fields if name == b"connection")
        if theirs.keep_alive is not None and not (ours.version == "1.0" and b"close" in values):
            assert ours.keep_alive == theirs.keep_alive


def check(data: bytes) -> None:
    ours = by_us(data)
    compare(ours, by_llhttp(data), STRICTER_THAN_LLHTTP, LOOSER_THAN_LLHTTP)
    compare(ours, by_h11(data), STRICTER_THAN_H11, LOOSER_THAN_H11)


@settings(max_examples=500)
@given(near_valid_heads())
@example(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n")
def test_near_valid_heads(data: bytes) -> None:
    check(data)


def corpus_head(path: Path) -> bytes:
    """The head in the file, brought to an end where the file stops at the offending line."""
    data = path.read_bytes()
    end = data.find(b"\r\n\r\n", len(data) - len(data.lstrip(b"\r\n")))
    return data[: end + 4] if end >= 0 else data + b"Host: a.example\r\n\r\n"


@pytest.mark.parametrize("name", sorted(f"{path.parent.name}/{path.stem}" for path in CORPUS.glob("*/*.http")))
def test_corpus(name: str) -> None:
    check(corpus_head(CORPUS / f"{name}.http"))


@pytest.mark.parametrize("table", [STRICTER_THAN_LLHTTP, STRICTER_THAN_H11])
def test_decisions_are_needed(table: dict[str, str]) -> None:
    """A difference that is gone is to be struck from its table; the corpus has a case for each."""
    parse = by_llhttp if table is STRICTER_THAN_LLHTTP else by_h11
    heads = [corpus_head(path) for path in CORPUS.glob("reject/*.http")]
    met = {ours for data in heads if isinstance(ours := by_us(data), str) and isinstance(parse(data), Parsed)}
    assert met == set(table)
