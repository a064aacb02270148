"""The log of every ASGI message, under the name that uvicorn's users import it by."""

from fastserve.server.trace import PLACEHOLDER_FORMAT, message_with_placeholders
from fastserve.server.trace import MessageLogger as MessageLoggerMiddleware

__all__ = ["PLACEHOLDER_FORMAT", "MessageLoggerMiddleware", "message_with_placeholders"]
