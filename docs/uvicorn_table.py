"""Writes the tables of docs/uvicorn.md: every option and every API name of the installed uvicorn, and its state here.

python docs/uvicorn_table.py            bring docs/uvicorn.md up to date
python docs/uvicorn_table.py --check    exit with 1 if it is not

Nothing about uvicorn is written down here that can be asked of uvicorn: a release that adds an option adds a row.
"""

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import uvicorn
import uvicorn.config

import fastserve
from fastserve.options import OPTIONS, Option

PAGE = Path(__file__).resolve().parent / "uvicorn.md"
BEGIN = "<!-- tables: written by make docs -->"
END = "<!-- end of tables -->"

DIFFERENT_DEFAULTS = {
    "timeout_graceful_shutdown": "finite, so that an event stream does not hold up a deployment for ever",
    "timeout_worker_healthcheck": "counts time in which the event loop itself stands still; none or 0 switches it off",
}
"""Why a default is not uvicorn's; a test allows it to differ for these options alone."""

MODULES = (
    "uvicorn",
    "uvicorn.config",
    "uvicorn.importer",
    "uvicorn.logging",
    "uvicorn.main",
    "uvicorn.middleware.asgi2",
    "uvicorn.middleware.message_logger",
    "uvicorn.middleware.proxy_headers",
    "uvicorn.middleware.wsgi",
    "uvicorn.protocols.utils",
    "uvicorn.server",
    "uvicorn.supervisors",
    "uvicorn.supervisors.multiprocess",
)
"""The modules whose names other projects import. Loops and protocols are uvicorn's own affair, as they are ours."""


_RELOADER = "a step inside its reloader; `fastserve.supervisor.watched` is ours"
_STREAMS = "for protocols on asyncio's transports; there are none here"
_WSGI = "a step inside its WSGI middleware; wrap the application in `WSGIMiddleware`"

REASONS = {
    "config.is_dir": _RELOADER,
    "config.resolve_reload_patterns": _RELOADER,
    "Config.reload_dirs_excludes": _RELOADER,
    "Config.setup_event_loop": "raises AttributeError there; `get_loop_factory` takes its place",
    "main.print_version": "a step inside its command line",
    "middleware.wsgi.build_environ": _WSGI,
    "middleware.wsgi.WSGIResponder": _WSGI,
    "protocols.utils.get_local_addr": _STREAMS,
    "protocols.utils.get_remote_addr": _STREAMS,
    "protocols.utils.is_ssl": _STREAMS,
    "Server.last_notified": "when `callback_notify` was called last, a note of its main loop",
}
"""Why a name is not there."""


def options_table() -> str:
    """One row per option of uvicorn's command."""
    lines = ["| option | variable | default there | default here | state here |", "|---|---|---|---|---|"]
    context = click.Context(uvicorn.main)
    for parameter in uvicorn.main.params:
        if not parameter.expose_value:
            continue
        name = " / ".join(f"`{switch}`" for switch in (*parameter.opts, *parameter.secondary_opts))
        row = OPTIONS.get(parameter.name or "")
        theirs = text(parameter.get_default(context))
        cells = [name, f"`UVICORN_{(parameter.name or '').upper()}`", theirs]
        cells += ["", "missing"] if row is None else [text(row.default), state(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def state(row: Option) -> str:
    """What becomes of the option here, in a few words."""
    if row.missing:
        values = ", ".join(str(value) for value in row.missing_values if value is not None)
        return f"{f'`{values}`' if values else 'refused'}: {row.missing}"
    if row.ignored:
        values = ", ".join(f"`{value}`" for value in row.ignored_values)
        return f"{values + ': ' if values else ''}accepted, no effect: {row.ignored}"
    if row.param in DIFFERENT_DEFAULTS:
        return f"another default: {DIFFERENT_DEFAULTS[row.param]}"
    return "same"


def text(default: Any) -> str:
    """A default as it would be typed."""
    # Depending on its version click tells a default that was never given from one that is None.
    if default is None or default == "" or default == () or not isinstance(default, (str, int, float)):
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else f"{default}"


def names_table() -> str:
    """One row per name of uvicorn's Python API."""
    lines = ["| uvicorn | here |", "|---|---|"]
    for module_name in MODULES:
        theirs = importlib.import_module(module_name)
        ours = find(module_name.replace("uvicorn", "fastserve", 1))
        for name in public_names(theirs):
            lines.append(row_of(f"{module_name}.{name}", hasattr(ours, name)))
    lines += members("Config", uvicorn.Config, fastserve.Config)
    lines += members("Server", uvicorn.Server, fastserve.Server)
    return "\n".join(lines)


def find(module_name: str) -> ModuleType | None:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError:
        return None


def public_names(module: ModuleType) -> list[str]:
    """The classes, functions and constants that the module itself defines, or exports by `__all__`."""
    exported = list(getattr(module, "__all__", ()))
    elsewhere = set() if module.__name__ == "uvicorn.config" else set(vars(uvicorn.config))
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and is_own(module, name, value) and name not in elsewhere
    ]
    return sorted({*exported, *own}, key=str.lower)


def is_own(module: ModuleType, name: str, value: object) -> bool:
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__module__ == module.__name__
    return name.isupper() and name not in {"IO", "TYPE_CHECKING"}


def members(class_name: str, theirs: type, ours: type) -> list[str]:
    """One row for each public attribute and method of the class's objects."""
    found, there = attributes(theirs), attributes(ours)
    return [row_of(f"uvicorn.{class_name}.{name}", name in there) for name in sorted(found, key=str.lower)]


def attributes(cls: type) -> set[str]:
    """What objects of the class have: what it and its bases define, and what their methods assign to."""
    names = set(dir(cls))
    for base in cls.__mro__[:-1]:
        names.update(inspect.get_annotations(base))
        names.update(re.findall(r"\bself\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(base)))
    return {name for name in names if not name.startswith("_")}


def row_of(name: str, there: bool) -> str:
    if there:
        return f"| `{name}` | `{name.replace('uvicorn', 'fastserve', 1)}` |"
    reason = REASONS.get(name.removeprefix("uvicorn."), "")
    return f"| `{name}` | not there{': ' + reason if reason else ''} |"


def page(before: str) -> str:
    """The whole page, given what it was."""
    head, _, rest = before.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE.name} has no section between {BEGIN!r} and {END!r}")
    tables = (
        f"As of uvicorn {uvicorn.__version__}.\n\n## Options\n\n{options_table()}\n\n## Python API\n\n{names_table()}"
    )
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main() -> int:
    """Rewrite the section, or compare it; returns the exit code."""
    before = PAGE.read_text(encoding="utf-8")
    wanted = page(before)
    if "--check" in sys.argv[1:]:
        if wanted != before:
            print(f"docs/{PAGE.name}: the tables are out of date; run make docs", file=sys.stderr)
        return int(wanted != before)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
