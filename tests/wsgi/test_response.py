"""Responses: heads, bodies in every form, errors at every place."""

import pytest

from tests.parity.wire import request
from tests.wsgi.apps.rules import WRONG
from tests.wsgi.client import answer, ask, connect
from tests.wsgi.conftest import SUBJECT


def exchange(process, target, **more):
    """The response, and whether the connection could be used for another request after it."""
    with connect(process) as client:
        method = more.setdefault("method", "GET")
        del more["method"]
        client.send(request(method, target, **more))
        response = answer(client, method)
        client.send(request("GET", "/hello"))
        following = client.read_response("GET")
        assert following is None or (following.status, following.body) == (200, b"hello")
        return response, following is not None


def test_head(plain):
    response = ask(plain, "/fields")
    assert response.status_line == "HTTP/1.1 200 Just Fine"
    assert response.body == b"x"
    assert response.values("set-cookie") == ["a=1", "b=2; Path=/"]
    assert (response.values("x-latin"), response.values("x-empty")) == (["caf\u00e9"], [""])
    if SUBJECT == "fastserve":
        assert response.values("content-length") == ["1"]
        assert response.values("server") == ["own"]
        assert response.values("date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]


@pytest.mark.parametrize("kind", ["list", "tuple", "iterator", "generator"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_pieces(server, plain, kind, count):
    for process in (server, plain):
        response, keeps = exchange(process, f"/pieces?{count}-{kind}")
        assert response.complete
        assert response.body == b"".join(b"piece%d " % number for number in range(count))
        assert keeps or SUBJECT == "gunicorn"
    # PEP 3333: the length of what is there as a whole is known. The validator makes an iterator of everything.
    if kind in ("list", "tuple") and count < 2 and SUBJECT == "fastserve":
        assert response.values("content-length") == [str(len(response.body))]


@pytest.mark.parametrize("route", ["/pieces?3-generator", "/pieces?1-list", "/written", "/late"])
def test_http_1_0(server, route):
    response = ask(server, route, version="1.0")
    assert response.body in (b"piece0 piece1 piece2 ", b"piece0 ", b"one two three", b"late")
    assert not response.values("transfer-encoding")


@pytest.mark.parametrize("line", ["204 No Content", "304 Not Modified", "200 OK", "404 Nowhere", "599 Own Reason"])
def test_status_without_a_body(server, line):
    response, keeps = exchange(server, f"/status?{line.replace(' ', '%20')}")
    assert response.status_line == f"HTTP/1.1 {line}"
    assert response.body == b""
    if line.startswith("204"):
        assert not response.values("content-length") + response.values("transfer-encoding")
    assert keeps or SUBJECT == "gunicorn"


def test_the_write_callable(server):
    response, _ = exchange(server, "/written")
    assert (response.body, response.complete) == (b"one two three", True)


def test_start_response_may_come_with_the_first_piece(server):
    assert exchange(server, "/late")[0].body == b"late"


@pytest.mark.parametrize("route", ["held", "written_and_held"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_piece_leaves_before_the_next_is_made(server, tmp_path, route, version):
    path = tmp_path / "go"
    with connect(server) as client:
        client.send(request("GET", f"/{route}?{path}", version=version))
        client.receive_until(b"first")
        assert b"second" not in client.buffer
        path.touch()
        client.receive_until(b"second")


def test_context_variables(server):
    """A call has one context from its begin to its end."""
    for _ in range(2):
        response = ask(server, "/context")
        assert (response.body, response.complete) == (b"unset" + b" set" * 20, True)


def test_large(server):
    response, _ = exchange(server, "/large?80")
    assert response.complete
    assert response.body == b"".join(bytes([number % 251]) * 65536 for number in range(80))


def test_head_request(server, request):
    marker = request.node.name.replace("[", "-").replace("]", "")
    for target, length in (("/length?10", ["10"]), (f"/pieces?3-{marker}", [])):
        response, keeps = exchange(server, target, method="HEAD")
        assert (response.status, response.body) == (200, b"")
        assert response.values("content-length") == length or SUBJECT == "gunicorn"
        assert keeps or SUBJECT == "gunicorn"
    server.wait_for(f"^3-{marker} closed$")


def test_content_length(server):
    response, keeps = exchange(server, "/length?10")
    assert (response.body, response.values("content-length")) == (b"0123456789", ["10"])
    assert keeps or SUBJECT == "gunicorn"


def test_more_than_was_announced(server):
    """What is too much never reaches the client, who would take it for the next response."""
    for announced in (3, 5, 7, 0):
        response, keeps = exchange(server, f"/length?{announced}")
        if response.status != 500:
            assert b"0123456789"[:announced].startswith(response.body)
            assert response.complete or not keeps


def test_less_than_was_announced(server):
    response, keeps = exchange(server, "/length?12")
    assert (response.body, response.complete, keeps) == (b"0123456789", False, False)


# Errors


@pytest.mark.parametrize("route", ["replaced", "replaced_in_iteration"])
def test_exc_info_before_the_head_is_sent(server, route):
    response, _ = exchange(server, f"/{route}")
    assert (response.status_line, response.body) == ("HTTP/1.1 500 Replaced", b"replaced")
    assert not response.values("x-first")


def test_exc_info_after_the_head_is_sent(server):
    response, keeps = exchange(server, "/too_late?too-late")
    assert (response.status, response.body, response.complete, keeps) == (200, b"sent", False, False)
    server.wait_for("^too-late closed$")
    server.wait_for("ValueError: too late to replace$")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("fails", "RuntimeError: failed before the head"),
        ("fails_after_start", "RuntimeError: failed after start_response"),
        ("fails_in_iteration", "RuntimeError: failed before the first piece"),
    ],
)
def test_an_error_before_anything_is_sent(server, route, words):
    response = ask(server, f"/{route}?{route}")
    assert response.status == 500
    assert b"failed" not in response.body
    server.wait_for(f"^{words}$")
    if route == "fails_in_iteration":
        server.wait_for(f"^{route} closed$")
    assert ask(server, "/hello").body == b"hello"


def test_an_error_after_something_was_sent(server):
    response, keeps = exchange(server, "/fails_in_the_middle?middle")
    assert (response.body, response.complete, keeps) == (b"sent", False, False)
    server.wait_for("^middle closed$")
    server.wait_for("^RuntimeError: failed after the first piece$")


def test_an_error_in_close(plain):
    response = ask(plain, "/fails_in_close?close")
    assert response.body == b"complete"
    plain.wait_for("^RuntimeError: failed in close$")
    assert ask(plain, "/hello").body == b"hello"


@pytest.mark.skipif(SUBJECT == "gunicorn", reason="its worker ends")
def test_an_application_cannot_end_the_server(server):
    assert ask(server, "/exits").status == 500
    assert ask(server, "/hello").body == b"hello"


@pytest.mark.parametrize("route", ["twice", "never", "never_and_empty", "nothing"])
def test_start_response_the_wrong_number_of_times(plain, route):
    if SUBJECT == "gunicorn" and route.startswith("never"):
        pytest.skip("it sends a response without a status")
    response = ask(plain, f"/{route}?count-{route}")
    assert response.status == 500
    if route.startswith("never"):
        plain.wait_for(f"^count-{route} closed$")


@pytest.mark.parametrize("case", WRONG)
def test_wrong_types_and_values(plain, case):
    with connect(plain) as client:
        client.send(request("GET", f"/wrong?{case}", "Connection: close"))
        data = client.read_rest()
    assert b"X-Injected" not in data
    assert SUBJECT == "gunicorn" or data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n"), data
    assert ask(plain, "/hello").body == b"hello"


def test_the_connection_is_not_the_application_s(server):
    response, _ = exchange(server, "/framed")
    assert SUBJECT == "gunicorn" or response.status == 500 or (response.body, response.complete) == (b"hello", True)


def test_a_client_that_goes_away(server, request):
    marker = request.node.name.replace("[", "-").replace("]", "")
    with connect(server) as client:
        client.send(b"GET /endless?%b HTTP/1.1\r\nHost: x\r\n\r\n" % marker.encode())
        assert client.socket.recv(100000)
        client.reset()
    server.wait_for(f"^{marker} closed$")
    assert ask(server, "/hello").body == b"hello"


# Interim responses


def test_early_hints(server):
    with connect(server) as client:
        client.send(request("GET", "/hints"))
        first, second = client.read_head(), client.read_head()
        response = answer(client)
    assert first.status_line == second.status_line == "HTTP/1.1 103 Early Hints"
    assert first.fields == ["link: </style.css>; rel=preload"]
    assert second.fields == ["link: </script.js>; rel=preload", "x-more: 1"]
    assert (response.status, response.body) == (200, b"first last")


def test_early_hints_are_not_for_http_1_0(server):
    with connect(server) as client:
        client.send(request("GET", "/hints", version="1.0"))
        assert client.read_response("GET").status == 200


def test_early_hints_with_a_line_of_their_own(server):
    with connect(server) as client:
        client.send(request("GET", "/bad_hints", "Connection: close"))
        data = client.read_rest()
    assert b"X-Injected" not in data
    assert not data.endswith(b"accepted")
