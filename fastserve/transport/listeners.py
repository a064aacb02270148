"""Listening sockets: TCP, Unix and inherited ones, bound and listening, and given back at the end.

Every function here returns `Listener`s or raises one OSError whose text is the whole story, ready for the log:
`[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use`. Sockets are
listening when they are returned, so a port that is taken is noticed here and not later. They are not inheritable.

The file of a Unix socket belongs to whoever bound it: `Listener.close` removes it, unless the path has meanwhile become
somebody else's (another device or inode).

`SlotBinds` gives every worker slot a listening socket of its own for the same TCP address (SO_REUSEPORT, socket(7)).
That option alone would let a second server join the port unnoticed, so the first socket of an address binds and listens
without it, which the kernel allows to one socket only, and is given the option afterwards: from then on it admits
sisters of the same user. There is no moment at which the port is free again and no socket that listens only to test.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from fastserve.bind import Bind

UNIX_PATH_LIMIT = 107
"""Bytes of a Unix socket's path: sun_path of unix(7) without its final NUL."""

DEFAULT_UNIX_MODE = 0o666

# Addresses of a host name that this machine does not have are skipped as long as one can be bound.
_UNUSABLE_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

_FREE_PORT_ATTEMPTS = 10

_FIRST_PASSED_FD: Final = 3


@dataclass(eq=False)
class Listener:
    """A listening socket and, for one that made a file, the file's path and identity (device, inode)."""

    sock: socket.socket
    path: str | None = None
    identity: tuple[int, int] | None = None
    bind: Bind | None = None
    """What asked for it. Several addresses of one name have the same."""

    def close(self) -> None:
        """Stop listening and remove the socket's file if it is still ours. May be called again."""
        self.sock.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                if _identity(self.path) == self.identity:
                    os.unlink(self.path)
            self.path = None


def bind_all(binds: list[Bind], backlog: int) -> list[Listener]:
    """Listen on every one of `binds`, in their order; a name with several addresses has a listener for each.

    Where 0.0.0.0 is asked for as well, `::` on the same port is IPv6 alone. Raises OSError; then nothing is left bound.
    """
    bound: list[Listener] = []
    every_ipv4 = {bind.port for bind in binds if bind.host == "0.0.0.0" and bind.path is None and bind.fd is None}
    try:
        for bind in binds:
            if bind.fd is not None:
                new = [inherit(bind.fd, backlog)]
            elif bind.path is not None:
                new = [bind_unix(bind.path, bind.mode, backlog)]
            else:
                new = bind_tcp(bind.host, bind.port, backlog, ipv6_only=bind.port != 0 and bind.port in every_ipv4)
            for listener in new:
                listener.bind = bind
            bound += new
    except OSError:
        close_all(bound)
        raise
    return bound


def bind_tcp(host: str | None, port: int, backlog: int, *, ipv6_only: bool = False) -> list[Listener]:
    """Listen on `host`, one socket per address the name has.

    An empty host (or None) and `::` are every IPv6 and, in the same socket unless `ipv6_only`, every IPv4 address;
    without IPv6 the empty host is every IPv4 address. Port 0 takes one free port for all of them. Raises OSError.
    """
    addresses = _addresses(host, port)
    for _ in range(0 if port else _FREE_PORT_ATTEMPTS - 1):
        try:
            return _bind_addresses(addresses, backlog, ipv6_only)
        except OSError as error:
            # The free port of the first address may be taken on another.
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind_addresses(addresses, backlog, ipv6_only)


def bind_unix(path: str, permissions: int | None, backlog: int) -> Listener:
    """Listen on a Unix socket at `path`.

    A socket file that nobody listens on is replaced and, unless `permissions` says otherwise, its mode kept; a new
    one is open to everyone (666). Raises OSError where the path is too long, is something other than a socket, or is
    the socket of a server that is alive.
    """
    if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
        raise _unix_error(path, errno.ENAMETOOLONG, f"path is longer than {UNIX_PATH_LIMIT} bytes")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mode = _clear_path(path)
        if permissions is not None:
            mode = permissions
        # bind(2) gives the file the socket's own mode, so it is never more open than asked for.
        os.fchmod(sock.fileno(), mode)
        sock.bind(path)
        listener = Listener(sock, path, _identity(path))
        os.chmod(path, mode)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _unix_error(path, error.errno, error.strerror) from None
    sock.setblocking(False)
    return listener


