"""TLS: what can be wrong with files, new files, what an application is told, and clients of every kind."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import time

import pytest

from fastserve._exchange import PythonHandler
from fastserve.protocol._worker import Worker
from fastserve.transport._loop import protocol_factory
from fastserve.transport.handshakes import TlsTransport
from fastserve.transport.tls import Certificates, TlsError, TlsFiles, distinguished_name
from fastserve.trust import TrustedPeers
from tests.authority import Authority, needs_openssl

pytestmark = needs_openssl

PATIENCE = 25
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.server = authority.issue("server")
    authority.other = authority.issue("other", "/CN=other", "DNS:other.test")
    authority.client = authority.issue("client", "/C=CH/O=Some, Inc./CN=alice")
    authority.encrypted = authority.encrypt(authority.server.key, "secret")
    return authority


def files(issued, **options):
    return TlsFiles(str(issued.certificate), str(issued.key), **options)


def trusting(authority, client=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if client is not None:
        context.load_cert_chain(*client)
    return context


# --- files


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"certfile": "/nowhere.pem"}, "ssl_certfile: cannot read '/nowhere.pem': No such file or directory"),
        ({"keyfile": "/nowhere.key"}, "ssl_keyfile: cannot read '/nowhere.key': No such file or directory"),
        ({"ca_certs": "/nowhere.pem"}, "ssl_ca_certs: cannot read '/nowhere.pem': No such file or directory"),
        ({"keyfile": "OTHER KEY"}, "ssl_keyfile: the private key in .* is not that of the certificate in"),
        ({"certfile": "KEY"}, "ssl_certfile: no certificate .PEM. in"),
        ({"keyfile": None}, "ssl_certfile: no private key .PEM. in"),
        ({"keyfile": "CERTIFICATE"}, "ssl_keyfile: no private key .PEM. in"),
        ({"ca_certs": "KEY"}, "ssl_ca_certs: no certificate .PEM. in"),
        ({"keyfile": "ENCRYPTED"}, "ssl_keyfile_password: the private key in .* is encrypted; its password is needed"),
        ({"keyfile": "ENCRYPTED", "password": "wrong"}, "ssl_keyfile_password: not the password of"),
        ({"ciphers": "NONSENSE"}, "ssl_ciphers: OpenSSL has no cipher for 'NONSENSE'"),
        ({"version": 999}, "ssl_version: 999 is not a protocol"),
    ],
)
def test_what_is_wrong_is_said(authority, wrong, message):
    names = {
        "KEY": authority.server.key,
        "OTHER KEY": authority.other.key,
        "CERTIFICATE": authority.server.certificate,
        "ENCRYPTED": authority.encrypted,
    }
    right = {"certfile": str(authority.server.certificate), "keyfile": str(authority.server.key)}
    given = {name: str(names.get(value, value)) if isinstance(value, str) else value for name, value in wrong.items()}
    with pytest.raises(TlsError, match=message):
        TlsFiles(**{**right, **given}).load()


def test_a_key_in_the_file_of_the_certificate(authority, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(authority.server.key.read_bytes() + authority.server.certificate.read_bytes())
    assert isinstance(TlsFiles(str(both)).load(), ssl.SSLContext)


def test_an_encrypted_key(authority):
    TlsFiles(str(authority.server.certificate), str(authority.encrypted), "secret").load()


def test_the_password_is_not_shown(authority):
    assert "secret" not in repr(TlsFiles("x", password="secret"))


@pytest.fixture
def replaceable(authority, tmp_path, caplog):
    """Certificates of files that a test may replace, and a function that puts another certificate or key there."""
    caplog.set_level(logging.INFO, logger="fastserve.error")
    certificate, key = tmp_path / "live.pem", tmp_path / "live.key"

    def replace(issued, *, only_certificate=False):
        for source, target in zip(issued, (certificate, key), strict=True):
            if only_certificate and target is key:
                continue
            fresh = tmp_path / "fresh"
            fresh.write_bytes(source.read_bytes())
            fresh.rename(target)

    replace(authority.server)
    live = TlsFiles(str(certificate), str(key))
    return Certificates(live.load, paths=live.paths), replace


def test_files_that_stay_the_same_are_left_alone(replaceable):
    certificates, _ = replaceable
    before = certificates.context
    assert not certificates.refresh()
    assert certificates.context is before


def test_new_files_are_used_once_they_rest(replaceable, authority):
    certificates, replace = replaceable
    before = certificates.context
    replace(authority.other, only_certificate=True)
    assert not certificates.refresh()
    replace(authority.other)
    assert not certificates.refresh()
    assert certificates.context is before
    assert certificates.refresh()
    assert certificates.context is not before
    assert not certificates.refresh()


def test_broken_files_are_told_once_and_change_nothing(replaceable, authority, caplog):
    certificates, replace = replaceable
    before = certificates.context
    replace(authority.other, only_certificate=True)
    for _ in range(4):
        assert not certificates.refresh()
    assert certificates.context is before
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "keeping what was loaded before. ssl_keyfile: the private key in" in record.getMessage()
    replace(authority.other)
    certificates.refresh()
    assert certificates.refresh()


def test_files_that_are_gone_for_a_moment(replaceable):
    certificates, _ = replaceable
    path = certificates._paths[0]
    with open(path, "rb") as file:
        content = file.read()
    before = certificates.context
    os.unlink(path)
    assert not certificates.refresh()
    with open(path, "wb") as file:
        file.write(content)
    certificates.refresh()
    certificates.refresh()
    assert certificates.context is not before


def test_a_function_that_fails_later_changes_nothing(authority, caplog):
    calls = []

    def make():
        calls.append(None)
        if len(calls) > 1:
            raise ZeroDivisionError("no context today")
        return files(authority.server).load()

    path = authority.folder / "touched"
    path.write_text("1")
    certificates = Certificates(make, paths=[str(path)])
    before = certificates.context
    path.write_text("22")
    certificates.refresh()
    assert not certificates.refresh()
    assert certificates.context is before
    assert "no context today" in caplog.text


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (((("countryName", "CH"),), (("organizationName", "Some, Inc."),), (("commonName", "alice"),)),
         "CN=alice,O=Some\\, Inc.,C=CH"),
        (((("commonName", "a"), ("userId", "b")),), "CN=a+UID=b"),
        (((("commonName", "#1 "),),), "CN=\\#1\\ "),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", '"+;<>\\'),),), 'CN=\\"\\+\\;\\<\\>\\\\'),
        (((("commonName", "a\0b"),),), "CN=a\\00b"),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
        ((), ""),
    ],
)  # fmt: skip
def test_names_as_rfc_4514_has_them(subject, text):
    assert distinguished_name(subject) == text


# --- connections


class Warnings:
    def __init__(self, worker):
        self.worker = worker
        self.lines = []

    def warn(self, message):
        self.lines.append(message)


class Served:
    def __init__(self, authority, certificates, function, handshake_timeout, proxies, header_timeout):
        self.loop = asyncio.get_running_loop()
        self.authority = authority
        self.calls = []
        self.function = function
        self.worker = Worker(PythonHandler(self._handle), self.loop, date_header=False)
        self.warned = Warnings(self.worker)
        self.transport = TlsTransport(
            self.warned, self.loop, protocol_factory(self.worker), certificates, handshake_timeout, proxies,
            header_timeout,
        )  # fmt: skip

    def _handle(self, exchange):
        self.calls.append(exchange)
        self.function(exchange)

    async def connect(self, context=None, **options):
        context = context or trusting(self.authority)
        options.setdefault("server_hostname", "localhost")
        return await asyncio.open_connection(*self.address, ssl=context, **options)

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)


def hello(exchange):
    exchange.start(200, [(b"content-length", b"5")])
    exchange.body(b"hello")


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request, authority):
    import uvloop

    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(
        scenario, function=hello, handshake_timeout=10.0, named=(), proxies=None, header_timeout=PATIENCE, **options
    ):
        live = files(authority.server, **options)

        async def main():
            certificates = Certificates(live.load, named, live.paths)
            served = Served(authority, certificates, function, handshake_timeout, proxies, header_timeout)
            with socket.create_server(("127.0.0.1", 0)) as sock:
                served.server = await served.transport.accept_on(sock, 100)
                served.address = sock.getsockname()
                try:
                    async with asyncio.timeout(3 * PATIENCE):
                        await scenario(served)
                finally:
                    served.server.close()
                    served.worker.abort()
                    await served.until(lambda: served.worker.connections == 0)
                    served.transport.close()
                    served.worker.close()
                    await asyncio.sleep(0)

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run


async def end(writer):
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_and_what_is_known_of_the_connection(serve, authority, version):
    async def scenario(served):
        context = trusting(authority)
        context.maximum_version = version
        reader, writer = await served.connect(context)
        for _ in range(3):
            writer.write(GET)
            assert await reader.readexactly(len(OK)) == OK
        endpoint = served.calls[0].request.endpoint
        assert served.calls[2].request.endpoint is endpoint
        assert (endpoint.scheme, endpoint.server) == ("https", served.address)
        connection = writer.get_extra_info("ssl_object")
        assert endpoint.tls == {
            "server_cert": ssl.DER_cert_to_PEM_cert(connection.getpeercert(True)),
            "client_cert_chain": (),
            "client_cert_name": None,
            "client_cert_error": None,
            "tls_version": int(version),
            "cipher_suite": next(
                cipher["id"] & 0xFFFF for cipher in context.get_ciphers() if cipher["name"] == connection.cipher()[0]
            ),
        }
        await end(writer)

    serve(scenario)


def test_client_certificates(serve, authority):
    async def scenario(served):
        reader, writer = await served.connect(trusting(authority, authority.client))
        writer.write(GET)
        await reader.readexactly(len(OK))
        tls = served.calls[0].request.endpoint.tls
        assert tls["client_cert_name"] == "CN=alice,O=Some\\, Inc.,C=CH"
        assert tls["client_cert_chain"][0] == authority.client.certificate.read_text()
        assert tls["client_cert_error"] is None
        await end(writer)
        assert served.warned.lines == []
        with contextlib.suppress(OSError):
            # A client of TLS 1.3 is done before the server has looked.
            reader, writer = await served.connect()
            with contextlib.suppress(OSError):
                assert await reader.read() == b""
            await end(writer)
        await served.until(lambda: served.warned.lines)
        (line,) = served.warned.lines
        assert line.startswith("TLS handshake failed: client certificate: none was sent. 127.0.0.1:")

    serve(scenario, cert_reqs=2, ca_certs=str(authority.certificate))


def test_names(serve, authority):
    wild = authority.issue("wild", "/CN=wild", "DNS:*.wild.test")

    async def scenario(served):
        for asked, answered in (
            ("localhost", "server"), ("other.test", "other"), ("OTHER.test", "other"), ("a.wild.test", "wild"),
            ("a.b.wild.test", "server"), ("wild.test", "server"), ("127.0.0.1", "server"),
        ):  # fmt: skip
            context = trusting(authority)
            context.check_hostname = False
            reader, writer = await served.connect(context, server_hostname=asked)
            peer = dict(part[0] for part in writer.get_extra_info("peercert")["subject"])
            assert peer["commonName"] == answered, asked
            writer.write(GET)
            await reader.readexactly(len(OK))
            sent = writer.get_extra_info("ssl_object").getpeercert(True)
            assert served.calls[-1].request.endpoint.tls["server_cert"] == ssl.DER_cert_to_PEM_cert(sent)
            await end(writer)

    serve(scenario, named=[("other.test", files(authority.other)), ("*.wild.test", files(wild))])


def test_a_large_response_reaches_a_slow_client_that_then_loses_the_connection(serve):
    size = 8 * 1024 * 1024

    def large(exchange):
        exchange.start(200, [(b"content-length", b"%d" % size)])
        exchange.body(b"x" * size)

    def read_slowly(address, context):
        # Without an event loop: its TLS drops what is left when the connection ends while reading is paused.
        received = 0
        with (
            socket.create_connection(address) as client,
            context.wrap_socket(client, server_hostname="localhost") as connection,
        ):
            connection.settimeout(PATIENCE)
            connection.sendall(LAST)
            received += len(connection.recv(4096).partition(b"\r\n\r\n")[2])
            # Longer than a closed connection waits for its peer.
            time.sleep(1.2)
            while piece := connection.recv(65536):
                received += len(piece)
        return received

    async def scenario(served):
        assert await asyncio.to_thread(read_slowly, served.address, trusting(served.authority)) == size

    serve(scenario, large)


def test_a_client_that_never_answers_the_end_is_left_after_a_while(serve, authority):
    async def scenario(served):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection(*served.address)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                connection.do_handshake()
                break
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
        connection.write(LAST)
        writer.write(outgoing.read())
        await served.until(lambda: served.calls and served.worker.connections == 0)
        await end(writer)

    serve(scenario)


def test_the_handshake_has_a_deadline(serve):
    async def scenario(served):
        reader, writer = await asyncio.open_connection(*served.address)
        assert await reader.read() == b""
        await end(writer)

    serve(scenario, handshake_timeout=0.1)


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"CONNECT x HTTP/1.1\r\n"])
def test_plain_http_is_said_once(serve, request_line):
    async def scenario(served):
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(request_line + b"Host: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        await served.until(lambda: served.warned.lines)
        await end(writer)
        (line,) = served.warned.lines
        assert line.startswith("Plain HTTP request received on a TLS port, use https. 127.0.0.1:")

    serve(scenario)


def test_a_handshake_under_way_may_end_before_the_server_does(serve, authority):
    async def scenario(served):
        client = socket.create_connection(served.address)
        client.setblocking(False)
        await served.until(lambda: served.transport._beginning)
        served.server.close()
        settled = asyncio.create_task(served.transport.settle(PATIENCE))
        reader, writer = await asyncio.open_connection(
            sock=client, ssl=trusting(authority), server_hostname="localhost"
        )
        await settled
        assert served.worker.connections == 1
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        await end(writer)

    serve(scenario)


PROXY = b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 443\r\n"
BINARY = bytes.fromhex("0d0a0d0a000d0a515549540a") + b"\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x01\xbb"
LOCAL = bytes.fromhex("0d0a0d0a000d0a515549540a") + b"\x20\x00\x00\x00"


async def send_apart(served, *pieces):
    """A socket that has sent the pieces, each after the server has had some turns of the loop for the one before."""
    client = socket.create_connection(served.address)
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        await served.loop.sock_sendall(client, piece)
        for _ in range(10):
            await asyncio.sleep(0)
    return client


@pytest.mark.parametrize(
    "pieces",
    [[PROXY], [PROXY[:1], PROXY[1:20], PROXY[20:]], [BINARY], [BINARY[:14], BINARY[14:]]],
    ids=["version 1", "version 1 in pieces", "version 2", "version 2 in pieces"],
)
def test_what_a_proxy_says_before_tls(serve, authority, pieces):
    async def scenario(served):
        client = await send_apart(served, *pieces)
        reader, writer = await asyncio.open_connection(
            sock=client, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        endpoint = served.calls[0].request.endpoint
        assert (endpoint.client, endpoint.server) == (("1.2.3.4", 1111), ("5.6.7.8", 443))
        assert (endpoint.scheme, endpoint.tls["tls_version"]) == ("https", ssl.TLSVersion.TLSv1_3)
        await end(writer)

    serve(scenario, proxies=TrustedPeers("127.0.0.1"))


@pytest.mark.parametrize(("before", "trusted"), [(LOCAL, "127.0.0.1"), (b"", "10.0.0.1")], ids=["local", "a stranger"])
def test_a_proxy_that_says_nothing_before_tls(serve, authority, before, trusted):
    async def scenario(served):
        client = await send_apart(served, before)
        reader, writer = await asyncio.open_connection(
            sock=client, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        assert served.calls[0].request.endpoint.client == client.getsockname()
        await end(writer)

    serve(scenario, proxies=TrustedPeers(trusted))


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x16\x03\x01\x02\x00", "a PROXY protocol header was expected"),
        (b"PROXY TCP4 1.2.3.4\r\n", "PROXY protocol header is malformed"),
        (PROXY[:10], "PROXY protocol header was not complete in time"),
    ],
    ids=["a handshake", "malformed", "half of one"],
)
def test_a_header_before_tls_that_is_rejected(serve, sent, reason):
    async def scenario(served):
        client = await send_apart(served, sent)
        with contextlib.suppress(ConnectionResetError):
            assert await served.loop.sock_recv(client, 1) == b""
        await served.until(lambda: served.warned.lines)
        host, port = client.getsockname()
        assert served.warned.lines == [f"Connection rejected before the TLS handshake: {reason}. {host}:{port}"]
        client.close()

    serve(scenario, proxies=TrustedPeers("127.0.0.1"), header_timeout=0.5 if "in time" in reason else PATIENCE)


@pytest.mark.parametrize("ends", [True, False], ids=["closes", "is silent"])
def test_who_connects_and_says_nothing_is_not_told_of(serve, ends):
    async def scenario(served):
        client = await send_apart(served)
        if ends:
            client.shutdown(socket.SHUT_WR)
        assert await served.loop.sock_recv(client, 1) == b""
        assert served.warned.lines == []
        client.close()

    serve(scenario, proxies=TrustedPeers("127.0.0.1"), header_timeout=PATIENCE if ends else 0.1)


def test_what_has_connected_is_accepted_at_the_end_or_left_in_the_queue(serve, authority):
    async def scenario(served):
        sock = served.server.sockets[0].dup()
        client = socket.create_connection(served.address)
        served.server.close(accept_queued=False)
        assert served.server.sockets == ()
        assert not served.transport._beginning
        with sock:
            served.server = await served.transport.accept_on(sock, 100)
            served.server.close()
        assert served.transport._beginning
        client.close()
        await served.transport.settle(PATIENCE)

    serve(scenario)
