"""An ASGI 2 application as an ASGI 3 one."""

from fastserve.types import ASGI2Application, Receive, Scope, Send

__all__ = ["ASGI2Middleware"]


class ASGI2Middleware:
    """Serves `app`, which takes a scope and returns a coroutine function of (receive, send)."""

    def __init__(self, app: ASGI2Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope)(receive, send)
