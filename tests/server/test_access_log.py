"""Access log lines: what is in them, where they go, and what becomes of them when they cannot be written.

A worker on a manual clock, connections in memory, and a logger of the test's own.
"""

import contextlib
import io
import json
import logging
import logging.handlers
import os
import re
import sys

import pytest

from fastserve._exchange import Endpoint, PythonHandler
from fastserve.config import LOGGING_CONFIG
from fastserve.protocol._timers import ManualClock
from fastserve.protocol._websocket import WebSocketUpgrade
from fastserve.protocol._worker import Worker
from fastserve.server import access_format, logs
from fastserve.server._access_log import LoggingAccessLog
from fastserve.server.config import Config
from fastserve.transport._memory import MemoryStream

UVICORNS = LOGGING_CONFIG["formatters"]["access"]["fmt"]
REQUEST = (
    b'GET /a%20b?c=%22d HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: agent "7"\\\x01\xff\r\n'
    b"Authorization: Basic YW5uYTpzZWNyZXQ=\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
).replace(b"\x01", b"\t")


class Loop:
    """Runs what is scheduled when the test says so."""

    def __init__(self):
        self.soon = []
        self.later = []

    def call_soon(self, callback, *arguments):
        self.soon.append(lambda: callback(*arguments))

    def call_later(self, delay, callback, *arguments):
        self.later.append(lambda: callback(*arguments))
        return self

    def cancel(self):
        self.later.clear()

    def turn(self):
        for scheduled in self.soon, self.later:
            calls = scheduled[:]
            scheduled.clear()
            for call in calls:
                call()


class Served:
    """A worker whose responses are noted by a logger with `handler`."""

    def __init__(self, handler, line_format=None, root_path="", respond=None, **options):
        self.logger = logging.Logger("fastserve.access", logging.INFO)
        self.logger.manager = logging.root.manager
        self.logger.propagate = False
        if handler is not None:
            self.logger.addHandler(handler)
        self.loop = Loop()
        self.clock = ManualClock(1000.0)
        self.log = LoggingAccessLog(self.logger, self.loop, root_path, line_format)
        self.respond = respond or self.answer
        self.worker = Worker(
            PythonHandler(self.respond),
            self.loop,
            clock=self.clock,
            access_log=self.log,
            date_header=False,
            default_fields=[(b"server", b"fastserve")],
            **options,
        )

    def answer(self, exchange):
        self.clock.time += 0.012345
        exchange.start(200, [(b"content-length", b"5"), (b"X-Kind", b"t\xe9st")])
        exchange.body(b"hello")

    def connect(self, client=("1.2.3.4", 5)):
        return MemoryStream(self.worker, Endpoint(client, ("127.0.0.1", 80)))

    def ask(self, *requests, client=("1.2.3.4", 5)):
        """Send the requests on a connection each; returns what comes back."""
        answers = []
        for request in requests:
            stream = self.connect(client)
            stream.feed(request)
            self.loop.turn()
            answers.append(stream.take())
            stream.lose()
        return answers


class File(logging.FileHandler):
    """A handler whose class is not known: it gets records."""


@pytest.fixture
def written(tmp_path):
    """Where lines go, and what is there."""
    return tmp_path / "access.log"


@pytest.fixture(params=["direct", "record"])
def handler(request, written):
    """A handler that lines are composed for, and one that gets records; what is written is the same."""
    made = logging.FileHandler(written) if request.param == "direct" else File(written)
    yield made
    made.close()


def lines(path):
    return path.read_text().splitlines()


def noted(handler, path, line_format, *requests, client=("1.2.3.4", 5), **options):
    """The lines of `requests`, in `line_format`."""
    handler.setFormatter(logs.AccessFormatter(UVICORNS, use_colors=False) if line_format is None else None)
    Served(handler, line_format, **options).ask(*requests, client=client)
    return lines(path)


