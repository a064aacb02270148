"""The grammar of `--access-log-format`: gunicorn's atoms, or `json`.

A format is compiled once to a list of pieces: literal text, and atoms that `_access_log` fills in for each response.
What does not change while a process lives (its id, its environment) becomes literal here.
"""

import os
import re
from typing import Final, NamedTuple

JSON: Final = "json"

# A value of the kind that each atom has: a conversion that cannot show it is refused at once.
_ATOMS: Final[dict[str, str | int]] = {
    "h": "", "l": "", "u": "", "t": "", "r": "", "m": "", "U": "", "q": "", "H": "", "b": "", "f": "", "a": "", "L": "",
    "id": "", "s": 200, "B": 0, "T": 0, "D": 0, "M": 0,
}  # fmt: skip

_TOKEN: Final = re.compile(
    r"%(?:%|\((?:\{(?P<name>[^{}]+)\}(?P<kind>[ioe])|(?P<atom>\w+))\)(?P<conversion>[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]))"
)


class Piece(NamedTuple):
    """A part of a line: an atom with its conversion, or, where `atom` is empty, the text of `argument`.

    The atoms `i` and `o` are fields of the request and of the response; `argument` is the name, in lower case.
    """

    atom: str
    argument: str = ""
    conversion: str = "%s"


def parse(text: str, worker: str | None = None) -> list[Piece]:
    """The pieces of a format in atoms. Raises ValueError for what it does not know, naming it.

    worker: the number of this worker, None in a server that is one process.
    """
    pieces: list[Piece] = []
    literal = ""
    position = 0
    while position < len(text):
        mark = text.find("%", position)
        if mark < 0:
            mark = len(text)
        literal += text[position:mark]
        if mark == len(text):
            break
        token = _TOKEN.match(text, mark)
        if token is None:
            raise ValueError(f"{text[mark : mark + 20]!r} is not an atom such as %(h)s")
        position = token.end()
        piece = _piece(token, worker)
        if piece.atom:
            if literal:
                pieces.append(Piece("", literal))
                literal = ""
            pieces.append(piece)
        else:
            literal += piece.argument
    if literal:
        pieces.append(Piece("", literal))
    if any(
        character < " " or character == "\x7f" for piece in pieces if not piece.atom for character in piece.argument
    ):
        raise ValueError("a control character would break lines apart")
    return pieces


def _piece(token: re.Match[str], worker: str | None) -> Piece:
    if token[0] == "%%":
        return Piece("", "%")
    conversion = f"%{token['conversion']}"
    if token["kind"] == "e":
        return Piece("", _shown(os.environ.get(token["name"], "-"), conversion, token[0]))
    if token["kind"]:
        _shown("", conversion, token[0])
        return Piece(token["kind"], token["name"].lower(), conversion)
    atom = token["atom"]
    if atom == "p":
        return Piece("", _shown(f"<{os.getpid()}>", conversion, token[0]))
    if atom == "w":
        return Piece("", _shown(worker or "-", conversion, token[0]))
    if atom not in _ATOMS:
        raise ValueError(f"there is no atom {token[0]}")
    _shown(_ATOMS[atom], conversion, token[0])
    return Piece(atom, "", conversion)


def _shown(value: str | int, conversion: str, token: str) -> str:
    if isinstance(value, int) and conversion.endswith("c"):
        raise ValueError(f"{token}: a number is no character")
    try:
        return conversion % value
    except (TypeError, ValueError) as error:
        raise ValueError(f"{token}: {error}") from None
