"""Plays cases against a server that echoes every message, and judges what it does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tests.websocket.cases.material import messages
from tests.websocket.cases.script import (
    CLOSE,
    NORMAL,
    PONG,
    Await,
    Case,
    Chops,
    Closes,
    Echoes,
    Event,
    Fragments,
    Frame,
    Message,
    Pong,
    RoundTrips,
    Send,
    Silence,
    close,
)
from tests.websocket.strict_client import Client, Reset, Wrong, encode, fragments

QUIET = 0.03
"""Seconds of silence that show that a server waits for more."""

REDUCED_BYTES = 128 * 1024
REDUCED_COUNTS = (3, 100)


@dataclass(frozen=True)
class Verdict:
    """What came of a case: whether it passed, and what the server did, in words."""

    case: Case
    passed: bool
    said: str
    seconds: float


def reduced(step: RoundTrips) -> int:
    """How many round trips are made where all of them would take too long."""
    few, many = REDUCED_COUNTS
    return min(step.count, max(few, min(many, REDUCED_BYTES // max(1, step.size))))


class _Play:
    """One case on one connection."""

    def __init__(self, case: Case, client: Client, full: bool) -> None:
        self.case = case
        self.client = client
        self.full = full
        self.expected: Sequence[Event] = case.events
        self.events: list[Event] = []
        self.closed: Frame | None = None

    def run(self) -> str:
        """What the server did, all of it right. Raises Wrong."""
        if self.case.offer is not None and self.client.agreed is None:
            raise Wrong("declined to compress")
        for step in self.case.steps:
            self._take(step)
        if self.case.closes is Closes.CLIENT:
            self._read_until(len(self.expected))
            self.client.send_frames(close(NORMAL))
        while self.closed is None:
            self._read()
        if not self.client.sent_close:
            self.client.send_frames(Frame(CLOSE, self.closed.payload))
        self._read_end()
        code = self._code()
        if not self.case.informational:
            if len(self.events) != len(self.expected):
                raise Wrong(f"{self._words(code)}; expected {said(self.expected)}")
            if code not in self.case.codes:
                raise Wrong(f"{self._words(code)}; expected code {' or '.join(map(str, self.case.codes))}")
        return self._words(code)

    def _read_end(self) -> None:
        try:
            if self.client.read_frame() is not None:
                raise Wrong("more after the close frame")
        except Reset:
            # It has said what it had to say. What was sent to it behind a close frame it need not read, nor the answer
            # to its own where it has failed the connection.
            if self.case.closes is Closes.CLIENT:
                raise

    def _words(self, code: int | None) -> str:
        ending = f"closes {'without a code' if code is None else code}"
        # Where nothing is laid down it also varies how much is echoed before the end.
        return f"{said(self.events)}, {ending}" if self.events and not self.case.informational else ending

    def _code(self) -> int | None:
        assert self.closed is not None
        payload = bytes(self.closed.payload)
        if not payload:
            return None
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            raise Wrong("a close frame whose reason is not UTF-8") from None
        return int.from_bytes(payload[:2])

    # --- the steps

    def _take(self, step: object) -> None:
        match step:
            case Send(frames, chop, each):
                pieces = [encode(frame) for frame in frames]
                if not each:
                    pieces = [b"".join(pieces)]
                if chop:
                    pieces = [piece[at : at + chop] for piece in pieces for at in range(0, len(piece), chop)]
                for piece in pieces:
                    self.client.send(piece)
                self.client.sent_close = self.client.sent_close or any(frame.opcode == CLOSE for frame in frames)
            case Chops(frame, parts):
                whole = encode(frame)
                at = len(whole) - len(frame.payload)
                start = 0
                for number, part in enumerate(parts):
                    if number:
                        self._be_silent()
                    at += len(part)
                    self.client.send(whole[start:at])
                    start = at
            case Await(count):
                self._read_until(count)
            case Silence():
                self._be_silent()
            case Fragments(opcode, payload, size):
                self.client.send(b"".join(map(encode, fragments(opcode, bytes(payload), size))))
            case RoundTrips():
                self._round_trips(step)

    def _be_silent(self) -> None:
        if not self.client.is_silent(QUIET):
            raise Wrong("did not wait for more of a message that may become right")

    def _round_trips(self, step: RoundTrips) -> None:
        count = step.count if self.full else reduced(step)
        plain = [b"*" * step.size] * count
        contents = plain if step.source is None else messages(step.source, step.size, count)
        for content in contents:
            self.client.send_message(step.opcode, content, step.fragment)
            answer = self.client.read_message()
            if answer is not None and answer.opcode == CLOSE:
                raise Wrong(f"closed with {bytes(answer.payload)!r} instead of an echo")
            if answer != Frame(step.opcode, content):
                raise Wrong("an echo that differs from what was sent" if answer else "closed instead of an echo")
        self.events.append(Echoes())

    # --- what comes

    def _read_until(self, count: int) -> None:
        while len(self.events) < count:
            self._read()
            if self.closed is not None:
                raise Wrong(f"{self._words(self._code())}; expected {said(self.expected)}")

    def _read(self) -> None:
        frame = self.client.read_message()
        if frame is None:
            raise Wrong("ended the connection without a close frame")
        if frame.opcode == CLOSE:
            self.closed = frame
            return
        event: Event = Message(frame.opcode, frame.payload)
        if frame.opcode == PONG:
            event = Pong(bytes(frame.payload))
        number = len(self.events)
        self.events.append(event)
        if self.case.informational:
            return
        if number >= len(self.expected) or not _same(event, self.expected[number]):
            raise Wrong(f"{said(self.events)}; expected {said(self.expected)}")


def _same(one: Event, other: Event) -> bool:
    if isinstance(one, Message) and isinstance(other, Message):
        return one.opcode == other.opcode and bytes(one.payload) == bytes(other.payload)
    return one == other


def said(events: Sequence[Event]) -> str:
    """The events in words, the same ones in a row once: "echo", "10 pongs, echo"."""
    words = []
    names = {Pong: ("pong", "{} pongs"), Message: ("echo", "{} echoes"), Echoes: ("all echoed", "")}
    for kind, run in groupby(map(type, events)):
        count = len(list(run))
        one, many = names[kind]
        words.append(one if count == 1 else many.format(count))
    return ", ".join(words) or "nothing"


def play(case: Case, address: tuple[str, int], full: bool = False, patience: float = 20.0) -> Verdict:
    """Play one case. `full`: every round trip of it, else as many as `reduced` says."""
    began = time.monotonic()
    try:
        with Client(address, offer=case.offer, patience=patience, early=case.early) as client:
            words = _Play(case, client, full).run()
    except Wrong as wrong:
        if case.informational:
            return Verdict(case, True, str(wrong), time.monotonic() - began)
        return Verdict(case, False, str(wrong), time.monotonic() - began)
    except TimeoutError:
        return Verdict(case, False, f"nothing for {patience:g} s", time.monotonic() - began)
    return Verdict(case, True, words, time.monotonic() - began)
