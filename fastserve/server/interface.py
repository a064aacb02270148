"""Which interface an application speaks, and the adapter that makes an ASGI 2 application an ASGI 3 one."""

import contextlib
import inspect
from typing import Any, Literal

from fastserve.types import ASGI2Application, ASGI3Application, Receive, Scope, Send

# Names are asked where numbers may mislead: further parameters, or defaults.
_WSGI_NAMES = {("environ", "start_response"), ("env", "start_response")}

Interface = Literal["asgi3", "asgi2", "wsgi"]


def detect(app: Any) -> Interface:
    """The interface of `app`, as uvicorn decides it: a coroutine function, or an object whose `__call__` is one, is
    ASGI 3; a class is if it is awaitable.

    Everything else would be ASGI 2. Of those, the ones that cannot be called with a scope alone are told apart by
    what they can be called with: `(environ, start_response)` is WSGI, `(scope, receive, send)` ASGI 3. What can be
    called with anything is what the callables are that it encloses, if they agree: a decorator's function, the
    application in an attribute of middleware. A function that takes a first argument and any others is WSGI, unless it
    calls the first `scope`.
    """
    return _detect(app, frozenset()) or "asgi2"


def is_unclear(app: Any) -> bool:
    """Whether nothing about `app` says which interface it speaks."""
    return _detect(app, frozenset()) is None


def _detect(app: Any, around: frozenset[int]) -> Interface | None:
    # `around` are the identities of what encloses the application.
    if inspect.isclass(app):
        if hasattr(app, "__await__"):
            return "asgi3"
    elif inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):  # noqa: B004
        return "asgi3"
    signature = _signature(app)
    if signature is None:
        return "asgi2"
    if _names(signature) in _WSGI_NAMES:
        return "wsgi"
    if takes_anything(app):
        # Its parameters say nothing; what it calls may.
        around |= {id(app)}
        verdicts = {_detect(inner, around) for inner in _enclosed(app) if id(inner) not in around}
        return verdicts.pop() if len(verdicts) == 1 else None
    if not _takes(signature, 1) or _takes_more(signature):
        if _takes(signature, 2):
            return "wsgi"
        if _takes(signature, 3):
            return "asgi3"
    return "asgi2"


def takes_anything(app: Any) -> bool:
    """Whether `app` can be called with any number of arguments, as decorators that pass them on can."""
    try:
        parameters = list(inspect.signature(app).parameters.values())
    except (TypeError, ValueError):
        return False
    return bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL


def _enclosed(app: Any) -> list[Any]:
    """The callables that the function `app` was made around, or that the object `app` has."""
    if not (inspect.isroutine(app) or inspect.isclass(app)):
        return [each for each in getattr(app, "__dict__", {}).values() if callable(each)]
    found = []
    for cell in getattr(app, "__closure__", None) or ():
        with contextlib.suppress(ValueError):
            if callable(cell.cell_contents):
                found.append(cell.cell_contents)
    return found


def _names(signature: inspect.Signature) -> tuple[str, ...]:
    return tuple(signature.parameters)[:2]


def _signature(app: Any) -> inspect.Signature | None:
    """How `app` can be called, if that is known."""
    try:
        return inspect.signature(app)
    except (TypeError, ValueError):
        pass
    try:
        # An object that is a descriptor as well, as WebOb's decorator makes, is taken for a built-in function.
        return inspect.signature(type(app).__call__.__get__(app))
    except (AttributeError, TypeError, ValueError):
        return None


def _takes_more(signature: inspect.Signature) -> bool:
    """Whether what follows a first argument is left open, as by WebOb's decorator."""
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds and next(iter(signature.parameters)) != "scope"


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
