"""Applications that differ in their lifespan, and things that are no application."""

from tests.parity.apps.control import Control


async def serve(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    fields = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"hello"})


def with_lifespan(startup, shutdown):
    """An application that answers startup and shutdown with these messages; one that is None is not sent."""

    async def application(scope, receive, send):
        if scope["type"] != "lifespan":
            return await serve(scope, receive, send)
        await receive()
        await act(send, startup)
        await receive()
        await act(send, shutdown)

    return application


async def act(send, message):
    if isinstance(message, Exception):
        raise message
    if message is not None:
        await send(message)


STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}

complete = with_lifespan(STARTED, STOPPED)
unsupported = serve
startup_fails = with_lifespan({"type": "lifespan.startup.failed", "message": "no database"}, STOPPED)
startup_fails_silently = with_lifespan({"type": "lifespan.startup.failed"}, STOPPED)
startup_raises = with_lifespan(ValueError("at startup"), STOPPED)
shutdown_fails = with_lifespan(STARTED, {"type": "lifespan.shutdown.failed", "message": "no farewell"})
shutdown_raises = with_lifespan(STARTED, ValueError("at shutdown"))


async def ends_after_startup(scope, receive, send):
    if scope["type"] != "lifespan":
        return await serve(scope, receive, send)
    await receive()
    await send(STARTED)


def factory():
    return complete


def broken_factory():
    raise ValueError("in the factory")


def generation_two(scope):
    """An ASGI 2 application."""

    async def instance(receive, send):
        await serve(scope, receive, send)

    return instance


class Holder:
    app = staticmethod(complete)


holder = Holder()
not_callable = 7
app = Control(complete)
