"""WebSocket conversations with both servers: the handshake, every event that the client sees, every message that the
application receives, and the log.

The application does what the conversation's script says; see `apps/websocket.py`.
"""

import itertools
import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.authority import Authority, needs_openssl
from tests.parity import normalise
from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.server import MODULES, Server
from tests.parity.wire import Differs, request
from tests.websocket.client import WebSocketClient, handshake

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ECHO = ["receive", ACCEPT, "echo"]

# What the library that uvicorn leaves the protocol to says in uvicorn's name.
LIBRARY = re.compile(r"INFO:     connection (open|rejected \(.*\))$")

_numbers = itertools.count()


@dataclass(frozen=True)
class Conversation:
    """`script` is what the application does, `steps` what the client does once it is answered.

    A step is the name of a method of `WebSocketClient` with its arguments, or "receive" (write the next event down),
    "wait" (for an entry in the journal), "release", "reset", "raw" (bytes as they are). At the end the client reads
    until the server closes the connection; not so after a refusal, after which ours stays open for another request.
    """

    name: str
    script: list
    steps: tuple = ()
    fields: tuple = ()
    target: str = ""
    deflate: bool = False
    view: Callable = list
    differs: Differs | None = None

    def __str__(self):
        return self.name


def converse(server, conversation):
    """The conversation as lines: the response, the client's events, the journal, the log."""
    key = f"websocket-{next(_numbers)}"
    script = json.dumps(conversation.script)
    events = []
    with WebSocketClient(
        server.address,
        f"{conversation.target}/{key}",
        f"X-Script: {script}",
        *conversation.fields,
        tls=server.tls,
        deflate=conversation.deflate,
        key=KEY,
    ) as client:
        for name, *arguments in conversation.steps:
            match name:
                case "receive":
                    events.append(client.receive())
                case "wait":
                    server.wait_for(key, *arguments)
                case "release":
                    server.release(key)
                case "stay_silent":
                    # Not a word, but reading: pings are shown, and not answered.
                    client.send = lambda data: None
                case "raw":
                    client.send(*arguments)
                case "reset":
                    client.reset()
                case _:
                    getattr(client, name)(*arguments)
        if client.accepted and ("reset",) not in conversation.steps:
            events += client.finish()
    journal = server._control(f"wait/{key}/left")
    return [
        *head_lines(client.response),
        *(repr(event if event[:1] != ("ping",) else event[:1]) for event in events),
        "journal:",
        *(re.sub(key, "KEY", without_addresses(entry)) for entry in journal),
        "log:",
        *(re.sub(key, "KEY", line) for line in server.take_log() if not LIBRARY.match(line)),
    ]


def head_lines(response):
    """The status, the fields and the body. Of a 101, uvicorn leaves the case of the names and the order to a library.

    A refusal is written like every other response here, and by that library there: what is compared are the status,
    the body, and what the application says.
    """
    if response is None:
        return ["no response"]
    fields = [normalise.field(line) for line in response.fields]
    fields = sorted(f"{name.lower()}: {value}" for name, _, value in (line.partition(": ") for line in fields))
    if response.status != 101:
        fields = [line for line in fields if line.startswith(("x-why", "content-length"))]
    return [response.status_line, *fields, repr(response.body)]


def without_addresses(text):
    """Ours follows the newer version of the specification, which adds the reason of a disconnect; and tells of TLS."""
    text = re.sub(r", 'tls': \{.*", "}", text)
    text = re.sub(r"'spec_version': '2\.[45]'", "'spec_version': '2.X'", text)
    text = re.sub(r"'127\.0\.0\.1', \d+", "'127.0.0.1', PORT", text)
    return re.sub(r"server = \('/.*', None\)", "server = (PATH, None)", text)


def check(pair, conversation):
    ours, theirs = converse(pair.fastserve, conversation), converse(pair.uvicorn, conversation)
    if conversation.differs is None:
        view = conversation.view
        assert view(ours) == view(theirs)
    else:
        view = conversation.differs.view
        assert view(theirs) == conversation.differs.uvicorn
        if not COMPARES_WITH_ITSELF:
            assert view(ours) == conversation.differs.fastserve


