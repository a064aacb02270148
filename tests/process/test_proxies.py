"""Servers behind a proxy, as their users start them: what the application and the logs see of the client."""

import os
import socket
import ssl

import pytest

from tests.authority import Authority, needs_openssl
from tests.process.conftest import PATIENCE

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    facts = (scope["client"], scope["server"], scope["scheme"], scope["path"], dict(scope["headers"])[b"host"])
    body = repr(facts).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture(autouse=True)
def application(folder):
    (folder / "facts.py").write_text(APPLICATION)


def ask(address, *lines, before=b"", target="/a"):
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        head = (f"GET {target} HTTP/1.1", "Host: own", "Connection: close", *lines, "", "")
        client.sendall(before + "\r\n".join(head).encode())
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    status, _, body = answer.partition(b"\r\n\r\n")
    if not status.startswith(b"HTTP/1.1 200 "):
        return status.split()[1].decode()
    return eval(body)


@pytest.mark.parametrize("transport", ["native", "loop"])
def test_fields_of_a_proxy(start, transport):
    process = start("facts:app", "--port", "0", "--transport", transport)
    address = ("127.0.0.1", process.port)
    lines = ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: public"]
    client, _, scheme, _, host = ask(address, *lines)
    assert (client, scheme, host) == (("1.2.3.4", 0), "https", b"own")
    assert ask(address)[0][0] == "127.0.0.1"
    process.stop()
    assert process.stdout[0] == 'INFO:     1.2.3.4:0 - "GET /a HTTP/1.1" 200 OK'
    assert process.stdout[1].startswith("INFO:     127.0.0.1:")


def test_everything_of_a_proxy(start):
    process = start(
        "facts:app", "--port", "0", "--forwarded", "--forwarded-extra", "--forwarded-allow-ips", "127.0.0.1"
    )
    address = ("127.0.0.1", process.port)
    lines = ["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: ws", "X-Forwarded-Port: 8443", "X-Forwarded-Prefix: /p"]
    standard = 'Forwarded: for="[2001:db8::1]:5";proto=https;host=public'
    expected = (("2001:db8::1", 5), ("public", 8443), "https", "/p/a", b"public:8443")
    assert ask(address, standard, *lines) == expected
    # A proxy that speaks Forwarded lets its clients say what they like in X-Forwarded-For.
    assert ask(address, *lines)[0][0] == "127.0.0.1"
    assert ask(address, "Forwarded: nonsense") == "400"
    process.stop()
    assert process.stdout[0] == 'INFO:     2001:db8::1:5 - "GET /p/a HTTP/1.1" 200 OK'


@pytest.mark.parametrize("arguments", [["--no-proxy-headers"], ["--forwarded-allow-ips", "10.0.0.1"]], ids=str)
def test_a_proxy_that_is_not_believed(start, arguments):
    process = start("facts:app", "--port", "0", *arguments)
    client, _, scheme, _, _ = ask(("127.0.0.1", process.port), "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert (client[0], scheme) == ("127.0.0.1", "http")


def test_the_list_of_proxies_from_the_environment(start):
    process = start("facts:app", "--port", "0", env={"FORWARDED_ALLOW_IPS": "127.0.0.1, 1.2.3.4"})
    answer = ask(("127.0.0.1", process.port), "X-Forwarded-For: 9.9.9.9, 5.6.7.8, 1.2.3.4")
    assert answer[0] == ("5.6.7.8", 0)


def test_a_proxy_on_a_unix_socket(start, tmp_path):
    path = str(tmp_path / "web.sock")
    process = start("facts:app", "--uds", path, "--forwarded-allow-ips", f"unix:{os.getuid()}")
    process.wait_for("Fastserve running on")
    assert ask(path, "X-Forwarded-For: 1.2.3.4")[:2] == (("1.2.3.4", 0), (path, None))


@pytest.mark.parametrize("transport", ["native", "loop"])
def test_proxy_protocol(start, transport):
    process = start("facts:app", "--port", "0", "--proxy-protocol", "--transport", transport)
    address = ("127.0.0.1", process.port)
    header = b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 443\r\n"
    assert ask(address, before=header) == (("1.2.3.4", 1111), ("5.6.7.8", 443), "http", "/a", b"own")
    assert ask(address, "X-Forwarded-For: 9.9.9.9", before=header)[0] == ("1.2.3.4", 1111)
    assert ask(address) == "400"
    process.stop()
    assert process.stdout[0] == 'INFO:     1.2.3.4:1111 - "GET /a HTTP/1.1" 200 OK'
    assert any("a PROXY protocol header was expected" in line for line in process.stderr)


def test_proxy_protocol_of_many_workers(start):
    process = start("facts:app", "--port", "0", "--proxy-protocol", "--workers", "2")
    address = ("127.0.0.1", process.port)
    for number in range(20):
        header = f"PROXY TCP4 1.2.3.{number} 5.6.7.8 1111 443\r\n".encode()
        assert ask(address, before=header)[0] == (f"1.2.3.{number}", 1111)


@needs_openssl
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_proxy_protocol_before_tls(start, tmp_path, unix):
    authority = Authority(tmp_path)
    server = authority.issue("server")
    path = str(tmp_path / "web.sock")
    where = ["--uds", path, "--forwarded-allow-ips", "unix"] if unix else ["--port", "0"]
    process = start(
        "facts:app", *where, "--proxy-protocol", "--ssl-certfile", str(server.certificate), "--ssl-keyfile",
        str(server.key),
    )  # fmt: skip
    process.wait_for("Fastserve running on")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        client.connect(path if unix else ("127.0.0.1", process.port))
        client.sendall(b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 443\r\n")
        with context.wrap_socket(client, server_hostname="localhost") as connection:
            connection.sendall(b"GET /a HTTP/1.1\r\nHost: own\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
    assert eval(answer.partition(b"\r\n\r\n")[2]) == (("1.2.3.4", 1111), ("5.6.7.8", 443), "https", "/a", b"own")
    process.stop()
    assert process.stdout[0] == 'INFO:     1.2.3.4:1111 - "GET /a HTTP/1.1" 200 OK'


def test_a_user_that_does_not_exist(start):
    process = start("facts:app", "--port", "0", "--forwarded-allow-ips", "unix:no-such-user")
    assert process.wait() == 2
    assert "'unix:no-such-user': there is no such user" in "\n".join(process.stderr)
