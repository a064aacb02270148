"""The PROXY protocol: headers whole and cut at every byte, who may send one, and what becomes of the connection."""

import logging
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve._exchange import Endpoint
from fastserve.protocol._forwarded import Forwarding
from fastserve.protocol._proxy_protocol import read_proxy_header
from fastserve.transport._memory import MemoryStream
from fastserve.trust import TrustedPeers

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
V1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n"
LOCAL, PROXY = 0, 1
TCP4, UDP4, TCP6, UNIX = 0x11, 0x12, 0x21, 0x31


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def v2(command, family, addresses=b"", *extras):
    rest = addresses + b"".join(extras)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20 | command, family, len(rest)) + rest


def tcp4(client="1.2.3.4", server="5.6.7.8", ports=(1111, 80)):
    return socket.inet_aton(client) + socket.inet_aton(server) + struct.pack("!HH", *ports)


def tcp6(client="2001:db8::1", server="::1", ports=(1111, 80)):
    return b"".join(socket.inet_pton(socket.AF_INET6, each) for each in (client, server)) + struct.pack("!HH", *ports)


def unix(server=b"/run/lb.sock"):
    return bytes(108) + server.ljust(108, b"\0")


SSL_ON = tlv(0x20, b"\x01" + bytes(4) + tlv(0x21, b"TLSv1.3"))
SSL_OFF = tlv(0x20, b"\x00" + bytes(4))
# The checksum of a header whose own four bytes are zero, by the definition in RFC 3720: see test_checksum.
NEITHER = (None, None, False)

