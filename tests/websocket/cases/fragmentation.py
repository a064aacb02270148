"""Sections 5 and 10: messages in fragments, with control frames between them, and what is no fragment of anything."""

from tests.websocket.cases.script import (
    TEXT,
    Await,
    Case,
    Fragments,
    Message,
    Pong,
    Repeated,
    Section,
    Send,
    continuation,
    ping,
    pong,
    refused,
    text,
)

FIRST, SECOND, THIRD, FOURTH, FIFTH = (b"part %d" % number for number in range(1, 6))
IN_TWO = [text(FIRST, fin=False), continuation(SECOND)]
BOTH = Message(TEXT, FIRST + SECOND)
PING = ping(b"between")

# How the frames of one case are cut, three times over.
CUTS = (("at once", None, False), ("each by itself", None, True), ("byte by byte", 1, False))


def _in_two() -> list[Case]:
    return [
        Case(f"5.{number}", f"A text message in two fragments, {words}", (Send(IN_TWO, chop, each),), (BOTH,))
        for number, (words, chop, each) in enumerate(CUTS, 3)
    ]


def _with_a_ping() -> list[Case]:
    frames = [IN_TWO[0], PING, IN_TWO[1]]
    does = "A text message in two fragments and a ping between them"
    events = (Pong(b"between"), BOTH)
    return [
        Case(f"5.{number}", f"{does}, {words}", (Send(frames, chop, each),), events)
        for number, (words, chop, each) in enumerate(CUTS, 6)
    ]


def _nothing_to_continue() -> list[Case]:
    cases = []
    number = 9
    for fin, kind in ((True, "a last"), (False, "a not last")):
        for words, chop, each in CUTS:
            frames = [continuation(FIRST, fin=fin), text(SECOND)]
            does = f"A continuation as {kind} fragment of nothing, then a text message, {words}"
            cases.append(refused(f"5.{number}", does, Send(frames, chop, each)))
            number += 1
    return cases


def _long_way(case: str, does: str, each: bool) -> Case:
    """The first pong has to come while the message is unfinished."""
    begin = [text(FIRST, fin=False), continuation(SECOND, fin=False), ping(b"one")]
    end = [continuation(THIRD, fin=False), continuation(FOURTH, fin=False), ping(b"two"), continuation(FIFTH)]
    return Case(
        case,
        does,
        (Send(begin, each=each), Await(1), Send(end, each=each)),
        (Pong(b"one"), Pong(b"two"), Message(TEXT, FIRST + SECOND + THIRD + FOURTH + FIFTH)),
    )


def _after_nothing(fin: bool) -> Send:
    return Send([continuation(FIRST, fin=fin), text(SECOND, fin=False), continuation(THIRD)] * 2)


SECTIONS = [
    Section(
        "5",
        "Fragmentation",
        [
            refused("5.1", "A ping in two fragments", Send([ping(FIRST, fin=False), continuation(SECOND)])),
            refused("5.2", "A pong in two fragments", Send([pong(FIRST, fin=False), continuation(SECOND)])),
            *_in_two(),
            *_with_a_ping(),
            *_nothing_to_continue(),
            refused(
                "5.15",
                "A text message in two fragments, then a continuation of nothing, then a text message",
                Send([*IN_TWO, continuation(THIRD, fin=False), text(FOURTH)]),
                events=(BOTH,),
            ),
            refused("5.16", "Twice: a not last fragment of nothing, a text message in two", _after_nothing(False)),
            refused("5.17", "Twice: a last fragment of nothing, a text message in two", _after_nothing(True)),
            refused("5.18", "Two fragments that both begin a message", Send([text(FIRST, fin=False), text(SECOND)])),
            _long_way("5.19", "Five fragments and two pings; the first pong comes before the rest is sent", each=False),
            _long_way("5.20", "The same, each frame by itself", each=True),
        ],
    ),
    Section(
        "10.1",
        "Fragments of one size",
        [
            Case(
                "10.1.1",
                "A text message of 65536 bytes in fragments of 1300",
                (Fragments(TEXT, Repeated(b"*", 65536), 1300),),
                (Message(TEXT, Repeated(b"*", 65536)),),
            )
        ],
    ),
]
