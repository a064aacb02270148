"""Certificates for tests, made by the openssl command: an authority, and what it vouches for."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the openssl command makes the certificates")


class Issued(NamedTuple):
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority with its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate, self._key = self._new(
            "authority", "-x509", "-subj", "/CN=Test authority", "-addext", "keyUsage=critical,keyCertSign"
        )

    def issue(self, name: str, subject: str = "/CN=server", hosts: str = "DNS:localhost,IP:127.0.0.1") -> Issued:
        """A certificate of `hosts`, and its key, in files called after `name`."""
        return self._new(
            name, "-x509", "-subj", subject, "-CA", self.certificate, "-CAkey", self._key,
            "-addext", f"subjectAltName={hosts}", "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip

    def encrypt(self, key: Path, password: str) -> Path:
        """The key in a file of its own, encrypted."""
        encrypted = key.with_suffix(".encrypted")
        _openssl("pkey", "-in", key, "-aes256", "-passout", f"pass:{password}", "-out", encrypted)
        return encrypted

    def _new(self, name: str, *arguments: object) -> Issued:
        issued = Issued(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-batch",
            *arguments, "-out", issued.certificate, "-keyout", issued.key,
        )  # fmt: skip
        return issued


def _openssl(*arguments: object) -> None:
    subprocess.run([OPENSSL or "openssl", *map(str, arguments)], check=True, capture_output=True)
