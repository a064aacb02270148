"""The vector scans against the character classes: every byte at every distance from the start and the guard page."""

from collections.abc import Iterator

import pytest

from fastserve._parser import displaced_names, scan_implementations, scan_work, use_scan
from tests.parser import oracle
from tests.parser._raw import RawHead

HOST = b"Host: a\r\n"


@pytest.fixture(autouse=True, params=scan_implementations())
def scan(request: pytest.FixtureRequest) -> Iterator[str]:
    use_scan(request.param)
    yield request.param
    use_scan(scan_implementations()[-1])


def test_implementations() -> None:
    assert scan_implementations()[:2] == ["counting", "scalar"]
    with pytest.raises(ValueError, match="no such scan here: mmx"):
        use_scan("mmx")


# Where the run stands in the head, its class, its filler.
RUNS = {
    "target": (b"GET /", oracle.TARGET, b"a", b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "name": (b"GET / HTTP/1.1\r\n" + HOST + b"N", oracle.TOKEN, b"n", b": v\r\n\r\n"),
    "value": (b"GET / HTTP/1.1\r\n" + HOST + b"N:v", oracle.TEXT, b"v", b"\r\n\r\n"),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("front", [False, True])
def test_every_byte(run: str, front: bool) -> None:
    before, allowed, filler, after = RUNS[run]
    for byte in range(256):
        if bytes([byte]) in {"target": b" \r", "name": b":", "value": b"\r"}[run]:
            continue
        for length in (0, 5, 15, 16, 31, 32, 33):
            head = RawHead()
            data = before + filler * length + bytes([byte]) + filler * 3 + after
            if byte in allowed:
                assert head.parse(data, front) == len(data)
            else:
                assert head.parse(data, front) == -1
                assert head.rejected()[2] == len(before) + length


@pytest.mark.parametrize("run", RUNS)
def test_every_place(run: str) -> None:
    """A bad byte at each distance from the start of the run, the end of the input at each distance behind it."""
    before, _, filler, after = RUNS[run]
    for length in range(70):
        for behind in (0, 1, 2, 14, 15, 16, 17, 30, 31, 32, 33):
            data = before + filler * length + b"\x7f" + filler * behind
            head = RawHead()
            assert head.parse(data) == -1
            assert head.rejected()[2] == len(before) + length
        for cut in range(max(0, length - 35), length + 1):
            head = RawHead()
            data = before + filler * length + after
            assert head.parse(data[: len(before) + cut]) == 0
            assert head.position == len(before) + cut
            assert head.parse(data) == len(data)


HEAD = (
    b"GET /some/path?with=query HTTP/1.1\r\n"
    + HOST
    + b"X-Long: "
    + b"v" * 3000
    + b"\r\n"
    + b"".join(b"X-%d: value \r\n" % number for number in range(90))
    + b"\r\n"
)


def test_work_is_linear() -> None:
    """No byte is looked at more than twice, however the head is cut: each call adds the byte it stops at."""
    use_scan("counting")
    calls = {}
    for step in (len(HEAD), 100, 7, 1):
        scan_work(reset=True)
        head = RawHead()
        shown = [*range(step, len(HEAD), step), len(HEAD)]
        results = [head.parse(HEAD[:size]) for size in shown]
        assert results == [0] * (len(shown) - 1) + [len(HEAD)]
        calls[step] = scan_work()
        assert calls[step] <= len(HEAD) + len(shown) + 3 * 93
    assert calls[1] <= 2 * len(HEAD)


def test_names_have_a_slot_each() -> None:
    assert displaced_names == 0
