"""The ASGI lifespan: one task that runs the application's startup and shutdown around the serving.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html. The task lives from startup to the end, so that what the
application opens (cancel scopes, task groups) it closes in the same task. With `auto`, an exception means that the
application does not know the protocol and serving goes on; with `on` it ends the start.
"""

import asyncio
import logging
from typing import Any, Protocol

from fastserve.types import Message, Scope

STATE_TRANSITION_ERROR = "Got invalid state transition on lifespan protocol."

logger = logging.getLogger("fastserve.error")


class LifespanConfig(Protocol):
    """What a lifespan reads of `fastserve.server.config.Config`, loaded."""

    lifespan: str
    loaded_app: Any

    @property
    def asgi_version(self) -> str: ...


class LifespanOn:
    """The lifespan of the loaded application.

    `state` is what the application put there; `should_exit` tells that startup, or shutdown, failed.
    """

    def __init__(self, config: LifespanConfig) -> None:
        self.config = config
        self.required = config.lifespan == "on"
        self.should_exit = False
        self.state: dict[str, Any] = {}
        self.startup_failed = False
        self.shutdown_failed = False
        self.error_occurred = False
        self.startup_event = asyncio.Event()
        self.shutdown_event = asyncio.Event()
        self.receive_queue: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._given_up = False

    async def startup(self) -> None:
        """Wait for the application's startup; sets `should_exit` where it failed."""
        logger.info("Waiting for application startup.")
        self._task = asyncio.get_running_loop().create_task(self._main(), name="fastserve-lifespan")
        self.receive_queue.put_nowait({"type": "lifespan.startup"})
        await self.startup_event.wait()
        if self.startup_failed or (self.error_occurred and self.required):
            logger.error("Application startup failed. Exiting.")
            self.should_exit = True
        else:
            logger.info("Application startup complete.")

    async def shutdown(self) -> None:
        """Wait for the application's shutdown. Nothing to do where the lifespan ended with an exception."""
        if self.error_occurred:
            return
        logger.info("Waiting for application shutdown.")
        self.receive_queue.put_nowait({"type": "lifespan.shutdown"})
        await self.shutdown_event.wait()
        if self.shutdown_failed or (self.error_occurred and self.required):
            logger.error("Application shutdown failed. Exiting.")
            self.should_exit = True
        else:
            logger.info("Application shutdown complete.")

    def cancel(self) -> None:
        """Give up waiting: cancel the application's task if it still runs."""
        self._given_up = True
        if self._task is not None:
            self._task.cancel()

    async def _main(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.config.loaded_app(scope, self._receive, self._send)
        # Whatever ends the application's lifespan, SystemExit too, must not leave the server waiting for it.
        except BaseException as error:
            self.error_occurred = True
            if self.startup_failed or self.shutdown_failed or self._given_up:
                return
            if self.required:
                logger.error("Exception in 'lifespan' protocol\n", exc_info=error)
            else:
                logger.info("ASGI 'lifespan' protocol appears unsupported.")
                logger.debug("Exception in 'lifespan' protocol\n", exc_info=error)
        finally:
            self.startup_event.set()
            self.shutdown_event.set()

    async def _receive(self) -> Message:
        return await self.receive_queue.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind not in (
            "lifespan.startup.complete",
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        ):
            raise RuntimeError(f"Expected a lifespan message, but got '{kind}'.")
        starting = kind.startswith("lifespan.startup")
        if self.startup_event.is_set() is starting or self.shutdown_event.is_set():
            raise RuntimeError(STATE_TRANSITION_ERROR)
        if kind.endswith("failed"):
            if starting:
                self.startup_failed = True
            else:
                self.shutdown_failed = True
            if message.get("message"):
                logger.error(message["message"])
        (self.startup_event if starting else self.shutdown_event).set()


class LifespanOff:
    """No lifespan: the application is not told, and `state` stays empty."""

    def __init__(self, config: LifespanConfig) -> None:
        self.should_exit = False
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        return None

    async def shutdown(self) -> None:
        return None

    def cancel(self) -> None:
        return None
