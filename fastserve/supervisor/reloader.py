"""`Reloader`: the supervisor of `--reload`, put together: one worker, `Reloading` for its policy, and a watcher."""

import contextlib
import copy
import importlib.util
import logging
import selectors
from collections.abc import Generator
from pathlib import Path
from typing import Final

from fastserve.options import OPTIONS
from fastserve.server.config import Config
from fastserve.supervisor.reloading import Reloading
from fastserve.supervisor.supervisor import Decisions, Supervisor
from fastserve.supervisor.system import System
from fastserve.supervisor.watched import Watched
from fastserve.supervisor.watcher import StatReload, Watcher, find_source

logger = logging.getLogger("fastserve.error")

# What running requests get where the options do not say anything else: somebody waits for the new code.
_DISCONNECT: Final = 1.0
_SHUTDOWN: Final = 2.0
_CANCEL: Final = 0.5


class Reloader(Supervisor):
    """Serves `config.app`, an import string, with one worker that is replaced when files change."""

    def __init__(self, config: Config, *, main_module: bool = True) -> None:
        self._watched = Watched(config.reload_dirs, config.reload_includes, config.reload_excludes)
        logger.info(
            "Will watch for changes in these directories: %s", [str(path) for path in self._watched.directories]
        )
        if config.workers > 1:
            logger.warning('"workers" flag is ignored when reloading is enabled.')
        self._delay = config.reload_delay
        self._saved: set[Path] = set()
        super().__init__(_for_development(config), main_module=main_module)

    @contextlib.contextmanager
    def _policy(self, system: System, selector: selectors.BaseSelector) -> Generator[Decisions, None, None]:
        source = find_source(self._watched, self._delay)
        watcher = Watcher(source, spare=lambda: StatReload(self._watched, self._delay))
        policy = Reloading(self._config, system, source.name, self._forget_bytecode)

        def changed() -> None:
            if paths := watcher.take():
                self._saved.update(paths)
                policy.changed(paths)

        selector.register(watcher, selectors.EVENT_READ, changed)
        watcher.start()
        try:
            yield policy
        finally:
            selector.unregister(watcher)
            watcher.stop()

    def _forget_bytecode(self) -> None:
        # Python takes what it compiled before for valid if the size is the same and the time, in whole seconds.
        for path in self._saved:
            if path.suffix == ".py":
                with contextlib.suppress(OSError, NotImplementedError):
                    Path(importlib.util.cache_from_source(path)).unlink()
        self._saved.clear()


def _for_development(config: Config) -> Config:
    """The settings of the worker: alone, and never in the way of its successor for long."""
    config = copy.copy(config)
    config.workers, config.preload = 1, False
    # A limit that was chosen is obeyed.
    if config.timeout_graceful_shutdown in (None, OPTIONS["timeout_graceful_shutdown"].default):
        config.timeout_graceful_shutdown = _SHUTDOWN
        config.timeout_graceful_disconnect = min(config.timeout_graceful_disconnect or _DISCONNECT, _DISCONNECT)
    config.timeout_graceful_cancel = min(config.timeout_graceful_cancel, _CANCEL)
    config.timeout_graceful_idle = min(config.timeout_graceful_idle, _CANCEL)
    return config
