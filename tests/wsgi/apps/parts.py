"""What `stack.ini` names: a composite, filters and an application."""

import json
import sys
from wsgiref.validate import validator


def composite(loader, global_conf, **paths):
    """Applications by the beginning of the path, which becomes their SCRIPT_NAME."""
    apps = {prefix: loader.get_app(name, global_conf=global_conf) for prefix, name in paths.items() if prefix != "rest"}
    rest = loader.get_app(paths["rest"], global_conf=global_conf)

    def dispatch(environ, start_response):
        for prefix, app in apps.items():
            if environ["PATH_INFO"].startswith(prefix + "/"):
                environ["SCRIPT_NAME"] += prefix
                environ["PATH_INFO"] = environ["PATH_INFO"][len(prefix) :]
                return app(environ, start_response)
        return rest(environ, start_response)

    return dispatch


def upper_filter(app, global_conf):
    """Another body: it is collected, and its length is announced anew."""

    def upper(environ, start_response):
        started, written = [], []

        def start(status, fields, exc_info=None):
            started[:] = [status, [field for field in fields if field[0].lower() != "content-length"]]
            return written.append

        pieces = app(environ, start)
        try:
            body = b"".join([*pieces])
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        body = (b"".join(written) + body).upper()
        status, fields = started
        start_response(status, [*fields, ("Content-Length", str(len(body)))])
        return [body]

    return upper


def marking_filter(app, global_conf, name):
    """A field more; the pieces pass through a generator."""

    def marking(environ, start_response):
        def start(status, fields, exc_info=None):
            fields = [*fields, ("X-Filter", name)]
            return start_response(status, fields, exc_info) if exc_info else start_response(status, fields)

        pieces = app(environ, start)
        try:
            yield from pieces
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    return marking


def site(global_conf, **local_conf):
    return validator(inner)


def inner(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("the innermost application failed")
    keys = ("SCRIPT_NAME", "PATH_INFO", "REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "QUERY_STRING")
    body = json.dumps({key: environ.get(key) for key in keys} | {"body": environ["wsgi.input"].read(100).decode()})
    start_response("200 OK", [("Content-Type", "application/json")])
    return Closing([body[:5].encode(), body[5:].encode()])


class Closing(list):
    def close(self):
        sys.stdout.write("inner closed\n")
