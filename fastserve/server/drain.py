"""The end of a worker's connections, in steps, each with its own time.

    0 s                            idle connections close; running requests go on, their connections close after them
    timeout_graceful_idle          those close that had just become idle and were waiting for a last request
    timeout_graceful_disconnect    requests that still run receive http.disconnect: streams without end stop here
    timeout_graceful_shutdown      their tasks are cancelled
    + timeout_graceful_cancel      their connections are aborted

Times count from the start of the stop; None leaves a step out. Every step names in the log the requests that made it
necessary. A forced exit goes to the last two steps at once.

A worker that others go on without hands its connections on to them instead of closing them. From the disconnect on, or
from the cancelling if there is none, what nobody has taken by then is closed as above.
"""

import asyncio
import logging

from fastserve.config import Settings
from fastserve.server.changes import Changes
from fastserve.types import WorkerProtocol

logger = logging.getLogger("fastserve.error")

REQUESTS_NAMED = 10
"""Running requests that one step writes to the log; the rest is a number."""

# Closing takes a turn of the loop or two: what closes within this time is not worth a line.
_SETTLING = 0.1

# How late a deadline of a connection may be noticed.
_LATE = 0.2

_POLL = 0.1

# Aborting a connection needs no answer from the client.
_ABORTING = 1.0


class Drain:
    """One stop of `worker`. `force` may be called at any time.

    hand_on: connections go to other workers, as far as these take them.
    """

    def __init__(self, worker: WorkerProtocol, settings: Settings, changes: Changes, *, hand_on: bool = False) -> None:
        self._worker = worker
        self._settings = settings
        self._changes = changes
        self._hand_on = hand_on
        self._forced = False
        self._said: set[str] = set()

    def force(self) -> None:
        self._forced = True
        self._changes.notify()

    async def run(self) -> None:
        """Returns when no connection and no request is left, or all that can be done has been done."""
        settings, worker = self._settings, self._worker
        start = asyncio.get_running_loop().time()
        # Only now: while serving, the last connection closes all the time and nobody waits for it.
        worker.on_idle = self._changes.notify
        cancel_after, disconnect_after = settings.timeout_graceful_shutdown, settings.timeout_graceful_disconnect
        grace = settings.timeout_graceful_idle
        if cancel_after is not None:
            grace = min(grace, cancel_after)
        worker.drain(self._hand_on, grace)
        if not await self._settled(_SETTLING) and not self._hand_on and not worker.running():
            await self._settled(start + grace + _LATE - asyncio.get_running_loop().time())
        if disconnect_after is not None and (cancel_after is None or disconnect_after < cancel_after):
            if await self._quiet_by(start + disconnect_after):
                return
            self._close_rest(grace)
            if not self._forced and worker.running():
                logger.warning(
                    "Disconnect %d running request(s), timeout graceful disconnect exceeded", self._name_running()
                )
                worker.disconnect()
        if await self._quiet_by(None if cancel_after is None else start + cancel_after):
            return
        if self._close_rest(0.0) and await self._settled(_SETTLING):
            return
        if not self._forced:
            logger.error("Cancel %d running task(s), timeout graceful shutdown exceeded", self._name_running())
        if worker.cancel() and await self._quiet_by(
            asyncio.get_running_loop().time() + settings.timeout_graceful_cancel
        ):
            return
        if not self._forced and worker.running():
            logger.error("Abort %d running request(s), timeout graceful cancel exceeded", self._name_running())
        worker.abort()
        await self._changes.until(self._is_quiet, deadline=asyncio.get_running_loop().time() + _ABORTING, poll=_POLL)

    def _close_rest(self, grace: float) -> bool:
        """Stop handing connections on: what is left closes. Returns whether they had been handed on until now."""
        handed_on = self._hand_on
        if handed_on:
            self._hand_on = False
            self._worker.drain(idle_grace=grace)
        return handed_on

    async def _settled(self, timeout: float) -> bool:
        """Give what can close by itself the time to do so; returns whether nothing is left."""
        deadline = asyncio.get_running_loop().time() + timeout
        await self._changes.until(lambda: self._forced or self._is_quiet(), deadline=deadline, poll=_POLL)
        return self._is_quiet()

    def _is_quiet(self) -> bool:
        return not self._worker.connections and not self._worker.running()

    async def _quiet_by(self, deadline: float | None) -> bool:
        """Wait until nothing is left, the exit is forced or `deadline`; returns whether nothing is left."""
        worker = self._worker
        if worker.connections and not self._forced:
            self._say("Waiting for connections to close. (CTRL+C to force quit)")
            await self._changes.until(lambda: self._forced or not worker.connections, deadline=deadline)
        if worker.running() and not worker.connections and not self._forced:
            self._say("Waiting for background tasks to complete. (CTRL+C to force quit)")
            # Requests whose client has gone end without `on_idle`.
            await self._changes.until(lambda: self._forced or self._is_quiet(), deadline=deadline, poll=_POLL)
        return self._is_quiet()

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            logger.info(line)

    def _name_running(self) -> int:
        running = sorted(self._worker.running(), key=lambda request: -request.age)
        for request in running[:REQUESTS_NAMED]:
            logger.warning(
                "Still running after %.1f s: %s %s from %s%s",
                request.age, request.method, request.path, request.client or "a unix socket",
                f", in thread {request.thread}" if request.thread else "",
            )  # fmt: skip
        if len(running) > REQUESTS_NAMED:
            logger.warning("Still running: %d more", len(running) - REQUESTS_NAMED)
        return len(running)
