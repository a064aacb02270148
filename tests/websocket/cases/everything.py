"""All sections in their order."""

from tests.websocket.cases import beyond, closing, compression, fragmentation, framing, reserved, sizes, text
from tests.websocket.cases.script import Case, Section


def _place(section: Section) -> tuple[int, ...]:
    return tuple(int(number) for number in section.id.split("."))


SECTIONS: list[Section] = sorted(
    (
        section
        for module in (framing, reserved, fragmentation, text, closing, sizes, compression, beyond)
        for section in module.SECTIONS
    ),
    key=_place,
)
CASES: dict[str, Case] = {case.id: case for section in SECTIONS for case in section.cases}
