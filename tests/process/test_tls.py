"""https as its users start it: options, certificates that change, workers, and what it says when it cannot start."""

import contextlib
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import threading

import httpx
import pytest

from tests.authority import Authority, needs_openssl
from tests.process.conftest import PATIENCE, wait_until

pytestmark = needs_openssl

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.server = authority.issue("server")
    authority.other = authority.issue("other", "/CN=other")
    authority.client = authority.issue("client", "/CN=alice")
    authority.encrypted = authority.encrypt(authority.server.key, "secret")
    return authority


@pytest.fixture
def options(authority):
    return [
        "--port",
        "0",
        "--ssl-certfile",
        str(authority.server.certificate),
        "--ssl-keyfile",
        str(authority.server.key),
    ]


def trusting(authority, client=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if client is not None:
        context.load_cert_chain(*client)
    return context


def connect(process, authority):
    return trusting(authority).wrap_socket(process.connect(), server_hostname="localhost")


def served(process, authority):
    """The common name of the certificate that a new connection gets."""
    with connect(process, authority) as client:
        return dict(part[0] for part in client.getpeercert()["subject"])["commonName"]


def test_httpx_and_the_log(start, options, authority):
    process = start("webapp:app", *options)
    with httpx.Client(
        verify=trusting(authority), base_url=f"https://localhost:{process.port}", timeout=PATIENCE
    ) as client:
        for _ in range(2):
            assert client.get("/x").text == "/x"
    process.wait_for(r'"GET /x HTTP/1.1" 200 OK', 2)
    assert process.wait_for(r"running on https://127\.0\.0\.1:\d+ ")
    assert process.stop() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: not tested against it")
def test_curl(start, options, authority):
    process = start("webapp:app", *options)
    url = f"https://localhost:{process.port}/x"
    # What tests under a sanitizer preload is not for it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(authority.certificate), "-w", "%{http_code} %{http_version} %{num_connects}\n",
         url, url], check=True, capture_output=True, text=True, env=environment, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == "/x200 1.1 1\n/x200 1.1 0\n"


def test_environment(start, authority):
    variables = {
        "FASTSERVE_SSL_CERTFILE": str(authority.server.certificate),
        "FASTSERVE_SSL_KEYFILE": str(authority.encrypted),
        "FASTSERVE_SSL_KEYFILE_PASSWORD": "secret",
    }
    process = start("webapp:app", "--port", "0", env=variables)
    assert served(process, authority) == "server"


@pytest.mark.parametrize("mode", [[], ["--workers", "2"]], ids=["single", "workers"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--ssl-certfile", "nowhere.pem"], "ssl_certfile: cannot read 'nowhere.pem': No such file or directory"),
        (["--ssl-keyfile", "OTHER"], "ssl_keyfile: the private key in '.*' is not that of the certificate in '.*'"),
        (["--ssl-keyfile", "ENCRYPTED"], "the private key in '.*' is encrypted; its password is needed"),
        (["--ssl-keyfile", "ENCRYPTED", "--ssl-keyfile-password", "x"], "not the password of the private key in '.*'"),
    ],
)
def test_what_cannot_be_loaded(start, options, authority, mode, wrong, message):
    names = {"OTHER": str(authority.other.key), "ENCRYPTED": str(authority.encrypted)}
    process = start("webapp:app", *options, *[names.get(word, word) for word in wrong], *mode)
    assert process.wait() == 1
    assert process.stderr == [process.wait_for("ERROR: +Error loading TLS files. .*" + message)[0]]


def test_uvicorn_ends_with_the_same_code(start, options):
    assert start("webapp:app", *options, "--ssl-certfile", "nowhere.pem", server="uvicorn").wait() == 1


@pytest.mark.parametrize("wrong", [["--transport", "native"], ["--ssl-certfile", "none"]])
def test_options_that_contradict_each_other(start, options, wrong):
    process = start("webapp:app", *options, *wrong)
    assert process.wait() == 2


def test_plain_http(start, options):
    process = start("webapp:app", *options)
    with contextlib.suppress(ConnectionError):
        assert process.get("/")[0] == ""
    process.wait_for(r"WARNING: +Plain HTTP request received on a TLS port, use https\. 127\.0\.0\.1:\d+")


def test_mutual_tls(start, options, authority):
    process = start("webapp:app", *options, "--ssl-cert-reqs", "2", "--ssl-ca-certs", str(authority.certificate))
    url = f"https://localhost:{process.port}/x"
    assert httpx.get(url, verify=trusting(authority, authority.client), timeout=PATIENCE).text == "/x"
    with pytest.raises(httpx.HTTPError):
        httpx.get(url, verify=trusting(authority), timeout=PATIENCE)
    process.wait_for("TLS handshake failed: client certificate: none was sent")


