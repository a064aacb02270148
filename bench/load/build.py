"""What is made in bench/build/: the C programs beside this file, when they are newer, and a certificate."""

import os
import shlex
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
    newest = max(path.stat().st_mtime_ns for path in (source, *SOURCES.glob("*.h")))
    if target.exists() and target.stat().st_mtime_ns > newest:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Another run may be compiling the same, or executing the old one: the new one arrives whole.
    fresh = folder / f"{name}.{os.getpid()}"
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, "-o", str(fresh), str(source), "-ldl"]
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


def certificate_and_key(folder: Path = BUILD) -> tuple[Path, Path]:
    """The files of a certificate for servers that speak TLS and of its key, made by the openssl command.

    Raises BuildError.
    """
    certificate, key = folder / "server.pem", folder / "server.key"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch",
            "-subj", "/CN=localhost", "-days", "3650", "-keyout", str(key), "-out", str(certificate),
        ]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except OSError as error:
            raise BuildError(f"openssl: {error.strerror}") from error
        except subprocess.CalledProcessError as error:
            raise BuildError(f"{' '.join(command)}\n{error.stderr}") from error
    return certificate, key