def test_denied_websocket_handshake_has_its_line_elsewhere(handler, written):
    def deny(exchange):
        exchange.start(403, [(b"content-length", b"0")])
        exchange.body(b"")

    for line_format in ("%(s)s", "%(D)s"):
        handler.setFormatter(None)
        served = Served(handler, line_format, respond=deny)
        served.worker.add_upgrade(b"websocket", WebSocketUpgrade())
        answers = served.ask(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        assert answers[0].startswith(b"HTTP/1.1 403 ")
    assert lines(written) == []


# --- what is in a line


@pytest.mark.parametrize(
    ("client", "request_bytes", "line"),
    [
        (("1.2.3.4", 5), REQUEST, 'INFO:     1.2.3.4:5 - "GET /a%20b?c=%22d HTTP/1.1" 200 OK'),
        (None, b"PUT / HTTP/1.0\r\n\r\n", 'INFO:      - "PUT / HTTP/1.0" 200 OK'),
        (("::1", 5), b"X%Y / HTTP/1.1\r\nHost: x\r\n\r\n", 'INFO:     ::1:5 - "X%Y / HTTP/1.1" 200 OK'),
    ],
)
def test_uvicorns_line(handler, written, client, request_bytes, line):
    assert noted(handler, written, None, request_bytes, client=client) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%(h)s %(l)s %(u)s", "1.2.3.4 - anna"),
        ("%(r)s", "GET /a%20b?c=%22d HTTP/1.1"),
        ("%(m)s|%(U)s|%(q)s|%(H)s", "GET|/a%20b|c=%22d|HTTP/1.1"),
        ("%(s)s %(B)s %(b)s", "200 5 5"),
        ('"%(f)s" "%(a)s"', r'"http://r/" "agent \"7\"\\\x09\xff"'),
        ("%(T)s %(D)s %(M)s %(L)s", "0 12345 12 0.012345"),
        ("%(p)s", f"<{os.getpid()}>"),
        ("%({Host}i)s %({x-two}i)s %({x-none}i)s", "x 1, 2 -"),
        ("%({X-Kind}o)s %({server}o)s %({content-length}o)s %({none}o)s", r"t\xe9st fastserve 5 -"),
        ("%({LOG_TEST}e)s %({LOG_TEST_NONE}e)s", "50% -"),
        ("100%% %(s)s%%d", "100% 200%d"),
        ("[%(D)8d] %(s)d [%(h)-10s] [%(m).1s] %(B)05d", "[   12345] 200 [1.2.3.4   ] [G] 00005"),
        ("%(w)s", "-"),
        ("nothing of the request", "nothing of the request"),
    ],
)
def test_atoms(monkeypatch, handler, written, text, line):
    monkeypatch.setenv("LOG_TEST", "50%")
    monkeypatch.delenv("FASTSERVE_WORKER_ID", raising=False)
    assert noted(handler, written, text, REQUEST) == [line]


def test_time_is_that_of_the_common_log_format(handler, written):
    [line] = noted(handler, written, "%(t)s", REQUEST)
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/20\d\d:\d\d:\d\d:\d\d [+-]\d{4}\]", line)


def test_what_is_not_there_is_a_dash(handler, written):
    text = "%(h)s %(u)s %(q)s %(b)s %(f)s %(a)s"

    def nothing(exchange):
        exchange.start(204, [])
        exchange.body(b"")

    assert noted(handler, written, text, b"GET / HTTP/1.0\r\n\r\n", client=None, respond=nothing) == ["- -  - - -"]


@pytest.mark.parametrize("credentials", [b"Basic", b"Basic !", b"Bearer YW5uYQ==", b"Basic OnNlY3JldA=="])
def test_user_that_is_none(handler, written, credentials):
    request = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: " + credentials + b"\r\n\r\n"
    assert noted(handler, written, "%(u)s", request) == ["-"]


def test_no_injection(handler, written):
    # A user's name is the one place where a client gets a line feed through.
    request = (
        b"GET /%0d%0aINFO:?\"q\\ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YQpiIlxjG1swbQ==\r\n"
        b"X-Request-ID: a\"b\r\n\r\n"
    )  # fmt: skip
    text = "%(u)s %(r)s %(q)s %(id)s"
    assert noted(handler, written, text, request) == [
        r"""a\x0ab\"\\c\x1b[0m GET /%0d%0aINFO:?\"q\\ HTTP/1.1 \"q\\ a\"b"""
    ]


