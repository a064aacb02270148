"""One route for each corner of PEP 3333. `app` is behind the validator, `plain` is not.

The first segment of the path chooses the route; what follows, and the query, are the route's own. Of what happens where
no response can tell, a line is printed that begins with the request's query.
"""

import contextvars
import io
import json
import os
import sys
import tempfile
import threading
import time
from hashlib import sha256
from urllib.parse import unquote
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
PATIENCE = 10.0


ROUTES = {}


def route(function):
    ROUTES[function.__name__] = function
    return function


def say(environ, what):
    tell(f"{environ['QUERY_STRING']} {what}")


def tell(line):
    """Write the line as one: other threads write as well."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Announced:
    """An iterable that says when it is closed."""

    def __init__(self, environ, pieces):
        self._environ = environ
        self._pieces = iter(pieces)

    def __iter__(self):
        return self._pieces

    def close(self):
        if callable(close := getattr(self._pieces, "close", None)):
            close()
        say(self._environ, "closed")


def wait_for_file(path):
    """Wait until the test has made the file; give up rather than hang the server."""
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {path}")
        time.sleep(0.002)


# What the application is given


@route
def environ(environ, start_response):
    """The environ, as JSON: strings as they are, of other values the representation."""
    start_response("200 OK", [("Content-Type", "application/json")])
    shown = {key: value if isinstance(value, str) else repr(value) for key, value in environ.items()}
    return [json.dumps(shown).encode()]


@route
def spoil(environ, start_response):
    """Changes all it has been given."""
    for key in list(environ):
        if key != "QUERY_STRING":
            environ[key] = "spoilt"
    start_response("200 OK", TEXT)
    return Announced(environ, [b"spoilt"])


@route
def calls(environ, start_response):
    """Calls the methods of `wsgi.input` that the query names, in JSON, and answers what they gave."""
    answers = call_all(environ["wsgi.input"], json.loads(unquote(environ["QUERY_STRING"])))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answers).encode()]


def call_all(stream, calls):
    """What a binary stream answers to `[[method, argument ...], ...]`, as text; `iter` is a list of its lines."""
    answers = []
    for name, *arguments in calls:
        answer = list(stream) if name == "iter" else getattr(stream, name)(*arguments)
        answers.append([line.decode("latin-1") for line in answer] if isinstance(answer, list)
                       else answer.decode("latin-1"))  # fmt: skip
    return answers


@route
def digest(environ, start_response):
    """Length and digest of the request's body, read in blocks."""
    state, length = sha256(), 0
    while block := environ["wsgi.input"].read(10000):
        state.update(block)
        length += len(block)
    say(environ, f"read {length}")
    start_response("200 OK", TEXT)
    return [f"{length} {state.hexdigest()}".encode()]


@route
def unread(environ, start_response):
    start_response("413 Content Too Large", TEXT)
    return [b"not read"]


