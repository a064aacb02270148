"""The cases judge strictly: what a server does wrong is seen, whatever it is."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.process.conftest import PATIENCE
from tests.websocket import play as players
from tests.websocket.cases.everything import CASES, SECTIONS
from tests.websocket.play import play
from tests.websocket.strict_client import KEY_SUFFIX, Wrong, masked, read_agreement

Serve = Callable[..., tuple[str, int]]

HELLO = b"Hello, world!"
ECHO = b"\x81\x0d" + HELLO
CLOSED = b"\x88\x02\x03\xe8"
FAILED = b"\x88\x02\x03\xea"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server for one connection: it upgrades it, answers the first bytes with `answer` and ends.

    It ends by a reset where `resets`, and else reads what still comes. `extra` are further fields of the 101.
    """
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def run(listener: socket.socket, answer: bytes, extra: bytes, suffix: bytes, resets: bool) -> None:
        connection, _ = listener.accept()
        # A client that has seen enough goes away without reading the rest.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + suffix).digest())
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n" + extra + b"\r\n"
            )
            connection.recv(65536)
            connection.sendall(answer)
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def start(answer: bytes, extra: bytes = b"", suffix: bytes = KEY_SUFFIX, resets: bool = False) -> tuple[str, int]:
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        threads.append(threading.Thread(target=run, args=(listeners[-1], answer, extra, suffix, resets)))
        threads[-1].start()
        return listeners[-1].getsockname()

    yield start
    for listener in listeners:
        listener.close()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_every_case_of_the_sections_is_there_once() -> None:
    counts: dict[str, int] = {}
    for section in SECTIONS:
        counts[section.id.partition(".")[0]] = counts.get(section.id.partition(".")[0], 0) + len(section.cases)
    assert counts == {
        "1": 16,
        "2": 11,
        "3": 7,
        "4": 10,
        "5": 20,
        "6": 145,
        "7": 37,
        "9": 54,
        "10": 1,
        "12": 90,
        "13": 126,
        "20": 22,
    }
    assert all(case.section == section.id for section in SECTIONS for case in section.cases)


@pytest.mark.parametrize(
    ("case", "answer", "said"),
    [
        pytest.param("3.2", ECHO + FAILED, "echo, closes 1002", id="an echo and the failure"),
        pytest.param("2.5", FAILED, "closes 1002", id="the failure"),
        pytest.param("7.3.1", b"\x88\x00", "closes without a code", id="a close without a code"),
        pytest.param("3.2", b"\x89\x01?" + ECHO + b"\x89\x00" + FAILED, "echo, closes 1002", id="pings between"),
    ],
)
def test_what_is_right_passes(serve: Serve, case: str, answer: bytes, said: str) -> None:
    verdict = play(CASES[case], serve(answer))
    assert (verdict.passed, verdict.said) == (True, said)


@pytest.mark.parametrize(
    ("case", "answer", "said"),
    [
        pytest.param("3.2", FAILED, "closes 1002; expected echo", id="no echo"),
        pytest.param("3.2", ECHO + b"\x8a\x00" + FAILED, "echo, pong; expected echo", id="a pong too much"),
        pytest.param("3.2", ECHO + CLOSED, "echo, closes 1000; expected code 1002", id="another code"),
        pytest.param("3.2", b"\x82" + ECHO[1:] + FAILED, "echo; expected echo", id="another kind"),
        pytest.param("3.2", ECHO[:-1] + b"?" + FAILED, "echo; expected echo", id="another content"),
        pytest.param("3.2", ECHO, "ended the connection without a close frame", id="no close frame"),
        pytest.param("3.2", ECHO + FAILED[:-1], "the connection ended within a frame", id="half a close frame"),
        pytest.param("3.2", ECHO + FAILED + ECHO, "more after the close frame", id="an echo behind the close"),
        pytest.param("3.2", b"\xc1" + ECHO[1:] + FAILED, "reserved bits 4", id="compressed"),
        pytest.param("3.2", b"\x83" + ECHO[1:] + FAILED, "the opcode 0x3", id="an opcode"),
        pytest.param("3.2", b"\x80" + ECHO[1:] + FAILED, "a fragment in the wrong place", id="a fragment of nothing"),
        pytest.param("3.2", b"\x81\x7e\0\x0d" + HELLO, "a length of 13 in 2 bytes", id="a length in too many bytes"),
        pytest.param("3.2", b"\x81\x8d\0\0\0\0" + HELLO, "a masked frame from the server", id="masked"),
        pytest.param("3.2", b"\x81\x01\xff", "a text that is not UTF-8", id="not UTF-8"),
        pytest.param("3.2", b"\x88\x01\x03", "a close frame of one byte", id="a close frame of one byte"),
        pytest.param("3.2", b"\x08\x02\x03\xea", "a control frame in fragments", id="a close frame in fragments"),
        pytest.param("1.1.2", CLOSED, "closes 1000; expected echo", id="closed by the wrong side"),
        pytest.param("6.4.1", FAILED, "did not wait for more", id="failed too early"),
        pytest.param("12.1.1", CLOSED, "declined to compress", id="not compressed"),
    ],
)
def test_what_is_wrong_fails(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, case: str, answer: bytes, said: str
) -> None:
    # Nothing here is silent: what is wrong comes, on a busy machine a little later.
    monkeypatch.setattr(players, "QUIET", PATIENCE)
    verdict = play(CASES[case], serve(answer))
    assert not verdict.passed
    assert verdict.said.startswith(said)


def test_a_close_frame_lost_by_a_reset_fails(serve: Serve) -> None:
    verdict = play(CASES["3.1"], serve(b"", resets=True))
    assert (verdict.passed, verdict.said) == (False, "the connection was reset")


def test_a_server_that_does_not_end_the_connection_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        verdict = play(CASES["1.1.1"], listener.getsockname(), patience=0.1)
    assert (verdict.passed, verdict.said) == (False, "nothing for 0.1 s")


def test_an_opening_handshake_for_another_key_fails(serve: Serve) -> None:
    verdict = play(CASES["3.1"], serve(FAILED, suffix=b"another"))
    assert (verdict.passed, verdict.said) == (False, "a Sec-WebSocket-Accept that is not this key's")


def test_an_extension_that_nobody_offered_fails(serve: Serve) -> None:
    verdict = play(CASES["3.1"], serve(FAILED, extra=b"Sec-WebSocket-Extensions: permessage-deflate\r\n"))
    assert (verdict.passed, verdict.said) == (False, "agreed on 'permessage-deflate', which nobody offered")


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; client_max_window_bits=10"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate"),
        ("permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=10"),
        ("permessage-deflate", "permessage-deflate; server_no_context_takeover=1"),
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=16"),
        ("permessage-deflate", "permessage-deflate; server_max_window_bits"),
        ("permessage-deflate", "permessage-deflate; something"),
        ("permessage-deflate", "permessage-deflate, permessage-deflate"),
        ("permessage-deflate", "x-webkit-deflate-frame"),
    ],
)
def test_an_agreement_that_was_not_offered_is_wrong(offer: str, answer: str) -> None:
    with pytest.raises(Wrong):
        read_agreement(offer, answer)


def test_masking_is_its_own_inverse() -> None:
    assert masked(masked(HELLO, b"\x01\x02\x03\x04"), b"\x01\x02\x03\x04") == HELLO
    assert masked(b"\0" * 5, b"\x01\x02\x03\x04") == b"\x01\x02\x03\x04\x01"