# What of a conversation is compared


def without_words(lines):
    """The words for what a client does wrong are each server's own; uvicorn also logs what its decoder raised."""
    lines = [re.sub(r"^\('close', (\d+), .*", r"close \1", re.sub(r" reason=.*", "", line)) for line in lines]
    return [line for line in lines if not re.match("ERROR:    Invalid UTF-8|Traceback|UnicodeDecodeError", line)]


def without_complaint(lines):
    """uvicorn complains of an application that has refused as it should."""
    return [line for line in lines if line != "ERROR:    ASGI callable returned without completing handshake."]


def without_length(lines):
    """uvicorn collects the pieces of a body; we send them as they come."""
    return [line for line in without_complaint(lines) if not line.startswith("content-length")]


def ending(lines):
    """How it ended, as the client and the application saw it."""
    return [line for line in lines if line.startswith(("HTTP/1.1 5", "('close'", "websocket.disconnect", "Client"))]


VANISHED = Differs(
    "who vanishes without a word has not closed without a code: RFC 6455 has 1006 for it",
    uvicorn=["websocket.disconnect code=1005 reason=''"],
    fastserve=["websocket.disconnect code=1006 reason=''"],
    view=ending,
)


@pytest.fixture(scope="session")
def websocket(pairs):
    return pairs("websocket")


