"""The configuration file: which one is read, and its options, checked against the table.

`fastserve.toml` of the current directory, else the table `[tool.fastserve]` of its `pyproject.toml`; one of them, never
both. Keys are the parameters' names, with `-` or `_`; values are TOML's own types, "none" stands for None, and an
option that may be repeated takes an array. Paths are relative to the current directory, as on the command line.
"""

import difflib
import os
import tomllib
from typing import Any, Final

from fastserve.options import OPTIONS

OWN_FILE: Final = "fastserve.toml"
PROJECT_FILE: Final = "pyproject.toml"


def read_options(path: str | None = None) -> tuple[str, dict[str, object]]:
    """The file's name ("" where there is none) and its options by parameter, checked.

    `path` is the file to read instead of those of the current directory. Raises ValueError, naming the file and the
    key, for a file that cannot be read, an unknown key and a value that the option does not take.
    """
    found = _find() if path is None else path
    if found is None:
        return "", {}
    table = _read(found, wanted=path is not None)
    if os.path.basename(found) == PROJECT_FILE:
        found = f"{found} [tool.fastserve]"
    return (found, {}) if table is None else (found, _checked(found, table))


def _find() -> str | None:
    return next((name for name in (OWN_FILE, PROJECT_FILE) if os.path.isfile(name)), None)


def _read(path: str, *, wanted: bool) -> dict[str, Any] | None:
    """The table of options; None if the file is a project's and has none.

    A project's file that nobody asked for is other tools' as well: unless it speaks of us it may be broken.
    """
    project = os.path.basename(path) == PROJECT_FILE
    content = b""
    try:
        with open(path, "rb") as file:
            content = file.read()
        document = tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        if project and not wanted and b"fastserve" not in content:
            return None
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path}: {reason}") from None
    if not project:
        return document
    tools = document.get("tool", {})
    table = tools.get("fastserve") if isinstance(tools, dict) else None
    if table is None and wanted:
        raise ValueError(f"{path}: there is no table [tool.fastserve]")
    if table is not None and not isinstance(table, dict):
        raise ValueError(f"{path}: tool.fastserve is not a table")
    return table


def _checked(path: str, table: dict[str, Any]) -> dict[str, object]:
    options: dict[str, object] = {}
    known = [param for param, row in OPTIONS.items() if row.command_line and param != "config"]
    for key, value in table.items():
        param = key.replace("-", "_")
        if param not in known:
            close = difflib.get_close_matches(param, known, 1)
            raise ValueError(f"{path}: unknown option {key!r}{(close and f'; is it {close[0]!r}?') or ''}")
        if param in options:
            raise ValueError(f"{path}: option {param!r} is given twice")
        try:
            options[param] = OPTIONS[param].read(value)
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from None
    return options
