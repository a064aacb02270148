"""Pyramid."""

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import FileResponse, Response
from pyramid.session import SignedCookieSessionFactory

from tests.wsgi.apps import content


def hello(request):
    return Response("Hello, World!", content_type="text/plain")


def form(request):
    return Response(request.POST["name"])


def upload(request):
    file = request.POST["file"]
    return Response(content.described(request.POST["name"], file.filename, file.file.read()))


def json(request):
    return Response(json=request.json_body)


def stream(request):
    return Response(app_iter=(piece.encode() for piece in content.pieces()), content_type="text/plain")


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return Response(str(request.session["count"]))


def file(request):
    return FileResponse(content.FILE, request, content_type="text/plain")


def redirect(request):
    return HTTPFound(request.route_url("hello"))


def names(request):
    return Response(f"{request.matchdict['name']} {request.GET['q']}")


def error(request):
    raise RuntimeError("a view failed")


def asgiref(request):
    return Response(content.through_asgiref())


def asyncio(request):
    return Response(content.through_asyncio())


def local(request):
    return Response(content.counted_here())


def create_app():
    with Configurator(session_factory=SignedCookieSessionFactory("for tests only")) as config:
        for view in (
            hello, form, upload, json, stream, count, file, redirect, error, asgiref, asyncio, local,
        ):  # fmt: skip
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__)
        config.add_route("names", "/names/{name}")
        config.add_view(names, route_name="names")
        return config.make_wsgi_app()


app = create_app()
