"""Compiles the C programs beside this file into bench/build/, when they are newer than what is there."""

import os
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / "build"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


class BuildError(Exception):
    """The compiler is missing, or refused a source; the text is its own words."""


def program(name: str, folder: Path = BUILD) -> Path:
    """The path of the compiled `name` ("client" or "baseline"), compiled first where needed.

    Raises BuildError.
    """
    source, target = SOURCES / f"{name}.c", folder / name
    if target.exists() and target.stat().st_mtime_ns > source.stat().st_mtime_ns:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Another run may be compiling the same, or executing the old one: the new one arrives whole.
    fresh = folder / f"{name}.{os.getpid()}"
    command = [os.environ.get("CC", "cc"), *FLAGS, "-o", str(fresh), str(source)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")
    if done.stderr:
        sys.stderr.write(done.stderr)
    fresh.replace(target)
    return target
