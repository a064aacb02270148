"""The single process as a service: it says itself what a supervisor would say for its workers."""

import asyncio
import socket

from fastserve.server.config import Config
from fastserve.server.server import Server
from fastserve.supervisor.systemd import Notifier


class NotifyingServer(Server):
    """A server that tells the service manager when it is ready, when it stops, and that its event loop runs."""

    def __init__(self, config: Config, notifier: Notifier) -> None:
        super().__init__(config)
        self._notifier = notifier

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._notifier.notify("ready")
            self._feed()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._notifier.notify("stopping")
        await super().shutdown(sockets)

    def _feed(self) -> None:
        # Also while stopping, which may take longer than the interval; the loop's end is the end of it.
        if self._notifier.watchdog is not None:
            self._notifier.notify("watchdog")
            asyncio.get_running_loop().call_later(self._notifier.watchdog / 2, self._feed)
