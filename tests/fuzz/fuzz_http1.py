"""Fuzz HTTP/1.1 connections with ASGI applications that do anything, to clients that do anything.

Clients pipeline, split, stall, half-close, reset and stop reading, over both kinds of stream; applications send right
and wrong messages in any order, raise, are cancelled, leave children behind that go on sending. Besides what
tests/fuzz/world.py holds against the worker: what comes back is a sequence of well-formed responses, in order, whose
bodies are what the applications were allowed to send, and applications read what was sent to them.

    python -m tests.fuzz.fuzz_http1 [--seconds 10] [--seed N]
"""

import asyncio
import gc
import random
from typing import Any

from fastserve.gateway._asgi import AsgiGateway
from tests.fuzz.fuzz_access_log import INPUTS
from tests.fuzz.fuzz_parser import mutated
from tests.fuzz.running import main, repeat
from tests.fuzz.world import PATTERN, Client, World, play, read_responses
from tests.parser.websocket_peer import cut

FIELDS: list[Any] = [
    [], [(b"x", b"y")], [(b"connection", b"close")], [(b"transfer-encoding", b"chunked")], [(b"x", b"a\r\nb")],
    [(b"content-length", b"x")], [("x", "y")], [(b"content-length", b"1"), (b"content-length", b"2")], None, 7,
    [(b"connection", b"keep-alive")], [(b"date", b"today"), (b"server", b"me")],
]  # fmt: skip


class Request:
    """One call of the application, and what it may have put on the wire."""

    def __init__(self, scope: Any) -> None:
        self.method: str = scope["method"]
        self.number = int(scope["path"][2:]) if scope["path"].startswith("/n") else None
        self.sent = b""
        self.whole = False
        self.received = b""
        self.body_ended = False
        # Whether all it was given has been noted.
        self.dropped = False


class Application:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.world: Any = None
        self.requests: list[Request] = []
        self.children: set[Any] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        request = Request(scope)
        self.requests.append(request)
        if self.chance.random() < 0.4:
            # What most applications do.
            await self.well(request, receive, send)
            return None
        return await self.anything(request, receive, send, depth=0)

    async def well(self, request: Request, receive: Any, send: Any) -> None:
        while not request.body_ended:
            await self.receive(request, receive)
            if self.chance.random() < 0.2:
                await asyncio.sleep(0)
        body = self.content()
        fields = [(b"content-length", b"%d" % len(body))] if self.chance.random() < 0.5 else []
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        request.whole = True
        request.sent = body
        for piece in cut(body, (self.chance.randrange(len(body) + 1) for _ in range(self.chance.randrange(3)))):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def receive(self, request: Request, receive: Any) -> None:
        message = await receive()
        if message["type"] == "http.disconnect":
            request.body_ended = True
        else:
            assert not request.body_ended or not message["body"]
            request.received += message["body"]
            request.body_ended = not message["more_body"]

    def content(self) -> bytes:
        return PATTERN[: self.chance.choice((0, 1, 13, 300, 5000, 16384, 16385, 70000, 250000))]

    async def send(self, request: Request, send: Any, message: Any) -> None:
        # Taken unless it is refused at once.
        awaitable = send(message)
        if message["type"] == "http.response.body" and not request.whole:
            request.sent += message.get("body", b"")
            request.whole = not message.get("more_body")
        await awaitable

    async def anything(self, request: Request, receive: Any, send: Any, depth: int) -> Any:
        chance = self.chance
        for _ in range(chance.randrange(8)):
            kind = chance.randrange(24)
            try:
                if kind < 4:
                    await self.receive(request, receive)
                elif kind < 8:
                    message: Any = {
                        "type": "http.response.start",
                        "status": chance.choice((200, 200, 200, 204, 304, 500)),
                    }
                    fields = chance.choice(FIELDS)
                    if chance.random() < 0.3:
                        fields = [(b"content-length", b"%d" % chance.choice((0, 13, 300, 70000)))]
                    if fields is not None:
                        message["headers"] = fields
                    if chance.random() < 0.1:
                        message["trailers"] = True
                    if chance.random() < 0.05:
                        message["status"] = chance.choice((99, 100, 101, 600, "200", None, True, 10**30))
                    await send(message)
                elif kind < 14:
                    await self.send(request, send, {
                        "type": "http.response.body", "body": self.content(), "more_body": chance.random() < 0.7,
                    })  # fmt: skip
                elif kind == 14:
                    await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})
                elif kind == 15:
                    await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
                elif kind == 16:
                    await send(chance.choice((
                        {"type": "http.response.body", "body": "text"}, {"type": "x"}, {}, None,
                        {"type": "http.response.body", "body": bytearray(0), "more_body": True},
                    )))  # fmt: skip
                elif kind == 17:
                    await asyncio.sleep(0)
                elif kind == 18:
                    await self.world.gate()
                elif kind == 19 and depth < 2:
                    child = asyncio.ensure_future(self.child(request, receive, send, depth + 1))
                    self.children.add(child)
                    child.add_done_callback(self.children.discard)
                    if chance.random() < 0.5:
                        await child
                elif kind == 20:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                elif kind == 21:
                    # Asked for and dropped, or not awaited at all.
                    awaitable = receive()
                    request.dropped = True
                    if chance.random() < 0.5:
                        await asyncio.wait_for(self.both(awaitable), chance.choice((0, 0.0001)))
                elif kind == 22:
                    if chance.random() < 0.5:
                        raise chance.choice((ValueError, asyncio.CancelledError, OSError, StopAsyncIteration))("raised")
                    return chance.choice((None, 7))
                else:
                    self.world.open_gate()
            except Exception:
                if chance.random() < 0.4:
                    raise
        return None

    async def both(self, awaitable: Any) -> Any:
        return await awaitable

    async def child(self, *arguments: Any, **options: Any) -> None:
        try:
            await self.anything(*arguments, **options)
        except (Exception, asyncio.CancelledError):
            # Nobody may be there any more that would ask for it.
            pass


