"""Pages for a real browser: each does something with WebSockets and posts what it saw to /report/KEY.

`/sockets/KEY` uses the routes of `plain`; `/chat/KEY` uses the chat example, in a frame, as somebody would who types
and clicks. Everything else is theirs. The report is told on standard output as JSON.
"""

import chat

from tests.websocket.apps import plain

FRAME = """<!doctype html>
<meta charset="utf-8">
<title>a test</title>
%s
<script>
const key = location.pathname.split("/").pop()
const report = what => fetch("/report/" + key, {method: "POST", body: JSON.stringify(what)})
const fail = error => report({failed: String(error && error.stack || error)})
window.onunhandledrejection = event => fail(event.reason)
window.onerror = (text, file, line) => fail(text + " in line " + line)
%s
</script>
"""

SOCKETS = """
const address = path => location.origin.replace("http", "ws") + path + key
const happens = (target, name) => new Promise(done => target.addEventListener(name, done, {once: true}))
const ended = event => [event.code, event.reason, event.wasClean]
const hex = buffer => [...new Uint8Array(buffer)].map(byte => byte.toString(16).padStart(2, "0")).join("")

async function run() {
  const seen = {echoed: []}
  const socket = new WebSocket(address("/echo/"), ["chat.v2", "chat.v1"])
  socket.binaryType = "arraybuffer"
  await happens(socket, "open")
  seen.protocol = socket.protocol
  seen.extensions = socket.extensions
  const long = "0123456789abcdé\\n".repeat(65536)
  const bytes = new Uint8Array(1 << 20).map((_, index) => index * 7)
  for (const message of ["hello", "Grüße, 世界 🌍", "", new Uint8Array([0, 1, 254, 255]), new Uint8Array(0)]) {
    socket.send(message)
    const {data} = await happens(socket, "message")
    seen.echoed.push(typeof data == "string" ? data : "bytes " + hex(data))
  }
  socket.send(long)
  seen.long = (await happens(socket, "message")).data === long
  socket.send(new Blob([bytes]))
  const back = new Uint8Array((await happens(socket, "message")).data)
  seen.bytes = back.length == bytes.length && back.every((byte, index) => byte == bytes[index])
  socket.close(4005, "the page's reason")
  seen.closed = ended(await happens(socket, "close"))

  const closing = new WebSocket(address("/close/"))
  seen.closedByServer = ended(await happens(closing, "close"))

  const denied = new WebSocket(address("/deny/"))
  seen.denied = ended(await happens(denied, "close"))

  const many = Array.from({length: 5}, (_, number) => new Promise((done, failed) => {
    const one = new WebSocket(address("/echo/" + number + "-"))
    one.onopen = () => one.send("number " + number)
    one.onmessage = event => { one.close(); done(event.data) }
    one.onerror = failed
  }))
  seen.many = (await Promise.all(many)).every((text, number) => text == "number " + number)
  report(seen)
}
run()
"""

CHAT = """
const frame = document.querySelector("iframe")
const until = async condition => {
  while (!condition()) await new Promise(done => setTimeout(done, 20))
}

frame.onload = async () => {
  const page = frame.contentDocument
  const by = id => page.getElementById(id)
  const lines = () => [...by("log").children].map(line => line.textContent)
  by("name").value = "Ann"
  by("room").value = "the room"
  by("enter").requestSubmit()
  await until(() => lines().length == 1)
  const other = new WebSocket(location.origin.replace("http", "ws") + "/rooms/the%20room?name=Ben")
  await until(() => lines().length == 2)
  by("text").value = "<b>hello</b>"
  by("say").requestSubmit()
  await until(() => lines().length == 3)
  other.send("hello, Ann")
  await until(() => lines().length == 4)
  const members = by("members").textContent
  other.close()
  await until(() => lines().length == 5)
  by("name").value = "x".repeat(40)
  by("enter").requestSubmit()
  await until(() => by("state").textContent.startsWith("outside"))
  report({lines: lines(), members, state: by("state").textContent})
}
"""

PAGES = {"sockets": FRAME % ("", SOCKETS), "chat": FRAME % ('<iframe src="/" width="600" height="600"></iframe>', CHAT)}


async def app(scope, receive, send):
    route, _, key = scope.get("path", "").strip("/").partition("/")
    if scope["type"] == "http" and route in PAGES:
        body = PAGES[route].encode()
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "http" and route == "report":
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        print(f"{key}: report {body.decode()}", flush=True)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
    elif scope["type"] == "lifespan" or route in plain.ROUTES:
        await plain.app(scope, receive, send)
    else:
        await chat.app(scope, receive, send)