def is_stale(path: str) -> bool:
    """Whether there is a socket at `path` that nobody listens on: what `bind_unix` replaces."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode) and not _is_answered(path)
    except OSError:
        return False


def inherit(fd: int, backlog: int) -> Listener:
    """Listen on a socket that this process was started with; the descriptor itself stays open.

    The family comes from the socket. Raises OSError where it is not a stream socket or is already connected.
    """
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        sock = socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise OSError(error.errno, f"error while attempting to use file descriptor {fd}: {_words(error)}") from None
    try:
        if sock.type != socket.SOCK_STREAM:
            raise OSError(errno.ESOCKTNOSUPPORT, "not a stream socket")
        if _is_connected(sock):
            raise OSError(errno.EISCONN, "a connected socket, not a listening one")
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"error while attempting to use file descriptor {fd}: {_words(error)}") from None
    return Listener(sock)


def close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def passed_sockets(environ: MutableMapping[str, str]) -> list[Bind]:
    """The sockets that the service manager passed to this process (sd_listen_fds(3)), with their names.

    Takes LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES out of `environ`, so that no child believes they are its own, and
    keeps the descriptors from programs that the process starts. Empty where there is nothing for this process. Raises
    OSError for values that make no sense.
    """
    count, pid, names = (environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    if not count or (pid.isdecimal() and int(pid) != os.getpid()):
        return []
    if not count.isdecimal() or not pid.isdecimal():
        raise OSError(errno.EINVAL, f"error in LISTEN_FDS={count!r} and LISTEN_PID={pid!r}: not numbers")
    binds = []
    labels = names.split(":") if names else []
    for position in range(int(count)):
        fd = _FIRST_PASSED_FD + position
        with contextlib.suppress(OSError):  # `inherit` tells what is wrong with it
            os.set_inheritable(fd, False)
        binds.append(Bind(fd=fd, name=labels[position] if position < len(labels) else ""))
    return binds


class SlotBinds:
    """The listening sockets of all worker slots, owned by one process that never accepts from them.

    A listener's index is its position in `places`, and the same in every slot. TCP addresses have one socket per slot;
    everything else, and TCP where there is no SO_REUSEPORT, one that all slots share (`common`). The constructor binds,
    listens and makes slot 0; raises OSError as `bind_all` does.
    """

    def __init__(self, binds: list[Bind], backlog: int) -> None:
        self._backlog = backlog
        self.places = bind_all(binds, backlog)
        """One listener per index: the shared ones and those of slot 0."""
        self._separate = [_admit_sisters(listener) for listener in self.places]
        self._slots: dict[int, list[tuple[int, Listener]]] = {0: self._of_places(separate=True)}

    def common(self) -> list[tuple[int, Listener]]:
        """(index, listener) of those that every slot serves."""
        return self._of_places(separate=False)

    def slot(self, number: int) -> list[tuple[int, Listener]]:
        """(index, listener) of those that belong to the slot alone, made when it is first asked for. Raises OSError."""
        if number not in self._slots:
            made: list[tuple[int, Listener]] = []
            try:
                for index, first in self._slots[0]:
                    made.append((index, Listener(_bind_sister(first.sock, self._backlog), bind=first.bind)))
            except OSError as error:
                close_all([listener for _, listener in made])
                raise _bind_error(first.sock.getsockname(), error) from None
            self._slots[number] = made
        return self._slots[number]

    def close(self) -> None:
        """Close all of them; connections that nobody has accepted are reset. The file of a Unix socket goes."""
        close_all(self.places)
        for made in self._slots.values():
            close_all([listener for _, listener in made])

    def _of_places(self, *, separate: bool) -> list[tuple[int, Listener]]:
        return [(index, listener) for index, listener in enumerate(self.places) if self._separate[index] is separate]


def _admit_sisters(listener: Listener) -> bool:
    """Let further sockets bind the address of one that listens; returns whether they can."""
    if listener.bind is None or listener.bind.fd is not None or listener.path is not None:
        return False
    try:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except (AttributeError, OSError):
        return False
    return True


def _bind_sister(first: socket.socket, backlog: int) -> socket.socket:
    """A further socket that listens on the address of `first`, of the same user."""
    family, address = first.family, first.getsockname()
    ipv6_only = family == socket.AF_INET6 and bool(first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    return _bind_address(family, address, backlog, ipv6_only=ipv6_only, reuse_port=True)


_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def _addresses(host: str | None, port: int) -> list[_Address]:
    if not host:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        return [(family, ("::" if family == socket.AF_INET6 else "0.0.0.0", port))]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        number = error.errno if isinstance(error, socket.gaierror) else errno.EINVAL
        raise OSError(number, f"error while attempting to resolve host {host!r}: {_words(error)}") from None
    return list(dict.fromkeys((family, sa) for family, _, _, _, sa in found))


def _bind_addresses(addresses: list[_Address], backlog: int, ipv6_only: bool) -> list[Listener]:
    """One listener per address, all on the port that the first one got.

    Unusable addresses are skipped unless all of them are; for any other error what was bound is closed again.
    """
    listeners: list[Listener] = []
    unusable: OSError | None = None
    for family, address in addresses:
        if listeners:
            address = (address[0], listeners[0].sock.getsockname()[1], *address[2:])
        try:
            # '::' answers IPv4 too; one IPv6 address next to an IPv4 one must not claim both.
            v6_only = ipv6_only or address[0] != "::"
            listeners.append(Listener(_bind_address(family, address, backlog, ipv6_only=v6_only)))
        except OSError as error:
            described = _bind_error(address, error)
            if error.errno in _UNUSABLE_ADDRESS:
                unusable = described
                continue
            close_all(listeners)
            raise described from None
    if not listeners and unusable is not None:
        raise unusable
    return listeners


def _bind_address(
    family: int, address: tuple[Any, ...], backlog: int, *, ipv6_only: bool, reuse_port: bool = False
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(ipv6_only))
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _clear_path(path: str) -> int:
    """Remove a stale socket at `path`; returns the mode for the new one."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return DEFAULT_UNIX_MODE
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "path exists and is not a socket")
    if _is_answered(path):
        raise OSError(errno.EADDRINUSE, "another server listens on it")
    os.unlink(path)
    return stat.S_IMODE(found.st_mode)


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog would block, and is an answer as well.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error)).lower()


def _bind_error(address: Any, error: OSError) -> OSError:
    return OSError(error.errno, f"error while attempting to bind on address {address!r}: {_words(error)}")


def _unix_error(path: str, number: int | None, text: str | None) -> OSError:
    reason = (text or "unknown error").lower()
    return OSError(number, f"error while attempting to bind on unix socket {path!r}: {reason}")