def test_names(start, options, authority):
    process = start("webapp:app", *options, "--ssl-sni", "other.test={}:{}".format(*authority.other))
    with trusting(authority).wrap_socket(process.connect(), server_hostname="localhost") as client:
        assert client.getpeercert()["subject"] == ((("commonName", "server"),),)
    context = trusting(authority)
    context.check_hostname = False
    with context.wrap_socket(process.connect(), server_hostname="other.test") as client:
        assert client.getpeercert()["subject"] == ((("commonName", "other"),),)


def test_new_files_are_for_new_connections(start, options, authority, folder):
    certificate, key = folder / "live.pem", folder / "live.key"
    for source, target in zip(authority.server, (certificate, key), strict=True):
        shutil.copy(source, target)
    process = start(
        "webapp:app",
        "--port",
        "0",
        "--ssl-certfile",
        "live.pem",
        "--ssl-keyfile",
        "live.key",
        "--timeout-keep-alive",
        "60",
    )
    with connect(process, authority) as client:
        client.sendall(GET)
        assert process.read(client)[1] == b"/x"
        shutil.copy(authority.other.certificate, certificate)
        process.wait_for(r"ERROR: +The TLS files have changed and cannot be used, keeping what was loaded before\.")
        assert served(process, authority) == "server"
        shutil.copy(authority.other.key, key)
        process.wait_for(r"INFO: +The TLS files have changed: new connections use what is in them now\.")
        assert served(process, authority) == "other"
        client.sendall(GET)
        assert process.read(client)[1] == b"/x"


def test_unix_socket(start, options, authority, folder):
    process = start("webapp:app", *options, "--uds", "tls.sock")
    process.wait_for("running on unix socket tls.sock ")
    with trusting(authority).wrap_socket(process.connect("tls.sock"), server_hostname="localhost") as client:
        client.sendall(GET)
        assert process.read(client)[1] == b"/x"
    assert process.stop() == 0
    assert not os.path.exists(folder / "tls.sock")


def test_a_stop_does_not_wait_for_clients_that_do_not_answer(start, options, authority):
    process = start("webapp:app", *options)
    with connect(process, authority) as client:
        client.sendall(GET)
        assert process.read(client)[1] == b"/x"
        # Bound by the patience of the test, which is less than the time that TLS transports wait by themselves.
        assert process.stop(signal.SIGTERM) == -signal.SIGTERM
        assert client.recv(100) == b""


PROGRAM = """
import ssl
import fastserve

def make(config, default):
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    print(type(config).__name__ + "\\n", end="", flush=True)
    return context

def wrong(config, default):
    return None

if __name__ == "__main__":
    fastserve.run("webapp:app", port=0, ssl_certfile={!r}, ssl_keyfile={!r}, ssl_context_factory={}, workers={})
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_context_factory(start, authority, folder, workers):
    program = PROGRAM.format(*map(str, authority.server), "make", workers)
    (folder / "program.py").write_text(program)
    process = start(server="program")
    process.wait_for("Application startup complete", workers)
    process.wait_for("^Config$", workers)
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match="SSL"), process.connect() as client:
        context.wrap_socket(client, server_hostname="localhost")
    assert served(process, authority) == "server"


def test_context_factory_that_makes_something_else(start, authority, folder):
    (folder / "program.py").write_text(PROGRAM.format(*map(str, authority.server), "wrong", 1))
    process = start(server="program")
    assert process.wait() == 1
    assert process.stderr[-1] == "TypeError: `ssl_context_factory` must return an `ssl.SSLContext`, got NoneType"


def test_nothing_is_lost_in_a_rolling_restart(start, options, authority):
    # No client is so slow that it has nothing to ask for so long.
    process = start("webapp:app", *options, "--workers", "2", "--timeout-graceful-idle", "20")
    process.wait_for("Application startup complete", 2)
    faults, answers, stopping = [], [], threading.Event()
    context = trusting(authority)

    def load():
        client = None
        while not stopping.is_set():
            try:
                if client is None:
                    client = http.client.HTTPSConnection("localhost", process.port, context=context, timeout=PATIENCE)
                client.request("GET", "/x")
                answer = client.getresponse()
                assert (answer.status, answer.read()) == (200, b"/x")
                answers.append(answer.headers.get("connection"))
                if answer.will_close:
                    client.close()
                    client = None
            except Exception as error:
                faults.append(repr(error))
                return
        if client is not None:
            client.close()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) > 20 or faults, "no answers")
    process.send_signal(signal.SIGHUP)
    process.wait_for("Application startup complete", 4)
    process.wait_for("Finished server process", 2)
    stopping.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert faults == []
    assert "close" in answers
    assert process.stop() == 0
