"""What proxies say of a request: who is believed, what is taken from it, and that it stays with its request."""

import logging

import pytest

from fastserve._exchange import Endpoint
from fastserve.protocol._forwarded import Forwarding, MalformedError, parse_forwarded
from fastserve.transport._memory import MemoryStream
from fastserve.trust import TrustedPeers

ALL = {"host": True, "port": True, "prefix": True}


def head(*lines, target="/", host="own.example"):
    return "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", f"Host: {host}", *lines, "")).encode("latin1")


@pytest.fixture
def proxied(bench, answer):
    """Make a function that sends heads on one connection and returns the exchanges the handler got."""

    def make(peers="127.0.0.1", client=("127.0.0.1", 50000), server=("127.0.0.1", 8000), uid=-1, **options):
        made = bench(answer(), forwarding=Forwarding(TrustedPeers(peers), **options))
        endpoint = Endpoint(client, server, peer_uid=uid)

        def send(*heads):
            # Connections that are open already see the next requests too.
            if not made.streams:
                made.streams.append(MemoryStream(made.worker, endpoint))
            made.calls.clear()
            for each in heads:
                made.streams[0].feed(each)
            return [call.request for call in made.calls]

        send.bench = made
        return send

    return make


def facts(exchange):
    endpoint = exchange.endpoint
    return endpoint.client, endpoint.server, endpoint.scheme, dict(exchange.fields)[b"host"]


DIRECT = (("127.0.0.1", 50000), ("127.0.0.1", 8000), "http", b"own.example")


@pytest.mark.parametrize(
    ("lines", "client", "scheme"),
    [
        (["X-Forwarded-For: 1.2.3.4"], ("1.2.3.4", 0), "http"),
        (["X-Forwarded-For: 1.2.3.4:567", "X-Forwarded-Proto: https"], ("1.2.3.4", 567), "https"),
        (["X-Forwarded-For: 9.9.9.9, 1.2.3.4, 127.0.0.1"], ("1.2.3.4", 0), "http"),
        (["X-Forwarded-For: 9.9.9.9", "x-forwarded-for: 1.2.3.4"], ("1.2.3.4", 0), "http"),
        (["X-Forwarded-For: [2001:db8::1]:80"], ("2001:db8::1", 80), "http"),
        (["X-Forwarded-For:"], DIRECT[0], "http"),
        (["X-Forwarded-Proto: http", "X-Forwarded-Proto: wss"], DIRECT[0], "wss"),
        (["X-Forwarded-Proto: https, http"], DIRECT[0], "http"),
        (["X-Forwarded-Proto: HTTPS"], DIRECT[0], "http"),
    ],
)
def test_address_and_scheme_of_a_trusted_peer(proxied, lines, client, scheme):
    [exchange] = proxied()(head(*lines))
    assert facts(exchange) == (client, DIRECT[1], scheme, b"own.example")


OTHERS = [
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: public.example",
    "X-Forwarded-Port: 8443",
    "X-Forwarded-Prefix: /api",
    "Forwarded: for=5.6.7.8;proto=https;host=standard.example",
]


def test_nothing_of_an_untrusted_peer(proxied):
    [exchange] = proxied("10.0.0.0/8", standard=True, **ALL)(head(*OTHERS))
    assert facts(exchange) == DIRECT
    assert exchange.endpoint.prefix is None


def test_nothing_that_is_not_asked_for(proxied):
    [exchange] = proxied()(head(*OTHERS[2:]))
    assert facts(exchange) == DIRECT
    [exchange] = proxied(addresses=False)(head(*OTHERS))
    assert facts(exchange) == DIRECT


def test_nothing_leaks_into_the_next_request_of_a_connection(proxied):
    send = proxied(**ALL)
    exchanges = send(head(*OTHERS), head(), head(*OTHERS[:1]), head(*OTHERS) + head() + head(*OTHERS[:1]))
    full = (("1.2.3.4", 0), ("public.example", 8443), "https", b"public.example:8443")
    partial = (("1.2.3.4", 0), *DIRECT[1:])
    assert [facts(each) for each in exchanges] == [full, DIRECT, partial, full, DIRECT, partial]
    assert [each.endpoint.prefix for each in exchanges] == [b"/api", None, None, b"/api", None, None]


