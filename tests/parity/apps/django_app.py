"""Django over ASGI: asynchronous and synchronous views, middleware, its own upload handling. It knows no lifespan."""

import asyncio
import json
from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import sync_and_async_middleware

from tests.parity.apps.control import Control, journal

FILE = Path(__file__).with_name("file.txt")

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests only",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", f"{__name__}.around"],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "loggers": {"django": {"handlers": ["console"], "level": "INFO", "propagate": False}},
    },
)
django.setup()


@sync_and_async_middleware
def around(get_response):
    async def middleware(request):
        response = await get_response(request)
        response["x-around"] = "yes"
        return response

    return middleware


async def hello(request):
    return HttpResponse("Hello, world!", content_type="text/plain")


def in_thread(request):
    return HttpResponse("from a thread", content_type="text/plain")


async def item(request, id):
    return JsonResponse({"id": id, "query": dict(request.GET.lists())})


async def echo_json(request):
    return JsonResponse(json.loads(request.body))


async def form(request):
    upload = request.FILES["file"]
    return JsonResponse({"name": request.POST["name"], "file": upload.name, "size": upload.size})


async def upload(request):
    size = 0
    while chunk := request.read(65536):
        size += len(chunk)
    return HttpResponse(str(size), content_type="text/plain")


async def numbers():
    for number in range(5):
        yield f"{number}\n" * 100
        await asyncio.sleep(0)


async def stream(request):
    return StreamingHttpResponse(numbers(), content_type="text/plain")


async def events(request):
    async def messages():
        for number in range(3):
            yield f"id: {number}\ndata: message {number}\n\n"

    return StreamingHttpResponse(messages(), content_type="text/event-stream")


def file(request):
    return FileResponse(FILE.open("rb"), as_attachment=True, filename="name.txt")


async def redirect(request):
    return HttpResponseRedirect("/hello")


async def cookies(request):
    response = JsonResponse(request.COOKIES)
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "two words", path="/cookies")
    return response


async def error(request):
    raise ValueError("the view failed")


async def error_in_stream(request):
    async def broken():
        yield "first"
        raise ValueError("the stream failed")

    return StreamingHttpResponse(broken())


async def gone(request, key):
    journal(key).write("entered")
    try:
        await journal(key).released.wait()
    except asyncio.CancelledError:
        journal(key).write("disconnected")
        raise
    return HttpResponse("too late")


async def gone_stream(request, key):
    async def endless():
        journal(key).write("entered")
        while True:
            yield "." * 1000
            await asyncio.sleep(0)

    return StreamingHttpResponse(endless())


async def gone_waiting(request, key):
    async def waiting():
        try:
            yield "data: first\n\n"
            journal(key).write("entered")
            await journal(key).released.wait()
            yield "data: second\n\n"
        finally:
            journal(key).write("disconnected")

    return StreamingHttpResponse(waiting(), content_type="text/event-stream")


urlpatterns = [
    path("hello", hello),
    path("thread", in_thread),
    path("items/<int:id>", item),
    path("json", echo_json),
    path("form", form),
    path("upload", upload),
    path("stream", stream),
    path("events", events),
    path("file", file),
    path("redirect", redirect),
    path("cookies", cookies),
    path("error", error),
    path("error-in-stream", error_in_stream),
    path("gone/<key>", gone),
    path("gone-stream/<key>", gone_stream),
    path("gone-waiting/<key>", gone_waiting),
]

app = Control(get_asgi_application())
