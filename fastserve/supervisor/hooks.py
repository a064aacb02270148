"""What an application asks to have run in each worker that was forked, before it serves."""

from collections.abc import Callable
from typing import TypeVar

_Hook = TypeVar("_Hook", bound=Callable[[], object])

_hooks: list[Callable[[], object]] = []


def after_fork(hook: _Hook) -> _Hook:
    """Call `hook()` in each worker that `--preload` forks, in the order of registration; usable as a decorator.

    For what must not be shared between processes: connections, threads, random state. An exception ends the worker as a
    failed start does. Without `--preload` every worker imports the application itself, and no hook is called.
    """
    _hooks.append(hook)
    return hook


def run_after_fork() -> None:
    for hook in _hooks:
        hook()