def test_the_same_client_again_costs_no_new_endpoint(proxied):
    first, second, other = proxied()(head(OTHERS[0]), head(OTHERS[0]), head("X-Forwarded-For: 4.3.2.1"))
    assert first.endpoint is second.endpoint is not other.endpoint


@pytest.mark.parametrize(
    ("own", "lines", "server", "host"),
    [
        ("a", ["X-Forwarded-Host: b"], ("b", 80), b"b"),
        ("a:1", ["X-Forwarded-Host: b"], ("b", 80), b"b"),
        ("a", ["X-Forwarded-Host: b:81"], ("b", 81), b"b:81"),
        ("a", ["X-Forwarded-Host: b", "X-Forwarded-Proto: https"], ("b", 443), b"b"),
        ("a", ["X-Forwarded-Host: b", "X-Forwarded-Port: 82"], ("b", 82), b"b:82"),
        ("a", ["X-Forwarded-Host: b:81", "X-Forwarded-Port: 82"], ("b", 82), b"b:82"),
        ("a", ["X-Forwarded-Host: x, b"], ("b", 80), b"b"),
        ("a", ["X-Forwarded-Host: x", "X-Forwarded-Host: b"], ("b", 80), b"b"),
        ("a", ["X-Forwarded-Host: [::1]:82"], ("::1", 82), b"[::1]:82"),
        ("a", ["X-Forwarded-Port: 82"], ("a", 82), b"a:82"),
        ("a:8000", ["X-Forwarded-Port: 80"], ("a", 80), b"a"),
        ("a:8000", ["X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], ("a", 443), b"a"),
        ("", ["X-Forwarded-Port: 82"], ("127.0.0.1", 82), b""),
    ],
)
def test_host_and_port(proxied, own, lines, server, host):
    [exchange] = proxied(**ALL)(head(*lines, host=own))
    assert facts(exchange) == (DIRECT[0], server, exchange.endpoint.scheme, host)


def test_a_port_follows_the_host_of_its_own_request(proxied):
    exchanges = proxied(port=True)(head("X-Forwarded-Port: 82", host="a"), head("X-Forwarded-Port: 82", host="b"))
    assert [dict(each.fields)[b"host"] for each in exchanges] == [b"a:82", b"b:82"]


def test_a_host_where_there_was_none(proxied):
    [exchange] = proxied(host=True)(b"GET / HTTP/1.0\r\nX-Forwarded-Host: b\r\n\r\n")
    assert exchange.fields == [(b"x-forwarded-host", b"b"), (b"host", b"b")]


@pytest.mark.parametrize(
    ("value", "prefix"), [("/api", b"/api"), ("/api/", b"/api"), ("/a/b%20c", b"/a/b%20c"), ("/", b""), ("", b"")]
)
def test_prefix(proxied, value, prefix):
    [exchange] = proxied(**ALL)(head(f"X-Forwarded-Prefix: {value}"))
    assert exchange.endpoint.prefix == prefix


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("X-Forwarded-Host: a/b", "X-Forwarded-Host is malformed"),
        ("X-Forwarded-Host: a@b", "X-Forwarded-Host is malformed"),
        ("X-Forwarded-Host: a b", "X-Forwarded-Host is malformed"),
        ("X-Forwarded-Host: a:b", "X-Forwarded-Host is malformed"),
        ("X-Forwarded-Host:", "X-Forwarded-Host is malformed"),
        ("X-Forwarded-Port: 0", "X-Forwarded-Port is malformed"),
        ("X-Forwarded-Port: 65536", "X-Forwarded-Port is malformed"),
        ("X-Forwarded-Port: +1", "X-Forwarded-Port is malformed"),
        ("X-Forwarded-Port: \xb2", "X-Forwarded-Port is malformed"),
        ("X-Forwarded-Prefix: //evil.example", "X-Forwarded-Prefix is malformed"),
        ("X-Forwarded-Prefix: api", "X-Forwarded-Prefix is malformed"),
        ("X-Forwarded-Prefix: /a?b", "X-Forwarded-Prefix is malformed"),
        ("X-Forwarded-Prefix: /a\\b", "X-Forwarded-Prefix is malformed"),
        ("Forwarded: for", "Forwarded is malformed"),
        ('Forwarded: for="1.2.3.4', "Forwarded is malformed"),
        ("Forwarded: for=1.2.3.4;for=5.6.7.8", "Forwarded is malformed"),
        ("Forwarded: for=1.2.3.4;proto=gopher", "Forwarded has an unknown proto"),
        ('Forwarded: for=1.2.3.4;host="a/b"', "Forwarded has a malformed host"),
    ],
)
def test_what_cannot_be_right_is_refused(proxied, caplog, line, reason):
    send = proxied(standard=True, **ALL)
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        assert send(head(line, "X-Forwarded-For: 1.2.3.4")) == []
    answer = send.bench.streams[0].take()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(f"\r\n\r\n{reason}\n".encode())
    assert send.bench.streams[0].shut
    assert f"127.0.0.1:50000 - 400: {reason}" in caplog.text


