"""The environ: every variable, typed and complete, of every kind of request."""

import json

import pytest

from tests.authority import needs_openssl
from tests.parity.wire import request
from tests.process.conftest import Process
from tests.wsgi.client import answer, ask, chunks, connect
from tests.wsgi.conftest import MODES, SUBJECT, start_subject


def environ_of(process, target="/environ", *fields, **more):
    response = ask(process, target, *fields, **more)
    assert response.status == 200, response
    return json.loads(response.body)


def test_complete(server, mode):
    with connect(server) as client:
        local_port = str(client.socket.getsockname()[1])
        client.send(request("GET", "/environ/a%20b?x=1&y=%20", "User-Agent: t", "Accept: a, b", host="example.org:81"))
        environ = json.loads(answer(client).body)
    assert {key: value for key, value in environ.items() if key.isupper()} == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ/a b",
        "QUERY_STRING": "x=1&y=%20",
        "RAW_URI": "/environ/a%20b?x=1&y=%20",
        "REQUEST_URI": "/environ/a%20b?x=1&y=%20",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": environ["SERVER_SOFTWARE"],
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": local_port,
        "HTTP_HOST": "example.org:81",
        "HTTP_USER_AGENT": "t",
        "HTTP_ACCEPT": "a, b",
    }
    assert environ["SERVER_SOFTWARE"].startswith(SUBJECT)
    more = {key: value for key, value in environ.items() if key.startswith("wsgi.")}
    for key in ("input", "errors", "file_wrapper", "early_hints"):
        assert more.pop(f"wsgi.{key}")
    assert more == {
        "wsgi.version": "(1, 0)",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": str(mode == "threads"),
        "wsgi.multiprocess": "False",
        "wsgi.run_once": "False",
        "wsgi.input_terminated": "True",
    }


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/environ/caf%C3%A9", "/environ/caf\u00c3\u00a9"),
        ("/environ/%E2%82%AC", "/environ/\u00e2\u0082\u00ac"),
        ("/environ/%FF%FE", "/environ/\u00ff\u00fe"),
        ("/environ/%2F%2e%2E/x", "/environ//../x"),
        ("/environ/a+b;c=d", "/environ/a+b;c=d"),
        ("/environ//x/", "/environ//x/"),
        ("/environ/%zz%", "/environ/%zz%"),
        ("/environ/%00", "/environ/\0"),
        ("/environ?", "/environ"),
    ],
)
def test_path_info_has_the_bytes_of_the_path(server, target, path):
    environ = environ_of(server, target)
    assert environ["PATH_INFO"] == path
    assert environ["RAW_URI"] == target


def test_bytes_that_are_not_ascii(server):
    environ = environ_of(server, "/environ", "X-Bytes: \udcff\udcfe", "Content-Type: \udcff")
    assert environ["HTTP_X_BYTES"] == "\u00ff\u00fe"
    assert environ["CONTENT_TYPE"] == "\u00ff"


def test_absolute_target(server):
    environ = environ_of(server, "http://example.org/environ/x?y", host="example.org")
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/environ/x", "y")


def test_fields_that_repeat(server):
    environ = environ_of(server, "/environ", "X-Twice: 1", "Cookie: a=1", "x-twice: 2", "Cookie: b=2", "X-Empty:")
    assert environ["HTTP_X_TWICE"] == "1,2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_EMPTY"] == ""


def test_many_names(server):
    """More than any table of names would hold."""
    for first in range(0, 3000, 60):
        names = range(first, first + 60)
        environ = environ_of(server, "/environ", *(f"X-Name-{number}: {number}" for number in names))
        assert [environ[f"HTTP_X_NAME_{number}"] for number in names] == [str(number) for number in names]


def test_a_field_with_an_underscore_is_dropped(server):
    """It would stand for the one with a hyphen, which a proxy vouches for."""
    environ = environ_of(server, "/environ", "X_Real_User: forged", "X-Real-User: true", "Content_Length: 7")
    assert environ["HTTP_X_REAL_USER"] == "true"
    assert "CONTENT_LENGTH" not in environ


