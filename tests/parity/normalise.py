"""What may differ between two servers without being a difference, made equal.

Nothing else belongs here: a difference in behaviour is written down where its case is, as `Differs`.
"""

import re
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = sysconfig.get_path("purelib")
STANDARD = sysconfig.get_path("stdlib")

DATE = re.compile(r"^date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
POINTER = re.compile(r"^ +[~^]+$")
TRACEBACK_FRAME = re.compile(r' *File "(?P<path>[^"]+)", line \d+, in ')
GROUP_MARGIN = re.compile(r"^ *\| ")


def field(line):
    """One field line of a response, with the date and the server's own name replaced."""
    if DATE.match(line):
        return "date: DATE"
    return re.sub(r"^server: (uvicorn|fastserve)$", "server: NAME", line)


def log(lines):
    """Log lines without process ids, ports and server names; of a traceback, the application's own frames.

    What lies between the server and the application differs with the server, and with what the framework makes of
    the version of the specification that the server follows.
    """
    out = []
    skipping = False
    for line in lines:
        inner = GROUP_MARGIN.sub("", line)
        frame = TRACEBACK_FRAME.match(inner)
        if frame:
            skipping = not frame["path"].startswith(f"{ROOT}/tests/parity/")
        elif not inner.startswith("    "):
            skipping = False
        if not skipping and not POINTER.match(inner):
            out.append(log_line(line))
    return out


def plain(line):
    """A log line without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def log_line(line):
    line = line.replace(f"{SITE}/", "").replace(f"{STANDARD}/", "").replace(f"{ROOT}/", "")
    line = re.sub(r"\[((?:\x1b\[\d+m)?)\d+((?:\x1b\[0m)?)\]", r"[\1PID\2]", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", line)
    line = re.sub(r"::1(\]?):\d+", r"::1\1:PORT", line)
    line = re.sub(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\]", "[TIME]", line)
    line = re.sub(r" at 0x[0-9a-f]+", " at ADDRESS", line)
    line = re.sub(r"unix socket \S+", "unix socket PATH", line)
    return re.sub(r"\b[Uu]vicorn\b|\b[Ff]astserve\b", "NAME", line)