@route
def errors(environ, start_response):
    environ["wsgi.errors"].write("one\u00e9 ")
    environ["wsgi.errors"].writelines(["two ", "three\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"written"]


# What it answers


@route
def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


@route
def status(environ, start_response):
    """A response whose status line, and nothing else, is the query."""
    line = unquote(environ["QUERY_STRING"])
    start_response(line, [] if line[:3] in ("204", "304") else TEXT)
    return Announced(environ, [])


@route
def fields(environ, start_response):
    start_response("200 Just Fine", [
        *TEXT, ("Set-Cookie", "a=1"), ("X-Latin", "caf\u00e9"), ("Set-Cookie", "b=2; Path=/"), ("X-Empty", ""),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "own"),
    ])  # fmt: skip
    return [b"x"]


@route
def pieces(environ, start_response):
    """The query says the number of pieces and whether they come as a list, a tuple or a generator."""
    count, _, kind = environ["QUERY_STRING"].partition("-")
    made = [b"piece%d " % number for number in range(int(count))]
    start_response("200 OK", TEXT)
    match kind:
        case "list":
            return made
        case "tuple":
            return tuple(made)
        case "iterator":
            return iter(made)
    return Announced(environ, made)


@route
def length(environ, start_response):
    """Announces as many bytes as the query says, and gives `0123456789` in pieces of five."""
    start_response("200 OK", [*TEXT, ("Content-Length", environ["QUERY_STRING"])])
    return Announced(environ, [b"01234", b"56789"])


@route
def large(environ, start_response):
    """As many pieces of 64 KiB as the query says, each of another byte."""
    start_response("200 OK", TEXT)
    return Announced(environ, (bytes([number % 251]) * 65536 for number in range(int(environ["QUERY_STRING"]))))


@route
def late(environ, start_response):
    """A generator that calls start_response when it is asked for its first piece, which is empty."""
    start_response("200 OK", TEXT)
    yield b""
    yield b"late"


@route
def written(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"one ")
    write(b"")
    write(b"two ")
    return Announced(environ, [b"three"])


@route
def held(environ, start_response):
    """A first piece; the second when the test has made the file that the query names."""
    start_response("200 OK", TEXT)

    def produce():
        yield b"first"
        wait_for_file(environ["QUERY_STRING"])
        yield b"second"

    return Announced(environ, produce())


@route
def written_and_held(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"first")
    wait_for_file(environ["QUERY_STRING"])
    return [b"second"]


_variable = contextvars.ContextVar("variable", default="unset")


@route
def context(environ, start_response):
    """A variable of the call's context, through all that is made of its response, which takes a while."""
    begins = _variable.get()
    token = _variable.set("set")
    start_response("200 OK", TEXT)

    def produce():
        yield begins.encode()
        for _ in range(20):
            time.sleep(0.001)
            yield b" " + _variable.get().encode()
        _variable.reset(token)

    return Announced(environ, produce())


@route
def endless(environ, start_response):
    start_response("200 OK", TEXT)

    def produce():
        while True:
            yield b"x" * 65536

    return Announced(environ, produce())


@route
def replaced(environ, start_response):
    """An error after start_response, before anything was sent: the other head goes out."""
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("500 Replaced", TEXT, sys.exc_info())
    return [b"replaced"]


@route
def replaced_in_iteration(environ, start_response):
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    yield b""
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("500 Replaced", TEXT, sys.exc_info())
    yield b"replaced"


@route
def too_late(environ, start_response):
    """An error after something was sent: start_response raises it again."""
    start_response("200 OK", TEXT)

    def produce():
        yield b"sent"
        try:
            raise ValueError("too late to replace")
        except ValueError:
            start_response("500 Replaced", TEXT, sys.exc_info())
        yield b"not reached"

    return Announced(environ, produce())


@route
def hints(environ, start_response):
    hint = environ["wsgi.early_hints"]
    hint([("Link", "</style.css>; rel=preload")])
    hint([("Link", "</script.js>; rel=preload"), ("X-More", "1")])
    start_response("200 OK", TEXT)
    yield b"first"
    hint([("Link", "</too-late.css>")])
    yield b" last"


@route
def bad_hints(environ, start_response):
    try:
        environ["wsgi.early_hints"]([("Link", "</x>\r\nX-Injected: 1")])
    except Exception as error:
        text = type(error).__name__
    else:
        text = "accepted"
    start_response("200 OK", TEXT)
    return [text.encode()]


# Files


class Counted(io.FileIO):
    """A file that says how often it was read, and that it was closed."""

    reads = 0
    told = False

    def read(self, *size):
        self.reads += 1
        return super().read(*size)

    def close(self):
        if not self.told:
            self.told = True
            tell(f"{self.query} file closed after {self.reads} reads")
        super().close()


CONTENT = bytes(range(256)) * 8192
_folder = tempfile.TemporaryDirectory()
PATH = os.path.join(_folder.name, "content")
with open(PATH, "wb") as _file:
    _file.write(CONTENT)


def opened(environ):
    file = Counted(PATH)
    file.query = environ["QUERY_STRING"]
    return file


@route
def file(environ, start_response):
    """A file through the wrapper: `/file/KIND?...`; `length=` announces so many bytes, `at=` begins there."""
    options = dict(part.split("=") for part in environ["QUERY_STRING"].split("&") if part)
    head = list(TEXT)
    if "length" in options:
        head.append(("Content-Length", options["length"]))
    stream = opened(environ)
    stream.seek(int(options.get("at", 0)))
    start_response("200 OK", head)
    return environ["wsgi.file_wrapper"](stream, 4096)


@route
def memory(environ, start_response):
    """Something like a file that is none for the kernel."""
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(CONTENT))


@route
def passed_on(environ, start_response):
    """What middleware does with a file wrapper: it iterates."""
    wrapped = environ["wsgi.file_wrapper"](opened(environ), 65536)
    start_response("200 OK", TEXT)
    return Announced(environ, _passed_on(wrapped))


def _passed_on(wrapped):
    try:
        yield from wrapped
    finally:
        wrapped.close()


@route
def file_written_before(environ, start_response):
    """A wrapper after something has been written."""
    write = start_response("200 OK", TEXT)
    write(b"before ")
    stream = opened(environ)
    stream.seek(len(CONTENT) - 5)
    return environ["wsgi.file_wrapper"](stream)


