"""Whom the server believes about a client: the peers of `--forwarded-allow-ips`, and the addresses in X-Forwarded-For.

What belongs here: the list as it is written, who is on it, and which address of a chain of proxies is the client's.
The rules are uvicorn's: addresses are compared as addresses, networks contain them, whatever is neither is a literal
that equals itself, and `*` alone is everybody. A peer on a Unix socket has no address. It is on the list by its
credentials, which the kernel vouches for: `unix` is any of them, `unix:USER` those of one user, by name or number.
"""

import functools
import ipaddress
import pwd
from collections.abc import Iterable

_LONGEST_NAME = 253
_REMEMBERED = 4096


def split_list(text: str) -> list[str]:
    """The members of a list with commas, without the white space around them."""
    return [item.strip() for item in text.split(",")]


def host_and_port(text: str) -> tuple[str, int]:
    """(host, port) of `host`, `host:port`, `[host]` or `[host]:port`; what is none of these is a host, with port 0."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return text, 0
        return host, _number(rest[1:]) or 0
    if text.count(":") == 1:
        host, _, rest = text.partition(":")
        port = _number(rest)
        return (text, 0) if port is None else (host, port)
    return text, 0


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _user(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"'unix:{text}': there is no such user") from None


class TrustedPeers:
    """The peers that are believed. `peers` is a list with commas or its members; raises ValueError for a user that does
    not exist."""

    def __init__(self, peers: str | Iterable[str] = "127.0.0.1") -> None:
        self.everybody = peers in ("*", ["*"])
        members = split_list(peers) if isinstance(peers, str) else list(peers)
        self._any_user = False
        self._users: set[int] = set()
        self._addresses: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
        self._networks: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
        self._literals: set[str] = set()
        for member in [] if self.everybody else members:
            try:
                if "/" in member:
                    self._networks.add(ipaddress.ip_network(member))
                else:
                    self._addresses.add(ipaddress.ip_address(member))
            except ValueError:
                self._add_literal(member)
        # Addresses repeat, and whoever sends made-up ones must not fill the memory.
        self._remembered = functools.lru_cache(maxsize=_REMEMBERED)(self._compute)

    def _add_literal(self, member: str) -> None:
        self._literals.add(member)
        kind, colon, user = member.partition(":")
        if kind == "unix" and not colon:
            self._any_user = True
        elif kind == "unix" and user and "/" not in user:
            self._users.add(_user(user))

    def __contains__(self, host: str | None) -> bool:
        """Whether the peer with this address (or name, in a chain of proxies) is believed; None is no address."""
        if self.everybody:
            return True
        if not host:
            return False
        return self._compute(host) if len(host) > _LONGEST_NAME else self._remembered(host)

    def _compute(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host in self._literals
        return address in self._addresses or any(address in network for network in self._networks)

    def has_user(self, uid: int) -> bool:
        """Whether a peer on a Unix socket that runs as user `uid` is believed."""
        return self.everybody or self._any_user or uid in self._users

    def client_of(self, forwarded_for: str) -> tuple[str, int]:
        """The client of an X-Forwarded-For list, (host, port): the last that is not itself a trusted proxy, else the
        first. The host is "" where the list says nothing."""
        members = split_list(forwarded_for)
        if not self.everybody:
            for member in reversed(members):
                host, port = host_and_port(member)
                if host not in self:
                    return host, port
        return host_and_port(members[0])
