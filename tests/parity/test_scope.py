"""The scope that the application gets: the same keys, values and exact types from both servers.

The application answers with its scope as JSON, each value beside the name of its type. Two things differ in every
scope: fastserve follows a later version of the HTTP specification of ASGI, and it has `extensions`, which uvicorn
lacks over HTTP/1.1, so that frameworks cannot ask what the server offers. A case that differs further says so.
"""

import json

import pytest

from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.wire import Differs, case, play, request

SPEC_VERSION = ["str", "2.5"]
UVICORN_SPEC_VERSION = ["str", "2.3"]

TARGETS = {
    "origin": "/a/b",
    "absolute": "http://other.example/a/b?c=d",
    "absolute-with-port": "http://other.example:8080/a",
    "absolute-https": "https://other.example/a",
    "absolute-upper-case": "HTTP://OTHER.example/A",
    "percent-encoded": "/a%20b%2Fc%25",
    "percent-encoded-utf8": "/caf%C3%A9",
    "percent-encoded-invalid-utf8": "/caf%E9",
    "percent-nul": "/a%00b",
    "percent-lower-case": "/%c3%a9%2f",
    "double-slash": "//a//b",
    "dots": "/a/../b/./c",
    "semicolon": "/a;b=c",
    "unreserved-and-sub-delims": "/-._~!$&'()*+,;=:@",
    "query": "/a?b=c&d=e",
    "query-empty": "/a?",
    "query-question-marks": "/a?b?c",
    "query-percent": "/a?b=%20%C3%A9+c",
    "query-slash": "/a?b=/c/d",
    "query-brackets": "/a?b[]=c",
    "query-of-root": "/?a",
    "plus": "/a+b",
    "long": "/" + "a" * 4000,
    "percent-incomplete": "/a%2",
    "percent-not-hex": "/a%zz",
    "brackets": "/a[b]",
    "quote": '/a"b',
    "backslash": "/a\\b",
    "pipe-and-caret": "/a|b^c`{}",
    "fragment": "/a#b",
    "asterisk": "*",
    "absolute-without-path": "http://other.example",
    "absolute-query-without-path": "http://other.example?a=b",
    "absolute-userinfo": "http://user:secret@other.example/a",
    "utf8-unencoded": "/café",
    "authority": "other.example:443",
}

