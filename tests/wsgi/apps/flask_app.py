"""Flask."""

import flask

from tests.wsgi.apps import content


def create_app():
    app = flask.Flask(__name__)
    app.secret_key = "for tests only"

    @app.get("/hello")
    def hello():
        return "Hello, World!"

    @app.post("/form")
    def form():
        return flask.request.form["name"]

    @app.post("/upload")
    def upload():
        file = flask.request.files["file"]
        return content.described(flask.request.form["name"], file.filename, file.read())

    @app.post("/json")
    def json():
        return flask.jsonify(flask.request.get_json())

    @app.get("/stream")
    def stream():
        @flask.stream_with_context
        def produce():
            for piece in content.pieces():
                assert flask.request.path == "/stream"
                yield piece

        return flask.Response(produce(), mimetype="text/plain")

    @app.get("/count")
    def count():
        flask.session["count"] = flask.session.get("count", 0) + 1
        return str(flask.session["count"])

    @app.get("/file")
    def file():
        return flask.send_file(content.FILE, mimetype="text/plain")

    @app.get("/redirect")
    def redirect():
        return flask.redirect(flask.url_for("hello", _external=True))

    @app.get("/names/<name>")
    def named(name):
        return f"{name} {flask.request.args['q']}"

    @app.get("/error")
    def error():
        raise RuntimeError("a view failed")

    @app.get("/asgiref")
    def asgiref():
        return content.through_asgiref()

    @app.get("/asyncio")
    def asyncio():
        return content.through_asyncio()

    @app.get("/async")
    async def asynchronous():
        return "an async view"

    @app.get("/local")
    def local():
        return content.counted_here()

    return app


app = create_app()