@route
def named_file(environ, start_response):
    """The file that the query names, with its length announced."""
    stream = open(environ["QUERY_STRING"], "rb")  # noqa: SIM115  # the server closes it
    start_response("200 OK", [*TEXT, ("Content-Length", str(os.fstat(stream.fileno()).st_size))])
    return environ["wsgi.file_wrapper"](stream)


# Mistakes


@route
def fails(environ, start_response):
    raise RuntimeError("failed before the head")


@route
def fails_after_start(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    raise RuntimeError("failed after start_response")


@route
def fails_in_iteration(environ, start_response):
    start_response("200 OK", TEXT)

    def produce():
        raise RuntimeError("failed before the first piece")
        yield

    return Announced(environ, produce())


@route
def fails_in_the_middle(environ, start_response):
    start_response("200 OK", TEXT)

    def produce():
        yield b"sent"
        raise RuntimeError("failed after the first piece")

    return Announced(environ, produce())


@route
def fails_in_close(environ, start_response):
    start_response("200 OK", TEXT)

    class Failing(Announced):
        def close(self):
            super().close()
            raise RuntimeError("failed in close")

    return Failing(environ, [b"complete"])


@route
def exits(environ, start_response):
    raise SystemExit("an application may not end the server")


@route
def twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"twice"]


@route
def never(environ, start_response):
    return Announced(environ, [b"never"])


@route
def never_and_empty(environ, start_response):
    return Announced(environ, [])


@route
def nothing(environ, start_response):
    start_response("200 OK", TEXT)


WRONG = {
    "str": lambda start: start("200 OK", TEXT) and ["text"],
    "number": lambda start: start("200 OK", TEXT) and [1],
    "whole-str": lambda start: start("200 OK", TEXT) and "text",
    "status-number": lambda start: start(200, TEXT) and [b"x"],
    "status-word": lambda start: start("fine", TEXT) and [b"x"],
    "status-short": lambda start: start("20 OK", TEXT) and [b"x"],
    "status-newline": lambda start: start("200 OK\r\nX-Injected: 1", TEXT) and [b"x"],
    "status-interim": lambda start: start("100 Continue", TEXT) and [b"x"],
    "status-bytes": lambda start: start(b"200 OK", TEXT) and [b"x"],
    "value-newline": lambda start: start("200 OK", [("X-A", "1\r\nX-Injected: 1")]) and [b"x"],
    "value-nul": lambda start: start("200 OK", [("X-A", "1\0")]) and [b"x"],
    "value-number": lambda start: start("200 OK", [("X-A", 1)]) and [b"x"],
    "value-beyond-latin-1": lambda start: start("200 OK", [("X-A", "\u20ac")]) and [b"x"],
    "name-newline": lambda start: start("200 OK", [("X-A\r\nX-Injected", "1")]) and [b"x"],
    "name-colon": lambda start: start("200 OK", [("X-A:", "1")]) and [b"x"],
    "name-space": lambda start: start("200 OK", [("X A", "1")]) and [b"x"],
    "name-empty": lambda start: start("200 OK", [("", "1")]) and [b"x"],
    "fields-not-pairs": lambda start: start("200 OK", ["X-A: 1"]) and [b"x"],
    "length-twice": lambda start: start("200 OK", [("Content-Length", "1"), ("Content-Length", "2")]) and [b"x"],
    "length-not-a-number": lambda start: start("200 OK", [("Content-Length", "1x")]) and [b"x"],
}


@route
def wrong(environ, start_response):
    return WRONG[environ["QUERY_STRING"]](start_response)


@route
def framed(environ, start_response):
    """Fields of the connection, which are not the application's to give."""
    start_response("200 OK", [*TEXT, ("Transfer-Encoding", "chunked"), ("Content-Length", "5"),
                              ("Connection", "keep-alive")])  # fmt: skip
    return [b"hello"]


# Threads


@route
def thread(environ, start_response):
    """Process and thread that answer."""
    say(environ, "runs")
    start_response("200 OK", TEXT)
    return [f"{os.getpid()} {threading.get_ident()}".encode()]


@route
def holds(environ, start_response):
    """Answers as the one before, when the test has made the file that the query names."""
    say(environ, "runs")
    wait_for_file(environ["QUERY_STRING"])
    start_response("200 OK", TEXT)
    return [f"{os.getpid()} {threading.get_ident()}".encode()]


@route
def forever(environ, start_response):
    say(environ, "runs")
    while True:
        time.sleep(60)


def plain(environ, start_response):
    return ROUTES[environ["PATH_INFO"].split("/")[1]](environ, start_response)


checked = validator(plain)


def app(environ, start_response):
    # The validator's own signature says nothing.
    return checked(environ, start_response)
