"""FastAPI: models, dependencies with clean-up, background tasks."""

import asyncio
import contextlib
from typing import Annotated

from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from tests.parity.apps.control import Control, journal
from tests.parity.apps.starlette_app import FILE, numbers


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"number": 7}


api = FastAPI(lifespan=lifespan)


class Thing(BaseModel):
    name: str
    price: float
    tags: list[str] = []


@api.api_route("/hello", methods=["GET", "HEAD", "POST"], response_class=PlainTextResponse)
async def hello():
    return "Hello, world!"


@api.get("/thread", response_class=PlainTextResponse)
def in_thread():
    return "from a thread"


@api.get("/items/{id}")
async def item(id: int, request: Request):
    return {"id": id, "query": request.query_params.multi_items()}


@api.post("/json")
async def echo_json(body: dict):
    return body


@api.post("/model")
async def model(thing: Thing) -> Thing:
    return thing


@api.post("/form")
async def form(name: Annotated[str, Form()], file: Annotated[UploadFile, File()]):
    return {"name": name, "file": file.filename, "size": len(await file.read())}


@api.post("/upload", response_class=PlainTextResponse)
async def upload(request: Request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


@api.get("/stream")
async def stream():
    return StreamingResponse(numbers(), media_type="text/plain")


@api.get("/events")
async def events():
    async def messages():
        for number in range(3):
            yield f"id: {number}\ndata: message {number}\n\n"

    return StreamingResponse(messages(), media_type="text/event-stream")


@api.get("/file")
async def file():
    return FileResponse(FILE, filename="name.txt")


@api.get("/background/{key}")
async def background(key: str, tasks: BackgroundTasks):
    tasks.add_task(in_background, key)
    return "answered"


async def in_background(key):
    await journal(key).released.wait()
    journal(key).write("done")


@api.get("/redirect")
async def redirect():
    return RedirectResponse("/hello")


@api.get("/cookies")
async def cookies(response: Response, own: Annotated[str | None, Cookie()] = None):
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "two words", path="/cookies")
    return {"own": own}


async def resource():
    journal("dependency").write("opened")
    yield "resource"
    journal("dependency").write("closed")


@api.get("/dependency")
async def dependency(value: Annotated[str, Depends(resource)]):
    return value


@api.get("/error")
async def error():
    raise ValueError("the view failed")


@api.get("/error-in-stream")
async def error_in_stream():
    async def broken():
        yield "first"
        raise ValueError("the stream failed")

    return StreamingResponse(broken())


@api.get("/state")
async def state(request: Request):
    return {"number": request.state.number}


@api.get("/gone/{key}")
async def gone(key: str, request: Request):
    journal(key).write("entered")
    while not await request.is_disconnected():
        await asyncio.sleep(0)
    journal(key).write("disconnected")
    return "too late"


@api.post("/gone-upload/{key}")
async def gone_upload(key: str, request: Request):
    try:
        async for _ in request.stream():
            journal(key).write("entered")
    except ClientDisconnect:
        journal(key).write("disconnected")
    return "too late"


@api.get("/gone-stream/{key}")
async def gone_stream(key: str):
    async def endless():
        journal(key).write("entered")
        while True:
            yield "." * 1000
            await asyncio.sleep(0)

    return StreamingResponse(endless())


@api.get("/gone-waiting/{key}")
async def gone_waiting(key: str):
    async def waiting():
        try:
            yield "data: first\n\n"
            journal(key).write("entered")
            await journal(key).released.wait()
            yield "data: second\n\n"
        finally:
            journal(key).write("disconnected")

    return StreamingResponse(waiting(), media_type="text/event-stream")


app = Control(api)
