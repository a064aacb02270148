"""Starlette, with BaseHTTPMiddleware around every route but one.

`request.is_disconnected()` never answers true behind that middleware, whatever the server: /gone is outside.
"""

import asyncio
import contextlib
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route

from tests.parity.apps.control import Control, journal

FILE = Path(__file__).with_name("file.txt")


async def hello(request):
    return PlainTextResponse("Hello, world!")


def in_thread(request):
    return PlainTextResponse("from a thread")


async def item(request):
    return JSONResponse({"id": request.path_params["id"], "query": request.query_params.multi_items()})


async def echo_json(request):
    return JSONResponse(await request.json())


async def form(request):
    async with request.form() as fields:
        upload = fields["file"]
        content = await upload.read()
        return JSONResponse({"name": fields["name"], "file": upload.filename, "size": len(content)})


async def upload(request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(str(size))


async def numbers():
    for number in range(5):
        yield f"{number}\n" * 100
        await asyncio.sleep(0)


async def stream(request):
    return StreamingResponse(numbers(), media_type="text/plain")


async def events(request):
    async def messages():
        for number in range(3):
            yield f"id: {number}\ndata: message {number}\n\n"

    return StreamingResponse(messages(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def file(request):
    return FileResponse(FILE, filename="name.txt")


async def background(request):
    return PlainTextResponse("answered", background=BackgroundTask(in_background, request.path_params["key"]))


async def in_background(key):
    await journal(key).released.wait()
    journal(key).write("done")


async def redirect(request):
    return RedirectResponse("/hello")


async def cookies(request):
    response = JSONResponse(request.cookies)
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "two words", path="/cookies")
    return response


async def error(request):
    raise ValueError("the view failed")


async def error_in_stream(request):
    async def broken():
        yield "first"
        raise ValueError("the stream failed")

    return StreamingResponse(broken())


async def state(request):
    return JSONResponse({"number": request.state.number})


async def gone(request):
    log = journal(request.path_params["key"])
    log.write("entered")
    while not await request.is_disconnected():
        await asyncio.sleep(0)
    log.write("disconnected")
    return PlainTextResponse("too late")


async def gone_upload(request):
    log = journal(request.path_params["key"])
    try:
        async for _ in request.stream():
            log.write("entered")
    except ClientDisconnect:
        log.write("disconnected")
    return PlainTextResponse("too late")


async def gone_stream(request):
    async def endless(log):
        log.write("entered")
        while True:
            yield "." * 1000
            await asyncio.sleep(0)

    return StreamingResponse(endless(journal(request.path_params["key"])))


async def gone_waiting(request):
    async def waiting(log):
        try:
            yield "data: first\n\n"
            log.write("entered")
            await log.released.wait()
            yield "data: second\n\n"
        finally:
            log.write("disconnected")

    return StreamingResponse(waiting(journal(request.path_params["key"])), media_type="text/event-stream")


class Around(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-around"] = "yes"
        return response


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"number": 7}


ROUTES = [
    Route("/hello", hello, methods=["GET", "POST"]),
    Route("/thread", in_thread),
    Route("/items/{id:int}", item),
    Route("/json", echo_json, methods=["POST"]),
    Route("/form", form, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/stream", stream),
    Route("/events", events),
    Route("/file", file),
    Route("/background/{key}", background),
    Route("/redirect", redirect),
    Route("/cookies", cookies),
    Route("/error", error),
    Route("/error-in-stream", error_in_stream),
    Route("/state", state),
    Route("/gone-upload/{key}", gone_upload, methods=["POST"]),
    Route("/gone-stream/{key}", gone_stream),
    Route("/gone-waiting/{key}", gone_waiting),
]

around = Mount("", routes=ROUTES, middleware=[Middleware(Around)])
app = Control(Starlette(routes=[Route("/gone/{key}", gone), around], lifespan=lifespan))
