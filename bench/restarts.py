"""`python -m bench.restarts`: what a supervisor has left behind after a thousand restarts of its workers.

One server with a TCP port and a Unix socket is restarted by SIGHUP again and again; its descriptors, its memory and its
children are looked at after the first tenth and at the end, and the socket's file when it has stopped.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RESTARTED = "All processes have been restarted."

PATIENCE = 60.0
"""Seconds for one restart."""


class State(NamedTuple):
    """A supervisor at one moment: descriptors, resident bytes, children, and those of them that nobody waits for."""

    descriptors: int
    resident: int
    children: int
    zombies: int


def look(pid: int) -> State:
    """The state of the process `pid`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children]
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return State(len(os.listdir(f"/proc/{pid}/fd")), resident, len(children), states.count("Z"))


def settled(pid: int, workers: int) -> State:
    """The state once the workers that were replaced are gone."""
    deadline = time.monotonic() + PATIENCE
    while (state := look(pid)).children > workers and time.monotonic() < deadline:
        time.sleep(0.05)
    return state


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing is left; 1: something is, or the server failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.restarts", description="What a thousand restarts leave.")
    parser.add_argument("--restarts", type=int, default=1000, help="of workers, in all (1000)")
    parser.add_argument("--workers", type=int, default=4, help="of the server (4)")
    parser.add_argument("extra", nargs="*", metavar="OPTION", help="further options of the server, after --")
    options = parser.parse_args(arguments)
    rounds = max(10, options.restarts // options.workers)
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder, "web.sock"), Path(folder, "log")
        command = [
            sys.executable, "-m", "fastserve", "bench.load.apps:small", "--workers", str(options.workers),
            "--bind", "127.0.0.1:0", "--bind", f"unix:{path}", *options.extra,
        ]  # fmt: skip
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        first = None
        began = time.monotonic()
        try:
            wait_for(server, log, "Application startup complete.", options.workers)
            for number in range(1, rounds + 1):
                server.send_signal(signal.SIGHUP)
                wait_for(server, log, RESTARTED, number)
                if number == rounds // 10:
                    first = settled(server.pid, options.workers + extra_processes(options.extra))
            last = settled(server.pid, options.workers + extra_processes(options.extra))
        except TimeoutError as error:
            print(f"bench.restarts: {error}", file=sys.stderr)
            return 1
        finally:
            server.terminate()
            server.wait()
        assert first is not None
        print(f"{rounds * options.workers} restarts in {time.monotonic() - began:.0f} s, {options.workers} workers")
        for label, state in (("after a tenth", first), ("at the end", last)):
            print(
                f"  {label:14} {state.descriptors} descriptors, {state.resident / 2**20:.1f} MiB, "
                f"{state.children} children, {state.zombies} zombies"
            )
        print(f"  exit code {server.returncode}, socket file {'left behind' if path.exists() else 'removed'}")
        clean = (
            last.descriptors <= first.descriptors
            and last.children <= first.children
            and not last.zombies
            and last.resident <= first.resident * 1.05
            and server.returncode == 0
            and not path.exists()
        )
        return 0 if clean else 1


def extra_processes(extra: Sequence[str]) -> int:
    """Children of the supervisor that are no workers: what forks them, with --preload."""
    return 1 if "--preload" in extra else 0


def wait_for(server: "subprocess.Popen[bytes]", log: Path, text: str, count: int) -> None:
    """Wait until `text` is in the log so many times. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while log.read_text(errors="replace").count(text) < count:
        if server.poll() is not None:
            raise TimeoutError(f"the server ended with {server.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {text!r} number {count}")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
