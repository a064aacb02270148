"""WSGI applications behind the ASGI adapter: their environ, their responses, their mistakes."""

import asyncio
import io

import pytest

from fastserve.server.wsgi import WSGIMiddleware

SCOPE = {
    "type": "http", "method": "POST", "path": "/base/caf\u00e9", "root_path": "/base", "query_string": b"a=%20",
    "http_version": "1.1", "scheme": "https", "server": ("example.org", 443), "client": ("192.0.2.1", 5000),
    "headers": [
        (b"host", b"example.org"), (b"content-type", b"text/plain"), (b"x-twice", b"1"), (b"x-twice", b"2"),
        (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"x_forged", b"1"), (b"transfer-encoding", b"chunked"),
    ],
}  # fmt: skip


def call(app, *, messages=None, scope=SCOPE):
    """What `app` sends."""
    incoming = messages or [{"type": "http.request", "body": b"one ", "more_body": True},
                            {"type": "http.request", "body": b"two"}]  # fmt: skip
    sent = []

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message)

    middleware = WSGIMiddleware(app)
    try:
        asyncio.run(middleware(scope, receive, send))
    finally:
        middleware.executor.shutdown()
    return sent


def test_environ():
    seen = {}

    def app(environ, start_response):
        seen.update(environ, body=environ["wsgi.input"].read())
        start_response("204 No Content", [])
        return []

    call(app)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/base", "/caf\u00c3\u00a9")
    assert (seen["QUERY_STRING"], seen["REQUEST_METHOD"], seen["SERVER_PROTOCOL"]) == ("a=%20", "POST", "HTTP/1.1")
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"], seen["wsgi.url_scheme"]) == ("example.org", "443", "https")
    assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == ("192.0.2.1", "5000")
    assert (seen["HTTP_HOST"], seen["CONTENT_TYPE"]) == ("example.org", "text/plain")
    assert (seen["HTTP_X_TWICE"], seen["HTTP_COOKIE"]) == ("1,2", "a=1; b=2")
    assert (seen["body"], seen["CONTENT_LENGTH"]) == (b"one two", "7")
    assert not {"HTTP_X_FORGED", "HTTP_TRANSFER_ENCODING"} & seen.keys()


def test_one_piece_has_a_length():
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    assert call(app) == [
        {"type": "http.response.start", "status": 200,
         "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")]},
        {"type": "http.response.body", "body": b"hello", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]  # fmt: skip


def test_pieces_are_sent_as_they_come_and_the_iterable_is_closed():
    class Pieces(io.BytesIO):
        def __iter__(self):
            yield b"one"
            yield b""
            yield b"two"

    pieces = Pieces()

    def app(environ, start_response):
        start_response("200 OK", [])(b"zero")
        return pieces

    sent = call(app)
    assert [message["body"] for message in sent[1:]] == [b"zero", b"one", b"two", b""]
    assert pieces.closed


def test_an_error_page_in_place_of_the_response():
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise KeyError("x")
        except KeyError as error:
            start_response("500 Oops", [("X-Error", "yes")], (KeyError, error, error.__traceback__))
        return []

    assert call(app)[0] == {
        "type": "http.response.start", "status": 500, "headers": [(b"x-error", b"yes"), (b"content-length", b"0")],
    }  # fmt: skip


def late(environ, start_response):
    start_response("200 OK", [])(b"begun")
    raise_late(start_response)
    return []


def raise_late(start_response):
    try:
        raise KeyError("x")
    except KeyError as error:
        start_response("500 Oops", [], (KeyError, error, error.__traceback__))


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def never(environ, start_response):
    return [b"x"]


@pytest.mark.parametrize(("app", "error"), [(late, KeyError), (twice, AssertionError), (never, AssertionError)])
def test_mistakes_are_the_applications(app, error):
    with pytest.raises(error):
        call(app)


def test_a_client_that_goes_is_not_served():
    def app(environ, start_response):
        pytest.fail("called without its body")

    assert call(app, messages=[{"type": "http.disconnect"}]) == []