ACCEPTED = {
    "text": (V1, (("1.2.3.4", 1111), ("5.6.7.8", 80), False)),
    "text-6": (b"PROXY TCP6 2001:db8:0::1 ::1 1 65535\r\n", (("2001:db8::1", 1), ("::1", 65535), False)),
    "text-longest": (
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        (("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535), False),
    ),
    "text-unknown": (b"PROXY UNKNOWN\r\n", None),
    "text-unknown-with-more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "tcp4": (v2(PROXY, TCP4, tcp4()), (("1.2.3.4", 1111), ("5.6.7.8", 80), False)),
    "tcp6": (v2(PROXY, TCP6, tcp6()), (("2001:db8::1", 1111), ("::1", 80), False)),
    "unix": (v2(PROXY, UNIX, unix()), (None, ("/run/lb.sock", None), False)),
    "unix-abstract": (v2(PROXY, UNIX, unix(b"\0lb")), (None, ("\0lb", None), False)),
    "local": (v2(LOCAL, 0), None),
    "local-with-anything": (v2(LOCAL, 0xFF, b"whatever"), None),
    "unspecified": (v2(PROXY, 0, b"whatever"), None),
    "tls": (v2(PROXY, TCP4, tcp4(), SSL_ON), (("1.2.3.4", 1111), ("5.6.7.8", 80), True)),
    "no-tls": (v2(PROXY, TCP4, tcp4(), tlv(4, b"pad"), SSL_OFF), (("1.2.3.4", 1111), ("5.6.7.8", 80), False)),
    "largest": (v2(PROXY, TCP4, tcp4(), tlv(4, bytes(16384 - 31))), (("1.2.3.4", 1111), ("5.6.7.8", 80), False)),
}

REJECTED = {
    "http": GET,
    "tls-hello": b"\x16\x03\x01\x02\x00",
    "text-lower-case": b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "text-bare-lf": V1.replace(b"\r", b""),
    "text-two-spaces": V1.replace(b"TCP4 ", b"TCP4  "),
    "text-no-protocol": b"PROXY \r\n",
    "text-udp": V1.replace(b"TCP", b"UDP"),
    "text-too-few": b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    "text-too-many": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    "text-short-address": b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    "text-octal-address": b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
    "text-wrong-family": b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    "text-name": b"PROXY TCP4 localhost 5.6.7.8 1 2\r\n",
    "text-not-ascii": b"PROXY TCP4 1.2.3.\xff 5.6.7.8 1 2\r\n",
    "text-nul": b"PROXY TCP6 ::1\0 ::1 1 2\r\n",
    "text-port-zero-in-front": b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    "text-port-sign": b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
    "text-port-too-large": b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    "text-without-end": b"PROXY UNKNOWN " + b"x" * 93,
    "signature": b"\r\n\r\n\0\r\nQUIX\n" + bytes(4),
    "version-1": b"\r\n\r\n\0\r\nQUIT\n\x11\x11\x00\x00",
    "command": b"\r\n\r\n\0\r\nQUIT\n\x22\x11\x00\x00",
    "family": v2(PROXY, 0x41, tcp4()),
    "udp": v2(PROXY, UDP4, tcp4()),
    "short-tcp4": v2(PROXY, TCP4, tcp4()[:-1]),
    "short-tcp6": v2(PROXY, TCP6, tcp6()[:-1]),
    "short-unix": v2(PROXY, UNIX, unix()[:-1]),
    "tlv-without-length": v2(PROXY, TCP4, tcp4(), b"\x04\0"),
    "tlv-beyond-end": v2(PROXY, TCP4, tcp4(), b"\x04\0\x02x"),
    "tlv-short-ssl": v2(PROXY, TCP4, tcp4(), tlv(0x20, bytes(4))),
    "tlv-short-checksum": v2(PROXY, TCP4, tcp4(), tlv(3, bytes(3))),
    "tlv-wrong-checksum": v2(PROXY, TCP4, tcp4(), tlv(3, bytes(4))),
    "too-long": v2(PROXY, TCP4, tcp4(), tlv(4, bytes(16384 - 30)))[:16],
}


def said(header):
    return None if header.local else (header.client, header.server, header.tls)


@pytest.mark.parametrize(("data", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(data, expected):
    size, header = read_proxy_header(data + GET)
    assert (size, said(header)) == (len(data), expected)


@pytest.mark.parametrize("data", [data for data, _ in ACCEPTED.values()], ids=ACCEPTED)
def test_incomplete(data):
    for size in range(min(len(data), 600)):
        assert read_proxy_header(data[:size])[0] == 0


@pytest.mark.parametrize("data", REJECTED.values(), ids=REJECTED)
def test_rejected(data):
    assert read_proxy_header(data)[0] == -1


@given(st.sampled_from([V1, v2(PROXY, TCP4, tcp4(), SSL_ON), b""]), st.integers(0, 40), st.binary(max_size=60))
def test_what_is_rejected_stays_rejected_and_nothing_is_read_beyond_the_end(start, cut, rest):
    data = start[:cut] + rest
    results = [read_proxy_header(data[:size])[0] for size in range(len(data) + 1)]
    decided = [(size, result) for size, result in enumerate(results) if result]
    assert len({result for _, result in decided}) <= 1
    assert [size for size, _ in decided] == list(range(len(data) + 1))[len(data) + 1 - len(decided) :]
    assert all(result <= size for size, result in decided)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_checksum():
    assert crc32c(b"123456789") == 0xE3069283
    checksum = crc32c(v2(PROXY, TCP4, tcp4(), tlv(3, bytes(4)), SSL_ON))
    whole = v2(PROXY, TCP4, tcp4(), tlv(3, struct.pack("!I", checksum)), SSL_ON)
    size, header = read_proxy_header(whole)
    assert (size, header.tls) == (len(whole), True)
    assert read_proxy_header(whole.replace(b"\x01\x02\x03\x04", b"\x01\x02\x03\x05"))[0] == -1


# --- connections

PEER = ("10.0.0.1", 50000)
SERVER = ("10.0.0.9", 8000)


@pytest.fixture
def proxied(bench, answer):
    """Make a function that opens a connection, from PEER if nothing else is said."""

    def make(peers="10.0.0.1", **options):
        made = bench(answer(), proxy_protocol=TrustedPeers(peers), **options)

        def connect(client=PEER, server=SERVER, uid=-1, resumed=False):
            made.streams.append(MemoryStream(made.worker, Endpoint(client, server, peer_uid=uid), resumed=resumed))
            return made.streams[-1]

        connect.bench = made
        return connect

    return make


def ends(connect):
    return [(call.request.endpoint.client, call.request.endpoint.server) for call in connect.bench.calls]


SAID = (("1.2.3.4", 1111), ("5.6.7.8", 80))


@pytest.mark.parametrize("header", [V1, v2(PROXY, TCP4, tcp4())], ids=["text", "binary"])
def test_every_request_has_the_addresses_of_the_header(proxied, header):
    connect = proxied()
    stream = connect()
    stream.feed(header + GET)
    stream.feed(GET)
    assert stream.take() == OK * 2
    assert ends(connect) == [SAID, SAID]
    assert connect.bench.worker.connections == 1


@pytest.mark.parametrize("header", [V1, v2(PROXY, TCP4, tcp4())], ids=["text", "binary"])
def test_a_header_cut_anywhere(proxied, header):
    connect = proxied()
    for cut in range(1, len(header) + 1):
        stream = connect()
        stream.feed(header[:cut])
        stream.feed(header[cut:] + GET)
        assert stream.take() == OK
    stream = connect()
    for byte in header + GET:
        stream.feed(bytes([byte]))
    assert stream.take() == OK
    assert set(ends(connect)) == {SAID}


def test_tls_at_the_proxy_is_the_scheme(proxied):
    connect = proxied()
    connect().feed(v2(PROXY, TCP4, tcp4(), SSL_ON) + GET)
    assert connect.bench.calls[0].request.endpoint.scheme == "https"


@pytest.mark.parametrize("header", [v2(LOCAL, 0), b"PROXY UNKNOWN\r\n"], ids=["local", "unknown"])
def test_a_proxy_that_speaks_for_itself(proxied, header):
    connect = proxied()
    connect().feed(header + GET)
    assert ends(connect) == [(PEER, SERVER)]


@pytest.mark.parametrize("data", [GET, b"PROXY TCP4 nonsense\r\n", v2(PROXY, UDP4, tcp4())])
def test_a_trusted_peer_without_a_good_header(proxied, caplog, data):
    connect = proxied()
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        stream = connect()
        stream.feed(data)
    assert stream.take().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert stream.shut
    assert connect.bench.calls == []
    assert "Invalid HTTP request received. 10.0.0.1:50000 - 400: " in caplog.text
    assert "PROXY protocol header" in caplog.text


def test_an_untrusted_peer_is_what_it_is(proxied):
    connect = proxied("10.0.0.2")
    stream = connect()
    stream.feed(GET)
    assert stream.take() == OK
    assert ends(connect) == [(PEER, SERVER)]


@pytest.mark.parametrize("header", [V1, v2(PROXY, TCP4, tcp4())], ids=["text", "binary"])
def test_an_untrusted_peer_cannot_send_one(proxied, header):
    connect = proxied("10.0.0.2")
    stream = connect()
    stream.feed(header + GET)
    assert stream.take().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert connect.bench.calls == []


def test_no_second_header(proxied):
    connect = proxied()
    stream = connect()
    stream.feed(V1 + V1 + GET)
    assert stream.take().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_peers_on_unix_sockets(proxied):
    connect = proxied("unix:1234")
    connect(None, ("/run/web.sock", None), 1234).feed(V1 + GET)
    connect(None, ("/run/web.sock", None), 1235).feed(GET)
    assert ends(connect) == [SAID, (None, ("/run/web.sock", None))]


def test_forwarded_fields_are_believed_of_the_client_in_the_header(proxied):
    """The proxy's own address is out of the game: it passes on what its clients send."""
    field = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"
    for peers, client in (("10.0.0.1", SAID[0]), ("10.0.0.1,1.2.3.4", ("9.9.9.9", 0))):
        connect = proxied(peers, forwarding=Forwarding(TrustedPeers(peers)))
        connect().feed(V1 + field)
        assert ends(connect) == [(client, SAID[1])]


def test_the_log_of_rejections_has_the_client_of_the_header(proxied, caplog):
    connect = proxied()
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        connect().feed(V1 + b"nonsense\r\n\r\n")
    assert "Invalid HTTP request received. 1.2.3.4:1111 - 400" in caplog.text


def test_a_header_has_a_deadline(proxied, caplog):
    connect = proxied(timeout_header=10.0)
    silent, slow, good = connect(), connect(), connect()
    slow.feed(V1[:10])
    good.feed(V1)
    with caplog.at_level(logging.WARNING, "fastserve.error"):
        for _ in range(9):
            connect.bench.pass_time(0.9)
            assert [silent.closed, slow.shut] == [False, False]
        connect.bench.pass_time(2)
    assert silent.closed
    assert silent.take() == b""
    assert slow.shut
    assert slow.take().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert caplog.text.count("PROXY protocol header was not complete in time") == 1


def test_the_peer_ends_before_its_header(proxied):
    connect = proxied()
    for data in (b"", V1[:5]):
        stream = connect()
        if data:
            stream.feed(data)
        stream.end()
        assert stream.closed
        assert stream.take() == b""


def test_a_worker_that_stops_lets_go_of_who_has_not_spoken(proxied):
    connect = proxied()
    silent, slow, unread = connect(), connect(), connect()
    slow.feed(V1[:5])
    unread.unread = True
    connect.bench.worker.drain()
    connect.bench.pass_time(0.01)
    assert [silent.closed, slow.closed, unread.closed] == [True, False, False]
    unread.feed(V1 + GET)
    slow.feed(V1[5:] + GET)
    for stream in (unread, slow):
        assert stream.take() == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


def test_a_connection_changes_its_worker_before_its_header_only(proxied):
    connect = proxied()
    moved = []

    def taker(fresh):
        moved.append(fresh)
        return True

    silent, slow, idle = connect(), connect(), connect()
    slow.feed(V1[:5])
    idle.feed(V1 + GET)
    for stream in (silent, slow, idle):
        stream.taker = taker
    connect.bench.worker.drain(hand_on=True)
    assert moved == [True]
    assert [stream.handed_on for stream in (silent, slow, idle)] == [True, False, False]
    slow.feed(V1[5:] + GET)
    idle.feed(GET)
    assert b"connection: close" in slow.take()
    assert idle.take().count(b"connection: close") == 1


def test_a_connection_from_another_worker_has_no_header(proxied):
    connect = proxied()
    stream = connect(resumed=True)
    stream.feed(GET)
    assert stream.take() == OK
