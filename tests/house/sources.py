"""Reads the project's own source: which files there are, what they import, and Cython text without its literals.

The tests of this folder judge the sources with it; it has no opinion of its own. Cython files are read by regular
expression: no parser for them can be had without compiling, and imports, blocks and signatures are regular enough.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fastserve"

_BUILT = {"__pycache__", "build", "dist"}
_LITERAL = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?:\b[rbuf]{1,2})?(?P<string>
        \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
      | "(?:\\.|[^"\\\n])*"       | '(?:\\.|[^'\\\n])*')
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is, or would be, committed; in an unpacked source archive every file that was not built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ) if (ROOT / ".git").exists() else None  # fmt: skip
    if listed is not None and listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
        return tuple(sorted(path for path in paths if path.is_file()))
    return tuple(
        sorted(
            path
            for path in ROOT.rglob("*")
            if path.is_file()
            and not any(part in _BUILT or part.startswith(".venv") for part in path.relative_to(ROOT).parts)
        )
    )


def package_files(*suffixes: str) -> list[Path]:
    """The files of the package with one of these suffixes."""
    return [path for path in project_files() if path.is_relative_to(PACKAGE) and path.suffix in suffixes]


def relative(path: Path) -> str:
    """The path as the project speaks of it."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """fastserve/server/logs.py -> fastserve.server.logs; a folder's __init__ is the folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def without_literals(text: str) -> str:
    """Cython text with comments removed and strings emptied; line numbers stay as they were."""

    def blank(match: re.Match[str]) -> str:
        lines = "\n" * match.group().count("\n")
        return lines if match["comment"] is not None else '""' + lines

    return _LITERAL.sub(blank, text)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number, statement) with what is continued in brackets or by a backslash joined into one line."""
    start, held, depth = 0, "", 0
    for number, line in enumerate(without_literals(text).splitlines(), 1):
        start = start if held else number
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        continued = line.endswith("\\")
        held += (" " if held else "") + (line[:-1] if continued else line)
        if depth <= 0 and not continued:
            if held.strip():
                yield start, held
            held, depth = "", 0
    if held.strip():
        yield start, held


def imports(path: Path) -> list[tuple[int, str, str | None]]:
    """(line number, module, imported name or None) of every import and cimport, wherever in the file it is.

    A relative import gives a module that begins with a dot.
    """
    text = path.read_text(encoding="utf-8")
    return list(_python_imports(text) if path.suffix in {".py", ".pyi"} else _cython_imports(text))


def _python_imports(text: str) -> Iterator[tuple[int, str, str | None]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + (node.module or ""), alias.name


def _cython_imports(text: str) -> Iterator[tuple[int, str, str | None]]:
    for number, line in logical_lines(text):
        for statement in line.split(";"):
            if match := re.match(r"\s*from\s+([\w.]+)\s+c?import\s+(.+)", statement):
                for name in match[2].strip(" ()").split(","):
                    if name.strip():
                        yield number, match[1], name.split()[0]
            elif match := re.match(r"\s*c?import\s+(.+)", statement):
                for name in match[1].split(","):
                    yield number, name.split()[0], None
