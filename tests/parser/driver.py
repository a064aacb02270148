"""Runs one whole request, head and body, through the C parsers, cut into calls as the test wants it."""

from collections.abc import Iterable
from typing import Any

from tests.parser._raw import RawChunked, RawHead

HEAD_LIMITS = ("fields", "request_line", "head")


def run(
    data: bytes, sizes: Iterable[int], limits: dict[str, int] | None = None, *, front: bool = False, move: bool = False
) -> tuple[str, Any, int]:
    """Show the parsers ever longer beginnings of `data` (`sizes`, ascending, the last one len(data)).

    Returns ("accepted", what the head says and the body, bytes consumed), ("rejected", (status, reason, offset), bytes
    shown by then) or ("incomplete", None, bytes consumed). With `move` the state moves to other memory before each
    call, with `front` the guard page lies before the input.
    """
    limits = limits or {}
    head = RawHead(**{name: value for name, value in limits.items() if name in HEAD_LIMITS})
    chunked = RawChunked(**{name: value for name, value in limits.items() if name not in HEAD_LIMITS})
    message: dict[str, Any] | None = None
    consumed = 0
    body = b""
    remaining = 0
    for size in sizes:
        if message is None:
            if move:
                head = head.moved()
            before = head.position
            result = head.parse(data[:size], front)
            assert head.position >= before or result < 0, "went back"
            if result < 0:
                return "rejected", head.rejected(), size
            if result == 0:
                continue
            consumed = result
            message = head.accepted()
            remaining = message["content_length"] or 0
        if message["chunked"]:
            while consumed < size and not chunked.done:
                result, piece = chunked.parse(data[consumed:size], front)
                if result < 0:
                    status, reason, offset = chunked.rejected()
                    return "rejected", (status, reason, consumed + offset), size
                assert 0 < result <= size - consumed
                consumed += result
                body += piece
            finished = chunked.done
        else:
            piece = data[consumed : min(size, consumed + remaining)]
            body += piece
            remaining -= len(piece)
            consumed += len(piece)
            finished = remaining == 0
        if finished:
            message["body"] = body
            return "accepted", message, consumed
    return "incomplete", None, consumed