def test_json(handler, written):
    [line] = noted(handler, written, "json", REQUEST.replace(b"c=%22d", b'c=%22"\\d'))
    found = json.loads(line)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert re.fullmatch(r"[0-9a-f]{32}", found.pop("request_id"))
    assert found == {
        "client": "1.2.3.4:5", "method": "GET", "path": "/a%20b", "query": 'c=%22"\\d', "protocol": "HTTP/1.1",
        "status": 200, "bytes": 5, "duration": 0.012345, "worker": None,
    }  # fmt: skip


def test_json_of_a_worker(monkeypatch, handler, written):
    monkeypatch.setenv("FASTSERVE_WORKER_ID", "3")
    assert json.loads(noted(handler, written, "json", REQUEST)[0])["worker"] == 3


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (b"X-Request-ID: abc-1\r\n", "abc-1"),
        (
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
            "0af7651916cd43dd8448eb211c80319c",
        ),
        (b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Request-ID: mine\r\n", "mine"),
    ],
)
def test_request_id_of_the_client(handler, written, fields, shown):
    request = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    assert noted(handler, written, "%(id)s", request) == [shown]


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"X-Request-ID:\r\n",
        b"X-Request-ID: " + b"x" * 201 + b"\r\n",
        b"X-Request-ID: \xff\r\n",
        b"traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n",
        b"traceparent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01\r\n",
        b"traceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        b"traceparent: nonsense\r\n",
    ],
)
def test_request_id_of_our_own(handler, written, fields):
    request = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    first, second = noted(handler, written, "%(id)s", request, request)
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert re.fullmatch(r"[0-9a-f]{32}", second)
    assert first != second


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%(nonsense)s", "there is no atom %(nonsense)s"),
        ("%s", "'%s' is not an atom"),
        ("%(h)", "'%(h)' is not an atom"),
        ("100%", "'%' is not an atom"),
        ("%(h)d", "%(h)d: %d format"),
        ("%({x}z)s", "is not an atom"),
        ("%(h)y", "unsupported format character"),
        ("a\nb", "control character"),
        # A count as a character: a line break for 10, and an error for a million.
        ("%(B)c", "%(B)c: a number is no character"),
        ("%(D)-5c", "%(D)-5c: a number is no character"),
    ],
)
def test_format_that_makes_no_sense(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Config("a:a", access_log_format=text)


def test_gunicorns_default_is_a_format():
    assert access_format.parse('%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"')


# --- when, and for which responses

STREAMED = "%(s)s %(B)s %(D)s"


def test_a_line_in_a_format_waits_for_the_end(written):
    handler = logging.FileHandler(written)
    exchanges = []
    served = Served(handler, STREAMED, respond=exchanges.append)
    stream = served.connect()
    stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    exchanges[0].start(200, [])
    exchanges[0].body(b"12345", more=True)
    served.loop.turn()
    assert lines(written) == []
    served.clock.time += 2.0
    exchanges[0].body(b"678")
    served.loop.turn()
    assert lines(written) == ["200 8 2000000"]
    stream.lose()
    handler.close()


def test_client_that_leaves_in_the_middle_of_a_response(written):
    handler = logging.FileHandler(written)
    exchanges = []
    served = Served(handler, STREAMED, respond=exchanges.append)
    stream = served.connect()
    stream.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    exchanges[0].start(200, [])
    exchanges[0].body(b"12345", more=True)
    served.clock.time += 1.0
    stream.lose()
    exchanges[0].body(b"678")
    served.loop.turn()
    assert lines(written) == ["200 5 1000000"]
    handler.close()


def test_head_has_no_body_bytes(handler, written):
    assert noted(handler, written, "%(m)s %(B)s", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n") == ["HEAD 0"]


def test_pipelined_requests_are_noted_in_order(handler, written):
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20))
    assert noted(handler, written, "%(U)s", requests) == [f"/{number}" for number in range(20)]


