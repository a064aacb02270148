"""The control connection between the supervisor and one process: JSON messages that may carry descriptors.

AF_UNIX SOCK_SEQPACKET, so a message arrives whole or not at all. Nothing here blocks: what the socket does not take at
once waits in a queue. Besides a full socket there is a second reason to wait: the kernel limits the descriptors that
are under way between a sender and its receivers (ETOOMANYREFS).
"""

import array
import errno
import json
import os
import select
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

MESSAGE_LIMIT: Final = 60 * 1024
"""Bytes of one message. Texts are cut before they come near it."""

DESCRIPTOR_LIMIT: Final = 250
"""Descriptors of one message; the kernel's own limit is 253."""

_NOT_NOW = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})


class Message(NamedTuple):
    """What was received. The descriptors belong to the receiver."""

    content: dict[str, Any]
    descriptors: list[int]


class _Waiting(NamedTuple):
    data: bytes
    descriptors: Sequence[int]
    close: bool


class Control:
    """One end. `ended` turns true when the other side is gone and everything it sent has been received."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._waiting: deque[_Waiting] = deque()
        self.ended = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Something could not be sent yet: call `flush` again, some hundredths of a second later."""
        return bool(self._waiting)

    def send(self, content: dict[str, Any], descriptors: Iterable[int] = (), *, close: bool = False) -> None:
        """Send now, or as soon as `flush` can. The descriptors must stay open until then; `close` closes them after.

        A peer that is gone is not an error: nobody is left to be told.
        """
        self._waiting.append(_Waiting(json.dumps(content).encode(), list(descriptors), close))
        self.flush()

    def flush(self) -> None:
        while self._waiting:
            # Taken out first: a signal handler may send in the middle of this.
            message = self._waiting.popleft()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", message.descriptors))]
            try:
                self._socket.sendmsg([message.data], rights if message.descriptors else [], socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno in _NOT_NOW:
                    self._waiting.appendleft(message)
                    return
                self._forget()
            _close(message)

    def receive(self) -> list[Message]:
        """Every message that is there."""
        messages: list[Message] = []
        while not self.ended:
            try:
                data, descriptors, _, _ = socket.recv_fds(
                    self._socket, MESSAGE_LIMIT, DESCRIPTOR_LIMIT, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            except ConnectionResetError:
                # The peer went without reading what we sent. What it sent before is still to be had.
                continue
            except OSError:
                self.ended = True
                break
            if data:
                messages.append(Message(json.loads(data), descriptors))
            else:
                self.ended = True
        return messages

    def wait(self, timeout: float | None = None) -> list[Message]:
        """Block until there is a message, the other side is gone or `timeout` seconds are over."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
        return self.receive()

    def close(self) -> None:
        self._forget()
        self._socket.close()

    def _forget(self) -> None:
        while self._waiting:
            _close(self._waiting.popleft())


def _close(message: _Waiting) -> None:
    if message.close:
        for descriptor in message.descriptors:
            os.close(descriptor)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; neither is inheritable."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
