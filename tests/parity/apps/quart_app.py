"""Quart: the context locals, background tasks on the application, streaming both ways."""

import asyncio
from pathlib import Path

from quart import Quart, Response, jsonify, make_response, request, send_file
from quart import redirect as redirect_to

from tests.parity.apps.control import Control, journal

FILE = Path(__file__).with_name("file.txt")

quart = Quart(__name__)
quart.config["RESPONSE_TIMEOUT"] = None


@quart.before_serving
async def before_serving():
    quart.number = 7


@quart.after_request
async def around(response):
    response.headers["x-around"] = "yes"
    return response


@quart.route("/hello", methods=["GET", "POST"])
async def hello():
    return Response("Hello, world!", mimetype="text/plain")


@quart.get("/thread")
def in_thread():
    return Response("from a thread", mimetype="text/plain")


@quart.get("/items/<int:id>")
async def item(id):
    return jsonify(id=id, query=list(request.args.items(multi=True)))


@quart.post("/json")
async def echo_json():
    return jsonify(await request.get_json())


@quart.post("/form")
async def form():
    fields, upload = await request.form, (await request.files)["file"]
    return jsonify(name=fields["name"], file=upload.filename, size=len(upload.read()))


@quart.post("/upload")
async def upload():
    size = 0
    async for chunk in request.body:
        size += len(chunk)
    return str(size)


async def numbers():
    for number in range(5):
        yield f"{number}\n" * 100
        await asyncio.sleep(0)


@quart.get("/stream")
async def stream():
    return numbers(), {"content-type": "text/plain"}


@quart.get("/events")
async def events():
    async def messages():
        for number in range(3):
            yield f"id: {number}\ndata: message {number}\n\n"

    return messages(), {"content-type": "text/event-stream"}


@quart.get("/file")
async def file():
    return await send_file(FILE, as_attachment=True, attachment_filename="name.txt", cache_timeout=0)


@quart.get("/background/<key>")
async def background(key):
    async def in_background():
        await journal(key).released.wait()
        journal(key).write("done")

    quart.add_background_task(in_background)
    return "answered"


@quart.get("/redirect")
async def redirect():
    return redirect_to("/hello")


@quart.get("/cookies")
async def cookies():
    response = await make_response(jsonify(request.cookies))
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "two words", path="/cookies")
    return response


@quart.get("/error")
async def error():
    raise ValueError("the view failed")


@quart.get("/error-in-stream")
async def error_in_stream():
    async def broken():
        yield "first"
        raise ValueError("the stream failed")

    return broken()


@quart.get("/state")
async def state():
    return jsonify(number=quart.number)


@quart.get("/gone/<key>")
async def gone(key):
    journal(key).write("entered")
    try:
        await journal(key).released.wait()
    except asyncio.CancelledError:
        journal(key).write("disconnected")
        raise
    return "too late"


@quart.get("/gone-stream/<key>")
async def gone_stream(key):
    async def endless():
        journal(key).write("entered")
        while True:
            yield "." * 1000
            await asyncio.sleep(0)

    return endless()


@quart.get("/gone-waiting/<key>")
async def gone_waiting(key):
    async def waiting():
        try:
            yield "data: first\n\n"
            journal(key).write("entered")
            await journal(key).released.wait()
            yield "data: second\n\n"
        finally:
            journal(key).write("disconnected")

    return waiting(), {"content-type": "text/event-stream"}


app = Control(quart)
