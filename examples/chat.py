"""A chat with rooms: a page and a WebSocket application, without a framework.

    fastserve chat:app --app-dir examples

and open http://127.0.0.1:8000/ in two windows. Everything is kept in memory, so this is for one worker process; with
several, what is said would have to travel between them, through a database or a broker.

The WebSocket is at /rooms/ROOM?name=NAME. The client sends plain text: what its user says. It receives JSON objects,
{"kind": "said" | "joined" | "left", "name": ..., "text": ..., "members": [...]}.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LONGEST_NAME = 32
LONGEST_TEXT = 2000
MOST_MEMBERS = 100
MOST_WAITING = 200
"""Messages that wait for a member who reads slowly; one who has more is shown out, so that nobody else waits."""

# Codes from 4000 on are the application's own.
BAD_NAME = 4000
NAME_TAKEN = 4001
ROOM_FULL = 4002
TOO_LONG = 4003
TOO_SLOW = 4004

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em }
#log { border: 1px solid #ccc; height: 20em; overflow-y: auto; padding: 0.5em; list-style: none }
#log .news { color: #777; font-style: italic }
#members { color: #555 }
input { font: inherit }
</style>
<h1>Chat</h1>
<form id="enter">
  <input id="name" placeholder="your name" maxlength="32" required>
  <input id="room" placeholder="room" value="lobby" required>
  <button>Enter</button> <span id="state">outside</span>
</form>
<ul id="log"></ul>
<p id="members"></p>
<form id="say">
  <input id="text" placeholder="say something" maxlength="2000" size="50" disabled>
  <button>Say</button>
</form>
<script>
const by = id => document.getElementById(id)
let socket = null, attempt = 0, retry = null

function show(text, kind) {
  const line = document.createElement("li")
  line.textContent = text
  line.className = kind
  by("log").append(line)
  line.scrollIntoView({block: "nearest"})
}

function enter() {
  clearTimeout(retry)
  if (socket) { socket.onclose = null; socket.close(1000, "another room") }
  const address = new URL("rooms/" + encodeURIComponent(by("room").value), document.baseURI)
  address.protocol = address.protocol.replace("http", "ws")
  address.searchParams.set("name", by("name").value)
  by("state").textContent = "connecting"
  socket = new WebSocket(address)
  socket.onopen = () => { attempt = 0; by("state").textContent = "inside"; by("text").disabled = false }
  socket.onmessage = event => {
    const message = JSON.parse(event.data)
    if (message.kind == "said") show(message.name + ": " + message.text, "said")
    else show(message.name + (message.kind == "joined" ? " has come in" : " has left"), "news")
    if (message.members) by("members").textContent = "Here: " + message.members.join(", ")
  }
  socket.onclose = event => {
    by("text").disabled = true
    by("state").textContent = "outside: " + (event.reason || event.code)
    // 1012: the server is restarting; 1006: the connection broke. Come back, a little later each time.
    if (event.code == 1012 || event.code == 1006) {
      retry = setTimeout(enter, Math.min(10000, 500 * 2 ** attempt++) * (0.5 + Math.random()))
    }
  }
}

by("enter").onsubmit = event => { event.preventDefault(); enter() }
by("say").onsubmit = event => {
  event.preventDefault()
  if (socket && socket.readyState == 1 && by("text").value) { socket.send(by("text").value); by("text").value = "" }
}
</script>
"""


@dataclass(eq=False)
class Member:
    """Somebody in a room; what is said waits in `outgoing` until the member's own task has sent it."""

    name: str
    outgoing: asyncio.Queue[dict[str, Any]] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def tell(self, message: dict[str, Any]) -> None:
        """Put a message in line; a member whose line is full gets a close instead of all that waits."""
        if self.outgoing.full():
            while not self.outgoing.empty():
                self.outgoing.get_nowait()
            message = {"type": "websocket.close", "code": TOO_SLOW, "reason": "you read too slowly"}
        self.outgoing.put_nowait(message)


class Room:
    """The members of one room, by name."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}

    def say(self, kind: str, name: str, **more: Any) -> None:
        """Tell everybody in the room."""
        text = json.dumps({"kind": kind, "name": name, **more})
        for member in self.members.values():
            member.tell({"type": "websocket.send", "text": text})

    def join(self, member: Member) -> None:
        self.members[member.name] = member
        self.say("joined", member.name, members=sorted(self.members))

    def leave(self, member: Member) -> None:
        del self.members[member.name]
        self.say("left", member.name, members=sorted(self.members))


rooms: dict[str, Room] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the page, and the rooms."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await page(scope, send)
    elif scope["type"] == "websocket":
        await enter(scope, receive, send)
    else:
        raise NotImplementedError(scope["type"])


async def lifespan(receive: Receive, send: Send) -> None:
    """Nothing to open or to close."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def path_of(scope: Scope) -> str:
    """The path below the place where the application is mounted, as it was sent."""
    path: str = scope["raw_path"].decode("ascii")
    return path.removeprefix(scope["root_path"])


async def page(scope: Scope, send: Send) -> None:
    """Answer over HTTP: the page, and nothing else."""
    found = path_of(scope) == "/"
    body = PAGE.encode() if found else b"Not found\n"
    fields = [
        (b"content-type", b"text/html; charset=utf-8" if found else b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def enter(scope: Scope, receive: Receive, send: Send) -> None:
    """One WebSocket from its handshake to its end."""
    assert (await receive())["type"] == "websocket.connect"
    place, _, quoted = path_of(scope).removeprefix("/").partition("/")
    if place != "rooms" or not quoted or "/" in quoted:
        # Without having accepted this is a response to the handshake: 403.
        await send({"type": "websocket.close"})
        return
    name = parse_qs(scope["query_string"].decode("ascii", "replace")).get("name", [""])[0].strip()
    key = unquote(quoted)
    room = rooms.get(key) or Room()
    # A script in a page is not told why a handshake failed, but it is told why a WebSocket was closed: accept first.
    await send({"type": "websocket.accept"})
    refusal = refuse(name, room)
    if refusal:
        code, reason = refusal
        await send({"type": "websocket.close", "code": code, "reason": reason})
        return
    rooms[key] = room
    member = Member(name)
    room.join(member)
    delivery = asyncio.create_task(deliver(member, send))
    try:
        await listen(member, room, receive)
    finally:
        # However it ended: the others are told, and an empty room is forgotten.
        room.leave(member)
        if not room.members:
            del rooms[key]
        delivery.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await delivery


def refuse(name: str, room: Room) -> tuple[int, str] | None:
    """Why somebody of this name may not enter: a close code and its reason."""
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        return BAD_NAME, f"a name has 1 to {LONGEST_NAME} characters"
    if name in room.members:
        return NAME_TAKEN, "somebody of this name is here already"
    if len(room.members) >= MOST_MEMBERS:
        return ROOM_FULL, "the room is full"
    return None


async def listen(member: Member, room: Room, receive: Receive) -> None:
    """Pass on what a member says, until the member is gone, or the server stops."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None or len(text) > LONGEST_TEXT:
            reason = f"text of at most {LONGEST_TEXT} characters, please"
            member.tell({"type": "websocket.close", "code": TOO_LONG, "reason": reason})
        elif text.strip():
            room.say("said", member.name, text=text)


async def deliver(member: Member, send: Send) -> None:
    """Send a member what waits, as fast as the member reads. A close is the last."""
    # Whoever has just left cannot be sent anything: an OSError, which here means no more than that.
    with contextlib.suppress(OSError):
        while True:
            message = await member.outgoing.get()
            await send(message)
            if message["type"] == "websocket.close":
                return