REJECTED = [
    (b"nonsense\r\n\r\n", "- - HTTP/1.1", "400 Bad Request", "-", None, None),
    (b"GET /\x01 HTTP/1.1\r\n\r\n", "GET - HTTP/1.1", "400 Bad Request", "GET", None, None),
    (b"GET /a?b HTTP/1.1\nHost: x\r\n\r\n", "GET /a?b HTTP/1.1", "400 Bad Request", "GET /a?b", "/a", None),
    (b"GET /a HTTP/1.0\r\nno colon\r\n\r\n", "GET /a HTTP/1.0", "400 Bad Request", "GET /a HTTP/1.0", "/a", "HTTP/1.0"),
    (b"GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1", "400 Bad Request", "GET /a HTTP/1.1", "/a", "HTTP/1.1"),
    (b"GET /a HTTP/2.0\r\n\r\n", "GET /a HTTP/1.1", "505 HTTP Version Not Supported", "GET /a", "/a", None),
    (b"GET /" + b"a" * 9000, "GET - HTTP/1.1", "414 Request-URI Too Long", "GET", None, None),
    (b"GET /a HTTP/1.1\r\n" + b"A: b\r\n" * 101, "GET /a HTTP/1.1", "431 Request Header Fields Too Large",
     "GET /a HTTP/1.1", "/a", "HTTP/1.1"),
    (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense, chunked\r\n\r\n", "POST /a HTTP/1.1",
     "501 Not Implemented", "POST /a HTTP/1.1", "/a", "HTTP/1.1"),
    (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", "POST /a HTTP/1.1",
     "413 Request Entity Too Large", "POST /a HTTP/1.1", "/a", "HTTP/1.1"),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "CONNECT a%3A1 HTTP/1.1", "400 Bad Request",
     "CONNECT a:1 HTTP/1.1", "a:1", "HTTP/1.1"),
]  # fmt: skip


def phrase(status):
    # The standard library has other names for two of them in later versions.
    return logs.AccessFormatter(use_colors=False).get_status_code(int(status[:3]))


@pytest.mark.parametrize(("data", "request_line", "status", "short", "path", "protocol"), REJECTED)
def test_requests_that_are_rejected(caplog, handler, written, data, request_line, status, short, path, protocol):
    handler.setFormatter(logs.AccessFormatter(UVICORNS, use_colors=False))
    [answer] = Served(handler, limit_request_body=100).ask(data)
    assert answer.startswith(f"HTTP/1.1 {status[:3]} ".encode())
    assert lines(written) == [f'INFO:     1.2.3.4:5 - "{request_line}" {phrase(status)}']
    assert [record.levelname for record in caplog.records if record.name == "fastserve.error"] == ["WARNING"]


@pytest.mark.parametrize(("data", "request_line", "status", "short", "path", "protocol"), REJECTED)
def test_requests_that_are_rejected_in_formats(handler, written, data, request_line, status, short, path, protocol):
    handler.setFormatter(None)
    [answer] = Served(handler, "%(r)s %(s)s %(B)s", limit_request_body=100).ask(data)
    body = answer.partition(b"\r\n\r\n")[2]
    assert lines(written) == [f"{short} {status[:3]} {len(body)}"]
    Served(handler, "json", limit_request_body=100).ask(data)
    found = json.loads(lines(written)[1])
    assert (found["method"], found["path"], found["protocol"]) == (
        None if short == "-" else short.split()[0], path, protocol,
    )  # fmt: skip


def test_head_that_is_not_complete_in_time(handler, written):
    handler.setFormatter(logs.AccessFormatter(UVICORNS, use_colors=False))
    served = Served(handler, timeout_header=10.0)
    stream = served.connect()
    stream.feed(b"GET /slow HTTP/1.1\r\nHost")
    for _ in range(12):
        served.clock.time += 1.0
        served.worker.advance()
    served.loop.turn()
    assert stream.take().startswith(b"HTTP/1.1 408 ")
    assert lines(written) == ['INFO:     1.2.3.4:5 - "GET /slow HTTP/1.1" 408 Request Timeout']
    stream.lose()


def test_too_many_at_once(handler, written):
    handler.setFormatter(logs.AccessFormatter(UVICORNS, use_colors=False))
    served = Served(handler, limit_concurrency=1)
    assert served.ask(REQUEST)[0].startswith(b"HTTP/1.1 503 ")
    assert lines(written) == ['INFO:     1.2.3.4:5 - "GET /a%20b?c=%22d HTTP/1.1" 503 Service Unavailable']


