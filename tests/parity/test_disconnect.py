"""A client that goes away, and what the application sees of it.

Four ways to be inside a request (waiting in receive(), elsewhere, streaming, reading an upload), two ways to go: close
(the server sees the end of the stream) and reset. The application writes what its calls do into a journal; the
journals of both servers, and their logs, are compared.
"""

import re

import pytest

from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.wire import request

CHUNKED = "Transfer-Encoding: chunked"
STATES = {
    "receive": lambda path: request("GET", path),
    "sleep": lambda path: request("GET", path),
    "sleep-then-send": lambda path: request("GET", path),
    "stream": lambda path: request("GET", path),
    "blocked": lambda path: request("GET", path),
    "upload": lambda path: request("POST", path, "Content-Length: 1000") + b"ten bytes.",
    "upload-chunked": lambda path: request("POST", path, CHUNKED, body=b"a\r\nten bytes.\r\n"),
    "upload-mid-chunk": lambda path: request("POST", path, CHUNKED, body=b"ff\r\nten bytes."),
}
HELD = ("sleep", "sleep-then-send")


def watch(server, state, leave):
    """Brings a request into `state`, leaves it, waits until the application is done; its journal and the log."""
    key = f"{state}-{leave}"
    what = "upload" if state.startswith("upload") else state
    with server.connect() as client:
        client.send(STATES[state](f"/watch/{what}/{key}"))
        server.wait_for(key, "entered")
        if state in ("stream", "blocked"):
            client.read_head()
        getattr(client, leave)()
        if state in HELD:
            # A conversation in between: events that the kernel reports together have no order.
            server.journal(key)
            server.release(key)
        server.wait_for(key, "left")
    return server.journal(key), server.take_log()


def wanted(state, uvicorn):
    """What fastserve shows where a client ends its stream: it may have closed its half only, and so is answered.

    The response goes to the socket and into the access log; a body that had arrived is delivered before the
    disconnect.
    """
    entries, log = uvicorn
    if COMPARES_WITH_ITSELF or state in ("stream", "blocked"):
        return uvicorn
    assert not log
    method = "POST" if state.startswith("upload") else "GET"
    if state == "sleep":
        entries = [entry.replace("disconnect", "request") if at == 1 else entry for at, entry in enumerate(entries)]
    return entries, [method]


def shown(state, fastserve):
    """fastserve's side, the access line reduced to its method."""
    entries, log = fastserve
    if COMPARES_WITH_ITSELF or state in ("stream", "blocked"):
        return fastserve
    return entries, [re.sub(r'^INFO: .* - "(\w+) .* 200 OK$', r"\1", line) for line in log]


@pytest.mark.parametrize("state", STATES)
def test_client_resets(raw, state):
    assert watch(raw.fastserve, state, "reset") == watch(raw.uvicorn, state, "reset")


@pytest.mark.parametrize("state", STATES)
def test_client_closes(raw, state):
    uvicorn = watch(raw.uvicorn, state, "close")
    assert shown(state, watch(raw.fastserve, state, "close")) == wanted(state, uvicorn)


@pytest.mark.parametrize("state", ["receive", "stream", "upload"])
def test_client_goes_away_on_unix_socket(pairs, state):
    pair = pairs("raw", unix=True)
    uvicorn = watch(pair.uvicorn, state, "close")
    assert shown(state, watch(pair.fastserve, state, "close")) == wanted(state, uvicorn)


@pytest.mark.parametrize("state", ["upload", "upload-chunked", "upload-mid-chunk"])
def test_upload_ends_with_half_close(raw, state):
    """A body cut short by the end of the stream is never a complete body."""
    uvicorn = watch(raw.uvicorn, state, "half_close")
    assert shown(state, watch(raw.fastserve, state, "half_close")) == wanted(state, uvicorn)
    assert uvicorn[0][1] == "10 bytes, then http.disconnect"


def answer_after_half_close(server):
    key = "respond-half-close"
    with server.connect() as client:
        client.send(request("GET", f"/watch/respond/{key}", "Connection: close"))
        server.wait_for(key, "entered")
        client.half_close()
        if server.name == "uvicorn" or COMPARES_WITH_ITSELF:
            response = client.read_response("GET")
            server.release(key)
        else:
            server.release(key)
            response = client.read_response("GET")
        server.wait_for(key, "left")
    server.take_log()
    return response


def test_half_closed_client_gets_its_answer(raw):
    """A wanted difference: uvicorn closes as soon as the client has sent its last byte, fastserve answers first."""
    assert answer_after_half_close(raw.uvicorn) is None
    if not COMPARES_WITH_ITSELF:
        response = answer_after_half_close(raw.fastserve)
        assert response is not None
        assert response.body == b"there"


def test_another_connection_is_not_disturbed(raw):
    """While one client is reset and another sends garbage, a third one's upload goes on."""
    for server in raw.both:
        with server.connect() as steady, server.connect() as leaving, server.connect() as garbage:
            steady.send(request("POST", "/echo", "Content-Length: 10") + b"first")
            leaving.send(request("POST", "/watch/upload/disturb", "Content-Length: 10") + b"first")
            server.wait_for("disturb", "entered")
            leaving.reset()
            garbage.send(b"\0\1\2\3\r\n\r\n")
            assert garbage.read_response("GET").status == 400
            server.wait_for("disturb", "left")
            steady.send(b"later")
            assert steady.read_response("POST").body == b"firstlater"
        server.take_log()
