"""fastserve in uvicorn's place: after `install()`, `import uvicorn` and everything below it finds fastserve.

For programs and tools that import uvicorn themselves and are not to be edited. `python -m fastserve.compat` does the
same for a whole program from outside.
"""

import os
import sys
from pathlib import Path
from typing import Final

from fastserve.compat import loggers, modules
from fastserve.config import LogConfig

__all__ = ["adopt", "install", "installed", "share_loggers"]

SEARCH_PATH: Final = str(Path(__file__).parent / "path")
"""A directory with a `uvicorn` that installs this one: for PYTHONPATH."""


def installed() -> bool:
    """Whether `install` has been called in this process."""
    return modules.finder in sys.meta_path


def install(*, subprocesses: bool = False) -> None:
    """Have `import uvicorn` find fastserve in this process, and in the workers and forks that it makes.

    The loggers are uvicorn's from here on: `uvicorn`, `uvicorn.error`, `uvicorn.access`, in records, in logging
    configurations and in `LOGGING_CONFIG`. `subprocesses`: also in every Python program that this process starts, by
    way of PYTHONPATH.

    A second call changes nothing. Raises RuntimeError where uvicorn itself has been imported already.
    """
    if not installed():
        present = sys.modules.get("uvicorn")
        if present is not None and getattr(present, "__file__", None) != str(Path(SEARCH_PATH, "uvicorn.py")):
            raise RuntimeError(
                "uvicorn has been imported already, so that fastserve cannot take its place. Call "
                "fastserve.compat.install() before the first import of uvicorn, or of anything that imports it; or "
                "start the program with `python -m fastserve.compat`."
            )
        sys.meta_path.insert(0, modules.finder)
        loggers.rename()
    if subprocesses:
        paths = os.environ.get("PYTHONPATH", "")
        if SEARCH_PATH not in paths.split(os.pathsep):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SEARCH_PATH, paths)))


def adopt(log_config: LogConfig) -> None:
    """Make a logging configuration that was written for uvicorn one for us: one that speaks of its loggers.

    Where uvicorn itself has been imported its formatters stay, and only the loggers' names become uvicorn's.
    """
    if loggers.are_named_in(log_config):
        if "uvicorn" in sys.modules:
            loggers.rename()
        else:
            install()


def share_loggers() -> None:
    """Let the loggers `uvicorn`, `uvicorn.error`, `uvicorn.access` and `uvicorn.asgi` of this process be ours."""
    loggers.share()
