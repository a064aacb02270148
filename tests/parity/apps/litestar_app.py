"""Litestar: its own request, responses, events and background tasks."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, Response, get, head, post
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import Cookie, UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import InternalServerException
from litestar.middleware import AbstractMiddleware
from litestar.params import Body
from litestar.response import File, Redirect, ServerSentEvent, Stream
from litestar.status_codes import HTTP_200_OK

from tests.parity.apps.control import Control, journal

FILE = Path(__file__).with_name("file.txt")


class Around(AbstractMiddleware):
    async def __call__(self, scope, receive, send):
        async def send_around(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-around", b"yes")]
            await send(message)

        await self.app(scope, receive, send_around)


@get("/hello", media_type=MediaType.TEXT)
async def hello() -> str:
    return "Hello, world!"


@head("/hello")
async def hello_head() -> None:
    return None


@get("/thread", media_type=MediaType.TEXT, sync_to_thread=True)
def in_thread() -> str:
    return "from a thread"


@get("/items/{id:int}")
async def item(request: Request, id: int) -> dict[str, Any]:
    return {"id": id, "query": list(request.query_params.multi_items())}


@post("/json", status_code=HTTP_200_OK)
async def echo_json(data: dict[str, Any]) -> dict[str, Any]:
    return data


@post("/form", status_code=HTTP_200_OK)
async def form(data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)]) -> dict[str, Any]:
    upload: UploadFile = data["file"]
    return {"name": data["name"], "file": upload.filename, "size": len(await upload.read())}


@post("/upload", status_code=HTTP_200_OK, media_type=MediaType.TEXT)
async def upload(request: Request) -> str:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


async def numbers():
    for number in range(5):
        yield f"{number}\n" * 100
        await asyncio.sleep(0)


@get("/stream")
async def stream() -> Stream:
    return Stream(numbers, media_type="text/plain")


@get("/events")
async def events() -> ServerSentEvent:
    async def messages():
        for number in range(3):
            yield {"id": number, "data": f"message {number}"}

    return ServerSentEvent(messages())


@get("/file")
async def file() -> File:
    return File(FILE, filename="name.txt")


@get("/background/{key:str}", media_type=MediaType.TEXT)
async def background(key: str) -> Response[str]:
    return Response("answered", background=BackgroundTask(in_background, key))


async def in_background(key):
    await journal(key).released.wait()
    journal(key).write("done")


@get("/redirect")
async def redirect() -> Redirect:
    return Redirect("/hello")


@get("/cookies")
async def cookies(request: Request) -> Response[dict[str, str]]:
    response = [Cookie("first", value="1", httponly=True), Cookie("second", value="two words", path="/cookies")]
    return Response(dict(sorted(request.cookies.items())), cookies=sorted(response, key=lambda cookie: cookie.key))


@get("/error")
async def error() -> str:
    raise ValueError("the view failed")


@get("/error-in-stream")
async def error_in_stream() -> Stream:
    async def broken():
        yield "first"
        raise ValueError("the stream failed")

    return Stream(broken)


@get("/state")
async def state(request: Request) -> dict[str, Any]:
    return {"number": request.app.state.number}


@post("/gone-upload/{key:str}")
async def gone_upload(request: Request, key: str) -> str:
    try:
        async for _ in request.stream():
            journal(key).write("entered")
    except InternalServerException:
        journal(key).write("disconnected")
    return "too late"


@get("/gone-stream/{key:str}")
async def gone_stream(key: str) -> Stream:
    async def endless():
        journal(key).write("entered")
        while True:
            yield "." * 1000
            await asyncio.sleep(0)

    return Stream(endless)


@get("/gone-waiting/{key:str}")
async def gone_waiting(key: str) -> Stream:
    async def waiting():
        try:
            yield "data: first\n\n"
            journal(key).write("entered")
            await journal(key).released.wait()
            yield "data: second\n\n"
        finally:
            journal(key).write("disconnected")

    return Stream(waiting, media_type="text/event-stream")


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.number = 7
    yield


ROUTES = [
    hello,
    hello_head,
    in_thread,
    item,
    echo_json,
    form,
    upload,
    stream,
    events,
    file,
    background,
    redirect,
    cookies,
    error,
    error_in_stream,
    state,
    gone_upload,
    gone_stream,
    gone_waiting,
]

app = Control(Litestar(ROUTES, middleware=[Around], lifespan=[lifespan]))
