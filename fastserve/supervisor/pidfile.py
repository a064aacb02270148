"""The pid file: the number of the process to send signals to, for as long as it runs.

A file that names a process which has ended is replaced; one that names a living process is somebody's, and refused.
Two servers that start at the same time agree by a lock on the file, held only while it is read and written.
"""

import contextlib
import errno
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# What ends a process that has no handler for it, without a word to Python.
_DEADLY = (signal.SIGTERM, signal.SIGHUP)

# More than any number of a process has digits.
_LONGEST = 32


@contextlib.contextmanager
def held(path: str) -> Iterator[None]:
    """Keep a pid file. Raises OSError, ready for the log, where it cannot be written or names a living process.

    The file is also removed when a signal that has no handler ends the process: a `Server` hands SIGTERM on to that
    fate when it has stopped.
    """
    path = os.path.abspath(path)
    write(path)

    def end(number: int, frame: FrameType | None) -> None:
        remove(path)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    handled: list[int] = []
    if threading.current_thread() is threading.main_thread():
        handled = [number for number in _DEADLY if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        remove(path)
        for number in handled:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)


def write(path: str) -> None:
    """Write this process's number. Raises OSError as `held` does."""
    try:
        while not _write(path):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(error.errno, f"error while attempting to write pid file {path!r}: {reason}") from None


def remove(path: str) -> None:
    """Remove the file if it names this process."""
    with contextlib.suppress(OSError):
        if _named(path) == os.getpid():
            os.unlink(path)


def _write(path: str) -> bool:
    """False if the file has meanwhile been removed by its owner: then what was opened is not what `path` names."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                owner = _number(os.pread(fd, _LONGEST, 0))
                if owner not in (0, os.getpid()) and _is_alive(owner):
                    raise OSError(errno.EEXIST, f"process {owner} is running")
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                os.ftruncate(fd, len(str(os.getpid())) + 1)
                return True
    finally:
        os.close(fd)
    return False


def _named(path: str) -> int:
    with open(path, "rb") as file:
        return _number(file.read(_LONGEST))


def _number(content: bytes) -> int:
    """The number in a pid file, 0 for an empty one. Raises OSError for what is not a pid file."""
    text = content.strip()
    if not text:
        return 0
    if not text.isdigit() or len(content) == _LONGEST:
        raise OSError(errno.EEXIST, "the file exists and is not a pid file")
    return int(text)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