FIELDS = {
    "repeated": ["X-A: 1", "x-b: 2", "X-a: 3", "Cookie: a=1", "Cookie: b=2"],
    "empty": ["X-A:", "X-B: "],
    "obs-text": ["X-A: caf\udce9 é"],
    "tab": ["X-A: a\tb"],
    "spaces-inside": ["X-A: a   b"],
    "spaces-before": ["X-A:    a"],
    "tab-before": ["X-A:\ta"],
    "spaces-after": ["X-A: a   "],
    "tab-after": ["X-A: a\t"],
    "only-spaces": ["X-A:     "],
    "all-token-characters": ["!#$%&'*+-.^_`|~09azAZ: 1"],
    "long": [f"X-A: {'x' * 7000}"],
    "90": [f"X-{number}: {number}" for number in range(90)],
    "connection": ["Connection: keep-alive, X-A", "Keep-Alive: timeout=5"],
    "upgrade-not-asked-for": ["Upgrade: websocket"],
    "upgrade-websocket-on-close": ["Connection: close", "Upgrade: websocket"],
    "te": ["TE: trailers"],
    "forwarded-proto": ["X-Forwarded-Proto: https"],
    "forwarded-proto-unknown": ["X-Forwarded-Proto: gopher"],
    "forwarded-for": ["X-Forwarded-For: 1.2.3.4"],
    "forwarded-for-many": ["X-Forwarded-For: 1.2.3.4, 5.6.7.8", "X-Forwarded-Proto: https"],
    "forwarded-for-with-port": ["X-Forwarded-For: 1.2.3.4:5678"],
    "forwarded-for-ipv6": ["X-Forwarded-For: 2001:db8::1"],
    "forwarded-for-garbage": ["X-Forwarded-For: unknown, ,"],
    "forwarded-for-empty": ["X-Forwarded-For:"],
    "forwarded-for-repeated": ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8, 127.0.0.1"],
    "forwarded-for-bad-port": ["X-Forwarded-For: 1.2.3.4:x"],
    "forwarded-for-brackets": ["X-Forwarded-For: [2001:db8::1]:80"],
    "forwarded-for-only-proxies": ["X-Forwarded-For: ::1, 127.0.0.1"],
    "forwarded-proto-list": ["X-Forwarded-Proto: https, http"],
    "forwarded-proto-wss": ["X-Forwarded-Proto: wss"],
    "forwarded-proto-repeated": ["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"],
    "forwarded-others": ["X-Forwarded-Host: a.example", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /p"],
    "forwarded-standard": ["Forwarded: for=1.2.3.4;proto=https"],
    "authorization": ["Authorization: Basic dXNlcjpzZWNyZXQ="],
    "content-type-and-length": ["Content-Type: text/plain", "Content-Length: 0"],
}


def of_scope(reason, key, uvicorn, fastserve):
    """A wanted difference in one value of the scope; in "headers", of the field that was sent."""

    def view(transcript):
        value = json.loads(transcript.responses[0].body)[1][key]
        return dict(untyped(value))[b"x-a" if uvicorn[:1] == b"a" else b"host"] if key == "headers" else untyped(value)

    return Differs(reason, uvicorn, fastserve, view)


def untyped(value):
    kind, content = value
    if kind in ("list", "tuple"):
        return tuple(map(untyped, content))
    return content.encode("latin-1") if kind == "bytes" else content


# RFC 9112 section 3.2.2: the host of an absolute-form target takes the place of the Host field.
HOST = "Host is that of an absolute-form target"
NO_TARGET = "a target that RFC 9112 section 3.2 does not allow is refused"
NO_PATH = "an absolute-form target without a path means the root"
STRIPPED = "white space around a field value is not part of it"
WANTED = {
    "target-absolute": of_scope(HOST, "headers", b"parity", b"other.example"),
    "target-absolute-with-port": of_scope(HOST, "headers", b"parity", b"other.example:8080"),
    "target-absolute-https": of_scope(HOST, "headers", b"parity", b"other.example"),
    "target-absolute-upper-case": of_scope(HOST, "headers", b"parity", b"OTHER.example"),
    "target-absolute-userinfo": Differs(NO_TARGET, "200 open", "400 closed"),
    "target-fragment": Differs(NO_TARGET, "200 open", "400 closed"),
    "target-asterisk": Differs(NO_TARGET, "200 open", "400 closed"),
    "target-absolute-without-path": Differs(NO_PATH, "400 closed", "200 open"),
    "target-absolute-query-without-path": Differs(NO_PATH, "400 closed", "200 open"),
    "fields-spaces-after": of_scope(STRIPPED, "headers", b"a   ", b"a"),
    "fields-tab-after": of_scope(STRIPPED, "headers", b"a\t", b"a"),
}


def scope_case(name, *steps, reads=None):
    return case(name, *steps, reads=reads, differs=WANTED.get(name))


CASES = [
    *(scope_case(f"target-{name}", request("GET", target)) for name, target in TARGETS.items()),
    *(scope_case(f"fields-{name}", request("GET", "/scope", *lines)) for name, lines in FIELDS.items()),
    case("fields-name-of-every-case", request("GET", "/scope", "ACCEPT: 1", "aCcEpT: 2", "Accept: 3")),
    case("host-with-port", request("GET", "/scope", host="example.org:8000")),
    case("host-ipv6", request("GET", "/scope", host="[::1]:8000")),
    case("host-empty", request("GET", "/scope", host="")),
    case("http10", request("GET", "/scope", version="1.0")),
    *(case(f"method-{name}", request(name, "/scope")) for name in ("POST", "OPTIONS", "DELETE", "M-SEARCH")),
    case("method-HEAD", request("GET", "/scope") + request("HEAD", "/scope"), reads=("GET", "HEAD")),
    case("options-asterisk", request("OPTIONS", "*")),
    case("connect", request("CONNECT", "other.example:443", host="other.example:443")),
    case("second-request", request("GET", "/scope?1", "X-A: 1") + request("GET", "/scope?2"), reads=("GET", "GET")),
    case("same-head-twice", request("GET", "/scope", "X-A: 1") * 2, reads=("GET", "GET")),
]


def scopes(transcript, ours=False):
    """The scopes of all responses, addresses of the connection without their ports; the log besides."""
    found = []
    for response in transcript.responses:
        if not response.body.startswith(b'["dict"'):
            found.append(response.status)
            continue
        kind, scope = json.loads(response.body)
        assert kind == "dict"
        for key in ("client", "server"):
            if scope[key][0] == "tuple":
                scope[key][1][1] = [scope[key][1][1][0], key] if scope[key][1][1][1] else scope[key][1][1]
        if ours and not COMPARES_WITH_ITSELF:
            assert scope.pop("extensions")[0] == "dict"
            assert scope["asgi"][1]["spec_version"] == SPEC_VERSION
            scope["asgi"][1]["spec_version"] = UVICORN_SPEC_VERSION
        found.append(scope)
    # A refused request is logged in each server's own words.
    return found, transcript.end, transcript.log if 400 not in found else None


def compare_scopes(pair, case):
    ours, theirs = play(pair.fastserve, case), play(pair.uvicorn, case)
    if case.differs is None:
        assert scopes(ours, ours=True) == scopes(theirs)
    else:
        assert case.differs.view(theirs) == case.differs.uvicorn
        if not COMPARES_WITH_ITSELF:
            assert case.differs.view(ours) == case.differs.fastserve


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scope(raw, case):
    compare_scopes(raw, case)


@pytest.mark.parametrize(
    "fields",
    [
        ["Connection: upgrade", "Upgrade: something"],
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"],
    ],
    ids=["unknown", "h2c"],
)
def test_unsupported_upgrade(pairs, fields):
    """Served as if not asked for, with a warning: on servers of its own, as fastserve shows few in one second."""
    compare_scopes(pairs("raw", "--backlog", "100"), case("upgrade", request("GET", "/scope", *fields)))


def test_scope_on_unix_socket(pairs):
    pair = pairs("raw", unix=True)
    seen = [
        scopes(play(server, case("unix", request("GET", "/scope"))), ours)
        for server, ours in ((pair.uvicorn, False), (pair.fastserve, True))
    ]
    for server, ([scope], _, log) in zip(pair.both, seen, strict=True):
        assert scope.pop("server") == ["tuple", [["str", server.address], ["NoneType", None]]]
        assert scope["client"] == ["NoneType", None]
        assert log[0] == 'INFO:      - "GET /scope HTTP/1.1" 200 OK'
    assert seen[0] == seen[1]


def test_proxy_on_unix_socket_where_everybody_is_believed(pairs):
    pair = pairs("raw", "--forwarded-allow-ips", "*", unix=True)
    for server in pair.both:
        transcript = play(server, case("unix", request("GET", "/scope", "X-Forwarded-For: 1.2.3.4:5, 5.6.7.8")))
        [scope] = scopes(transcript)[0]
        assert scope["client"] == ["tuple", [["str", "1.2.3.4"], ["int", "client"]]]
        assert transcript.log[0] == 'INFO:     1.2.3.4:5 - "GET /scope HTTP/1.1" 200 OK'


ROOT_PATH = ["--root-path", "/api", "--header", "X-Own:some value", "--header", "Server:mine", "--no-date-header"]


@pytest.mark.parametrize("target", ["/a/b", "/api/a", "/api", "/?a", "/caf%C3%A9?b=c", "http://parity/a"])
def test_scope_under_root_path(pairs, target):
    compare_scopes(pairs("raw", *ROOT_PATH), case("root-path", request("GET", target)))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-proxy-headers"],
        ["--forwarded-allow-ips", "10.0.0.0/8"],
        ["--forwarded-allow-ips", ""],
        ["--forwarded-allow-ips", "10.0.0.0/8,127.0.0.0/8, proxy.example"],
        ["--forwarded-allow-ips", "*"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "value", ["1.2.3.4, 10.0.0.1:80", "1.2.3.4, proxy.example", "proxy.example, 10.0.0.1"], ids=str
)
def test_scope_behind_other_proxies(pairs, arguments, value):
    fields = [f"X-Forwarded-For: {value}", "X-Forwarded-Proto: https"]
    compare_scopes(pairs("raw", *arguments), case("proxies", request("GET", "/scope", *fields)))


def test_requests_of_one_proxy_connection_do_not_mix(raw):
    """Each has its own client, or the proxy's: no field, no effect."""
    heads = [
        request("GET", "/scope", *lines) for lines in (["X-Forwarded-For: 1.2.3.4"], [], ["X-Forwarded-For: 5.6.7.8"])
    ]
    compare_scopes(raw, case("mix", b"".join(heads), *heads, reads=("GET",) * 6))


def test_state_is_a_shallow_copy(raw, compare):
    ours, _ = compare(raw, case("state", request("GET", "/state") * 2, reads=("GET", "GET")))
    assert [json.loads(response.body) for response in ours.responses] == [
        [["int", 7], ["list", []], False],
        [["int", 7], ["list", [["int", 0]]], False],
    ]


def test_ports_are_those_of_the_connection(raw):
    for server in raw.both:
        with server.connect() as client:
            client.send(request("GET", "/scope", "Connection: close"))
            scope = json.loads(client.read_response("GET").body)[1]
            assert scope["client"] == ["tuple", [["str", "127.0.0.1"], ["int", client.socket.getsockname()[1]]]]
            assert scope["server"] == ["tuple", [["str", "127.0.0.1"], ["int", server.address[1]]]]
        server.take_log()
