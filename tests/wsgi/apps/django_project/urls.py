"""The views."""

import json as jsonlib
import threading

from django.db import connection
from django.db.backends.signals import connection_created
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

from tests.wsgi.apps import content

connections_made = []
connection_created.connect(lambda **_: connections_made.append(threading.get_ident()), weak=False)


def text(value):
    return HttpResponse(value, content_type="text/plain; charset=utf-8")


def hello(request):
    return text("Hello, World!")


def form(request):
    return text(request.POST["name"])


def upload(request):
    file = request.FILES["file"]
    return text(content.described(request.POST["name"], file.name, file.read()))


def json(request):
    return JsonResponse(jsonlib.loads(request.body))


def stream(request):
    return StreamingHttpResponse(content.pieces(), content_type="text/plain")


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return text(request.session["count"])


def file(request):
    return FileResponse(content.FILE.open("rb"), content_type="text/plain")


def redirect(request):
    return HttpResponseRedirect(request.build_absolute_uri(reverse("hello")))


def names(request, name):
    return text(f"{name} {request.GET['q']}")


def error(request):
    raise RuntimeError("a view failed")


def asgiref(request):
    return text(content.through_asgiref())


def asyncio(request):
    return text(content.through_asyncio())


async def asynchronous(request):
    return text("an async view")


def local(request):
    return text(content.counted_here())


def database(request):
    """The thread, and in which threads connections have been made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 6 * 7")
        answer = cursor.fetchone()[0]
    return JsonResponse({"answer": answer, "thread": threading.get_ident(), "made": connections_made})


urlpatterns = [
    *(path(view.__name__, view, name=view.__name__) for view in (
        hello, form, upload, json, stream, count, file, redirect, error, asgiref, asyncio, local, database,
    )),
    path("async", asynchronous),
    path("names/<str:name>", names),
]  # fmt: skip