def test_content(server):
    environ = environ_of(server, "/environ", "Content-Type: text/plain; charset=x", method="POST", body=b"12345")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain; charset=x", "5")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()
    assert environ["REQUEST_METHOD"] == "POST"


def test_a_chunked_body_has_its_length(server):
    """Applications read as many bytes as CONTENT_LENGTH says, and none where it is missing."""
    environ = environ_of(server, "/environ", "Transfer-Encoding: chunked", method="POST", body=chunks(b"12345", 2))
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_no_content(server):
    environ = environ_of(server, "/environ")
    assert not {"CONTENT_TYPE", "CONTENT_LENGTH"} & environ.keys()


def test_http_1_0(server):
    environ = environ_of(server, "/environ", version="1.0", host=None)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_NAME"]


@pytest.mark.parametrize("method", ["HEAD", "PURGE", "get"])
def test_methods_are_as_they_are_sent(server, method):
    with connect(server) as client:
        client.send(request(method, "/environ"))
        response = answer(client, method)
    assert response.status == 200
    assert method == "HEAD" or json.loads(response.body)["REQUEST_METHOD"] == method


def test_nothing_is_left_of_the_request_before(server):
    with connect(server) as client:
        client.send(request("POST", "/spoil/x?marker-environ", "X-One: 1", "Content-Type: a/b", body=b"abc"))
        assert answer(client).body == b"spoilt"
        client.send(request("GET", "/environ/y"))
        if (first := client.read_response("GET")) is None:  # gunicorn's sync worker closes
            return
        after = json.loads(first.body)
    fresh = environ_of(server, "/environ/y")
    assert after.keys() == fresh.keys()
    volatile = {"REMOTE_PORT", "wsgi.input", "wsgi.errors", "wsgi.early_hints", "wsgi.file_wrapper"}
    assert {key: after[key] for key in after.keys() - volatile} == {key: fresh[key] for key in fresh.keys() - volatile}


def test_errors_go_to_the_log(server):
    assert ask(server, "/errors").status == 200
    server.wait_for("one\u00e9 two three")


@pytest.mark.skipif(SUBJECT != "fastserve", reason="its own options")
def test_a_proxy_that_is_believed(server):
    environ = environ_of(server, "/environ", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.7")
    assert environ["wsgi.url_scheme"] == "https"
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.7", "0")


@needs_openssl
def test_tls_prefix_and_workers(elsewhere, tls, mode):
    target = "/base/environ/x" if SUBJECT == "gunicorn" else "/environ/x"
    environ = environ_of(elsewhere, target, tls=tls)
    assert environ["wsgi.url_scheme"] == "https"
    if SUBJECT == "fastserve":
        assert (environ["HTTPS"], environ["SSL_PROTOCOL"], environ["SSL_CLIENT_VERIFY"]) == ("on", "TLSv1.3", "NONE")
    assert environ["wsgi.multiprocess"] == "True"
    assert environ["wsgi.multithread"] == str(mode == "threads")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/base", "/environ/x")
    assert environ["RAW_URI"] == target


def test_unix_socket(start, folder, mode):
    path = str(folder / "web.sock")
    option = ("--bind", f"unix:{path}") if SUBJECT == "gunicorn" else ("--uds", path)
    process: Process = start_subject(start, "tests.wsgi.apps.rules:app", *option, *MODES[mode])
    process.wait_for(r"(?:running on|Listening at:).* ?unix")
    for host in ("example.org", None):
        with connect(process, path=path) as client:
            client.send(request("GET", "/environ", host=host, version="1.1" if host else "1.0"))
            environ = json.loads(answer(client).body)
        # PEP 3333: neither may be empty.
        assert environ["SERVER_NAME"]
        assert environ["SERVER_PORT"]
        assert environ.get("REMOTE_ADDR", "") == ""
