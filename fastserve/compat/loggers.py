"""The loggers: `fastserve`, `fastserve.error` and the others get uvicorn's names.

A logger that our modules hold and the one that the program holds under uvicorn's name become one: two objects with one
state. `share` leaves it at that, for every server: what an application logs there appears, and its filters act.

With `rename` only uvicorn's names are registered from then on, so that a logging configuration with
`disable_existing_loggers` finds the ones it knows, and whoever asks for ours is given those.
"""

import logging
import re
from typing import Any

from fastserve.config import LOGGING_CONFIG, LogConfig

_OURS = "fastserve"
_THEIRS = "uvicorn"
_SUFFIXES = ("", ".error", ".access", ".asgi")

# The name alone or the beginning of a longer one, in a file of any format.
_MENTIONED = re.compile(rf"(?<![\w.]){_THEIRS}(?!\w)")


class _Manager(logging.Manager):
    """The manager of all loggers, who knows that two names are one."""

    def getLogger(self, name: str) -> logging.Logger:
        return super().getLogger(_renamed(name))


def share() -> None:
    """Let what a program does to uvicorn's loggers be done to ours, whenever it asks for them; the names stay."""
    if isinstance(logging.Logger.manager, _Manager):
        return
    for suffix in _SUFFIXES:
        ours, theirs = logging.getLogger(_OURS + suffix), logging.getLogger(_THEIRS + suffix)
        if ours.__dict__ is theirs.__dict__:
            continue
        for known in theirs.filters:
            ours.addFilter(known)
        if not ours.handlers:
            for handler in theirs.handlers:
                ours.addHandler(handler)
        theirs.__dict__ = ours.__dict__


def rename() -> None:
    """Give the loggers of this process, and those of `LOGGING_CONFIG`, uvicorn's names."""
    manager = logging.Logger.manager
    known: dict[str, Any] = manager.loggerDict
    ours = {name: known.pop(name) for name in list(known) if _renamed(name) != name}
    manager.__class__ = _Manager
    for name in sorted(ours):
        if isinstance(ours[name], logging.Logger):
            _unite(ours[name], logging.getLogger(_renamed(name)))
    configured = LOGGING_CONFIG["loggers"]
    for name in list(configured):
        configured[_renamed(name)] = configured.pop(name)


def are_named_in(log_config: LogConfig) -> bool:
    """Whether a logging configuration, in a dictionary or a file, speaks of uvicorn's loggers."""
    if isinstance(log_config, dict):
        return any(_MENTIONED.match(name) for name in log_config.get("loggers", ()))
    if isinstance(log_config, str):
        try:
            with open(log_config, encoding="utf-8") as file:
                return _MENTIONED.search(file.read()) is not None
        except (OSError, ValueError):
            # Whoever configures logging from it finds the same, and says so.
            return False
    return False


def _renamed(name: str) -> str:
    return _THEIRS + name[len(_OURS) :] if name == _OURS or name.startswith(_OURS + ".") else name


def _unite(ours: logging.Logger, theirs: logging.Logger) -> None:
    """One state for both: that of `theirs`, with what has been done to `ours`."""
    for handler in ours.handlers:
        theirs.addHandler(handler)
    for known in ours.filters:
        theirs.addFilter(known)
    if theirs.level == logging.NOTSET:
        theirs.setLevel(ours.level)
    theirs.propagate = theirs.propagate and ours.propagate
    theirs.name = _renamed(ours.name)
    ours.__dict__ = theirs.__dict__
