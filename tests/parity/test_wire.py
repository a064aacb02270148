"""HTTP/1.1 as it is on the wire: each case is played to both servers and compared byte for byte, logs included."""

import re

import pytest

from tests.parity.wire import Differs, Eof, Final, HalfClose, Interim, Send, Transcript, case, request

GET = request("GET", "/")


def chunks(*parts, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def post(target, *fields, **options):
    return request("POST", target, *fields, **options)


def stricter(reason, uvicorn, fastserve="400 closed"):
    return Differs(reason, uvicorn=uvicorn, fastserve=fastserve)


def fault(transcript):
    """Summary of the responses, and the error that the log ends its traceback with."""
    return [transcript.summary, *(line for line in transcript.log if ERROR_LINE.match(line))]


def held(uvicorn, error):
    """uvicorn has sent the head by the time of the fault; fastserve holds it until there is a body to send with it."""
    reason = "a fault before the first byte of the body is answered with 500"
    return Differs(reason, [uvicorn, error], ["500 closed", error], fault)


def refused(uvicorn, error, own=None):
    """fastserve refuses the message, in its own words where uvicorn has none, before anything is on the wire."""
    reason = "a start message that is not valid is answered with 500"
    return Differs(reason, [uvicorn, error] if error else [uvicorn], ["500 closed", own or error], fault)


def dropped(uvicorn, *error):
    """Applications answer with bodies where there is none to be had, and their clients never know."""
    reason = "the body of a response that has none is left out, as of one to HEAD"
    return Differs(reason, [uvicorn, *error], [f"{uvicorn[:3]} open"], fault)


def unharmed(error):
    """The response was complete and rightly framed: fastserve sees no reason to close the connection."""
    return Differs(
        "a fault after a complete response keeps the connection", ["200 closed", error], ["200 open", error], fault
    )


ERROR_LINE = re.compile(r"[\w.]*(Error|Fatal)(: |$)|ERROR: +ASGI callable")
CHUNKED = "Transfer-Encoding: chunked"

PLAIN = [
    case("get", GET),
    case("fields-of-the-response", request("GET", "/fields")),
    case(
        "own-date-and-server",
        request("GET", "/own-date-and-server"),
        differs=Differs(
            "a date or server field of the application replaces the server's",
            view=lambda transcript: (
                transcript.responses[0].values("date")[-1:] + transcript.responses[0].values("server")
            ),
            uvicorn=["yesterday", "uvicorn", "mine"],
            fastserve=["yesterday", "mine"],
        ),
    ),
    case("empty-body", request("GET", "/empty")),
    case("minimal-messages", request("GET", "/minimal")),
    case("status-enum-and-iterator", request("GET", "/no-fields-length")),
    case("fields-as-lists", request("GET", "/fields-lists")),
    case("fields-as-tuple", request("GET", "/fields-tuple")),
    case("body-bytearray", request("GET", "/bytearray")),
    case("pieces-with-length", request("GET", "/pieces")),
    case("large-with-length", request("GET", "/large")),
    case("large-chunked", request("GET", "/large-chunked")),
    case("chunked", request("GET", "/chunked")),
    case("chunked-empty-end", request("GET", "/chunked-empty-end")),
    case("chunked-empty", request("GET", "/chunked-empty")),
    case("chunked-single", request("GET", "/chunked-single")),
    case("chunked-declared-by-app", request("GET", "/chunked-declared")),
    case("receive-after-start", post("/receive-after-start", body=b"hello")),
]

TOO_LONG = "RuntimeError: Response content longer than Content-Length"
TOO_SHORT = "RuntimeError: Response content shorter than Content-Length"


def phrased(uvicorn, fastserve):
    return Differs(
        "a status without a registered phrase gets that of its class",
        uvicorn,
        fastserve,
        lambda transcript: transcript.responses[0].status_line,
    )


STATUSES = [
    *(case(f"status-{code}", request("GET", f"/status/{code}")) for code in (200, 201, 204, 205, 304, 404, 418, 500)),
    *(case(f"status-{code}-with-length", request("GET", f"/status-length/{code}")) for code in (205, 404, 503)),
    case(
        "status-unregistered", request("GET", "/status/299"), differs=phrased("HTTP/1.1 299 ", "HTTP/1.1 299 Success")
    ),
    case("status-599", request("GET", "/status/599"), differs=phrased("HTTP/1.1 599 ", "HTTP/1.1 599 Server Error")),
    case("status-204-with-body", request("GET", "/status-body/204"), differs=dropped("204 closed", TOO_LONG)),
    case("status-304-with-body", request("GET", "/status-body/304"), differs=dropped("304 closed", TOO_LONG)),
    case("status-304-with-length", request("GET", "/status-length/304"), differs=dropped("304 malformed")),
    *(
        case(
            f"status-{code}",
            request("GET", f"/status/{code}"),
            differs=refused("closed", f"KeyError: {code}", f"RuntimeError: Invalid HTTP status code {code}."),
        )
        for code in (600, 99, 0)
    ),
]

HEAD = [
    case("head", request("HEAD", "/")),
    case("head-no-length", request("HEAD", "/head-no-length")),
    case("head-chunked", request("HEAD", "/chunked")),
    case("head-chunked-declared", request("HEAD", "/chunked-declared")),
    case("head-large", request("HEAD", "/large")),
    case("head-too-long", request("HEAD", "/too-long")),
    case("head-too-short", request("HEAD", "/too-short")),
    case("head-length-without-body", request("HEAD", "/head-wrong-length")),
    case("head-404", request("HEAD", "/status-length/404")),
    case("head-204", request("HEAD", "/status/204")),
    case("head-close", request("HEAD", "/close")),
    case("head-raises", request("HEAD", "/raise-before-start"), reads=("HEAD",)),
    case("head-http10", request("HEAD", "/", version="1.0")),
]

CONNECTION = [
    case("close-by-client", request("GET", "/", "Connection: close")),
    case("close-by-client-upper-case", request("GET", "/", "Connection: CLOSE")),
    case("close-by-client-among-others", request("GET", "/", "Connection: foo, close , bar")),
    case("close-by-client-second-field", request("GET", "/", "Connection: foo", "Connection: close")),
    case("close-and-keep-alive", request("GET", "/", "Connection: keep-alive, close")),
    case("close-by-client-chunked", request("GET", "/chunked", "Connection: close")),
    case("close-with-body", post("/echo", "Connection: close", body=b"hello")),
    case("close-then-another", request("GET", "/", "Connection: close") + GET, reads=("GET",)),
    case("keep-alive-by-client", request("GET", "/", "Connection: keep-alive")),
    case("keep-alive-unknown-option", request("GET", "/", "Connection: x-thing")),
    case("keep-alive-empty", request("GET", "/", "Connection:")),
    case("close-by-app", request("GET", "/close")),
    case("close-by-app-among-others", request("GET", "/close-among-others")),
    case("close-by-app-chunked", request("GET", "/close-chunked")),
    case("close-by-both", request("GET", "/close", "Connection: close")),
    case("keep-alive-by-app", request("GET", "/keep-alive")),
    case("keep-alive-by-app-close-by-client", request("GET", "/keep-alive", "Connection: close")),
    case("http10", request("GET", "/", version="1.0")),
    case("http10-without-host", request("GET", "/", version="1.0", host=None)),
    case("http10-close", request("GET", "/", "Connection: close", version="1.0")),
    case("http10-post", post("/echo", body=b"hello", version="1.0")),
    case(
        "http10-keep-alive",
        request("GET", "/", "Connection: keep-alive", version="1.0"),
        differs=Differs("keep-alive is honoured in HTTP/1.0", uvicorn="200 closed", fastserve="200 open"),
    ),
    case("http10-keep-alive-close-by-app", request("GET", "/close", "Connection: keep-alive", version="1.0")),
    case(
        "http10-unframed",
        request("GET", "/chunked", version="1.0"),
        differs=Differs(
            "HTTP/1.0 knows no chunks: the body ends with the connection",
            view=lambda transcript: transcript.responses[0].framed,
            uvicorn=chunks(b"one", b"two" * 10, b"three"),
            fastserve=b"one" + b"two" * 10 + b"three",
        ),
    ),
    case(
        "http10-keep-alive-unframed",
        request("GET", "/chunked", "Connection: keep-alive", version="1.0"),
        differs=Differs(
            "HTTP/1.0 knows no chunks: the body ends with the connection",
            view=lambda transcript: (transcript.responses[0].framed, transcript.end),
            uvicorn=(chunks(b"one", b"two" * 10, b"three"), "closed"),
            fastserve=(b"one" + b"two" * 10 + b"three", "closed"),
        ),
    ),
    case("half-close-after-request", Send(GET), HalfClose(), Final("GET")),
    case("half-close-without-request", HalfClose(), Eof()),
    case("half-close-inside-head", Send(b"GET / HTTP/1.1\r\nHost: par"), HalfClose(), Eof()),
    case("half-close-inside-request-line", Send(b"GET /"), HalfClose(), Eof()),
]

PIPELINING = [
    case("pipelined", GET + request("GET", "/chunked") + GET, reads=("GET", "GET", "GET")),
    case("pipelined-head-get", request("HEAD", "/") + GET, reads=("HEAD", "GET")),
    case("pipelined-posts", post("/echo", body=b"one") + post("/echo", body=b"two"), reads=("POST", "POST")),
    case(
        "pipelined-chunked-posts",
        (post("/echo", CHUNKED, body=chunks(b"a", b"b")) + GET) * 2,
        reads=("POST", "GET", "POST", "GET"),
    ),
    case("pipelined-many", GET * 50, reads=("GET",) * 50),
    case("pipelined-after-unread-body", post("/early", body=b"x" * 100) + GET, reads=("POST", "GET")),
    case("pipelined-after-unread-chunks", post("/early", CHUNKED, body=chunks(b"x")) + GET, reads=("POST", "GET")),
    case("pipelined-behind-close", request("GET", "/close") + GET, reads=("GET", "GET")),
    case("pipelined-behind-error", request("GET", "/raise-before-start") + GET, reads=("GET", "GET")),
    case("pipelined-behind-wait", request("GET", "/raise-after-wait") + GET, reads=("GET", "GET")),
    case("split-inside-second", Send(GET + GET[:10]), Final(), Send(GET[10:]), Final()),
    case("empty-line-before-request", b"\r\n" + GET, reads=("GET",)),
    case("empty-line-between-requests", GET + b"\r\n" + GET, reads=("GET", "GET")),
    case(
        "empty-lines-before-request",
        b"\r\n\r\n" + GET,
        reads=("GET",),
        differs=stricter("one empty line is ignored before a request, not many", "200 open"),
    ),
]


def cut(fastserve):
    return Differs(
        "a client that has closed its half is still answered, by an application that knows of the disconnect",
        [],
        [fastserve],
        lambda transcript: [response.body for response in transcript.responses],
    )


CUT_4, CUT_2 = cut(b"4 cut short"), cut(b"2 cut short")
NOT_ASKED = "100 Continue is sent only to a client of HTTP/1.1 that waits with its body"
BODIES = [
    case("post", post("/echo", body=b"hello")),
    case("post-nothing", post("/echo")),
    case("post-length-0", post("/echo", "Content-Length: 0")),
    case("get-with-body", request("GET", "/echo", body=b"hello")),
    case("get-with-body-unread", request("GET", "/", body=b"hello")),
    case("post-100-kib", post("/count", body=b"x" * 102400)),
    case("post-1-mib-chunked", post("/count", CHUNKED, body=chunks(*[b"x" * 65536] * 16))),
    case("post-chunked", post("/echo", CHUNKED, body=chunks(b"one", b"two"))),
    case("post-chunked-empty", post("/echo", CHUNKED, body=chunks())),
    case("post-chunked-upper-case-hex", post("/echo", CHUNKED, body=b"A\r\n0123456789\r\n0\r\n\r\n")),
    case("post-chunked-leading-zeros", post("/echo", CHUNKED, body=b"0003\r\nabc\r\n000\r\n\r\n")),
    case("post-chunked-extension", post("/echo", CHUNKED, body=b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n')),
    case("post-chunked-trailers", post("/echo", CHUNKED, body=chunks(b"abc", end=b"0\r\nX-T: 1\r\n\r\n"))),
    case("post-chunked-mixed-case", post("/echo", "transfer-ENCODING: Chunked", body=chunks(b"abc"))),
    case("post-split", Send(post("/echo", body=b"hello")[:-3]), Send(b"llo"), Final("POST")),
    case(
        "post-split-in-head", Send(post("/echo", body=b"hello")[:20]), Send(post("/echo", body=b"hello")[20:]), Final()
    ),
    case("post-early-answer", post("/early", body=b"x" * 1000)),
    case("messages-without-body", request("GET", "/messages")),
    case("messages-with-body", post("/messages", body=b"hello")),
    case("messages-with-chunk", post("/messages", CHUNKED, body=chunks(b"hello"))),
    case("messages-with-length-0", post("/messages", "Content-Length: 0")),
    case("receive-after-complete", post("/receive-twice", body=b"hello")),
    case(
        "body-cut-by-half-close",
        Send(post("/count", "Content-Length: 10") + b"1234"),
        HalfClose(),
        Final(),
        differs=CUT_4,
    ),
    case("chunks-cut-by-half-close", Send(post("/count", CHUNKED) + b"3\r\nab"), HalfClose(), Final(), differs=CUT_2),
]

EXPECT = [
    case(
        "expect-answered-on-receive",
        Send(post("/echo", "Expect: 100-continue", "Content-Length: 5")),
        Interim(),
        Send(b"hello"),
        Final("POST"),
    ),
    case(
        "expect-upper-case",
        Send(post("/echo", "Expect: 100-Continue", "Content-Length: 5")),
        Interim(),
        Send(b"hello"),
        Final("POST"),
    ),
    case(
        "expect-chunked",
        Send(post("/echo", "Expect: 100-continue", CHUNKED)),
        Interim(),
        Send(chunks(b"hello")),
        Final("POST"),
    ),
    case(
        "expect-body-not-withheld",
        post("/echo", "Expect: 100-continue", body=b"hello"),
        differs=Differs(NOT_ASKED, "100 200 open", "200 open"),
    ),
    case(
        "expect-not-read",
        Send(post("/early", "Expect: 100-continue", "Content-Length: 5")),
        Final("POST"),
        Send(b"hello"),
        differs=Differs("a client may never send the body it was not asked for: closed", "200 open", "200 closed"),
    ),
    case(
        "expect-without-body",
        post("/echo", "Expect: 100-continue"),
        differs=Differs(NOT_ASKED, "100 200 open", "200 open"),
    ),
    case(
        "expect-http10",
        post("/echo", "Expect: 100-continue", body=b"hello", version="1.0"),
        differs=Differs(NOT_ASKED, "100 200 closed", "200 closed"),
    ),
    case("expect-unknown", post("/echo", "Expect: something", body=b"hello")),
]

ORDER = "RuntimeError: Expected ASGI message 'http.response.body', but got '{}'."
DONE = "RuntimeError: Unexpected ASGI message '{}' sent, after response already completed."
NAME = "RuntimeError: Invalid HTTP header name."
VALUE = "RuntimeError: Invalid HTTP header value."
LENGTH = "RuntimeError: Invalid Content-Length."
STR = "RuntimeError: Response header names and values must be bytes, not str."
FAULTS = {
    "raise-before-start": None,
    "raise-base-exception": None,
    "raise-cancelled": None,
    "raise-after-wait": None,
    "raise-after-start": held("200 cut closed", "ValueError: after start"),
    "raise-mid-body": None,
    "raise-mid-chunked": None,
    "raise-after-complete": unharmed("ValueError: after complete"),
    "return-nothing": None,
    "return-value-before-start": None,
    "return-value": None,
    "return-after-start": held("200 cut closed", "ERROR:    ASGI callable returned without completing response."),
    "return-mid-body": None,
    "return-mid-chunked": None,
    "body-first": None,
    "start-twice": held("200 cut closed", ORDER.format("http.response.start")),
    "start-after-body": None,
    "body-after-complete": unharmed(DONE.format("http.response.body")),
    "start-after-complete": unharmed(DONE.format("http.response.start")),
    "unknown-message": None,
    "unknown-message-after-start": held("200 cut closed", ORDER.format("http.response.unheard-of")),
    "websocket-message": None,
    "message-without-type": None,
    "start-without-status": refused(
        "closed", "KeyError: 'status'", "RuntimeError: ASGI message 'http.response.start' has no 'status'."
    ),
    "too-long": held("200 cut closed", TOO_LONG),
    "too-long-later": None,
    "too-short": held("200 cut closed", TOO_SHORT),
    "name-with-space": refused("closed", NAME),
    "name-with-crlf": refused("closed", NAME),
    "name-empty": refused("200 open", None, NAME),
    "value-with-crlf": refused("closed", VALUE),
    "value-with-nul": refused("closed", VALUE),
    "field-str": refused("closed", "TypeError: cannot use a bytes pattern on a string-like object", STR),
    "body-str": refused(
        "200 cut closed",
        "TypeError: memoryview: a bytes-like object is required, not 'str'",
        "RuntimeError: Response body must be bytes, not str.",
    ),
    "memoryview": None,
    "length-not-a-number": refused("closed", "ValueError: invalid literal for int() with base 10: 'ten'", LENGTH),
    "length-negative": refused("200 cut closed", TOO_LONG, LENGTH),
    "length-twice": Differs(
        "a content-length given twice is sent once",
        ["2", "2"],
        ["2"],
        lambda transcript: transcript.responses[0].values("content-length"),
    ),
    "lengths-differ": refused("200 open", None, "RuntimeError: Response has more than one Content-Length."),
    "length-and-chunked": refused(
        "200 open", None, "RuntimeError: Response has both Content-Length and Transfer-Encoding."
    ),
    "interim-status": refused("103 malformed", None, "RuntimeError: Invalid HTTP status code 103."),
}

METHODS = [
    *(case(f"method-{name}", request(name, "/echo")) for name in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")),
    case("method-PROPFIND", request("PROPFIND", "/echo")),
    case("method-M-SEARCH", request("M-SEARCH", "/echo")),
    case(
        "method-unknown",
        request("FOO", "/"),
        differs=Differs("any token is a method", uvicorn="400 closed", fastserve="200 open"),
    ),
    case(
        "method-lower-case",
        request("get", "/"),
        differs=Differs("any token is a method", uvicorn="400 closed", fastserve="200 open"),
    ),
]

# What is refused: the status, and that the connection is closed. The reason goes into the log and the body: fastserve
# says which rule was broken, where uvicorn says "Invalid HTTP request received." for all of them.
REFUSED = [
    case("no-host", request("GET", "/", host=None), differs=stricter("Host is required", "200 open")),
    case("two-hosts", request("GET", "/", "Host: two"), differs=stricter("Host is single", "200 open")),
    case("host-invalid", request("GET", "/", host="a b"), differs=stricter("Host is host[:port]", "200 open")),
    case(
        "http10-chunked",
        post("/echo", CHUNKED, body=chunks(b"abc"), version="1.0"),
        differs=stricter("HTTP/1.0 knows no chunks", "200 closed"),
    ),
    case("length-and-chunked", post("/echo", CHUNKED, "Content-Length: 3", body=chunks(b"abc"))),
    case("lengths-differ", post("/echo", "Content-Length: 3", "Content-Length: 4", body=b"abc")),
    case("length-signed", post("/echo", "Content-Length: +3", body=b"abc")),
    case("length-negative", post("/echo", "Content-Length: -3")),
    case("length-hex", post("/echo", "Content-Length: 0x3", body=b"abc")),
    case("length-overflow", post("/echo", f"Content-Length: {2**64 + 3}", body=b"abc")),
    case("length-with-space", post("/echo", "Content-Length: 1 2", body=b"abc")),
    case(
        "coding-unknown",
        post("/echo", "Transfer-Encoding: xchunked", body=b"abc"),
        differs=stricter("an unknown coding is 501, not a fault of the client", "400 closed", "501 closed"),
    ),
    case("chunked-not-last", post("/echo", "Transfer-Encoding: chunked, gzip", body=chunks(b"abc"))),
    case("bare-lf", b"GET / HTTP/1.1\nHost: parity\n\n"),
    case("bare-cr-in-field", request("GET", "/", "X-A: a\rb")),
    case("fold", request("GET", "/", "X-A: 1\r\n 2")),
    case("space-before-colon", request("GET", "/", "X-A : 1")),
    case("field-without-colon", request("GET", "/", "X-A")),
    case("field-without-name", request("GET", "/", ": 1")),
    case("nul-in-value", request("GET", "/", "X-A: a\0b")),
    case("space-in-name", request("GET", "/", "X A: 1")),
    case("space-in-target", request("GET", "/a b")),
    case("target-relative", request("GET", "a")),
    case("target-missing", b"GET HTTP/1.1\r\nHost: parity\r\n\r\n"),
    case(
        "version-missing",
        b"GET /\r\nHost: parity\r\n\r\n",
        differs=stricter("HTTP/0.9 is not served", "200 closed"),
    ),
    case(
        "version-2-0",
        request("GET", "/", version="2.0"),
        differs=stricter("another major version is not HTTP/1", "200 closed", "505 closed"),
    ),
    case(
        "version-3-0",
        request("GET", "/", version="3.0"),
        differs=stricter("another major version is not HTTP/1", "400 closed", "505 closed"),
    ),
    case("version-malformed", request("GET", "/", version="1.x")),
    case("garbage", b"\x00\x01\x02\x03\r\n\r\n", reads=("GET",)),
    case("tls-client-hello", bytes.fromhex("16030100c5010000c10303") + b"\x41" * 190, reads=("GET",)),
    case("chunk-size-invalid", post("/echo", CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n")),
    case("chunk-without-end", post("/echo", CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n")),
    case("chunk-size-overflow", post("/echo", CHUNKED, body=b"fffffffffffffffff\r\nabc")),
    case("chunk-bare-lf", post("/echo", CHUNKED, body=b"3\nabc\n0\n\n")),
    case(
        "request-line-too-long",
        request("GET", "/" + "a" * 60000),
        differs=stricter("the request line is limited", "200 open", "414 closed"),
    ),
    case(
        "field-too-long",
        request("GET", "/", f"X-A: {'x' * 100000}"),
        differs=stricter("the head is limited", "200 open", "431 closed"),
    ),
    case(
        "fields-too-many",
        request("GET", "/", *(f"X-{number}: 1" for number in range(300))),
        differs=stricter("fields are limited in number", "200 open", "431 closed"),
    ),
]


def refusal(transcript):
    """What both servers agree on in a refusal: everything but the words of the reason."""
    assert len(transcript.responses) == 1, transcript.lines()
    response = transcript.responses[0]
    names = [line.partition(":")[0] for line in response.fields if not line.startswith("content-length")]
    return [response.status_line, names, response.values("connection"), response.complete, transcript.end]


def same(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


@same(PLAIN + STATUSES + HEAD)
def test_response(raw, compare, case):
    compare(raw, case)


@same(CONNECTION + PIPELINING)
def test_connection(raw, compare, case):
    compare(raw, case)


@same(BODIES + EXPECT)
def test_request_body(raw, compare, case):
    compare(raw, case)


@same(
    [
        *(case(name, request("GET", f"/{name}"), differs=differs) for name, differs in FAULTS.items()),
        case("raise-after-read", post("/raise-after-read", body=b"hello")),
    ]
)
def test_application_at_fault(raw, compare, case):
    compare(raw, case)


@same(METHODS)
def test_method(raw, compare, case):
    compare(raw, case)


@same(REFUSED)
def test_refused(raw, compare, case):
    compare(raw, case, refusal)


OPTIONS = ["--root-path", "/api", "--header", "X-Own:some value", "--header", "Server:mine", "--no-date-header"]


@same([PLAIN[0], case("refused", request("GET", "/ bad")), case("error", request("GET", "/raise-before-start"))])
def test_own_fields(pairs, compare, case):
    """Fields given by `--header`, and those that options switch off, on answers of every origin."""
    compare(pairs("raw", *OPTIONS), case, refusal if case.name == "refused" else Transcript.lines)


@same([PLAIN[0], case("pipelined", GET + request("HEAD", "/") + GET, reads=("GET", "HEAD", "GET"))])
def test_on_unix_socket(pairs, compare, case):
    compare(pairs("raw", unix=True), case)
