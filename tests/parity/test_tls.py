"""The same requests over TLS: what is on the wire, what the application is told, what the log says."""

import ssl

import httpx
import pytest

from tests.authority import Authority, needs_openssl
from tests.parity.conftest import COMPARES_WITH_ITSELF
from tests.parity.wire import PATIENCE, case, play, request

pytestmark = needs_openssl


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def options(authority):
    issued = authority.issue("server")
    return "--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(issued.key)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    "target",
    ["/", "/chunked", "/pieces", "/empty", "/large", "/large-chunked", "/fields", "/status/204", "/raise-before-start",
     "/return-nothing", "/close", "/close-chunked"],
)  # fmt: skip
def test_responses(pairs, compare, options, target, unix):
    pair = pairs("raw", *options, unix=unix)
    compare(pair, case(target, request("GET", target)))
    assert pair.fastserve.take_log() == pair.uvicorn.take_log()


def test_bodies(pairs, compare, options):
    pair = pairs("raw", *options)
    compare(pair, case("body", request("POST", "/echo", body=b"x" * 200_000)))
    for server in pair.both:
        server.take_log()


def test_the_running_line(pairs, options):
    pair = pairs("raw", *options)
    assert pair.fastserve.started == pair.uvicorn.started
    assert "https://" in pair.fastserve.started[-1]


def test_the_scheme(pairs, options):
    pair = pairs("raw", *options)
    ours, theirs = (play(server, case("scope", request("GET", "/scope"))) for server in pair.both)
    for transcript in (ours, theirs):
        assert '"scheme": ["str", "https"]' in "".join(transcript.lines())


def test_httpx(pairs, options, authority):
    pair = pairs("raw", *options)
    context = ssl.create_default_context(cafile=authority.certificate)
    answers = []
    for server in pair.both:
        with httpx.Client(verify=context, base_url=server.url, timeout=PATIENCE) as client:
            answers.append([(client.get(path).status_code, client.get(path).content) for path in ("/", "/large")])
        server.take_log()
    assert answers[0] == answers[1]
    assert COMPARES_WITH_ITSELF or answers[0][0][0] == 200