# --- records


def test_arguments_of_a_record_are_the_same_five(caplog):
    found = []

    class Keeping(logging.Handler):
        def emit(self, record):
            found.append(record)

    for line_format in (None, "100%% %(s)s %({x-two}i)s", "json"):
        Served(Keeping(), line_format).ask(REQUEST.replace(b"X-Two: 1", b"X-Two: %d"))
    assert [record.args for record in found] == [("1.2.3.4:5", "GET", "/a%20b?c=%22d", "1.1", 200)] * 3
    assert found[0].getMessage() == '1.2.3.4:5 - "GET /a%20b?c=%22d HTTP/1.1" 200'
    assert found[1].getMessage() == "100% 200 %d, 2"
    assert json.loads(found[2].getMessage())["status"] == 200
    assert (found[2].bytes, found[2].duration) == (5, pytest.approx(0.012345))


def test_a_filter_sees_and_drops_records(written):
    handler = logging.FileHandler(written)
    served = Served(handler, "%(U)s")
    served.ask(REQUEST)
    served.logger.addFilter(lambda record: record.args[2] != "/health")
    served.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
    assert lines(written) == ["/a%20b", "/other"]
    handler.close()


def test_level_turns_lines_off(handler, written):
    handler.setFormatter(None)
    served = Served(handler, "%(U)s")
    served.logger.setLevel(logging.WARNING)
    served.ask(REQUEST)
    assert lines(written) == []


@pytest.mark.parametrize("line_format", ["%(s)s", "json"])
def test_configured_formatter_gives_way_to_a_format(capsys, line_format):
    Config("a:a", access_log_format=line_format, use_colors=True)
    logging.getLogger("fastserve.access").info("line")
    assert capsys.readouterr().out == "line\n"


def test_formatter_of_the_users_frames_the_line(written):
    handler = logging.FileHandler(written)
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    assert Served(handler, "%(s)s").ask(REQUEST)
    assert lines(written) == ["<200>"]
    handler.close()


# --- writing


def test_lines_of_one_turn_are_one_write(monkeypatch, written):
    writes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(data) or write(fd, data))
    handler = logging.FileHandler(written)
    served = Served(handler, "%(U)s")
    served.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
    assert writes == [b"/\n" * 30]
    handler.close()


def test_closing_writes_what_is_left(written):
    handler = logging.FileHandler(written)
    served = Served(handler, "%(U)s")
    stream = served.connect()
    stream.feed(REQUEST)
    served.log.close()
    assert lines(written) == ["/a%20b"]
    stream.lose()
    handler.close()


