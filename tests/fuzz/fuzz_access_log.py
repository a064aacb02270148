"""Fuzz the access log: formats that users write, and requests that clients send.

The invariants: a format is refused with a ValueError, or every response is one line in it, printable ASCII alone (JSON
where JSON was asked for), whatever the client sent. What we compose ourselves is what the logging module would have
made of it.

    python -m tests.fuzz.fuzz_access_log [--seconds 10] [--seed N]
"""

import io
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastserve._exchange import Endpoint, PythonExchange, PythonHandler
from fastserve.config import LOGGING_CONFIG
from fastserve.protocol._forwarded import Forwarding
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._worker import Worker
from fastserve.server._access_log import LoggingAccessLog
from fastserve.server.access_format import parse
from fastserve.server.logs import AccessFormatter
from fastserve.transport._memory import MemoryStream
from fastserve.trust import TrustedPeers
from tests.fuzz.fuzz_parser import LARGE, mutated
from tests.fuzz.running import main, repeat

CORPUS = Path(__file__).parent.parent / "corpus" / "h1"
INPUTS = [data for path in sorted(CORPUS.glob("*/*.http")) if len(data := path.read_bytes()) < LARGE]
NAMES = "hlurmUqHbfaLsBTDMpw"
# What differs from one moment to the next.
PASSING = ("%(t)", "%(id)")
BYTES = b'"\\%\x7f\x80\xff\t a/?=[]{}\xc3\xa9'


class Loop:
    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, callback: Any, *arguments: Any) -> None:
        self.soon.append(lambda: callback(*arguments))

    def call_later(self, delay: float, callback: Any, *arguments: Any) -> None:
        raise AssertionError("the log is never full here")

    def turn(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class Errors(logging.Handler):
    """Defects of ours end in the log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


class ByRecord(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler whose class is not known: it gets records."""


def line_format(chance: random.Random) -> str | None:
    if chance.random() < 0.2:
        return None
    if chance.random() < 0.2:
        return "json"
    pieces = []
    for _ in range(chance.randrange(8)):
        conversion = chance.choice(("s", "s", "s", "s", "d", "5s", "-7.2s", "05d", "x", "c", "r", "a", "", "n", ".3f"))
        pieces.append(
            chance.choice((
                f"%({chance.choice(NAMES)}){conversion}",
                f"%({{{chance.choice(('Host', 'x-y', 'é', ''))}}}i){conversion}",
                f"%({{{chance.choice(('server', 'X-Kind', '{'))}}}o){conversion}", f"%({{PATH}}e){conversion}",
                "%(id)s", "%(t)s", "%%", "%", " ", '"', "[", "text", "é", "\n", "%(", "%(z)s", "%s", "\U0001f600",
            ))
        )  # fmt: skip
    return "".join(pieces)


def request(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return mutated(chance, INPUTS)

    def some(most: int) -> bytes:
        return bytes(chance.choice(BYTES) for _ in range(chance.randrange(most)))

    target = bytes(byte for byte in some(20) if 0x20 < byte < 0x7F and byte not in b'"\\{}%')
    target = b"/" + target + chance.choice((b"", b"%22", b"%0a", b"%ff", b"%25s", b"?%%(s)s", b"?a=b"))
    fields = b""
    for name in (b"User-Agent", b"Referer", b"X-Y", b"X-Request-Id", b"X-Forwarded-For", b"X-Forwarded-Prefix"):
        if chance.random() < 0.4:
            fields += name + b": " + some(12).replace(b"\x7f", b"") + b"\r\n"
    if chance.random() < 0.3:
        fields += b"Authorization: Basic " + chance.choice((b"YW5uYTpzZWNyZXQ=", b"AAAA", b"!", b"/w==", b"")) + b"\r\n"
    if chance.random() < 0.3:
        trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        at = chance.randrange(len(trace))
        fields += b"Traceparent: " + trace[:at] + chance.choice((trace[at:], b"x" + trace[at + 1 :])) + b"\r\n"
    return b"GET " + target + b" HTTP/1.%d\r\nHost: x\r\n" % chance.randrange(2) + fields + b"\r\n"


def noted(wanted: str | None, data: bytes, direct: bool, root_path: str, seed: int) -> list[str]:
    """The lines of one connection on which `data` comes."""
    chance = random.Random(seed)
    text = io.StringIO(newline="")
    handler = logging.StreamHandler(text) if direct else ByRecord(text)
    if wanted is None:
        handler.setFormatter(AccessFormatter(LOGGING_CONFIG["formatters"]["access"]["fmt"], use_colors=False))
    logger = logging.Logger("fastserve.access", logging.INFO)
    logger.manager = logging.root.manager
    logger.propagate = False
    logger.addHandler(handler)
    errors = logging.Logger("fuzz")
    errors.addHandler(Errors())
    clock = ManualClock(1000.0)
    responses = 0

    def handle(exchange: PythonExchange) -> None:
        nonlocal responses
        clock.time += chance.choice((0, 1e-7, 0.0123, 5000.0))
        status = chance.choice((200, 204, 304, 404, 599))
        exchange.start(status, [(b"content-length", b"5"), (b"X-Kind", b't\xe9st "\\')] if status == 200 else [])
        if chance.random() < 0.9:
            exchange.body(b"hello" if status == 200 else b"")
        else:
            exchange.fail()

    loop = Loop()
    worker = Worker(
        PythonHandler(handle), loop, clock=clock, date_header=False, logger=errors,  # type: ignore[arg-type]
        access_log=LoggingAccessLog(logger, loop, root_path, wanted),  # type: ignore[arg-type]
        forwarding=Forwarding(TrustedPeers("*"), prefix=True), default_fields=[(b"server", b"fastserve")],
    )  # fmt: skip
    stream = MemoryStream(worker, Endpoint(chance.choice((("1.2.3.4", 5), None)), ("127.0.0.1", 80)))
    for start in range(0, len(data), 100):
        stream.feed(data[start : start + 100])
        loop.turn()
        if stream.closed or stream.shut or stream.aborted:
            break
    stream.lose()
    loop.turn()
    return text.getvalue().split("\n")


def attempt(chance: random.Random) -> None:
    wanted = line_format(chance)
    if wanted not in (None, "json"):
        try:
            assert wanted is not None
            parse(wanted, "1")
        except ValueError:
            return
    data = b"".join(request(chance) for _ in range(chance.choice((1, 1, 3))))
    root_path = chance.choice(("", "", "/api", "/é%20"))
    seed = chance.randrange(1 << 30)
    lines = noted(wanted, data, True, root_path, seed)
    # The format is the user's own.
    theirs = {character for character in wanted or "" if not character.isascii()}
    assert lines.pop() == ""
    for line in lines:
        assert all(" " <= character <= "~" or character in theirs for character in line), line
        if wanted == "json":
            assert {"time", "client", "method", "path", "status", "bytes", "duration"} <= json.loads(line).keys()
    if wanted != "json" and not any(atom in (wanted or "") for atom in PASSING):
        again = noted(wanted, data, False, root_path, seed)
        assert again.pop() == ""
        assert [line.encode("ascii", "backslashreplace").decode() for line in again] == lines


def fuzz(seconds: float, seed: int) -> int:
    """Run for that long; the number of inputs tried. Raises AssertionError with the seed of a finding."""
    return repeat(seconds, seed, attempt)


if __name__ == "__main__":
    main("fuzz_access_log", __doc__, fuzz)