CONVERSATIONS = [
    # Messages
    Conversation("text", ECHO, (("text", "hello"), ("receive",), ("say_close", 1000, "bye"))),
    Conversation("text-not-ascii", ECHO, (("text", "Grüße, 世界 🌍"), ("receive",), ("say_close",))),
    Conversation("binary", ECHO, (("bytes", bytes(range(256))), ("receive",), ("say_close",))),
    Conversation("empty-text", ECHO, (("text", ""), ("receive",), ("say_close",))),
    Conversation("empty-binary", ECHO, (("bytes", b""), ("receive",), ("say_close",))),
    Conversation(
        "fragments",
        ECHO,
        (
            ("text", "one ", False),
            ("text", "two ", False),
            ("ping", b"between"),
            ("text", "three"),
            ("receive",),
            ("receive",),
            ("say_close",),
        ),
    ),
    Conversation("burst", ["receive", ACCEPT, "rest"], (*(("text", str(n)) for n in range(5)), ("say_close", 1001))),
    Conversation("ping", ECHO, (("ping", b"are you there?"), ("receive",), ("say_close",))),
    Conversation("large", ECHO, (("bytes", b"0123456789abcdef" * 65536), ("receive",), ("say_close",))),
    Conversation("sent-both-none", ["receive", ACCEPT, {"type": "websocket.send", "text": "a", "bytes": None}, CLOSE]),
    Conversation("sent-both", ["receive", ACCEPT, {"type": "websocket.send", "text": "a", "bytes": "b"}, CLOSE]),
    Conversation("sent-neither", ["receive", ACCEPT, ["try", {"type": "websocket.send"}], CLOSE]),
    Conversation("deflate", ECHO, (("text", "again and " * 50), ("receive",), ("say_close",)), deflate=True),
    # The handshake
    Conversation("scope", ["scope", "receive", ACCEPT, CLOSE], target="/a%20b/%C3%A9", fields=("Cookie: a=1; b=2",)),
    Conversation(
        "subprotocols",
        ["scope", "receive", ACCEPT | {"subprotocol": "two"}, CLOSE],
        fields=("Sec-WebSocket-Protocol: one, two", "Sec-WebSocket-Protocol: three"),
    ),
    Conversation(
        "subprotocol-none", ["receive", ACCEPT | {"subprotocol": None}, CLOSE], fields=("Sec-WebSocket-Protocol: one",)
    ),
    Conversation(
        "accept-headers",
        ["receive", ACCEPT | {"headers": [["X-One", "1"], ["set-cookie", "a=b"], ["set-cookie", "c=d"]]}, CLOSE],
    ),
    Conversation("accept-headers-empty", ["receive", ACCEPT | {"headers": []}, CLOSE]),
    Conversation(
        "forwarded-wss",
        ["scope", "receive", ACCEPT, CLOSE],
        fields=("X-Forwarded-Proto: wss", "X-Forwarded-For: 10.0.0.9"),
    ),
    Conversation("forwarded-https", ["scope", "receive", ACCEPT, CLOSE], fields=("X-Forwarded-Proto: https",)),
    Conversation("forwarded-ws", ["scope", "receive", ACCEPT, CLOSE], fields=("X-Forwarded-Proto: ws",)),
    Conversation("forwarded-http", ["scope", "receive", ACCEPT, CLOSE], fields=("X-Forwarded-Proto: http",)),
    # Refusals
    Conversation("deny", ["receive", CLOSE, "receive"]),
    Conversation("deny-with-code", ["receive", CLOSE | {"code": 4003, "reason": "why"}]),
    Conversation("deny-before-receive", [CLOSE]),
    Conversation(
        "denial-response-in-pieces",
        [
            "receive",
            {
                "type": "websocket.http.response.start",
                "status": 401,
                "headers": [["x-why", "ticket"], ["content-type", "text/html"]],
            },
            {"type": "websocket.http.response.body", "body": "no ", "more_body": True},
            {"type": "websocket.http.response.body", "body": "ticket"},
            "receive",
        ],
        view=without_length,
    ),
    Conversation(
        "denial-response",
        [
            "receive",
            {"type": "websocket.http.response.start", "status": 401, "headers": [["x-why", "ticket"]]},
            {"type": "websocket.http.response.body", "body": "no ticket"},
            "receive",
        ],
        view=without_complaint,
    ),
    Conversation(
        "denial-response-length",
        [
            "receive",
            {"type": "websocket.http.response.start", "status": 404, "headers": [["content-length", "4"]]},
            {"type": "websocket.http.response.body", "body": "none"},
        ],
        view=without_complaint,
    ),
    Conversation(
        "denial-response-empty",
        [
            "receive",
            {"type": "websocket.http.response.start", "status": 503, "headers": []},
            {"type": "websocket.http.response.body", "body": ""},
        ],
        view=without_complaint,
    ),
    Conversation(
        "denial-incomplete",
        ["receive", {"type": "websocket.http.response.start", "status": 503, "headers": []}],
        differs=Differs(
            "a client that waits for a response gets one",
            uvicorn=[],
            fastserve=["HTTP/1.1 500 Internal Server Error"],
            view=ending,
        ),
    ),
    Conversation(
        "denial-status",
        ["receive", ["try", {"type": "websocket.http.response.start", "status": 700, "headers": []}], CLOSE],
    ),
    Conversation(
        "denial-order",
        [
            "receive",
            {"type": "websocket.http.response.start", "status": 400, "headers": []},
            ["try", ACCEPT],
            {"type": "websocket.http.response.body", "body": "x"},
        ],
        view=without_complaint,
    ),
    Conversation(
        "denial-body-first", ["receive", ["try", {"type": "websocket.http.response.body", "body": "x"}], CLOSE]
    ),
    # Closing
    Conversation("close", ["receive", ACCEPT, CLOSE, "receive"]),
    Conversation("close-code-and-reason", ["receive", ACCEPT, CLOSE | {"code": 4001, "reason": "because"}, "receive"]),
    Conversation("close-reason-none", ["receive", ACCEPT, CLOSE | {"code": 3000, "reason": None}]),
    Conversation("closed-by-client", ["receive", ACCEPT, "rest"], (("say_close", 4002, "had enough"),)),
    Conversation("closed-by-client-without-code", ["receive", ACCEPT, "rest"], (("raw", b"\x88\x80\0\0\0\0"),)),
    Conversation("closed-by-client-1001", ["receive", ACCEPT, "rest"], (("say_close", 1001),)),
    Conversation("vanished", ["receive", ACCEPT, "rest"], (("reset",),), differs=VANISHED),
    Conversation("half-closed", ["receive", ACCEPT, "rest"], (("half_close",),), differs=VANISHED),
    Conversation(
        "send-after-client-close",
        ["receive", ACCEPT, "receive", ["try", {"type": "websocket.send", "text": "late"}], ["try", CLOSE]],
        (("say_close",),),
    ),
    Conversation(
        "send-after-reset",
        ["receive", ACCEPT, "receive", ["try", {"type": "websocket.send", "text": "late"}], ["try", CLOSE]],
        (("reset",),),
        differs=Differs(
            "1006, as above; and that a close comes late is no error",
            uvicorn=[*VANISHED.uvicorn, *["ClientDisconnected, an OSError: True: "] * 2],
            fastserve=[*VANISHED.fastserve, "ClientDisconnected, an OSError: True: "],
            view=ending,
        ),
    ),
    Conversation(
        "return-after-accept",
        ["receive", ACCEPT],
        differs=Differs(
            "an application that returns has nothing more to say: the client hears a normal close",
            uvicorn=[],
            fastserve=["('close', 1000, '')"],
            view=ending,
        ),
    ),
    Conversation("return-something", ["receive", ACCEPT, CLOSE, "return"]),
    # Mistakes of the application
    Conversation("raise-before-accept", ["receive", "raise"]),
    Conversation(
        "raise-after-accept",
        ["receive", ACCEPT, "raise"],
        differs=Differs(
            "the client hears that the server has failed, instead of losing the connection",
            uvicorn=[],
            fastserve=["('close', 1011, '')"],
            view=ending,
        ),
    ),
    Conversation("raise-after-close", ["receive", ACCEPT, CLOSE, "raise"]),
    Conversation("return-before-accept", ["receive"]),
    Conversation("send-before-accept", ["receive", ["try", {"type": "websocket.send", "text": "a"}], CLOSE]),
    Conversation("accept-twice", ["receive", ACCEPT, ["try", ACCEPT], CLOSE]),
    Conversation("send-after-close", ["receive", ACCEPT, CLOSE, ["try", {"type": "websocket.send", "text": "a"}]]),
    Conversation("close-twice", ["receive", ACCEPT, CLOSE, ["try", CLOSE]]),
    Conversation("close-twice-before-accept", ["receive", CLOSE, ["try", CLOSE]]),
    Conversation(
        "unknown-message", ["receive", ACCEPT, ["try", {"type": "http.response.start", "status": 200}], CLOSE]
    ),
    Conversation("unknown-first-message", ["receive", ["try", {"type": "http.response.start", "status": 200}], CLOSE]),
    # Mistakes of the client
    Conversation("unmasked", ECHO, (("raw", b"\x81\x01a"),), view=without_words),
    Conversation("reserved-bit", ECHO, (("raw", b"\xc1\x81\0\0\0\0a"),), view=without_words),
    Conversation("reserved-opcode", ECHO, (("raw", b"\x83\x81\0\0\0\0a"),), view=without_words),
    Conversation("continuation-of-nothing", ECHO, (("raw", b"\x80\x81\0\0\0\0a"),), view=without_words),
    Conversation("invalid-utf8", ECHO, (("raw", b"\x81\x82\0\0\0\0\xc3\x28"),), view=without_words),
    Conversation("invalid-close-code", ECHO, (("raw", b"\x88\x82\0\0\0\0\x03\xed"),), view=without_words),
    Conversation("close-of-one-byte", ECHO, (("raw", b"\x88\x81\0\0\0\0\x03"),), view=without_words),
    Conversation("large-ping", ECHO, (("raw", b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126)),), view=without_words),
]


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=str)
def test_conversation(websocket, conversation):
    check(websocket, conversation)


