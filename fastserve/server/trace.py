"""The log at level TRACE: every ASGI message of every scope, on `fastserve.asgi`. Bodies and headers by size only."""

import itertools
import logging

from fastserve.server.logs import TRACE_LOG_LEVEL
from fastserve.types import ASGI3Application, Message, Receive, Scope, Send

logger = logging.getLogger("fastserve.asgi")

PLACEHOLDER_FORMAT = {
    "body": "<{length} bytes>", "bytes": "<{length} bytes>", "text": "<{length} chars>", "headers": "<...>"
}  # fmt: skip
"""What is logged in place of what is long or private."""


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
            logger.log(TRACE_LOG_LEVEL, "%s [%d] Receive %s", prefix, number, message_with_placeholders(message))
            return message

        async def logged_send(message: Message) -> None:
            logger.log(TRACE_LOG_LEVEL, "%s [%d] Send %s", prefix, number, message_with_placeholders(message))
            await send(message)

        logger.log(TRACE_LOG_LEVEL, "%s [%d] Started scope=%s", prefix, number, message_with_placeholders(scope))
        try:
            await self.app(scope, logged_receive, logged_send)
        except BaseException:
            logger.log(TRACE_LOG_LEVEL, "%s [%d] Raised exception", prefix, number)
            raise
        logger.log(TRACE_LOG_LEVEL, "%s [%d] Completed", prefix, number)


def message_with_placeholders(message: Message) -> dict[str, object]:
    """A copy of an ASGI message, or of a scope, as it may be logged."""
    return {
        key: PLACEHOLDER_FORMAT[key].format(length=len(value))
        if key in PLACEHOLDER_FORMAT and value is not None
        else value
        for key, value in message.items()
    }
