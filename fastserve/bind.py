"""The grammar of `--bind`: where to listen, as one line of text.

    host:port    [ipv6]:port    :port    unix:path    unix:path?mode=660    fd://number

An empty host is every address, IPv4 and IPv6; port 0 takes a free one. A path ends at its `?`; three slashes after
`unix:` are one, as in a URL.
"""

import re
from dataclasses import dataclass

_TCP = re.compile(r"(?:\[(?P<ipv6>[^\[\]/\s]+)\]|(?P<host>[^\[\]/:\s]*)):(?P<port>[0-9]+)")
_FD = re.compile(r"fd://([0-9]{1,9})")
_MODE = re.compile(r"mode=(?:0o?)?([0-7]{1,3})")


@dataclass(frozen=True)
class Bind:
    """One place to listen on: a TCP host and port, unless there is a `path` (a Unix socket) or an `fd`."""

    host: str = ""
    """A name or an address; empty is every address."""
    port: int = 0
    path: str | None = None
    mode: int | None = None
    """Permissions of the Unix socket's file; None leaves it to `bind_unix`."""
    fd: int | None = None
    """The descriptor of a socket that this process was started with."""
    name: str = ""
    """What the service manager calls that socket."""

    def __str__(self) -> str:
        if self.fd is not None:
            return f"fd://{self.fd}"
        if self.path is not None:
            return f"unix:{self.path}" if self.mode is None else f"unix:{self.path}?mode={self.mode:o}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_bind(text: str) -> Bind:
    """The place that `text` names. Raises ValueError with a sentence that quotes it."""
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd:"):
        match = _FD.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not of the form fd://number")
        return Bind(fd=int(match[1]))
    match = _TCP.fullmatch(text)
    if match is None:
        if re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9]+", text):
            raise ValueError(f"{text!r} is ambiguous: an IPv6 address stands in brackets, as in [::1]:8000")
        raise ValueError(f"{text!r} is not host:port, [ipv6]:port, :port, unix:path or fd://number")
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f"{text!r}: port {port} is not between 0 and 65535")
    if match["ipv6"] is not None and ":" not in match["ipv6"]:
        raise ValueError(f"{text!r}: {match['ipv6']!r} is not an IPv6 address")
    return Bind(host=match["ipv6"] or match["host"] or "", port=port)


def _parse_unix(text: str) -> Bind:
    path, question, query = text.removeprefix("unix:").partition("?")
    if path.startswith("//"):
        if not path.startswith("///"):
            raise ValueError(f"{text!r} is ambiguous: a relative path is unix:path, an absolute one unix:/path")
        path = path[2:]
    if not path or "\0" in path:
        raise ValueError(f"{text!r} has no path")
    mode = None
    if question:
        match = _MODE.fullmatch(query)
        if match is None:
            raise ValueError(f"{text!r}: {query!r} is not of the form mode=660")
        mode = int(match[1], 8)
    return Bind(path=path, mode=mode)
