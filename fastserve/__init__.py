"""The package root: the public names, imported on first use. Nothing inside the package imports this module."""

import importlib
import sys
from types import ModuleType
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

# As `uvicorn.config` and the others are there once uvicorn is imported.
_MODULES = ("config", "importer", "logging", "middleware", "protocols", "server", "supervisors")


class _Root(ModuleType):
    """This module's class."""

    def __setattr__(self, name: str, value: Any) -> None:
        # `import fastserve.main` would put the module in the place of the command.
        if name != "main" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
