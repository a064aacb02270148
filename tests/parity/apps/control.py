"""What the tests need inside the served process: marks in the logs, a journal, and a way to hold a request.

`Control(app)` answers every path with `/control/` in it and passes the rest on:

    /control/probe             answers "probe": the connection is open
    /control/mark/N            writes `MARK N` to standard error: all that was logged before stands before it, also by
                               applications that had only their return left to do
    /control/wait/KEY/ENTRY    answers once the journal KEY has the entry ENTRY
    /control/journal/KEY       the journal as JSON
    /control/release/KEY       lets `journal(KEY).released` go

For a path that begins with /gone, the journal named by the path's last part tells how the application was left.
A wait that is not fulfilled within PATIENCE seconds is answered 504 with the journal as it stands.
"""

import asyncio
import contextlib
import json
import sys
from collections import defaultdict
from urllib.parse import unquote

PATIENCE = 20.0
BRIEFLY = 5.0


class Journal:
    """What one request saw, in order; lives in the event loop of the server."""

    def __init__(self):
        self.entries = []
        self.released = asyncio.Event()
        self._changed = asyncio.Event()

    def write(self, entry):
        self.entries.append(entry)
        self._changed.set()

    async def until(self, entry):
        while entry not in self.entries:
            self._changed.clear()
            await self._changed.wait()


_journals = defaultdict(Journal)


class Endings:
    """Calls of the application whose response is complete and that have yet to return: they may still log."""

    def __init__(self):
        self._open = 0
        self._changed = asyncio.Event()

    async def watch(self, app, scope, receive, send):
        complete = False

        async def watched(message):
            nonlocal complete
            await send(message)
            if not complete and message["type"] == "http.response.body" and not message.get("more_body", False):
                complete = True
                self._open += 1

        try:
            await app(scope, receive, watched)
        finally:
            if complete:
                self._open -= 1
                self._changed.set()

    async def none(self):
        while self._open:
            self._changed.clear()
            await self._changed.wait()


_endings = Endings()


def journal(key):
    return _journals[key]


class Control:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and "/control/" in scope["path"]:
            status, body = await answer(*scope["path"].partition("/control/")[2].split("/", 2))
            fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": body})
        elif scope["type"] == "http" and scope["path"].startswith("/gone"):
            log = journal(scope["path"].rpartition("/")[2])
            try:
                await self.app(scope, receive, send)
                log.write("returned")
            except BaseException as error:
                log.write(f"raised {type(error).__name__}")
                raise
            finally:
                log.write("left")
        elif scope["type"] == "http":
            await _endings.watch(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def answer(verb, key="", entry=""):
    if verb == "probe":
        return 200, b"probe"
    if verb == "mark":
        with contextlib.suppress(TimeoutError):
            # Background work that is held until after the mark is not waited for.
            await asyncio.wait_for(_endings.none(), BRIEFLY)
        print(f"MARK {key}", file=sys.stderr, flush=True)
    elif verb == "wait":
        try:
            await asyncio.wait_for(journal(key).until(unquote(entry)), PATIENCE)
        except TimeoutError:
            return 504, json.dumps(journal(key).entries).encode()
    elif verb == "release":
        journal(key).released.set()
    return 200, json.dumps(journal(key).entries).encode()
