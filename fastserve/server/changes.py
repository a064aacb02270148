"""Waiting for a condition without polling it."""

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes the one who waits for a condition, whenever somebody says that it may have changed.

    `notify` may be called from any thread and from a signal handler; all else belongs to the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            pass

    async def until(
        self, condition: Callable[[], bool], *, deadline: float | None = None, poll: float | None = None
    ) -> bool:
        """Wait until `condition()` holds, at most to `deadline` (loop time); returns whether it does.

        It is looked at after each `notify`, and every `poll` seconds where part of it is not notified.
        """
        while not condition():
            self._event.clear()
            timeout = poll
            if deadline is not None:
                remaining = deadline - self._loop.time()
                if remaining <= 0:
                    return False
                timeout = remaining if poll is None else min(poll, remaining)
            try:
                async with asyncio.timeout(timeout):
                    await self._event.wait()
            except TimeoutError:
                pass
        return True
