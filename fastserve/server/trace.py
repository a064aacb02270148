"""The log at level TRACE: every ASGI message of every scope, on `fastserve.asgi`. Bodies and headers by size only."""

import itertools
import logging

from fastserve.server.logs import TRACE_LOG_LEVEL
from fastserve.types import ASGI3Application, Message, Receive, Scope, Send

logger = logging.getLogger("fastserve.asgi")

_PLACEHOLDERS = {"body": "<{} bytes>", "bytes": "<{} bytes>", "text": "<{} chars>", "headers": "<...>"}


class MessageLogger:
    """An ASGI application around another that logs what goes in and out, numbered by scope."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        prefix = f"{client[0]}:{client[1]} - ASGI" if client else "ASGI"
        number = next(self._numbers)

        async def logged_receive() -> Message:
            message = await receive()
            logger.log(TRACE_LOG_LEVEL, "%s [%d] Receive %s", prefix, number, _abridged(message))
            return message

        async def logged_send(message: Message) -> None:
            logger.log(TRACE_LOG_LEVEL, "%s [%d] Send %s", prefix, number, _abridged(message))
            await send(message)

        logger.log(TRACE_LOG_LEVEL, "%s [%d] Started scope=%s", prefix, number, _abridged(scope))
        try:
            await self.app(scope, logged_receive, logged_send)
        except BaseException:
            logger.log(TRACE_LOG_LEVEL, "%s [%d] Raised exception", prefix, number)
            raise
        logger.log(TRACE_LOG_LEVEL, "%s [%d] Completed", prefix, number)


def _abridged(message: Message) -> dict[str, object]:
    return {
        key: _PLACEHOLDERS[key].format(len(value)) if key in _PLACEHOLDERS and value is not None else value
        for key, value in message.items()
    }
