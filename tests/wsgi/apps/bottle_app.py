"""Bottle."""

import json as jsonlib

import bottle

from tests.wsgi.apps import content

SECRET = "for tests only"


def create_app():
    app = bottle.Bottle()

    @app.get("/hello")
    def hello():
        return "Hello, World!"

    @app.post("/form")
    def form():
        return bottle.request.forms.getunicode("name")

    @app.post("/upload")
    def upload():
        file = bottle.request.files.get("file")
        return content.described(bottle.request.forms.getunicode("name"), file.raw_filename, file.file.read())

    @app.post("/json")
    def json():
        bottle.response.content_type = "application/json"
        return jsonlib.dumps(bottle.request.json)

    @app.get("/stream")
    def stream():
        bottle.response.content_type = "text/plain"
        yield from content.pieces()

    @app.get("/count")
    def count():
        number = int(bottle.request.get_cookie("count", secret=SECRET) or 0) + 1
        bottle.response.set_cookie("count", str(number), secret=SECRET)
        return str(number)

    @app.get("/file")
    def file():
        return bottle.static_file(content.FILE.name, root=content.FILE.parent, mimetype="text/plain")

    @app.get("/redirect")
    def redirect():
        bottle.redirect("/hello")

    @app.get("/names/<name>")
    def named(name):
        return f"{name} {bottle.request.query.getunicode('q')}"

    @app.get("/error")
    def error():
        raise RuntimeError("a view failed")

    @app.get("/asgiref")
    def asgiref():
        return content.through_asgiref()

    @app.get("/asyncio")
    def asyncio():
        return content.through_asyncio()

    @app.get("/local")
    def local():
        return content.counted_here()

    return app


app = create_app()
