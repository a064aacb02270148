"""The log of every ASGI message, under the name that uvicorn's users import it by."""

from fastserve.server.trace import MessageLogger as MessageLoggerMiddleware

__all__ = ["MessageLoggerMiddleware"]
