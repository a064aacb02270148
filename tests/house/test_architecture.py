"""ARCHITECTURE.md is a map of what is there: every source file is on it, and everything on it exists."""

import re

from tests.house.sources import ROOT, project_files, relative

MAP = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SUFFIXES = {".py", ".pyx", ".pxd", ".h", ".c"}
FOLDERS = ("fastserve", "docs", "examples")

# `fastserve/_parser.pyx`, or `fastserve/_parser` for the .pyx together with its .pxd, .pyi and .h.
MENTIONED = set(re.findall(r"`((?:fastserve|tests|bench|examples|docs)/[\w./-]*)`", MAP))


def test_every_source_file_is_on_the_map() -> None:
    missing = []
    for path in project_files():
        name = relative(path)
        if not name.startswith(tuple(f"{folder}/" for folder in FOLDERS)) or path.suffix not in SUFFIXES:
            continue
        if path.name == "__init__.py" and name != "fastserve/__init__.py":
            continue
        if not {name, name.removesuffix(path.suffix)} & MENTIONED:
            missing.append(name)
    assert not missing


def test_everything_on_the_map_exists() -> None:
    there = {relative(path) for path in project_files()}
    there |= {name.rsplit(".", 1)[0] for name in there}
    folders = {name.rsplit("/", depth)[0] for name in there for depth in range(1, name.count("/") + 1)}
    gone = [name for name in sorted(MENTIONED) if name.rstrip("/") not in there | folders]
    assert not gone


def test_what_is_to_be_read_first_is_in_the_file() -> None:
    texts: dict[str, str] = {}
    for path in project_files():
        if path.suffix in SUFFIXES:
            for name in (relative(path), relative(path).rsplit(".", 1)[0]):
                texts[name] = texts.get(name, "") + path.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| .* \| (.*?) ?\|$", MAP, flags=re.MULTILINE)
    named = [(file, name) for file, column in rows for name in re.findall(r"`(?:\w+\.)?(\w+)`", column)]
    assert named
    assert not [(file, name) for file, name in named if not re.search(rf"\b{name}\b", texts[file])]
