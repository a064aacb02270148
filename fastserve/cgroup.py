"""What the kernel grants this process by control group, version 1 or 2: CPU time, and a count of those it killed.

A limit may be set on any group above ours, so each is asked on the way up. Inside a container the files usually show
the container's group as the root, while `/proc/self/cgroup` may still name its path outside: what does not exist is
passed over, and the root is always asked. All of it is read below `root`, which is a parameter for tests.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def cpu_limit(root: str | os.PathLike[str] = "/") -> int:
    """CPUs worth using: those this process may be scheduled on, or fewer where a quota of CPU time is less; at least 1.

    A quota that is not a whole number is rounded up: 1.5 CPUs are used up by two workers, and not by one.
    """
    quotas = [*_quotas_v2(Path(root)), *_quotas_v1(Path(root))]
    return max(1, min(len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in quotas), 2**31))


def oom_kills(root: str | os.PathLike[str] = "/") -> int:
    """Processes of this process's group that were killed for lack of memory, since the group was made.

    0 where the kernel does not say; a rise is what means something.
    """
    for version, controller, name in ((2, "", "memory.events"), (1, "memory", "memory.oom_control")):
        for folder in _groups(Path(root), version, controller):
            for line in _read(folder / name).splitlines():
                word, _, count = line.partition(" ")
                if word == "oom_kill" and count.isdecimal():
                    return int(count)
    return 0


def _quotas_v2(root: Path) -> Iterator[float]:
    for folder in _groups(root, 2, ""):
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _quotas_v1(root: Path) -> Iterator[float]:
    for folder in _groups(root, 1, "cpu"):
        # -1 is no limit.
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _groups(root: Path, version: int, controller: str) -> Iterator[Path]:
    """The folders of our group and of every group above it, innermost first."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if version == 2 and number == "0" and not controllers:
            # "unified" is where a host that uses both versions keeps the second.
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif version == 1 and controller in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup" / controller]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for depth in range(len(parts), -1, -1):
            for mount in dict.fromkeys(mounts):
                yield mount.joinpath(*parts[:depth])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
