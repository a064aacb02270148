"""What the service manager wants to hear: sd_notify(3), without its library.

A message is one datagram of `NAME=value` lines to the Unix socket NOTIFY_SOCKET. Without that variable everything here
does nothing. The sockets that the service manager passes in are `fastserve.transport.listeners.passed_sockets`.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

logger = logging.getLogger("fastserve.error")

# The queue of the service manager is long and it reads quickly; a signal must not wait for it all the same.
_SEND_TIMEOUT: Final = 0.2


class Notifier:
    """Tells the service manager how we are.

    Takes NOTIFY_SOCKET and the variables of the watchdog out of `environ`: what they ask for is this process's to
    do, and a child that found them would speak in its name.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        interval, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._socket: socket.socket | None = None
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._complained = False
        self.watchdog: float | None = None
        """Seconds within which "watchdog" has to be told, or the service is killed; half of it is a good interval."""
        if path.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(_SEND_TIMEOUT)
            if interval.isdecimal() and int(interval) and pid in ("", str(os.getpid())):
                self.watchdog = int(interval) / 1_000_000
        elif path:
            logger.warning("NOTIFY_SOCKET=%s is not a Unix socket: the service manager is not notified.", path)

    @property
    def enabled(self) -> bool:
        return self._socket is not None

    def notify(self, state: str, text: str = "") -> None:
        """Tell "ready", "reloading", "stopping", "watchdog" or "status" with its text. Raises ValueError for others.

        "reloading" ends with the next "ready" (Type=notify-reload waits for that). A message that cannot be sent is
        said in the log, once, and otherwise lost.
        """
        if state == "ready":
            self._send(f"READY=1\nMAINPID={os.getpid()}")
        elif state == "reloading":
            # The service manager compares the time with that of its own signal: the same clock, in microseconds.
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        elif state == "stopping":
            self._send("STOPPING=1")
        elif state == "watchdog":
            self._send("WATCHDOG=1")
        elif state == "status":
            self._send(f"STATUS={' '.join(text.splitlines())}")
        else:
            raise ValueError(f"{state!r} is not a state that the service manager knows")

    def close(self) -> None:
        """Say nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._complained:
                logger.warning("The service manager cannot be notified: %s", error)
                self._complained = True
