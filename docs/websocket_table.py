"""Writes the tables in docs/websocket.md: the options, and what comes of each conformance case.

python docs/websocket_table.py             plays the cases against fastserve, with few round trips, and writes the page
python docs/websocket_table.py --full      the same with all of them, which takes some minutes
python docs/websocket_table.py --check     exit with 1 if the table of options is out of date; plays nothing

The tests play the cases too, and compare the page with what they saw.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from docs.options_table import default, switch
from fastserve.options import OPTIONS
from tests.websocket.cases.compression import SIZES, does
from tests.websocket.cases.everything import CASES, SECTIONS
from tests.websocket.cases.script import Section
from tests.websocket.play import Verdict, play
from tests.websocket.serving import served

PAGE = Path(__file__).resolve().parent / "websocket.md"
BEGIN = "<!-- {}: written by docs/websocket_table.py -->"
END = "<!-- end of {} -->"
CASES_PART, OPTIONS_PART = "cases", "options"


def result(verdict: Verdict) -> str:
    """In one word."""
    if verdict.case.informational:
        return "informational"
    return "pass" if verdict.passed else "**FAIL**"


def rows(section: Section, verdicts: dict[str, Verdict]) -> list[str]:
    """One row for each case of a section."""
    found = [verdicts[case.id] for case in section.cases]
    return [f"| {one.case.id} | {_cell(one.case.does)} | {_cell(one.said)} | {result(one)} |" for one in found]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def matrix(sections: Sequence[Section], verdicts: dict[str, Verdict]) -> list[str]:
    """One row for each kind of traffic, one column for each section."""
    lines = [
        "| | the client sends | " + " | ".join(section.id for section in sections) + " |",
        "|---" * (len(sections) + 2) + "|",
    ]
    for number, (length, fragment) in enumerate(SIZES, 1):
        results = [result(verdicts[f"{section.id}.{number}"]) for section in sections]
        lines.append(f"| .{number} | {does(length, fragment)} | {' | '.join(results)} |")
    return lines


def section(found: Sequence[Verdict]) -> str:
    """The generated part of the page, for a verdict of every case."""
    verdicts = {verdict.case.id: verdict for verdict in found}
    informational = sum(verdict.case.informational for verdict in found)
    strict = sum(verdict.passed for verdict in found if not verdict.case.informational)
    parts = [
        f"{strict} of {len(found) - informational} cases pass strictly; {informational} more are informational: what "
        "happens there is not laid down anywhere."
    ]
    plain = [section for section in SECTIONS if not section.id.startswith(("12.", "13."))]
    for one in plain:
        parts.append(
            f"#### {one.id} {one.title}\n\n| case | the client sends | fastserve | result |\n|---|---|---|---|\n"
            + "\n".join(rows(one, verdicts))
        )
    for number, title in (("12", "permessage-deflate: contents"), ("13", "permessage-deflate: parameters")):
        compressed = [section for section in SECTIONS if section.id.startswith(f"{number}.")]
        legend = "\n".join(f"- {section.id}: {section.title}" for section in compressed)
        parts.append(f"#### {number} {title}\n\n{legend}\n\n" + "\n".join(matrix(compressed, verdicts)))
    return "\n\n".join(parts)


def options() -> str:
    """The options that only WebSocket has."""
    found = [option for option in OPTIONS.values() if option.group == "WebSocket"]
    cells = [[switch(option), default(option), option.description] for option in found]
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "| option | default | meaning |\n|---|---|---|\n" + "\n".join(rows)


def put(page: str, part: str, text: str) -> str:
    """The page with the text between the marks of `part`."""
    head, begin, rest = page.partition(BEGIN.format(part))
    _, end, after = rest.partition(END.format(part))
    if not end:
        raise SystemExit(f"{PAGE.name} has no section between {BEGIN.format(part)!r} and {END.format(part)!r}")
    return f"{head}{begin}\n\n{text}\n\n{end}{after}"


def main() -> int:
    """Play all cases and rewrite the page; 1 where one of them fails, or where a check finds a difference."""
    before = PAGE.read_text(encoding="utf-8")
    page = put(before, OPTIONS_PART, options())
    if "--check" in sys.argv[1:]:
        if page != before:
            print(f"docs/{PAGE.name}: the table of options is out of date; run make docs", file=sys.stderr)
        return int(page != before)
    with served("fastserve") as address:
        found = [play(case, address, full="--full" in sys.argv[1:]) for case in CASES.values()]
    PAGE.write_text(put(page, CASES_PART, section(found)), encoding="utf-8")
    failed = [verdict for verdict in found if not verdict.passed]
    for verdict in failed:
        print(f"FAIL {verdict.case.id}: {verdict.case.does}: {verdict.said}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
