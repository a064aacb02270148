"""Writes the table of options in README.md from the option table of the package.

python docs/options_table.py            bring README.md up to date
python docs/options_table.py --check    exit with 1 if it is not
"""

import sys
from pathlib import Path

from fastserve.options import OPTIONS, Option

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- options: written by make docs -->"
END = "<!-- end of options -->"


def default(option: Option) -> str:
    """The default as it would be typed."""
    if option.default is None or option.default == "":
        return ""
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    if isinstance(option.default, float):
        return f"{option.default:g}"
    return f"{option.default}"


def switch(option: Option) -> str:
    """The option as it is typed, with what turns it off and what it takes."""
    words = [option.name or option.param.upper()]
    if off := getattr(option.type, "off", None):
        words = [f"{option.name} / {off}"]
    if option.name and option.type.metavar:
        words.append(option.type.metavar)
    return f"`{' '.join(words)}`"


def table() -> str:
    """All options, one table per group, in the order of --help."""
    groups: dict[str, list[Option]] = {}
    for option in OPTIONS.values():
        if not option.hidden and option.command_line:
            groups.setdefault(option.group, []).append(option)
    parts = []
    for group, options in groups.items():
        parts.append(f"#### {group}\n\n| option | default | meaning |\n|---|---|---|")
        for option in options:
            row = [switch(option), default(option), option.description]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        parts.append("")
    return "\n".join(parts)


def main() -> int:
    """Rewrite the section, or compare it; returns the exit code."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{README.name} has no section between {BEGIN!r} and {END!r}", file=sys.stderr)
        return 1
    wanted = f"{before}{BEGIN}\n\n{table()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        if wanted != text:
            print(f"{README.name}: the table of options is out of date; run make docs", file=sys.stderr)
        return int(wanted != text)
    if wanted != text:
        README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
