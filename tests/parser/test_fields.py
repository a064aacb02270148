"""Fields as Python objects: real lists of real tuples of bytes, shared where it is safe."""

import gc
import re
import sys
from pathlib import Path

import pytest

from tests.parser._raw import RawHead

NAMES = re.findall(
    r'X\((NAME_\w+), "([^"]+)", (SHARED|PRIVATE)\)', (Path(__file__).parents[2] / "fastserve" / "_names.h").read_text()
)


def fields_of(*lines: bytes) -> list[tuple[bytes, bytes]]:
    head = RawHead()
    data = b"GET / HTTP/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    assert head.parse(data) == len(data)
    fields = head.accepted()["fields"]
    assert type(fields) is list
    for item in fields:
        assert type(item) is tuple
        assert [type(part) for part in item] == [bytes, bytes]
    return fields


def value_for(name: str) -> bytes:
    return {"content-length": b"7", "host": b"a.example"}.get(name, b"some value")


# Transfer-Encoding is never valid in HTTP/1.0.
@pytest.mark.parametrize(("identifier", "name", "sharing"), [row for row in NAMES if row[1] != "transfer-encoding"])
def test_well_known_names(identifier: str, name: str, sharing: str) -> None:
    assert identifier == "NAME_" + name.upper().replace("-", "_")
    value = value_for(name)
    for spelling in (name, name.upper(), name.title()):
        head = RawHead()
        head.parse(b"GET / HTTP/1.0\r\n%s: %s\r\n\r\n" % (spelling.encode(), value))
        assert head.known() == [1 + [row[1] for row in NAMES].index(name)]
        first = fields_of(spelling.encode() + b": " + value)
        again = fields_of(name.encode() + b": " + value)
        assert first == again == [(name.encode(), value)]
        assert first is not again
        assert first[0][0] is again[0][0]
        assert (first[0] is again[0]) == (sharing == "SHARED")


@pytest.mark.parametrize(
    "name",
    [
        "hosts",
        "hos",
        "x-host",
        "content_length",
        "c0ntent-length",
        "accept-encodinG-",
        "^ser-agent",
        "cookie2",
        "upgrade~",
    ],
)
def test_other_names(name: str) -> None:
    assert fields_of(name.encode() + b": 1") == [(name.lower().encode(), b"1")]
    head = RawHead()
    head.parse(b"GET / HTTP/1.0\r\n%s: 1\r\n\r\n" % name.encode())
    assert head.known() == [0]


def test_a_shared_value_is_the_value_of_this_request() -> None:
    for value in (b"one", b"two", b"onE", b"", b"one", b"x" * 256, b"y" * 256, b"x" * 257, b"x" * 256):
        assert fields_of(b"Accept: " + value, b"User-Agent: " + value) == [(b"accept", value), (b"user-agent", value)]


def test_the_same_name_twice() -> None:
    for _ in range(2):
        assert fields_of(b"Accept: a", b"Accept: b", b"Accept: a") == [
            (b"accept", b"a"),
            (b"accept", b"b"),
            (b"accept", b"a"),
        ]


def test_long_values_are_not_kept() -> None:
    value = b"x" * 257
    assert fields_of(b"Accept: " + value)[0] is not fields_of(b"Accept: " + value)[0]


def test_order_and_number() -> None:
    lines = [b"X-%d: %d" % (number, number) for number in range(100)]
    assert fields_of(*lines) == [(b"x-%d" % number, b"%d" % number) for number in range(100)]
    assert fields_of() == []


@pytest.mark.parametrize("line", [b"Accept: */*", b"Cookie: a=b", b"X-Other: 1"])
def test_references_are_given_back(line: bytes) -> None:
    fields_of(line)
    gc.collect()
    before = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else len(gc.get_objects())
    name = fields_of(b"Accept: 1")[0][0]
    count = sys.getrefcount(name)
    for number in range(1000):
        fields_of(line)
        fields_of(b"Accept: %d" % number)
    gc.collect()
    assert sys.getrefcount(name) == count
    after = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else len(gc.get_objects())
    assert after - before < 100


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"])
def test_registered_methods_are_shared(method: str) -> None:
    def parsed() -> str:
        head = RawHead()
        head.parse(f"{method} / HTTP/1.0\r\n\r\n".encode())
        name = head.accepted()["method"]
        assert type(name) is str
        return name

    assert parsed() == method
    assert parsed() is parsed() is sys.intern(method)
