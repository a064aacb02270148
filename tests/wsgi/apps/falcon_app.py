"""Falcon."""

import falcon

from tests.wsgi.apps import content


class Routes:
    def on_get_hello(self, request, response):
        response.text = "Hello, World!"

    def on_post_form(self, request, response):
        response.text = request.get_media()["name"]

    def on_post_upload(self, request, response):
        found = {}
        for part in request.get_media():
            found[part.name] = (part.filename, part.stream.read())
        response.text = content.described(found["name"][1].decode(), *found["file"])

    def on_post_json(self, request, response):
        response.media = request.media

    def on_get_stream(self, request, response):
        response.content_type = falcon.MEDIA_TEXT
        response.stream = (piece.encode() for piece in content.pieces())

    def on_get_count(self, request, response):
        number = int(request.cookies.get("count", 0)) + 1
        response.set_cookie("count", str(number), secure=False)
        response.text = str(number)

    def on_get_file(self, request, response):
        response.content_type = falcon.MEDIA_TEXT
        response.set_stream(content.FILE.open("rb"), content.FILE.stat().st_size)

    def on_get_redirect(self, request, response):
        raise falcon.HTTPFound(request.prefix + "/hello")

    def on_get_names(self, request, response, name):
        response.text = f"{name} {request.get_param('q')}"

    def on_get_error(self, request, response):
        raise RuntimeError("a view failed")

    def on_get_asgiref(self, request, response):
        response.text = content.through_asgiref()

    def on_get_asyncio(self, request, response):
        response.text = content.through_asyncio()

    def on_get_local(self, request, response):
        response.text = content.counted_here()


def create_app():
    app = falcon.App()
    routes = Routes()
    for name in (
        "hello", "form", "upload", "json", "stream", "count", "file", "redirect", "error", "asgiref", "asyncio",
        "local",
    ):  # fmt: skip
        app.add_route(f"/{name}", routes, suffix=name)
    app.add_route("/names/{name}", routes, suffix="names")
    return app


app = create_app()
