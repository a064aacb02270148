"""ASGI without a framework: one route per corner of the protocol.

Every path that is no route, and every target with a query, is answered with the scope as JSON.
"""

import asyncio
import contextlib
import json
from http import HTTPStatus

from tests.parity.apps.control import Control, journal

ROUTES = {}


def route(path):
    def register(handler):
        ROUTES[path] = handler
        return handler

    return register


def start(status=200, *fields):
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def part(body=b"", more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


def length(number):
    return (b"content-length", b"%d" % number)


TEXT = (b"content-type", b"text/plain; charset=utf-8")
CHUNKED = (b"transfer-encoding", b"chunked")


async def respond(send, body, status=200, *fields):
    await send(start(status, TEXT, length(len(body)), *fields))
    await send(part(body))


async def read_body(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body, False
        body += message["body"]
        if not message["more_body"]:
            return body, True


def typed(value):
    """`value` with the exact type of everything in it, as JSON can carry it."""
    name = type(value).__name__
    if isinstance(value, dict):
        return [name, {key: typed(item) for key, item in sorted(value.items())}]
    if isinstance(value, list | tuple):
        return [name, [typed(item) for item in value]]
    if isinstance(value, bytes):
        return [name, value.decode("latin-1")]
    return [name, value]


async def dump_scope(scope, receive, send):
    await respond(send, json.dumps(typed(scope)).encode())


@route("/")
async def hello(scope, receive, send):
    await respond(send, b"Hello, world!")


# Request bodies


@route("/echo")
async def echo(scope, receive, send):
    body, complete = await read_body(receive)
    await respond(send, body if complete else b"cut short")


@route("/count")
async def count(scope, receive, send):
    body, complete = await read_body(receive)
    await respond(send, b"%d %s" % (len(body), b"complete" if complete else b"cut short"))


@route("/messages")
async def messages(scope, receive, send):
    seen = []
    while True:
        message = await receive()
        seen.append(typed(message))
        if message["type"] != "http.request" or not message["more_body"]:
            break
    await respond(send, json.dumps(seen).encode())


@route("/early")
async def early(scope, receive, send):
    await respond(send, b"body not read")


@route("/echo-chunks")
async def echo_chunks(scope, receive, send):
    await send(start(200, TEXT))
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        await send(part(message["body"], message["more_body"]))
        if not message["more_body"]:
            return


@route("/receive-twice")
async def receive_twice(scope, receive, send):
    first, second = journal("receive-twice"), await read_body(receive)
    await respond(send, second[0])
    for _ in range(2):
        first.write(typed(await receive()))


@route("/receive-after-start")
async def receive_after_start(scope, receive, send):
    await send(start(200, TEXT))
    body, _ = await read_body(receive)
    await send(part(body))


# Response framing


@route("/chunked")
async def chunked(scope, receive, send):
    await send(start(200, TEXT))
    await send(part(b"one", True))
    await send(part(b"", True))
    await send(part(b"two" * 10, True))
    await send(part(b"three"))


@route("/chunked-empty-end")
async def chunked_empty_end(scope, receive, send):
    await send(start(200, TEXT))
    await send(part(b"one", True))
    await send(part(b""))


@route("/chunked-empty")
async def chunked_empty(scope, receive, send):
    await send(start(200, TEXT))
    await send(part(b""))


@route("/chunked-single")
async def chunked_single(scope, receive, send):
    await send(start(200, TEXT))
    await send(part(b"all at once"))


@route("/chunked-declared")
async def chunked_declared(scope, receive, send):
    await send(start(200, TEXT, CHUNKED))
    await send(part(b"one", True))
    await send(part(b"two"))


@route("/pieces")
async def pieces(scope, receive, send):
    await send(start(200, length(9)))
    for word in (b"one", b"two", b"ten"):
        await send(part(word, True))
    await send(part())


@route("/large")
async def large(scope, receive, send):
    await respond(send, b"0123456789abcdef" * 65536)


@route("/large-chunked")
async def large_chunked(scope, receive, send):
    await send(start(200))
    for _ in range(16):
        await send(part(b"0123456789abcdef" * 4096, True))
    await send(part())


@route("/empty")
async def empty(scope, receive, send):
    await respond(send, b"")


@route("/minimal")
async def minimal(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


@route("/no-fields-length")
async def no_fields_length(scope, receive, send):
    await send({"type": "http.response.start", "status": HTTPStatus.CREATED, "headers": iter([length(2)])})
    await send({"type": "http.response.body", "body": b"ok"})


@route("/fields-lists")
async def fields_lists(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [[b"x-a", b"1"], [b"content-length", b"2"]]})
    await send({"type": "http.response.body", "body": b"ok"})


@route("/fields-tuple")
async def fields_tuple(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": ((b"x-a", b"1"), (b"content-length", b"2"))})
    await send({"type": "http.response.body", "body": b"ok"})


@route("/bytearray")
async def byte_array(scope, receive, send):
    await send(start(200, length(2)))
    await send(part(bytearray(b"ok")))


@route("/memoryview")
async def memory_view(scope, receive, send):
    await send(start(200))
    await send(part(memoryview(b"ok")))


@route("/fields")
async def fields(scope, receive, send):
    await respond(
        send,
        b"ok",
        200,
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2; Path=/"),
        (b"X-Mixed-Case", b"Kept As Is"),
        (b"x-empty", b""),
        (b"x-obs-text", b"caf\xe9 \xc3\xa9"),
        (b"x-tab", b"a\tb"),
        (b"x-spaces", b"  a  b  "),
    )


@route("/own-date-and-server")
async def own_date_and_server(scope, receive, send):
    await respond(send, b"ok", 200, (b"Date", b"yesterday"), (b"Server", b"mine"))


@route("/close")
async def close(scope, receive, send):
    await respond(send, b"bye", 200, (b"connection", b"close"))


@route("/close-among-others")
async def close_among_others(scope, receive, send):
    await respond(send, b"bye", 200, (b"Connection", b"X-Foo , Close"))


@route("/close-chunked")
async def close_chunked(scope, receive, send):
    await send(start(200, (b"connection", b"close")))
    await send(part(b"one", True))
    await send(part(b"two"))


@route("/keep-alive")
async def keep_alive(scope, receive, send):
    await respond(send, b"stay", 200, (b"connection", b"keep-alive"))


@route("/interim-status")
async def interim_status(scope, receive, send):
    await send(start(103, (b"link", b"</style.css>; rel=preload")))
    await send(part())


@route("/head-no-length")
async def head_no_length(scope, receive, send):
    await send(start(200, TEXT))
    await send(part(b"not for HEAD"))


@route("/head-wrong-length")
async def head_wrong_length(scope, receive, send):
    await send(start(200, length(5)))
    await send(part())


async def any_status(scope, receive, send, status):
    await send(start(status, (b"x-status", b"%d" % status)))
    await send(part())


async def any_status_with_body(scope, receive, send, status):
    await send(start(status))
    await send(part(b"body"))


async def any_status_with_length(scope, receive, send, status):
    await respond(send, b"body", status)


STATUS_ROUTES = {
    "status": any_status,
    "status-body": any_status_with_body,
    "status-length": any_status_with_length,
}


# Faults of the application


class Fatal(BaseException):
    """What no `except Exception` catches."""


@route("/raise-before-start")
async def raise_before_start(scope, receive, send):
    raise ValueError("before start")


@route("/raise-base-exception")
async def raise_base_exception(scope, receive, send):
    raise Fatal("not an Exception")


@route("/raise-cancelled")
async def raise_cancelled(scope, receive, send):
    raise asyncio.CancelledError("not cancelled by anyone")


@route("/raise-after-read")
async def raise_after_read(scope, receive, send):
    await read_body(receive)
    raise ValueError("after read")


@route("/raise-after-wait")
async def raise_after_wait(scope, receive, send):
    await asyncio.sleep(0)
    raise ValueError("after wait")


@route("/raise-after-start")
async def raise_after_start(scope, receive, send):
    await send(start(200, length(10)))
    raise ValueError("after start")


@route("/raise-mid-body")
async def raise_mid_body(scope, receive, send):
    await send(start(200, length(10)))
    await send(part(b"half", True))
    raise ValueError("mid body")


@route("/raise-mid-chunked")
async def raise_mid_chunked(scope, receive, send):
    await send(start(200))
    await send(part(b"half", True))
    raise ValueError("mid body")


@route("/raise-after-complete")
async def raise_after_complete(scope, receive, send):
    await respond(send, b"done")
    raise ValueError("after complete")


@route("/return-nothing")
async def return_nothing(scope, receive, send):
    return


@route("/return-value-before-start")
async def return_value_before_start(scope, receive, send):
    return "a value"


@route("/return-value")
async def return_value(scope, receive, send):
    await respond(send, b"done")
    return "a value"


@route("/return-after-start")
async def return_after_start(scope, receive, send):
    await send(start(200, length(10)))


@route("/return-mid-body")
async def return_mid_body(scope, receive, send):
    await send(start(200, length(10)))
    await send(part(b"half", True))


@route("/return-mid-chunked")
async def return_mid_chunked(scope, receive, send):
    await send(start(200))
    await send(part(b"half", True))


@route("/body-first")
async def body_first(scope, receive, send):
    await send(part(b"body"))


@route("/start-twice")
async def start_twice(scope, receive, send):
    await send(start(200, length(2)))
    await send(start(200, length(2)))


@route("/start-after-body")
async def start_after_body(scope, receive, send):
    await send(start(200))
    await send(part(b"half", True))
    await send(start(200))


@route("/body-after-complete")
async def body_after_complete(scope, receive, send):
    await respond(send, b"done")
    await send(part(b"more"))


@route("/start-after-complete")
async def start_after_complete(scope, receive, send):
    await respond(send, b"done")
    await send(start(200))


@route("/unknown-message")
async def unknown_message(scope, receive, send):
    await send({"type": "http.response.unheard-of"})


@route("/unknown-message-after-start")
async def unknown_message_after_start(scope, receive, send):
    await send(start(200, length(2)))
    await send({"type": "http.response.unheard-of"})


@route("/websocket-message")
async def websocket_message(scope, receive, send):
    await send({"type": "websocket.accept"})


@route("/message-without-type")
async def message_without_type(scope, receive, send):
    await send({"status": 200})


@route("/start-without-status")
async def start_without_status(scope, receive, send):
    await send({"type": "http.response.start"})


@route("/too-long")
async def too_long(scope, receive, send):
    await send(start(200, length(5)))
    await send(part(b"longer than five"))


@route("/too-long-later")
async def too_long_later(scope, receive, send):
    await send(start(200, length(5)))
    await send(part(b"four", True))
    await send(part(b"more"))


@route("/too-short")
async def too_short(scope, receive, send):
    await send(start(200, length(10)))
    await send(part(b"short"))


@route("/name-with-space")
async def name_with_space(scope, receive, send):
    await respond(send, b"ok", 200, (b"x bad", b"1"))


@route("/name-with-crlf")
async def name_with_crlf(scope, receive, send):
    await respond(send, b"ok", 200, (b"x-bad\r\nx-injected", b"1"))


@route("/name-empty")
async def name_empty(scope, receive, send):
    await respond(send, b"ok", 200, (b"", b"1"))


@route("/value-with-crlf")
async def value_with_crlf(scope, receive, send):
    await respond(send, b"ok", 200, (b"x-bad", b"1\r\nx-injected: 1"))


@route("/value-with-nul")
async def value_with_nul(scope, receive, send):
    await respond(send, b"ok", 200, (b"x-bad", b"a\0b"))


@route("/field-str")
async def field_str(scope, receive, send):
    await respond(send, b"ok", 200, ("x-str", "1"))


@route("/body-str")
async def body_str(scope, receive, send):
    await send(start(200, length(2)))
    await send(part("ok"))


@route("/length-not-a-number")
async def length_not_a_number(scope, receive, send):
    await send(start(200, (b"content-length", b"ten")))
    await send(part(b"ok"))


@route("/length-negative")
async def length_negative(scope, receive, send):
    await send(start(200, (b"content-length", b"-2")))
    await send(part(b"ok"))


@route("/length-twice")
async def length_twice(scope, receive, send):
    await send(start(200, length(2), length(2)))
    await send(part(b"ok"))


@route("/lengths-differ")
async def lengths_differ(scope, receive, send):
    await send(start(200, length(2), length(3)))
    await send(part(b"ok"))


@route("/length-and-chunked")
async def length_and_chunked(scope, receive, send):
    await send(start(200, length(2), CHUNKED))
    await send(part(b"ok"))


# State and connection


@route("/state")
async def state(scope, receive, send):
    """What lifespan put there, and whether another request's change is seen (it must not be)."""
    own = scope["state"]
    body = json.dumps([typed(own["number"]), typed(own["shared"]), "left-behind" in own]).encode()
    own["left-behind"] = True
    own["shared"].append(len(own["shared"]))
    await respond(send, body)


@route("/ports-agree")
async def ports_agree(scope, receive, send):
    """Both ends' addresses, their numbers left out, and whether the port is the one asked for in Host."""
    host = dict(scope["headers"])[b"host"].decode()
    body = json.dumps([typed(scope["client"])[0], typed(scope["server"])[0], host == "{}:{}".format(*scope["server"])])
    await respond(send, body.encode())


# What the application sees of a client that goes away. The last part of the path is the key of the journal.


async def tell(log, what, action):
    try:
        result = await action
    except asyncio.CancelledError:
        log.write(f"{what}: cancelled")
        raise
    except OSError:
        log.write(f"{what}: OSError")
    except Exception as error:
        log.write(f"{what}: {type(error).__name__}")
    else:
        log.write(f"{what}: {result['type'] if result else 'returned'}")
        return result


async def send_after_disconnect(log, send, started=False):
    if not started:
        await tell(log, "start", send(start(200, TEXT)))
    await tell(log, "body", send(part(b"late", True)))
    await tell(log, "end", send(part(b"later")))


async def watch_receive(log, receive, send):
    """Has read the request, and waits in receive()."""
    await read_body(receive)
    log.write("entered")
    await tell(log, "receive", receive())
    await tell(log, "receive", receive())
    await send_after_disconnect(log, send)


async def watch_sleep(log, receive, send):
    """Has not read anything, is elsewhere while the client goes, reads only later."""
    log.write("entered")
    await log.released.wait()
    await tell(log, "receive", receive())
    await tell(log, "receive", receive())
    await send_after_disconnect(log, send)


async def watch_sleep_then_send(log, receive, send):
    """Has read the request, is elsewhere while the client goes, learns of it from no receive()."""
    await read_body(receive)
    log.write("entered")
    await log.released.wait()
    await send_after_disconnect(log, send)
    await tell(log, "receive", receive())


async def watch_stream(log, receive, send):
    """Streams while another task waits in receive()."""
    await read_body(receive)
    gone = asyncio.ensure_future(tell(log, "receive", receive()))
    await send(start(200, TEXT))
    await send(part(b"first", True))
    log.write("entered")
    while not gone.done():
        with contextlib.suppress(OSError):
            await send(part(b"." * 1024, True))
        await asyncio.sleep(0)
    await send_after_disconnect(log, send, started=True)


async def watch_blocked(log, receive, send):
    """Streams more than the client takes, and nobody waits in receive()."""
    await send(start(200, TEXT))
    log.write("entered")
    with contextlib.suppress(OSError):
        for _ in range(1024):
            await send(part(b"." * 65536, True))
    log.write("stopped")
    await read_body(receive)
    await tell(log, "receive", receive())


async def watch_upload(log, receive, send):
    """Reads a body that never completes."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            log.write(f"{len(body)} bytes, then {message['type']}")
            break
        if not body:
            log.write("entered")
        body += message["body"]
        if not message["more_body"]:
            log.write(f"{len(body)} bytes, complete")
            break
    await send_after_disconnect(log, send)


async def watch_respond(log, receive, send):
    """Answers only once it is let go."""
    await read_body(receive)
    log.write("entered")
    await log.released.wait()
    await tell(log, "start", send(start(200, TEXT, length(5))))
    await tell(log, "body", send(part(b"there")))


async def watch_finish(log, receive, send):
    """Answers with the request's body once that is complete."""
    body, more = b"", True
    while more:
        message = await receive()
        log.write("entered")
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    await respond(send, body)


WATCH_ROUTES = {
    "finish": watch_finish,
    "receive": watch_receive,
    "sleep": watch_sleep,
    "sleep-then-send": watch_sleep_then_send,
    "stream": watch_stream,
    "blocked": watch_blocked,
    "upload": watch_upload,
    "respond": watch_respond,
}


async def watch(receive, send, what, key):
    log = journal(key)
    try:
        await WATCH_ROUTES[what](log, receive, send)
    finally:
        log.write("left")


async def lifespan(scope, receive, send):
    scope["state"].update(number=7, shared=[])
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    if scope["query_string"]:
        return await dump_scope(scope, receive, send)
    path = scope["path"].removeprefix(scope["root_path"])
    match path.split("/"):
        case ["", what, code] if what in STATUS_ROUTES:
            return await STATUS_ROUTES[what](scope, receive, send, int(code))
        case ["", "watch", what, key]:
            return await watch(receive, send, what, key)
    return await ROUTES.get(path, dump_scope)(scope, receive, send)


app = Control(application)
