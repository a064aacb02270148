"""Limits of control groups, read from copies of the kernel's files."""

import pytest

from fastserve import cgroup
from fastserve.config import Settings


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine with 16 CPUs for this process and the given files; returns its root."""

    def make(files: dict[str, str]):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    return make


V2 = {"proc/self/cgroup": "0::/system.slice/web.service\n"}
V1 = {"proc/self/cgroup": "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 16),
        (V2, 16),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "max 100000\n"}, 16),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "200000 100000\n"}, 2),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "150000 100000\n"}, 2),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "10000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "9900000 100000\n"}, 16),
        # The limit of a group above ours.
        (
            {
                **V2,
                "sys/fs/cgroup/system.slice/web.service/cpu.max": "800000 100000",
                "sys/fs/cgroup/system.slice/cpu.max": "300000 100000",
            },
            3,
        ),
        # A container, with and without a namespace of its own for groups.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ({"proc/self/cgroup": "0::/kubepods/pod1/c1\n", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ({"proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ({**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 16),
        ({**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "25000"}, 2),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "500000",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
            5,
        ),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "nonsense"}, 16),
        ({**V2, "sys/fs/cgroup/system.slice/web.service/cpu.max": "100000 0"}, 16),
    ],
)
def test_cpu_limit(machine, files, cpus):
    assert cgroup.cpu_limit(machine(files)) == cpus


def test_no_more_than_the_process_may_be_scheduled_on(machine, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3})
    assert cgroup.cpu_limit(machine({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000"})) == 1


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({}, 0),
        (V2, 0),
        (
            {**V2, "sys/fs/cgroup/system.slice/web.service/memory.events": "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\n"},
            3,
        ),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/memory.events": "oom_kill 5\n"}, 5),
        (
            {
                **V1,
                "sys/fs/cgroup/memory/docker/abc/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            },
            2,
        ),
        ({**V1, "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}, 0),
    ],
)
def test_oom_kills(machine, files, kills):
    assert cgroup.oom_kills(machine(files)) == kills


def test_this_machine():
    assert cgroup.cpu_limit() >= 1
    assert cgroup.oom_kills() >= 0


def test_auto_is_the_limit(monkeypatch):
    monkeypatch.setattr("fastserve.config.cpu_limit", lambda: 5)
    assert Settings("a:a", workers="auto").workers == 5
    monkeypatch.setattr("fastserve.config.cpu_limit", lambda: 5000)
    assert Settings("a:a", workers="auto").workers == 256
