"""A real browser, without a window: it opens a page of ours, which tells the server what it saw.

A browser is no Python package: where there is none, install one (Debian: `apt-get install chromium`).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.authority import Authority, needs_openssl
from tests.websocket.conftest import ON_UVICORN, SUBJECT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
BROWSER_PATIENCE = 120.0
"""Seconds for a browser to start and to report: it is larger than everything else here."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# As root, and in containers, there is no sandbox to be had; nothing but our own pages is opened. It is told to keep to
# them, and not to ask anybody else for updates.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--no-proxy-server", "--ignore-certificate-errors",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser here (none of {', '.join(NAMES)}): WebSocket is not tested with one"
)


@pytest.fixture
def server(start, request, tmp_path):
    """A server of the pages, with TLS or without."""
    options = []
    if getattr(request, "param", "http") == "https":
        issued = Authority(tmp_path).issue("server")
        options = ["--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(issued.key)]
    application = "tests.websocket.apps.browser:app"
    return start(application, "--app-dir", str(EXAMPLES), "--port", "0", *options, server=SUBJECT)


@pytest.fixture
def browse(server, tmp_path):
    """browse("/page/KEY"): what the page reports."""

    def browse(path, scheme="http"):
        url = f"{scheme}://127.0.0.1:{server.port}{path}"
        key = path.rpartition("/")[2]
        command = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", url]
        # What tests under a sanitizer preload is not for it.
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        # Its own complaints are of no interest, unless it never got to report anything.
        with (tmp_path / "browser.log").open("wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            report = server.wait_for(rf"^{key}: report (.*)", patience=BROWSER_PATIENCE)[1]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(tmp_path / 'browser.log').read_text()}") from None
        finally:
            child.terminate()
            child.wait(BROWSER_PATIENCE)
        return json.loads(report)

    return browse


@pytest.mark.parametrize("server", ["http", pytest.param("https", marks=needs_openssl)], indirect=True)
def test_sockets(server, browse, key, request):
    scheme = request.node.callspec.params["server"]
    seen = browse(f"/sockets/{key}", scheme)
    assert seen.pop("extensions").startswith("permessage-deflate")
    assert seen == {
        "protocol": "chat.v2",
        "echoed": ["hello", "Grüße, 世界 🌍", "", "bytes 0001feff", "bytes "],
        "long": True,
        "bytes": True,
        "closed": [4005, "the page's reason", True],
        "closedByServer": [4001, "the server's reason", True],
        "denied": [1006, "", False],
        "many": True,
    }
    server.wait_for(rf"^{key}: disconnect 4005 the page's reason$")
    assert not any("Traceback" in line for line in server.stderr)


def test_chat(server, browse, key):
    """The page of the chat example, with somebody who types."""
    seen = browse(f"/chat/{key}")
    assert seen == {
        "lines": ["Ann has come in", "Ben has come in", "Ann: <b>hello</b>", "Ben: hello, Ann", "Ben has left"],
        "members": "Here: Ann, Ben",
        "state": "outside: a name has 1 to 32 characters",
    }
    assert ON_UVICORN or not any("Traceback" in line for line in server.stderr)
