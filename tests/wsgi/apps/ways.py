"""The ways in which people write applications, by the names of what they import.

Run as a program it prints, as JSON, which interface each of the given import strings is served by, or the error.
"""

import functools
import json
import sys

WAYS = {
    "a function": "ways:function",
    "a function whose names are its own": "ways:other_names",
    "a function with defaults": "ways:with_defaults",
    "a lambda": "ways:shortest",
    "a generator function": "ways:generator",
    "a decorated function": "ways:decorated",
    "a partial": "ways:partial",
    "a bound method": "ways:bound",
    "a static method": "ways:Application.static",
    "an instance": "ways:instance",
    "a class, made anew for each request": "ways:PerRequest",
    "a factory": "ways:create_app",
    "a factory that is a class without arguments": "ways:Application",
    "Flask": "flask_app:app",
    "Flask's factory": "flask_app:create_app",
    "Flask's wsgi_app": "flask_app:app.wsgi_app",
    "Bottle": "bottle_app:app",
    "Bottle's factory": "bottle_app:create_app",
    "Falcon": "falcon_app:app",
    "Falcon's factory": "falcon_app:create_app",
    "Pyramid": "pyramid_app:app",
    "Pyramid's factory": "pyramid_app:create_app",
    "Django": "django_project.wsgi:application",
    "Paste": "stack:stack",
    "WhiteNoise": "stack:app",
    "the validator": "rules:checked",
    "WebOb": "ways:webob_view",
    "middleware that passes anything on": "ways:passing_on",
}
ASGI = {
    "ASGI 3": "ways:asgi3",
    "ASGI 3, an instance": "ways:asgi3_instance",
    "ASGI 3 behind a decorator": "ways:asgi3_decorated",
    "ASGI 3 of a factory": "ways:create_asgi3",
    "ASGI 3 that is no coroutine function": "ways:asgi3_returning",
    "Starlette": "ways:starlette",
    "Django over ASGI": "ways:django_asgi",
    "Falcon over ASGI": "ways:falcon_asgi",
    "ASGI 2": "ways:asgi2",
    "ASGI 2, a class": "ways:Asgi2",
    "ASGI 3 in middleware that passes anything on": "ways:passing_on_asgi3",
}
UNCLEAR = "ways:unclear"
NO_APPLICATION = "ways:WAYS"


def function(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def other_names(env, sr):
    return function(env, sr)


def with_defaults(environ, start_response, debug=False):
    return function(environ, start_response)


shortest = lambda e, s: [b"hello"] if s("200 OK", []) else []  # noqa: E731


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello"


def _logged(app):
    @functools.wraps(app)
    def logged(*args, **kwargs):
        return app(*args, **kwargs)

    return logged


decorated = _logged(function)
partial = functools.partial(with_defaults, debug=True)


class Application:
    def __call__(self, environ, start_response):
        return function(environ, start_response)

    def run(self, environ, start_response):
        return function(environ, start_response)

    static = staticmethod(function)


instance = Application()
bound = instance.run


class PassingOn:
    def __init__(self, app):
        self.app = app
        self.outermost = self

    def __call__(self, *args, **kwargs):
        return self.app(*args, **kwargs)


passing_on = PassingOn(PassingOn(function))


def unclear(*args):
    return function(*args)


class PerRequest:
    def __init__(self, environ, start_response):
        self._pieces = function(environ, start_response)

    def __iter__(self):
        return iter(self._pieces)


def create_app():
    return instance


async def asgi3(scope, receive, send): ...


class Asgi3:
    async def __call__(self, scope, receive, send): ...


asgi3_instance = Asgi3()
asgi3_decorated = functools.partial(asgi3)
passing_on_asgi3 = PassingOn(asgi3)


def create_asgi3():
    return asgi3_instance


def asgi3_returning(scope, receive, send):
    return asgi3(scope, receive, send)


def asgi2(scope):
    async def instance(receive, send): ...

    return instance


class Asgi2:
    def __init__(self, scope): ...

    async def __call__(self, receive, send): ...


def __getattr__(name):
    """Those that need a library."""
    match name:
        case "webob_view":
            from webob.dec import wsgify

            return wsgify(lambda request: "hello")
        case "starlette":
            from starlette.applications import Starlette

            return Starlette()
        case "falcon_asgi":
            import falcon.asgi

            return falcon.asgi.App()
        case "django_asgi":
            from django.core.asgi import get_asgi_application

            from tests.wsgi.apps.django_project import wsgi

            assert wsgi.application  # the settings come with it
            return get_asgi_application()
    raise AttributeError(name)


def main(names):
    from fastserve.server.config import Config

    found = {}
    for name in names:
        config = Config(f"tests.wsgi.apps.{name}")
        try:
            config.load()
        except BaseException as error:
            found[name] = repr(error)
        else:
            found[name] = config.interface
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