class Said:
    """What one client has sent, as far as it was right."""

    def __init__(self, first: int) -> None:
        # Of the requests, in the order of the connections.
        self.numbers = range(first, first + 100)
        self.methods: list[str] = []
        self.bodies: dict[int, bytes] = {}
        self.valid = True

    def method(self, index: int) -> str:
        """Of the request that the response with this index is for."""
        return self.methods[index] if index < len(self.methods) else "GET"


def request(chance: random.Random, number: int, said: Said) -> bytes:
    method = chance.choice((b"GET", b"GET", b"HEAD", b"POST", b"POST", b"OPTIONS"))
    said.methods.append(method.decode())
    line = method + b" /n%d HTTP/1.%d\r\n" % (number, chance.random() < 0.9)
    fields = b"Host: x\r\n"
    body = b""
    if chance.random() < 0.1:
        fields += b"Connection: " + chance.choice((b"close", b"keep-alive", b"upgrade\r\nUpgrade: h2c")) + b"\r\n"
    if chance.random() < 0.1:
        fields += b"TE: trailers\r\n"
    if method == b"POST":
        body = PATTERN[: chance.choice((0, 1, 100, 20000, 70000, 140000))]
        if chance.random() < 0.3:
            fields += b"Expect: 100-continue\r\n"
        said.bodies[number] = body
        if chance.random() < 0.5 or line.endswith(b"0\r\n"):
            fields += b"Content-Length: %d\r\n" % len(body)
        else:
            fields += b"Transfer-Encoding: chunked\r\n"
            pieces = cut(body, (chance.randrange(len(body) + 1) for _ in range(chance.choice((0, 1, 5, 50)))))
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n"
            body += chance.choice((b"\r\n", b"\r\n", b"X: y\r\n\r\n"))
    return line + fields + b"\r\n" + body


async def script(world: World, client: Client, said: Said) -> None:
    chance = world.chance
    numbers = iter(said.numbers)
    data = b"".join(request(chance, next(numbers), said) for _ in range(chance.choice((1, 1, 2, 3, 8))))
    if chance.random() < 0.15:
        said.valid = False
        data += mutated(chance, INPUTS)
    if chance.random() < 0.1:
        said.valid = False
        at = chance.randrange(len(data))
        data = data[:at] + chance.randbytes(chance.randrange(3)) + data[at + chance.randrange(3) :]
    for piece in cut(data, (chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 2, 8))))):
        await world.happen(client.feed, piece)
        for _ in range(chance.choice((0, 0, 1, 3))):
            await world.something(client)
    for _ in range(chance.randrange(8)):
        await world.something(client)


def judge(client: Client, said: Said, application: Application) -> None:
    """Hold what came back against what the applications of this connection did."""
    calls = {request.number: request for request in application.requests}
    responses, rest = read_responses(bytes(client.received), said.method)
    assert rest is None
    for number, (status, body, whole) in zip(said.numbers, responses, strict=False):
        request = calls.get(number)
        if request is None:
            # Cancelled before its first step, if it was not refused.
            assert status in (400, 408, 413, 500, 503, 504)
            continue
        if status in (400, 408, 413, 500, 503, 504) and body != request.sent[: len(body)]:
            continue
        if request.method == "HEAD" or status in (204, 304):
            continue
        assert body == request.sent[: len(body)], (body[:50], request.sent[:50])
        if whole and request.whole and status == 200 and len(body) != len(request.sent):
            raise AssertionError("a response is shorter than what was sent for it")
    for number in said.numbers:
        if number in calls and not calls[number].dropped:
            assert said.bodies.get(number, b"").startswith(calls[number].received)


async def attempt(chance: random.Random) -> None:
    application = Application(chance)
    options: dict[str, Any] = {}
    if chance.random() < 0.2:
        options["limit_request_body"] = chance.choice((1, 50000))
    if chance.random() < 0.1:
        options["limit_concurrency"] = 2
    if chance.random() < 0.2:
        options["timeout_request"] = 3.0
    task = chance.choice(("native", "native", "asyncio"))
    world = World(chance, lambda loop, logger: AsgiGateway(application, loop, task=task, logger=logger), **options)
    application.world = world
    clients = [(await world.connect(), Said(number * 100)) for number in range(chance.choice((1, 1, 2)))]
    await asyncio.gather(*(script(world, client, said) for client, said in clients))
    await world.finish()
    while application.children:
        # One that awaits another may not hear of it the first time.
        for child in list(application.children):
            child.cancel()
        await asyncio.sleep(0)
    # What is made of a request at random may be somebody else's.
    if all(said.valid for _, said in clients):
        for client, said in clients:
            judge(client, said, application)


def fuzz(seconds: float, seed: int) -> int:
    """Run for that long; the number of inputs tried. Raises AssertionError with the seed of a finding."""
    gc.freeze()
    with asyncio.Runner() as runner:
        return repeat(seconds, seed, lambda chance: runner.run(play(lambda: attempt(chance))))


if __name__ == "__main__":
    main("fuzz_http1", __doc__, fuzz)
