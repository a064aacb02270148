"""The echo application behind a server in a process of its own."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PATIENCE = 25.0


@contextmanager
def served(server: str) -> Iterator[tuple[str, int]]:
    """The echo application behind `server`, a module and its options; the address."""
    module, *options = server.split()
    command = [sys.executable, "-m", module, "tests.websocket.echo:app", "--port", "0", "--lifespan", "off", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield "127.0.0.1", _port(process, log)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: "subprocess.Popen[bytes]", log: IO[str]) -> int:
    deadline = time.monotonic() + PATIENCE
    while True:
        log.seek(0)
        said = log.read()
        if found := re.search(r"running on http://\S+:(\d+) ", said):
            return int(found[1])
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server does not listen:\n{said}")
        time.sleep(0.01)
