"""The commands and programs that the documents of uvicorn and of the frameworks show: with the name changed, or as they
are under `fastserve.compat`. Ports are 0, and workers two; the rest is as it is written there."""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.authority import Authority, needs_openssl
from tests.process.conftest import PACKAGE_ROOT, PATIENCE, Process

Start = Callable[..., Process]

ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
    body = f"{scope['root_path']} {scope['scheme']} {scope['client'][0] if scope['client'] else ''}"
    await send({"type": "http.response.body", "body": body.encode()})


def create_app():
    return app
"""

FASTAPI = """
import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root():
    a = "a"
    b = "b" + a
    return {"hello world": b}


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=0)
"""

STARLETTE = """
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def homepage(request):
    return JSONResponse({"hello": request.state.name})


@asynccontextmanager
async def lifespan(app):
    yield {"name": "world"}


app = Starlette(debug=True, routes=[Route("/", homepage)], lifespan=lifespan)
"""

LITESTAR = """
from litestar import Litestar, get


@get("/")
async def index() -> str:
    return "Hello, world!"


app = Litestar([index])
"""

SETTINGS = """
SECRET_KEY = "not a secret"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"
WSGI_APPLICATION = "mysite.wsgi.application"
"""

URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse(type(request).__name__))]
"""

INTERFACE = """
import os

from django.core.{kind} import get_{kind}_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = get_{kind}_application()
"""

RUN = """
import uvicorn

if __name__ == "__main__":
    uvicorn.run("main:app", port=0, log_level="info")
"""

SERVER = """
import uvicorn

async def app(scope, receive, send):
    ...

if __name__ == "__main__":
    config = uvicorn.Config("main:app", port=0, log_level="info")
    server = uvicorn.Server(config)
    server.run()
"""

SERVE = """
import asyncio
import uvicorn

async def main():
    config = uvicorn.Config("main:app", port=0, log_level="info")
    server = uvicorn.Server(config)
    await server.serve()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(ASGI)
    return tmp_path


def ask(process: Process, target: str = "/", client: socket.socket | None = None, **fields: str) -> str:
    """The body of the answer."""
    with contextlib.closing(HTTPConnection("localhost")) as connection:
        connection.sock = client or process.connect()
        connection.request("GET", target, headers={name.replace("_", "-"): text for name, text in fields.items()})
        return connection.getresponse().read().decode()


def words(line: str) -> list[str]:
    return shlex.split(line)


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("main:app --port 0", {}),
        ("main:app --reload --port 0", {}),
        ("--factory main:create_app --port 0", {}),
        ("main:app --host 0.0.0.0 --port 0 --workers 2", {}),
        ("main:app --proxy-headers --forwarded-allow-ips='*' --port 0", {}),
        ("main:app --interface=asgi3 --loop asyncio --http h11 --ws none --lifespan off --port 0", {}),
        ("main:app", {"UVICORN_HOST": "0.0.0.0", "UVICORN_PORT": "0"}),
    ],
)
def test_uvicorn_command(start: Start, line: str, variables: dict[str, str]) -> None:
    process = start(*words(line), env=variables)
    assert ask(process) == " http 127.0.0.1"


def test_uvicorn_behind_a_path(start: Start) -> None:
    process = start("main:app", "--root-path", "/api/v1", "--port", "0")
    assert ask(process, "/x") == "/api/v1 http 127.0.0.1"


@needs_openssl
def test_uvicorn_with_https(start: Start, folder: Path) -> None:
    authority = Authority(folder)
    server = authority.issue("server")
    process = start("main:app", f"--ssl-keyfile={server.key}", f"--ssl-certfile={server.certificate}", "--port", "0")
    assert process.wait_for("running on https://127.0.0.1:")


@pytest.mark.parametrize("source", [RUN, SERVER, SERVE], ids=["run", "Server", "serve"])
@pytest.mark.parametrize("changed", [True, False], ids=["changed", "compat"])
def test_uvicorn_from_a_program(start: Start, folder: Path, source: str, changed: bool) -> None:
    (folder / "program.py").write_text(source.replace("uvicorn", "fastserve") if changed else source)
    process = start(server="program") if changed else start("program.py", server="fastserve.compat")
    assert ask(process) == " http 127.0.0.1"


def test_uvicorn_behind_nginx(start: Start) -> None:
    """`server unix:/tmp/uvicorn.sock fail_timeout=0`, with the fields that nginx sets."""
    process = start("main:app", "--uds", "uvicorn.sock", "--forwarded-allow-ips", "*")
    process.wait_for("running on unix socket")
    client = process.connect("uvicorn.sock")
    assert ask(process, client=client, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https") == " https 192.0.2.1"


def test_uvicorn_below_supervisord(start: Start, folder: Path) -> None:
    """`[fcgi-program:uvicorn]`, `socket=tcp://localhost:8000`, `command=venv/bin/uvicorn --fd 0 main:app`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = start("--fd", "0", "main:app", stdin=listening.fileno())
        process.wait_for("running on socket")
        with socket.create_connection(listening.getsockname(), PATIENCE) as client:
            assert ask(process, client=client) == " http 127.0.0.1"