FOR_THE_MASSES = [
    Conversation("accept", ["scope", "receive", ACCEPT, "echo"], (("text", "hello"), ("receive",), ("say_close",))),
    Conversation("deny", ["receive", CLOSE]),
]
OPTIONS = {
    "root-path": ("--root-path", "/api", "--no-server-header", "--no-date-header", "--header", "X-Own:yes"),
    "no-proxy-headers": ("--no-proxy-headers",),
}


@pytest.mark.parametrize("conversation", FOR_THE_MASSES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options(pairs, options, conversation):
    fields = ("X-Forwarded-Proto: wss", "X-Forwarded-For: 10.0.0.9")
    check(pairs("websocket", *options), replace(conversation, fields=fields))


@pytest.mark.parametrize("conversation", FOR_THE_MASSES, ids=str)
def test_unix_socket(pairs, conversation):
    check(pairs("websocket", unix=True), conversation)


@needs_openssl
@pytest.mark.parametrize("conversation", FOR_THE_MASSES, ids=str)
def test_tls(pairs, conversation, certificate):
    check(pairs("websocket", *certificate), conversation)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    issued = Authority(tmp_path_factory.mktemp("authority")).issue("server")
    return "--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(issued.key)


SIZES = [
    Conversation("largest", ECHO, (("text", "x" * 1000), ("receive",), ("say_close",))),
    Conversation("too-large", ECHO, (("text", "x" * 1001),), view=without_words),
    Conversation("too-large-binary", ECHO, (("bytes", b"x" * 1001),), view=without_words),
    Conversation("too-large-in-fragments", ECHO, (("text", "x" * 600, False), ("text", "x" * 401)), view=without_words),
    Conversation("too-large-by-its-head", ECHO, (("raw", b"\x82\xff\0\0\0\0\x7f\0\0\0abcd"),), view=without_words),
    Conversation("too-large-when-inflated", ECHO, (("text", "x" * 1001),), deflate=True, view=without_words),
    Conversation("largest-when-inflated", ECHO, (("text", "x" * 1000), ("receive",), ("say_close",)), deflate=True),
    Conversation("bomb", ECHO, (("bytes", bytes(10_000_000)),), deflate=True, view=without_words),
]


@pytest.mark.parametrize("conversation", SIZES, ids=str)
def test_largest_message(pairs, conversation):
    check(pairs("websocket", "--ws-max-size", "1000"), conversation)


def test_keepalive(pairs):
    """A client that does not answer pings is closed with 1011, and the application is told."""
    silent = Conversation(
        "silent",
        ["receive", ACCEPT, "rest"],
        (("stay_silent",), ("receive",)),
        differs=Differs(
            "the application hears why",
            uvicorn=["('close', 1011, 'keepalive ping timeout')", "websocket.disconnect code=1005 reason=''"],
            fastserve=[
                "('close', 1011, 'keepalive ping timeout')",
                "websocket.disconnect code=1011 reason='keepalive ping timeout'",
            ],
            view=ending,
        ),
    )
    check(pairs("websocket", "--ws-ping-interval", "0.1", "--ws-ping-timeout", "0.1"), silent)


@pytest.mark.parametrize("name", ["none"])
def test_without_websockets(pairs, name):
    """The request is one over HTTP then, and the log says what might be missing."""
    transcripts = []
    for server in pairs("websocket", "--ws", name).both:
        with server.connect() as client:
            client.send(handshake("/over/http"))
            response = client.read_response("GET")
        # uvicorn also says which packages to install.
        log = [line for line in server.take_log() if "No supported WebSocket library" not in line]
        transcripts.append([*response.lines(), *log])
    assert transcripts[1] == transcripts[0]
    assert "WARNING:  Unsupported upgrade request." in transcripts[0]


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
NONCE, VERSION = f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"
IN_CAPITALS = ("CONNECTION: keep-alive, UPGRADE", "UPGRADE: WebSocket", f"SEC-WEBSOCKET-KEY: {KEY}", VERSION.upper())
HANDSHAKES = {
    # name: (method, fields, uvicorn's status, ours)
    "whole": ("GET", (*UPGRADE, NONCE, VERSION), 101, 101),
    "names-in-capitals": ("GET", IN_CAPITALS, 101, 101),
    "key-missing": ("GET", (*UPGRADE, VERSION), 400, 400),
    "key-short": ("GET", (*UPGRADE, "Sec-WebSocket-Key: AAAA", VERSION), 400, 400),
    "key-no-base64": ("GET", (*UPGRADE, "Sec-WebSocket-Key: ?", VERSION), 400, 400),
    "key-twice": ("GET", (*UPGRADE, NONCE, NONCE, VERSION), 400, 400),
    "protocol-empty": ("GET", (*UPGRADE, NONCE, VERSION, "Sec-WebSocket-Protocol: "), 400, 400),
    "protocol-no-token": ("GET", (*UPGRADE, NONCE, VERSION, "Sec-WebSocket-Protocol: a b"), 400, 400),
    "extensions-malformed": ("GET", (*UPGRADE, NONCE, VERSION, "Sec-WebSocket-Extensions: ;;;=,"), 400, 400),
    "connection-missing": ("GET", ("Upgrade: websocket", NONCE, VERSION), 200, 200),
    "upgrade-missing": ("GET", ("Connection: Upgrade", NONCE, VERSION), 200, 200),
    "upgrade-to-another": ("GET", ("Connection: Upgrade", "Upgrade: h2c", NONCE, VERSION), 200, 200),
    # Ours tells the client which version there is (RFC 6455 section 4.2.2).
    "version-missing": ("GET", (*UPGRADE, NONCE), 400, 426),
    "version-12": ("GET", (*UPGRADE, NONCE, "Sec-WebSocket-Version: 12"), 400, 426),
    # No other method would be allowed here: what is wrong is the request.
    "post": ("POST", (*UPGRADE, NONCE, VERSION), 405, 400),
    "head": ("HEAD", (*UPGRADE, NONCE, VERSION), 405, 400),
}


@pytest.mark.parametrize(("method", "fields", "theirs", "ours"), HANDSHAKES.values(), ids=HANDSHAKES)
def test_handshakes(websocket, method, fields, theirs, ours):
    """Which requests open a WebSocket, and the status that others get."""
    statuses = []
    for server in websocket.both:
        with server.connect() as client:
            client.send(request(method, "/handshake", *fields))
            statuses.append(client.read_response(method).status)
        server.take_log()
    assert statuses == [theirs, theirs if COMPARES_WITH_ITSELF else ours]


@pytest.fixture
def both():
    """Starts uvicorn and fastserve with these arguments; the test ends them."""
    started = []

    def both(*arguments):
        servers = [Server(name, "tests.parity.apps.websocket:app", "--port", "0", *arguments) for name in MODULES]
        started.extend(servers)
        return [server.wait_until_running() for server in servers]

    yield both
    for server in started:
        server.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(both, number):
    """Open WebSockets are closed with 1012; what the log says of the stop is the same."""
    seen = []
    for server in both():
        with WebSocketClient(server.address, "/stop") as one, WebSocketClient(server.address, "/stop") as two:
            for client in (one, two):
                client.text("hello")
                assert client.receive() == ("text", "hello")
            server.signal(number)
            events = [one.finish(), two.finish()]
        seen.append([events, *server.wait()])
    for transcript in seen:
        assert transcript[0] == [[("close", 1012, "")]] * 2
        transcript[2] = [line for line in transcript[2] if not LIBRARY.match(line)]
    assert seen[1] == seen[0]


def test_trace(both):
    """At level trace: WebSockets made and lost, and every message of the application."""
    logs = []
    for server in both("--log-level", "trace"):
        server.take_log()
        with WebSocketClient(server.address, "/trace", key=KEY) as client:
            client.text("hello")
            assert client.receive() == ("text", "hello")
            client.bytes(b"hello")
            assert client.receive() == ("bytes", b"hello")
            client.say_close()
            assert client.finish() == [("close", 1000, "")]
        server.errors.find(lambda line: "WebSocket connection lost" in line)
        server.signal(signal.SIGTERM)
        lines = server.wait()[1]
        assert sum("WebSocket connection made" in line for line in lines) == 1
        assert sum("WebSocket connection lost" in line for line in lines) == 1
        logs.append([line for line in lines if re.search(r"ASGI \[PID\] (?!Started)", line)])
    assert logs[1] == logs[0]
