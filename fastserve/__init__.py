"""The package root: the public names, imported on first use. Nothing inside the package imports this module."""

import importlib
from typing import TYPE_CHECKING, Any

from fastserve._version import __version__

if TYPE_CHECKING:
    from fastserve.cli import main, run
    from fastserve.server.config import Config
    from fastserve.server.server import Server
    from fastserve.supervisor.hooks import after_fork

__all__ = ["Config", "Server", "__version__", "after_fork", "main", "run"]

_HOMES = {
    "Config": "fastserve.server.config",
    "Server": "fastserve.server.server",
    "after_fork": "fastserve.supervisor.hooks",
    "main": "fastserve.cli",
    "run": "fastserve.cli",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
