"""Memory, titles and orphans, asked of the kernel that runs the tests."""

import os
import subprocess
import sys

from fastserve.supervisor import host


def test_resident_memory_is_what_the_kernel_says():
    with open("/proc/self/status") as file:
        [kibibytes] = [int(line.split()[1]) for line in file if line.startswith("VmRSS:")]
    assert abs(host.resident_memory(os.getpid()) - kibibytes * 1024) < 8 * 2**20


def test_memory_of_a_process_that_is_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert host.resident_memory(child.pid) == 0


def test_memory_of_a_zombie(tmp_path):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/statm").write_text("0 0 0 0 0 0 0\n")
    assert host.resident_memory(7, tmp_path) == 0


def run(code, **options):
    code = "import sys\nsys.modules['setproctitle'] = None\nfrom fastserve.supervisor import host\n" + code
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20, **options
    ).stdout.split()


def test_short_name_without_setproctitle():
    assert run("host.set_process_title('webshop: worker 1')\nprint(open('/proc/self/comm').read())") == [
        "webshop:",
        "worker",
    ]


def test_setproctitle_is_used_where_it_is_installed(monkeypatch):
    titles = []
    monkeypatch.setitem(sys.modules, "setproctitle", type("module", (), {"setproctitle": titles.append}))
    host.set_process_title("webshop: worker 1")
    assert titles == ["webshop: worker 1"]


def test_subreaper_inherits_orphans():
    assert run(
        """
import os
assert host.become_subreaper()
end, start = os.pipe()
child = os.fork()
if not child:
    if not os.fork():
        os.close(start)
        os.read(end, 1)  # until nobody holds the other end: the grandparent has heard of the child's end
        os._exit(os.getppid() == int(os.environ["PARENT"]) and 7)
    os._exit(0)
""".replace("import os\n", "import os\nos.environ['PARENT'] = str(os.getpid())\n")
        + """
assert os.waitpid(child, 0)[0] == child
os.close(start)
orphan, status = os.wait()
print(orphan != child, os.waitstatus_to_exitcode(status))
"""
    ) == ["True", "7"]
