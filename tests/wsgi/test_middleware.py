"""The middleware of the world, unchanged and stacked."""

import json

import httpx
import pytest

from tests.process.conftest import PATIENCE
from tests.wsgi.apps import content
from tests.wsgi.conftest import MODES


@pytest.fixture
def site(servers, mode):
    # Middleware that is an object with `__call__(environ, start_response)`: nobody has to say what it is.
    process = servers("stack:app", *MODES[mode])
    with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=PATIENCE) as client:
        client.process = process
        yield client


def test_through_the_whole_stack(site):
    response = site.post("/a%20b?q=1", content=b"body", headers={
        "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.org",
        "X-Forwarded-Prefix": "/prefix",
    })  # fmt: skip
    assert response.headers["x-filter"] == "paste"
    assert response.json() == {
        "SCRIPT_NAME": "/prefix", "PATH_INFO": "/a b", "REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https",
        "HTTP_HOST": "example.org", "QUERY_STRING": "q=1", "body": "body",
    }  # fmt: skip
    site.process.wait_for("^inner closed$")


def test_a_filter_that_answers_another_body(site):
    response = site.get("/loud/x")
    assert response.headers["content-length"] == str(len(response.content))
    answer = json.loads(response.text.lower().replace("null", '""'))
    assert (answer["script_name"], answer["path_info"]) == ("/loud", "/x")


def test_static_files(site):
    response = site.get("/static/content.txt")
    assert response.content == content.FILE.read_bytes()
    assert response.headers["content-type"].startswith("text/plain")
    again = site.get("/static/content.txt", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = site.get("/static/content.txt", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, response.content[10:20])
    head = site.head("/static/content.txt")
    assert (head.headers["content-length"], head.content) == (str(len(response.content)), b"")


def test_an_error_inside(site):
    assert site.get("/fails").status_code == 500
    site.process.wait_for("RuntimeError: the innermost application failed$")
    assert site.get("/").status_code == 200
