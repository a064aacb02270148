"""The thread of `--reload` that waits for files to change.

WatchFiles    the package watchfiles, where it is installed: the kernel tells of changes
StatReload    without it: the times and sizes of all .py files, compared every `delay` seconds

Both begin before the application is imported: what is saved while it starts is noticed, and so `Watcher.start` returns
only when nothing is missed any more. The thread touches nothing of the supervisor; it leaves the changes in a queue and
wakes the supervisor's selector.
"""

import contextlib
import importlib
import logging
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple, Protocol

from fastserve.supervisor.watched import Watched

# A scan that takes long leaves the processor alone for this many times as long.
_REST: Final = 4

# Two saves that are as close as this may have left the same time, whose steps are those of a clock's tick or of whole
# seconds: nanoseconds.
_SAME_TIME: Final = 2_000_000_000

# Milliseconds without a further change after which watchfiles reports those that it has; and the longest it waits.
_STEP = 50
_TIMEOUT = 5000

# Seconds for the thread to begin to watch, and to end.
_BEGIN = 5.0
_JOIN = 5.0

logger = logging.getLogger("fastserve.error")


class Source(Protocol):
    """Where changes come from. `name` is for the log."""

    @property
    def name(self) -> str: ...

    def changes(self, stop: threading.Event, watching: threading.Event) -> Iterator[list[Path]]:
        """Changed files that count, in batches that are not empty, until `stop` is set. Blocks between them.

        Sets `watching` when nothing that is saved from then on is missed.
        """


class _Seen(NamedTuple):
    """A file as it was at the last look. `content`: its checksum, where the rest may not tell the next save apart."""

    time: int
    size: int
    number: int
    content: int | None


class StatReload:
    """Changes by comparing: a file that is new, gone, or has another time or size; or other content, if it has been
    saved a moment ago. Takes the first look at once."""

    name = "StatReload"

    def __init__(self, watched: Watched, delay: float) -> None:
        self._directories = watched.directories
        self._delay = delay
        self._seen: dict[str, _Seen] = {}
        self.scan()
        if watched.has_patterns:
            logger.warning("--reload-include and --reload-exclude have no effect unless watchfiles is installed.")

    def scan(self) -> list[Path]:
        """The files that have changed since the last scan, in order."""
        before, self._seen = self._seen, {}
        changed = set(before)
        now = time.time_ns()
        for path in self._sources():
            old = before.get(path)
            try:
                seen = _look(path, old, now)
            except OSError:
                continue
            changed.add(path)
            if old is not None and old[:3] == seen[:3] and old.content == seen.content:
                changed.remove(path)
            # Once is enough when the next save will have another time.
            self._seen[path] = seen if now - seen.time < _SAME_TIME else seen._replace(content=None)
        return [Path(path) for path in sorted(changed)]

    def changes(self, stop: threading.Event, watching: threading.Event) -> Iterator[list[Path]]:
        watching.set()
        rest = 0.0
        while not stop.wait(max(self._delay, rest)):
            start = time.thread_time()
            found = self.scan()
            rest = _REST * (time.thread_time() - start)
            if found:
                yield found

    def _sources(self) -> Iterator[str]:
        for directory in self._directories:
            for folder, names, files in os.walk(directory):
                # Python writes there by itself, and imports no source from there.
                names[:] = [name for name in names if name != "__pycache__"]
                yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))


def _look(path: str, before: _Seen | None, now: int) -> _Seen:
    """The file as it is; with its content where that was looked at before, or may have to be compared the next time."""
    found = os.stat(path)
    seen = _Seen(found.st_mtime_ns, found.st_size, found.st_ino, None)
    if before is not None and before[:3] == seen[:3]:
        wanted = before.content is not None
    else:
        wanted = now - seen.time < _SAME_TIME
    if not wanted:
        return seen
    with open(path, "rb") as file:
        return seen._replace(content=zlib.crc32(file.read()))


class _Stop:
    """A stop event that notes when it is asked for the first time: who asks is watching."""

    def __init__(self, stop: threading.Event, watching: threading.Event) -> None:
        self._stop = stop
        self._watching = watching

    def is_set(self) -> bool:
        self._watching.set()
        return self._stop.is_set()


class WatchFiles:
    """Changes as the package watchfiles reports them."""

    name = "WatchFiles"

    def __init__(self, watched: Watched, delay: float, package: ModuleType) -> None:
        self._watched = watched
        self._delay = delay
        self._package = package

    def changes(self, stop: threading.Event, watching: threading.Event) -> Iterator[list[Path]]:
        """Raises OSError, or what watchfiles calls an internal error, where the kernel does not let it watch."""
        batches = self._package.watch(
            *self._watched.directories,
            watch_filter=None, stop_event=_Stop(stop, watching), yield_on_timeout=True, rust_timeout=_TIMEOUT,
            step=_STEP, ignore_permission_denied=True,
        )  # fmt: skip
        for batch in batches:
            paths = sorted({Path(name) for _, name in batch})
            if counting := [path for path in paths if self._watched.counts(path)]:
                yield counting
            # What is saved meanwhile is in the next batch.
            if stop.wait(self._delay):
                return


def find_source(watched: Watched, delay: float) -> Source:
    """The better of the two that is installed. `delay`: seconds between two looks."""
    try:
        package = importlib.import_module("watchfiles")
    except ImportError:
        return StatReload(watched, delay)
    return WatchFiles(watched, delay, package)


class Watcher:
    """Runs a source in a thread. `fileno` is readable when `take` has something; `stop` ends it.

    `spare` makes the source that takes over where the first one fails.
    """

    def __init__(self, source: Source, spare: Callable[[], Source]) -> None:
        self._source = source
        self._spare = spare
        self._stop = threading.Event()
        self._watching = threading.Event()
        self._batches: deque[list[Path]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="fastserve-reload", daemon=True)

    def start(self) -> None:
        """Start the thread; returns when it watches, which takes a part of a second."""
        self._thread.start()
        self._watching.wait(_BEGIN)

    def fileno(self) -> int:
        return self._event

    def take(self) -> list[Path]:
        """Everything that has changed since the last call, each file once."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        found: dict[Path, None] = {}
        while self._batches:
            found.update(dict.fromkeys(self._batches.popleft()))
        return list(found)

    def stop(self) -> None:
        """End the thread, which takes no longer than one look, and give the descriptor back."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN)
        # A thread that is stuck in a file system that is gone would wake somebody else.
        if not self._thread.is_alive():
            os.close(self._event)

    def _run(self) -> None:
        try:
            self._pass_on(self._source)
        except Exception as error:
            logger.error("%s cannot watch (%s), polling for changes.", self._source.name, error)
            self._pass_on(self._spare())

    def _pass_on(self, source: Source) -> None:
        for batch in source.changes(self._stop, self._watching):
            self._batches.append(batch)
            os.eventfd_write(self._event, 1)
