"""`wsgi.file_wrapper`: files go from the kernel's cache to the socket, and are closed, whatever happens."""

import os

import pytest

from tests.parity.wire import request as line
from tests.wsgi.apps.rules import CONTENT
from tests.wsgi.client import answer, ask, connect
from tests.wsgi.conftest import OPTIONS, SUBJECT


@pytest.fixture
def marker(request):
    """What a file says when it is closed begins with this; queries hold it."""
    return "by=" + request.node.name.translate(str.maketrans("[]=& ", "-----"))


def closed(process, query):
    """How often the file was read."""
    return int(process.wait_for(rf"^{query} file closed after (\d+) reads$")[1])


def is_sent_by_the_kernel(process, query):
    """Whether nobody has read the file: sendfile(2) takes the descriptor. The event loop's transports cannot."""
    return closed(process, query) == 0 or "loop" in OPTIONS


def test_a_file(plain, marker):
    response = ask(plain, f"/file?{marker}")
    assert (response.body, response.complete) == (CONTENT, True)
    assert is_sent_by_the_kernel(plain, marker)


def test_from_where_it_stands(plain, marker):
    assert ask(plain, f"/file?at=2000000&{marker}").body == CONTENT[2_000_000:]
    assert is_sent_by_the_kernel(plain, f"at=2000000&{marker}")


def test_only_what_was_announced(plain, marker):
    query = f"at=100&length=70000&{marker}"
    with connect(plain) as client:
        client.send(line("GET", f"/file?{query}") + line("GET", "/hello"))
        response = answer(client)
        assert (response.body, response.complete) == (CONTENT[100:70100], True)
        following = client.read_response("GET")
    assert following.body == b"hello" if SUBJECT == "fastserve" else True
    closed(plain, query)


def test_less_than_was_announced(plain, marker):
    query = f"length={len(CONTENT) + 1}&{marker}"
    with connect(plain) as client:
        client.send(line("GET", f"/file?{query}"))
        response = answer(client)
        # Who asks for the file's size knows better than to begin.
        assert response.status == 500 or (response.body, response.complete) == (CONTENT, False)
        assert client.read_rest() == b""
    closed(plain, query)
    assert ask(plain, "/hello").body == b"hello"


def test_a_file_that_shrinks_while_it_is_sent(plain, tmp_path):
    """It is far larger than what the kernel holds for a connection: when the head arrives it cannot have been sent."""
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 256 * 1024 * 1024)
    with connect(plain) as client:
        client.send(line("GET", f"/named_file?{path}"))
        assert client.read_head().values("content-length") == [str(256 * 1024 * 1024)]
        os.truncate(path, 0)
        assert len(client.read_rest()) < 256 * 1024 * 1024
    assert ask(plain, "/hello").body == b"hello"


def test_head(plain, marker):
    query = f"length={len(CONTENT)}&{marker}"
    with connect(plain) as client:
        client.send(line("HEAD", f"/file?{query}"))
        response = answer(client, "HEAD")
        assert response.values("content-length") == [str(len(CONTENT))]
        client.send(line("GET", "/hello"))
        following = client.read_response("GET")
        assert SUBJECT == "gunicorn" or following.body == b"hello"
    closed(plain, query)


def test_empty(plain, marker):
    query = f"at={len(CONTENT)}&{marker}"
    response = ask(plain, f"/file?{query}")
    assert (response.body, response.complete) == (b"", True)
    closed(plain, query)


def test_many_in_a_row(plain, marker):
    with connect(plain) as client:
        client.send(b"".join(line("GET", f"/file?at={len(CONTENT) - size}&{marker}") for size in range(1, 40)))
        for size in range(1, 40):
            response = client.read_response("GET")
            if response is None and SUBJECT == "gunicorn":
                return
            assert response.body == CONTENT[-size:]


def test_a_slow_client(plain, marker):
    with connect(plain) as client:
        client.receive_size = 1000
        client.send(line("GET", f"/file?{marker}"))
        head = client.read_head()
        assert head.status == 200
        # The socket's buffers are full: others are served, by the loop and by the threads.
        assert SUBJECT == "gunicorn" or ask(plain, "/hello").body == b"hello"
        client.receive_size = 1_000_000
        client.send(line("GET", "/hello", "Connection: close"))
        assert CONTENT[-1000:] in client.read_rest()
    assert is_sent_by_the_kernel(plain, marker)


def test_a_client_that_goes_away(plain, marker):
    with connect(plain) as client:
        client.send(line("GET", f"/file?{marker}"))
        assert client.socket.recv(1000)
        client.reset()
    assert is_sent_by_the_kernel(plain, marker)


def test_no_file_for_the_kernel(plain):
    assert ask(plain, "/memory").body == CONTENT


def test_middleware_may_iterate(plain, marker):
    assert ask(plain, f"/passed_on?{marker}").body == CONTENT
    assert closed(plain, marker) == len(CONTENT) // 65536 + 1


def test_after_something_was_written(plain, marker):
    assert ask(plain, f"/file_written_before?{marker}").body == b"before " + CONTENT[-5:]
    closed(plain, marker)


def test_http_1_0(plain, marker):
    assert ask(plain, f"/file?{marker}", version="1.0").body == CONTENT
    closed(plain, marker)


def test_behind_the_validator(server, marker):
    assert ask(server, f"/file?{marker}").body == CONTENT
    assert closed(server, marker) > 0