@pytest.mark.parametrize(
    ("lines", "client", "scheme", "host"),
    [
        (["Forwarded: for=1.2.3.4"], ("1.2.3.4", 0), "http", b"own.example"),
        (['Forwarded: For="1.2.3.4:567";Proto=HTTPS'], ("1.2.3.4", 567), "https", b"own.example"),
        (['Forwarded: for="[2001:db8::1]:80"'], ("2001:db8::1", 80), "http", b"own.example"),
        (['Forwarded: for="_a\\_b";by=c;host=public.example'], ("_a_b", 0), "http", b"public.example"),
        # The element of the last proxy whose client is not one of ours.
        (["Forwarded: for=6.6.6.6;proto=https, for=1.2.3.4"], ("1.2.3.4", 0), "http", b"own.example"),
        (["Forwarded: for=1.2.3.4;proto=https, for=127.0.0.1"], ("1.2.3.4", 0), "https", b"own.example"),
        (["Forwarded: for=1.2.3.4", "Forwarded: for=127.0.0.1"], ("1.2.3.4", 0), "http", b"own.example"),
        (["Forwarded: for=127.0.0.1;proto=https"], ("127.0.0.1", 0), "https", b"own.example"),
        (["Forwarded: proto=https"], ("127.0.0.1", 50000), "https", b"own.example"),
        (["Forwarded:"], ("127.0.0.1", 50000), "http", b"own.example"),
    ],
)
def test_forwarded(proxied, lines, client, scheme, host):
    [exchange] = proxied(standard=True)(head(*lines))
    assert facts(exchange)[0::2] == (client, scheme)
    assert facts(exchange)[3] == host


def test_forwarded_elements():
    assert parse_forwarded('for=a;by=b , ,FOR="c,d;\\"e";; proto=https,') == [
        {"for": "a", "by": "b"},
        {"for": 'c,d;"e', "proto": "https"},
    ]
    for value in ("=a", "for=", "for =a", "for= a", "for=a b=c", 'for="a"b', "for=\x01"):
        with pytest.raises(MalformedError):
            parse_forwarded(value)


@pytest.mark.parametrize(("peers", "client"), [("unix", "1.2.3.4"), ("unix:1234", "1.2.3.4"), ("*", "1.2.3.4")])
def test_a_trusted_peer_on_a_unix_socket(proxied, peers, client):
    [exchange] = proxied(peers, None, ("/run/web.sock", None), 1234)(head("X-Forwarded-For: 1.2.3.4"))
    assert facts(exchange)[:2] == ((client, 0), ("/run/web.sock", None))


@pytest.mark.parametrize("peers", ["127.0.0.1,::1", "unix:1235", "/run/web.sock"])
def test_an_untrusted_peer_on_a_unix_socket(proxied, peers):
    [exchange] = proxied(peers, None, ("/run/web.sock", None), 1234)(head("X-Forwarded-For: 1.2.3.4"))
    assert exchange.endpoint.client is None


def test_the_log_shows_the_client_behind_the_proxy(proxied, caplog):
    send = proxied()
    send.bench.function = None
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        send(head("X-Forwarded-For: 1.2.3.4:5", "Transfer-Encoding: chunked") + b"no\r\n")
    assert "Invalid HTTP request received. 1.2.3.4:5 - 400" in caplog.text


def test_a_client_keeps_to_its_line_of_the_log(proxied, caplog):
    send = proxied("*")
    send.bench.function = None
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        send(head("X-Forwarded-For: a\x85b", "Transfer-Encoding: chunked") + b"no\r\n")
    assert "Invalid HTTP request received. a\\x85b:0 - 400" in caplog.text