@pytest.mark.parametrize("kind", [logging.FileHandler, logging.handlers.WatchedFileHandler])
def test_log_file_that_is_renamed(monkeypatch, written, tmp_path, kind):
    handler = kind(written)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    served = Served(handler, "%(U)s")
    stream = served.connect()
    stream.feed(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    served.loop.turn()
    stream.feed(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    written.rename(tmp_path / "old.log")
    if kind is logging.FileHandler:
        logs.reopen()
    stream.feed(b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\n")
    served.loop.turn()
    assert lines(tmp_path / "old.log") == ["/1"]
    assert lines(written) == ["/2", "/3"]
    stream.lose()
    handler.close()


def test_what_was_printed_comes_first(tmp_path):
    with open(tmp_path / "out", "w") as stream:
        served = Served(logging.StreamHandler(stream), "%(U)s")
        print("printed", file=stream)
        served.ask(REQUEST)
        print("later", file=stream)
    assert lines(tmp_path / "out") == ["printed", "/a%20b", "later"]


@pytest.mark.parametrize("stream", [io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-16-le")])
def test_streams_that_are_no_plain_files(stream):
    Served(logging.StreamHandler(stream), "%(U)s").ask(REQUEST)
    stream.seek(0)
    assert stream.read() == "/a%20b\n"


def messages(caplog):
    return [
        f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name == "fastserve.error"
    ]


def test_full_disk_costs_lines_and_one_message(caplog):
    with open("/dev/full", "w") as stream:
        served = Served(logging.StreamHandler(stream), "%(U)s")
        answers = served.ask(*[REQUEST] * 50)
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        served.log.close()
        assert messages(caplog) == [
            "ERROR Cannot write the access log: [Errno 28] No space left on device. Requests are served, but their "
            "lines are lost.",
            "WARNING The access log could not be written to its end. 50 lines of it were lost.",
        ]


@pytest.mark.parametrize("line_format", [None, "%(U)s"])
def test_closed_pipe_costs_lines_and_one_message(caplog, line_format):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logs.AccessFormatter(UVICORNS, use_colors=False) if line_format is None else None)
        served = Served(handler, line_format)
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in served.ask(REQUEST, REQUEST))
        [message] = messages(caplog)
        assert "Broken pipe" in message


def test_stream_that_somebody_closed(caplog, tmp_path):
    stream = open(tmp_path / "out", "w")  # noqa: SIM115 - closed by the test
    stream.close()
    served = Served(logging.StreamHandler(stream), "%(U)s")
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in served.ask(REQUEST, REQUEST))
    assert len(messages(caplog)) == 1


def test_half_a_line_is_completed_when_there_is_room_again(caplog, monkeypatch, written):
    handler = logging.FileHandler(written)
    served = Served(handler, "%(U)s")
    room = [9]
    write = os.write

    def limited(descriptor, data):
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, data[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", limited)
    served.ask(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n"
               b"GET /third HTTP/1.1\r\nHost: x\r\n\r\n")  # fmt: skip
    served.ask(b"GET /fourth HTTP/1.1\r\nHost: x\r\n\r\n")
    assert written.read_text() == "/first\n/s"
    room[0] = 1000
    served.ask(b"GET /fifth HTTP/1.1\r\nHost: x\r\n\r\n")
    assert lines(written) == ["/first", "/second", "/fifth"]
    assert messages(caplog)[1:] == ["WARNING The access log is written again. 2 lines of it were lost."]
    handler.close()


@contextlib.contextmanager
def slow_pipe():
    """A pipe that does not block, and its reading end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    with open(writer, "w") as stream, open(reader, "rb", buffering=0) as read:
        yield stream, read


def test_pipe_that_does_not_block_and_is_full_loses_nothing(caplog):
    with slow_pipe() as (stream, read):
        served = Served(logging.StreamHandler(stream), "%(U)s %({user-agent}i)s")
        count = 100
        for number in range(count):
            served.ask(b"GET /%d HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\n\r\n" % (number, b"a" * 4000))
        data = b""
        while (piece := read.read(65536)) or served.loop.later:
            data += piece or b""
            served.loop.turn()
        assert [line.split()[0] for line in data.splitlines()] == [b"/%d" % number for number in range(count)]
        assert messages(caplog) == []
        served.log.close()


def test_pipe_that_nobody_reads_costs_a_bounded_memory(caplog):
    with slow_pipe() as (stream, read):
        served = Served(logging.StreamHandler(stream), "%({user-agent}i)s")
        request = b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\n\r\n" % (b"a" * 5999)
        for _ in range(300):
            assert served.ask(request)[0].startswith(b"HTTP/1.1 200 ")
        [message] = messages(caplog)
        assert "Resource temporarily unavailable" in message
        read.read(1 << 20)
        served.loop.turn()
        read.close()
        served.log.close()


def test_nothing_is_written_for_nobody(written):
    handler = logging.FileHandler(written, delay=True)
    served = Served(handler, "%(U)s")
    served.ask(REQUEST, REQUEST)
    assert lines(written) == ["/a%20b", "/a%20b"]
    handler.close()


def test_default_log_goes_to_standard_output(capsys):
    Config("a:a", use_colors=False)
    [handler] = logging.getLogger("fastserve.access").handlers
    assert handler.stream is sys.stdout
    Served(handler).ask(REQUEST)
    assert capsys.readouterr().out == 'INFO:     1.2.3.4:5 - "GET /a%20b?c=%22d HTTP/1.1" 200 OK\n'
