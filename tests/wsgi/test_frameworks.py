"""Frameworks at their everyday work, as people start them and with a client that people use.

Each is started once by the name of its object and once by the name of a function that makes it.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import pytest

from tests.process.conftest import PATIENCE
from tests.wsgi.apps import content
from tests.wsgi.conftest import MODES, SUBJECT, THREADS

FRAMEWORKS = ("flask", "bottle", "falcon", "pyramid", "django")
UPLOAD = bytes(range(256)) * 2000


@pytest.fixture(scope="session", params=FRAMEWORKS)
def framework(request):
    return request.param


@pytest.fixture(scope="session")
def site(servers, framework, mode):
    """A client of the framework's application."""
    if framework == "django":
        app = "django_project.wsgi:application"
    elif mode == "loop" or SUBJECT == "gunicorn":
        app = f"{framework}_app:app"
    else:
        app = f"{framework}_app:create_app"
    process = servers(app, *MODES[mode])
    with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=PATIENCE) as client:
        client.process = process
        yield client


def test_hello(site, framework):
    for _ in range(3):
        response = site.get("/hello")
        assert (response.status_code, response.text) == (200, "Hello, World!")
    if framework != "falcon":  # which answers HEAD only where it is told to
        assert site.head("/hello").headers["content-length"] == "13"


def test_forms(site):
    assert site.post("/form", data={"name": "a n\u00e4me & more"}).text == "a n\u00e4me & more"


def test_uploads(site):
    response = site.post("/upload", data={"name": "n"}, files={"file": ("f.bin", UPLOAD)})
    assert response.text == f"n f.bin {len(UPLOAD)} {sha256(UPLOAD).hexdigest()}"


def test_chunked_json(site):
    value = {"list": [1, 2.5, None], "text": "\u00e9"}

    def produce():
        for byte in json.dumps(value).encode():
            yield bytes([byte])

    response = site.post("/json", content=produce(), headers={"Content-Type": "application/json"})
    assert response.json() == value


def test_streaming(site):
    with site.stream("GET", "/stream") as response:
        assert "content-length" not in response.headers
        assert "".join(response.iter_text()) == "".join(content.PIECES)


def test_sessions(site):
    site.cookies.clear()
    assert [site.get("/count").text for _ in range(3)] == ["1", "2", "3"]
    site.cookies.clear()
    assert site.get("/count").text == "1"


def test_files(site):
    response = site.get("/file")
    assert response.content == content.FILE.read_bytes()
    assert response.headers["content-length"] == str(content.FILE.stat().st_size)
    assert site.head("/file").status_code in (200, 405)


def test_redirects(site):
    response = site.get("/redirect")
    assert response.status_code in (302, 303)
    assert site.get(response.headers["location"]).text == "Hello, World!"


def test_names_that_are_not_ascii(site):
    assert site.get("/names/caf\u00e9 \u20ac", params={"q": "\u00fc&"}).text == "caf\u00e9 \u20ac \u00fc&"


def test_error_pages(site):
    assert site.get("/missing").status_code == 404
    for _ in range(2):
        response = site.get("/error")
        assert response.status_code == 500
        assert "a view failed" not in response.text
    assert site.get("/hello").text == "Hello, World!"


@pytest.mark.parametrize("library", ["asgiref", "asyncio"])
def test_a_view_may_run_an_event_loop(site, library):
    for _ in range(2):
        assert site.get(f"/{library}").text.startswith(f"{library} from ")


def test_async_views(site, framework):
    if framework in ("flask", "django"):
        assert site.get("/async").text == "an async view"


def test_thread_locals(site, mode):
    """Each thread keeps its own, from request to request; there are as many threads as were asked for."""
    with ThreadPoolExecutor(8) as pool:
        answers = [answer.split() for answer in pool.map(lambda _: site.get("/local").text, range(40))]
    counts = {}
    for thread, count in answers:
        counts.setdefault(thread, []).append(int(count))
    assert len(counts) <= (THREADS if mode == "threads" else 1)
    for seen in counts.values():
        assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("framework", ["django"], indirect=True)
def test_a_database_connection_for_each_thread(site, mode):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.get("/database").json(), range(40)))
    assert {answer["answer"] for answer in answers} == {42}
    made = site.get("/database").json()["made"]
    assert len(made) == len(set(made)) <= (THREADS if mode == "threads" else 1)
    assert {answer["thread"] for answer in answers} <= set(made)
