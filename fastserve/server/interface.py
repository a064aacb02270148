"""Which interface an application speaks, and the adapter that makes an ASGI 2 application an ASGI 3 one."""

import inspect
from typing import Any, Literal

from fastserve.types import ASGI2Application, ASGI3Application, Receive, Scope, Send

Interface = Literal["asgi3", "asgi2", "wsgi"]


def detect(app: Any) -> Interface:
    """The interface of `app`, as uvicorn decides it: a coroutine function, or an object whose `__call__` is one, is
    ASGI 3; a class is if it is awaitable.

    Everything else would be ASGI 2. Of those, the ones that cannot be called with a scope alone are told apart by
    what they can be called with: `(environ, start_response)` is WSGI, `(scope, receive, send)` ASGI 3.
    """
    if inspect.isclass(app):
        if hasattr(app, "__await__"):
            return "asgi3"
    elif inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):  # noqa: B004
        return "asgi3"
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return "asgi2"
    if not _takes(signature, 1):
        if _takes(signature, 2):
            return "wsgi"
        if _takes(signature, 3):
            return "asgi3"
    return "asgi2"


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def from_asgi2(app: ASGI2Application) -> ASGI3Application:
    """`app`, which takes a scope and returns a coroutine function of (receive, send), as an ASGI 3 application."""

    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        scope["asgi"] = {**scope.get("asgi", {}), "version": "2.0"}
        await app(scope)(receive, send)

    return asgi3