def test_fastapi_in_a_container(start: Start, folder: Path) -> None:
    """`CMD ["uvicorn", "app.main:app", "--proxy-headers", "--host", "0.0.0.0", "--port", "80"]`."""
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").touch()
    (folder / "app" / "main.py").write_text(FASTAPI)
    process = start("app.main:app", "--proxy-headers", "--host", "0.0.0.0", "--port", "0")
    assert ask(process) == '{"hello world":"ba"}'
    assert process.stop() == 0


@pytest.mark.parametrize(
    "line", ["fastapi run main.py --port 0", "fastapi dev main.py --port 0", "fastapi run --workers 2 main.py --port 0"]
)
def test_fastapi_command(start: Start, folder: Path, line: str) -> None:
    (folder / "main.py").write_text(FASTAPI)
    process = start(*words(line), server="fastserve.compat", env={"PYTHONIOENCODING": "utf-8"})
    assert ask(process) == '{"hello world":"ba"}'


def test_fastapi_for_a_debugger(start: Start, folder: Path) -> None:
    (folder / "main.py").write_text(FASTAPI)
    process = start("main.py", server="fastserve.compat")
    assert ask(process) == '{"hello world":"ba"}'


def test_starlette(start: Start, folder: Path) -> None:
    (folder / "main.py").write_text(STARLETTE)
    process = start("main:app", "--port", "0")
    assert ask(process) == '{"hello":"world"}'


@pytest.mark.parametrize("line", ["litestar run --port 0", "litestar --app app:app run --wc 2 --port 0"])
def test_litestar_command(start: Start, folder: Path, line: str) -> None:
    (folder / "app.py").write_text(LITESTAR)
    process = start(*words(line), server="fastserve.compat")
    assert ask(process) == "Hello, world!"


@pytest.mark.parametrize(("kind", "request_class"), [("asgi", "ASGIRequest"), ("wsgi", "WSGIRequest")])
def test_django(start: Start, folder: Path, kind: str, request_class: str) -> None:
    """`python -m uvicorn mysite.asgi:application`; the other one too, which uvicorn is to be told of."""
    site = folder / "mysite"
    site.mkdir()
    (site / "__init__.py").touch()
    (site / "settings.py").write_text(SETTINGS)
    (site / "urls.py").write_text(URLS)
    (site / f"{kind}.py").write_text(INTERFACE.format(kind=kind))
    process = start(f"mysite.{kind}:application", "--port", "0")
    assert ask(process) == request_class


def test_the_version(folder: Path) -> None:
    command = [sys.executable, "-m", "fastserve", "--version"]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_ROOT}
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.startswith("Running fastserve ")
