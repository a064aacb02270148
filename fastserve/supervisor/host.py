"""Small dealings with the machine: titles and memory of processes, and who inherits orphans.

None of it is needed to serve: each function does without where the kernel does not let it. What the control group
grants is in `fastserve.cgroup`.
"""

import contextlib
import ctypes
import importlib
import os
from typing import Final

from fastserve.cgroup import cpu_limit, oom_kills

__all__ = ["become_subreaper", "cpu_limit", "oom_kills", "resident_memory", "set_process_title"]

_PR_SET_CHILD_SUBREAPER: Final = 36

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

COMM_LIMIT: Final = 15
"""Bytes of the short name of a process: TASK_COMM_LEN without its NUL."""


def resident_memory(pid: int, root: str | os.PathLike[str] = "/") -> int:
    """Bytes that the process has in memory, pages it shares included; 0 if it is gone."""
    try:
        with open(os.path.join(root, f"proc/{pid}/statm"), "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def set_process_title(text: str) -> None:
    """Show `text` as this process's command line (with the package setproctitle), else its start as the short name."""
    try:
        importlib.import_module("setproctitle").setproctitle(text)
    except ImportError:
        with contextlib.suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(text.encode("utf-8", "replace")[:COMM_LIMIT])


def become_subreaper() -> bool:
    """Be the parent of descendants whose own parent has ended, as PID 1 is (prctl(2)); returns whether that worked.

    They are told of by SIGCHLD and have to be waited for.
    """
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
