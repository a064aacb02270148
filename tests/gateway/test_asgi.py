"""The ASGI gateway: what an application is given, what it may send, and what becomes of its mistakes."""

import asyncio
import contextvars
import copy
import logging
import weakref

import pytest

from fastserve._exchange import Endpoint

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def respond(status=200, headers=((b"content-length", b"5"),), body=b"hello", **start):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": headers, **start})
        await send({"type": "http.response.body", "body": body})

    return application


async def fetch(bench, request=GET):
    stream = bench.connect()
    await bench.io(stream.feed, request)
    await bench.quiet()
    return stream.take()


# --- the scope


def scope_of(run, request, **options):
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)
        await respond()(scope, receive, send)

    run(application, lambda bench: fetch(bench, request), **options)
    return seen[0]


def test_scope_is_complete_and_exactly_typed(run):
    scope = scope_of(run, b"POST /caf%C3%A9/a%2Fb?q=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/café/a/b",
        "raw_path": b"/caf%C3%A9/a%2Fb",
        "query_string": b"q=%20",
        "headers": [(b"host", b"x"), (b"content-length", b"0"), (b"x-a", b"1")],
        "state": {},
        "extensions": {"http.response.trailers": {}, "http.response.early_hint": {}},
    }
    assert type(scope["client"]) is type(scope["server"]) is tuple
    assert type(scope["client"][1]) is int
    assert type(scope["headers"]) is list
    assert type(scope["headers"][0]) is tuple


def test_http10_scope(run):
    scope = scope_of(run, b"GET / HTTP/1.0\r\n\r\n")
    assert scope["http_version"] == "1.0"
    assert scope["extensions"] == {}


def test_root_path_goes_before_the_path(run):
    scope = scope_of(run, b"GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n", root_path="/api")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/a b", b"/api/a%20b")


def test_path_that_is_not_utf8(run):
    assert scope_of(run, b"GET /%ff%41 HTTP/1.1\r\nHost: x\r\n\r\n")["path"] == "/\ufffdA"


def test_nothing_in_the_scope_is_shared_between_requests(run):
    seen = []

    async def application(scope, receive, send):
        seen.append({key: dict(scope[key]) for key in ("asgi", "extensions", "state")} | {"h": list(scope["headers"])})
        for key in ("asgi", "extensions", "state"):
            scope[key]["mine"] = True
        scope["headers"].append((b"x", b"y"))
        scope["extra"] = 1
        await respond()(scope, receive, send)

    run(application, lambda bench: fetch(bench, GET + GET), state={"shared": 1})
    assert seen[0] == seen[1]
    assert seen[0]["state"] == {"shared": 1}


KEPT = []


@pytest.mark.parametrize("change", [
    lambda scope: None,
    KEPT.append,
    lambda scope: KEPT.append(scope["asgi"]),
    lambda scope: KEPT.append(scope["state"]),
    lambda scope: KEPT.append(scope["headers"]),
    lambda scope: KEPT.append(scope.items()),
    lambda scope: scope.update(path="/changed"),
    lambda scope: scope.update(headers=[]),
    lambda scope: scope.update(app=object()),
    lambda scope: scope.pop("server"),
    lambda scope: (scope.pop("server"), scope.update(app=1)),
    lambda scope: scope.clear(),
    lambda scope: scope["asgi"].update(version="4.0"),
    lambda scope: scope["asgi"].clear(),
    lambda scope: scope["extensions"].pop("http.response.trailers"),
    lambda scope: scope["extensions"].update(debug={}),
    lambda scope: scope["state"].update(shared=2),
    lambda scope: scope["state"].update(mine=1),
    lambda scope: scope["headers"].append((b"x", b"y")),
    lambda scope: scope.update(client=None, server=None),
])  # fmt: skip
def test_scope_is_as_new_whatever_was_done_to_the_last_one(run, change):
    seen, state = [], {"shared": 1}
    KEPT.clear()

    async def application(scope, receive, send):
        seen.append(copy.deepcopy(scope))
        if len(seen) % 2:
            change(scope)
        await respond()(scope, receive, send)

    def expected(minor=1, client=50000, **changed):
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": f"1.{minor}",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", client),
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [(b"host", b"x")],
            "state": dict(state),
            "extensions": {"http.response.trailers": {}, "http.response.early_hint": {}} if minor else {},
        } | changed

    async def scenario(bench):
        wanted = []
        streams = [bench.connect(), bench.connect(endpoint=Endpoint(("127.0.0.1", 50001), ("127.0.0.1", 8000)))]
        await bench.io(streams[0].feed, GET * 3)
        wanted += [expected()] * 3
        await bench.io(streams[1].feed, GET * 2)
        wanted += [expected(client=50001)] * 2
        await bench.io(streams[0].feed, GET.replace(b"GET /", b"PUT /a?b"))
        wanted += [expected(method="PUT", path="/a", raw_path=b"/a", query_string=b"b")]
        await bench.io(streams[1].feed, GET * 2)
        wanted += [expected(client=50001)] * 2
        state["shared"] = 3
        await bench.io(streams[0].feed, GET * 2)
        wanted += [expected()] * 2
        await bench.io(streams[0].feed, GET.replace(b"/1.1", b"/1.0"))
        wanted += [expected(minor=0)]
        await bench.io(streams[1].feed, GET)
        wanted += [expected(client=50001)]
        return wanted

    assert seen == run(application, scenario, state=state)


def test_scopes_of_one_connection_follow_its_requests(run):
    seen = []

    async def application(scope, receive, send):
        seen.append([scope[key] for key in ("method", "path", "raw_path", "query_string", "http_version")])
        scope["path"] = "changed by a middleware"
        await respond()(scope, receive, send)

    requests = b"".join(b"%s HTTP/1.1\r\nHost: x\r\n\r\n" % line for line in (
        b"GET /a?1", b"GET /a?1", b"PUT /a?1", b"GET /a?2", b"GET /%61?2", b"GET /b",
    ))  # fmt: skip
    run(application, lambda b: fetch(b, requests + b"GET /b HTTP/1.0\r\n\r\n"))
    assert seen == [
        ["GET", "/a", b"/a", b"1", "1.1"],
        ["GET", "/a", b"/a", b"1", "1.1"],
        ["PUT", "/a", b"/a", b"1", "1.1"],
        ["GET", "/a", b"/a", b"2", "1.1"],
        ["GET", "/a", b"/%61", b"2", "1.1"],
        ["GET", "/b", b"/b", b"", "1.1"],
        ["GET", "/b", b"/b", b"", "1.0"],
    ]


# --- what one request keeps from the next


@pytest.mark.parametrize("hold", [lambda thing: thing, weakref.ref], ids=["strongly", "weakly"])
@pytest.mark.parametrize("names", [["receive"], ["send"], ["task"], ["receive", "send", "task"]], ids="-".join)
def test_what_an_application_holds_on_to_stays_with_its_request(run, hold, names):
    held, seen = [], []

    async def application(scope, receive, send):
        things = {"receive": receive, "send": send, "task": asyncio.current_task()}
        for name, thing in things.items():
            earlier = [mine[name] for mine in held if name in mine]
            seen.append(any(it is thing or (isinstance(it, weakref.ref) and it() is thing) for it in earlier))
        held.append({name: hold(things[name]) for name in names})
        things = None
        await respond()(scope, receive, send)

    wire = run(application, lambda b: fetch(b, GET * 4))
    assert wire.count(b"hello") == 4
    assert not any(seen)


def test_send_and_receive_of_an_ended_request_do_not_reach_the_next(run):
    held, errors, messages = [], [], []

    async def application(scope, receive, send):
        for earlier_receive, earlier_send in held:
            messages.append(await earlier_receive())
            try:
                await earlier_send({"type": "http.response.start", "status": 500, "headers": []})
            except RuntimeError as error:
                errors.append(str(error))
        held.append((receive, send))
        await respond()(scope, receive, send)

    wire = run(application, lambda b: fetch(b, GET * 3))
    assert wire.count(b"200 OK") == 3
    assert b"500" not in wire
    assert errors == ["Unexpected ASGI message 'http.response.start' sent, after response already completed."] * 3
    assert messages == [{"type": "http.disconnect"}] * 3


def test_every_request_begins_anew(run):
    # Each of the others leaves something behind that the next one must not find.
    seen = []

    async def application(scope, receive, send):
        task = asyncio.current_task()
        seen.append((task.get_name() == "mine", task.cancelling(), task.done(), (await receive())["type"]))
        if scope["path"] == "/cancelled":
            task.cancel()
        elif scope["path"] == "/named":
            task.set_name("mine")
        elif scope["path"] == "/called-back":
            task.add_done_callback(lambda ended: None)
        elif scope["path"] == "/listening":
            await respond()(scope, receive, send)
            await receive()
            return
        elif scope["path"] == "/failing":
            raise ValueError
        await respond()(scope, receive, send)

    async def scenario(bench):
        for path in (b"/", b"/cancelled", b"/named", b"/called-back", b"/listening", b"/failing", b"/"):
            await fetch(bench, GET.replace(b"/", path, 1))
        return await fetch(bench)

    assert run(application, scenario).endswith(b"hello")
    assert seen == [(False, 0, False, "http.request")] * 8


# --- receive


def test_body_comes_in_one_message_when_it_is_there(run):
    messages = []

    async def application(scope, receive, send):
        messages.append(await receive())
        await respond()(scope, receive, send)
        messages.append(await receive())

    run(application, lambda b: fetch(b, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"))
    assert messages == [{"type": "http.request", "body": b"abc", "more_body": False}, {"type": "http.disconnect"}]


def test_body_that_arrives_later_wakes_the_application(run):
    messages = []

    async def application(scope, receive, send):
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await respond()(scope, receive, send)

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        await bench.turns()
        for piece in (b"a", b"b", b"cd"):
            await bench.io(stream.feed, piece)
            await bench.turns()
        await bench.quiet()
        return stream.take()

    assert run(application, scenario).endswith(b"hello")
    assert [message["body"] for message in messages] == [b"a", b"b", b"cd"]


def test_receive_waits_for_the_disconnect(run):
    messages = []

    async def application(scope, receive, send):
        messages.append(await receive())
        messages.append(await receive())

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.turns()
        assert len(messages) == 1
        await bench.io(stream.end)
        await bench.quiet()

    run(application, scenario)
    assert messages[1] == {"type": "http.disconnect"}


def test_disconnect_reaches_a_task_that_listens_while_the_application_computes(run):
    events = []

    async def application(scope, receive, send):
        await receive()

        async def listen():
            events.append((await receive())["type"])

        task = asyncio.create_task(listen())
        await asyncio.wait({task})

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.turns()
        await bench.io(stream.lose, ConnectionResetError())
        await bench.quiet()

    run(application, scenario)
    assert events == ["http.disconnect"]


def test_listener_is_released_when_the_response_ends(run):
    events = []

    async def application(scope, receive, send):
        await receive()
        task = asyncio.create_task(listen(receive))
        await asyncio.sleep(0)
        await respond()(scope, receive, send)
        await task

    async def listen(receive):
        events.append((await receive())["type"])

    run(application, fetch)
    assert events == ["http.disconnect"]


def test_cancelled_receive_loses_nothing(run):
    messages = []

    async def application(scope, receive, send):
        for _ in range(3):
            try:
                async with asyncio.timeout(0.001):
                    await receive()
            except TimeoutError:
                pass
        messages.append("ready")
        messages.append((await receive())["body"])
        await respond()(scope, receive, send)

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        async with asyncio.timeout(5):
            while not messages:
                await asyncio.sleep(0)
        await bench.io(stream.feed, b"abc")
        await bench.quiet()

    run(application, scenario)
    assert messages == ["ready", b"abc"]


def test_continue_on_first_receive(run):
    async def application(scope, receive, send):
        await receive()
        await respond()(scope, receive, send)

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        await bench.turns()
        first = stream.take()
        await bench.io(stream.feed, b"abc")
        await bench.quiet()
        return first, stream.take()

    first, second = run(application, scenario)
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("call", [asyncio.create_task, asyncio.ensure_future, lambda it: asyncio.wait_for(it, 1)])
def test_what_receive_and_send_return_can_be_handed_to_asyncio(run, call):
    async def application(scope, receive, send):
        assert (await call(receive()))["type"] == "http.request"
        await call(send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}))
        await call(send({"type": "http.response.body", "body": b"ok"}))

    assert run(application, fetch).endswith(b"\r\n\r\nok")


# --- send


def test_streaming_leaves_as_it_is_sent(run):
    go_on = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            go_on.append(asyncio.get_running_loop().create_future())
            await go_on[-1]
        await send({"type": "http.response.body"})

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        parts = []
        for number in range(3):
            parts.append(stream.take())
            go_on[number].set_result(None)
            await bench.turns()
        return [*parts, stream.take()]

    parts = run(application, scenario)
    assert parts[0].endswith(b"\r\n\r\n1\r\n0\r\n")
    assert parts[1:] == [b"1\r\n1\r\n", b"1\r\n2\r\n", b"0\r\n\r\n"]


def test_send_from_another_task_leaves_without_waiting_for_ours(run):
    async def application(scope, receive, send):
        async def stream():
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})

        await asyncio.create_task(stream())
        await asyncio.get_running_loop().create_future()

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.turns()
        return stream.take()

    assert run(application, scenario).endswith(b"\r\n\r\na")


def test_slow_client_makes_send_wait(run):
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(100):
            await send({"type": "http.response.body", "body": b"x" * 10000, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body", "body": b""})

    async def scenario(bench):
        stream = bench.connect(capacity=5000)
        await bench.io(stream.feed, GET)
        await bench.turns()
        stuck = len(sent)
        stream.capacity = None
        await bench.io(stream.drain)
        await bench.quiet()
        return stuck, len(stream.take())

    stuck, size = run(application, scenario)
    assert stuck < 20
    assert size > 1_000_000


def test_client_that_vanishes_releases_a_waiting_send(run):
    ended = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 10000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.append(True)

    async def scenario(bench):
        stream = bench.connect(capacity=5000)
        await bench.io(stream.feed, GET)
        await bench.turns()
        assert not ended
        await bench.io(stream.lose)
        await bench.quiet()

    run(application, scenario)
    assert ended == [True], "send() after a disconnect returns silently"


def test_background_work_after_the_response_does_not_hold_the_connection(run):
    finish = []

    async def application(scope, receive, send):
        await respond()(scope, receive, send)
        if not finish:
            finish.append(asyncio.get_running_loop().create_future())
            await finish[0]

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET + GET)
        await bench.turns()
        answered = stream.take().count(b"hello")
        assert bench.worker.tasks == 1
        finish[0].set_result(None)
        await bench.quiet()
        return answered

    assert run(application, scenario) == 2


def test_pipelined_request_starts_after_a_suspended_one(run):
    async def application(scope, receive, send):
        await asyncio.sleep(0)
        path = scope["raw_path"]
        await respond(headers=[(b"content-length", b"%d" % len(path))], body=path)(scope, receive, send)

    wire = run(application, lambda b: fetch(b, b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5))))
    assert [part[:2] for part in wire.split(b"\r\n\r\n")[1:]] == [b"/%d" % n for n in range(5)]


# --- mistakes


def failing(run, caplog, application, **options):
    wire = run(application, fetch, **options)
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    return wire, record


def test_exception_before_the_response(run, caplog):
    async def application(scope, receive, send):
        raise ValueError("secret")

    wire, record = failing(run, caplog, application)
    head, _, body = wire.partition(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"content-length: 21\r\nconnection: close"
    )
    assert body == b"Internal Server Error"
    assert record.getMessage() == "Exception in ASGI application\n"
    assert "secret" in caplog.text


def test_exception_when_only_the_head_was_given(run, caplog):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]})
        await asyncio.sleep(0)
        raise ValueError

    wire, _ = failing(run, caplog, application)
    assert wire.startswith(b"HTTP/1.1 500 ")
    assert b"x-a" not in wire


def test_exception_in_the_middle_of_the_body(run, caplog):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ValueError

    wire, _ = failing(run, caplog, application)
    assert wire.endswith(b"4\r\npart\r\n")


def test_application_that_cannot_be_called(run, caplog):
    wire, record = failing(run, caplog, lambda scope: None)
    assert wire.startswith(b"HTTP/1.1 500 ")
    assert record.getMessage() == "Exception in ASGI application\n"


@pytest.mark.parametrize(("messages", "text", "answer"), [
    ([], "ASGI callable returned without starting response.", b"HTTP/1.1 500"),
    ([{"type": "http.response.start", "status": 200}], "ASGI callable returned without completing response.", b""),
])  # fmt: skip
def test_returning_early(run, caplog, messages, text, answer):
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    wire, record = failing(run, caplog, application)
    assert record.getMessage() == text
    assert wire.startswith(answer or b"HTTP/1.1 500")


def test_returning_something(run, caplog):
    async def application(scope, receive, send):
        await respond()(scope, receive, send)
        return 42

    wire, record = failing(run, caplog, application)
    assert record.getMessage() == "ASGI callable should return None, but returned '42'."
    assert wire.endswith(b"hello")


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
BODY = {"type": "http.response.body", "body": b"hello"}


@pytest.mark.parametrize(("messages", "text"), [
    ([BODY], "Expected ASGI message 'http.response.start', but got 'http.response.body'."),
    ([START, START], "Expected ASGI message 'http.response.body', but got 'http.response.start'."),
    ([START, BODY, BODY], "Unexpected ASGI message 'http.response.body' sent, after response already completed."),
    ([{"type": "nonsense"}], "Expected ASGI message 'http.response.start', but got 'nonsense'."),
    ([START, {"type": "http.response.body", "body": b"hello!"}], "Response content longer than Content-Length"),
    ([START, {"type": "http.response.body", "body": b"hell"}], "Response content shorter than Content-Length"),
    ([START, {"type": "http.response.body", "body": "hello"}], "Response body must be bytes, not str."),
    ([{"type": "http.response.start"}], "ASGI message 'http.response.start' has no 'status'."),
    ([{"type": "http.response.start", "status": "200"}], "Response status must be an integer, not str."),
    ([START | {"headers": [(b"a\r\nb", b"c")]}], "Invalid HTTP header name."),
    ([START | {"headers": [(b"a", b"b\nc")]}], "Invalid HTTP header value."),
])  # fmt: skip
def test_wrong_messages(run, caplog, messages, text):
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    _, record = failing(run, caplog, application)
    assert record.exc_info[0] is RuntimeError
    assert str(record.exc_info[1]) == text


def test_cancellation_by_the_server_is_not_an_error_of_the_application(run, caplog):
    seen = []

    async def application(scope, receive, send):
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.turns()
        assert bench.worker.cancel() == 1
        await bench.quiet()
        return stream.take()

    assert run(application, scenario).startswith(b"HTTP/1.1 500")
    assert seen == ["cancelled"]
    assert not caplog.records


# --- extensions


def test_trailers(run):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": [(b"trailer", b"x")]})
        await send({"type": "http.response.body", "body": b"hello"})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"y", b"2")]})

    wire = run(application, lambda b: fetch(b, b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n"))
    assert wire.endswith(b"5\r\nhello\r\n0\r\nx: 1\r\ny: 2\r\n\r\n")


def test_early_hints(run):
    async def application(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload", b"</b>; rel=preload"]})
        await asyncio.sleep(0)
        await respond()(scope, receive, send)

    wire = run(application, fetch)
    assert wire.startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


# --- isolation


def test_context_of_a_request_is_its_own(run):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def application(scope, receive, send):
        seen.append(variable.get())
        variable.set("set")
        await respond()(scope, receive, send)

    run(application, lambda b: fetch(b, GET * 3))
    assert seen == ["unset"] * 3


@pytest.mark.parametrize("task", ["native", "asyncio"])
def test_every_kind_of_task_serves(run, task):
    async def application(scope, receive, send):
        assert isinstance(asyncio.current_task(), asyncio.Task)
        await asyncio.sleep(0)
        await respond()(scope, receive, send)

    wire = run(application, lambda b: fetch(b, GET * 3), task=task)
    assert wire.count(b"hello") == 3


# --- clients that go in the middle of a response


def streaming(ended, *, listen=False):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        if listen:
            ended.append((await receive())["type"])
            return
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    return application


@pytest.mark.parametrize("listen", [False, True])
def test_stream_whose_connection_is_lost_ends(run, caplog, listen):
    ended = []

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.io(stream.lose, ConnectionResetError())
        await bench.quiet()

    run(streaming(ended, listen=listen), scenario)
    assert ended == ["http.disconnect" if listen else "cancelled"]
    assert not caplog.records


def test_stream_whose_client_ended_its_half_ends_when_it_falls_silent(run, caplog):
    ended = []

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.io(stream.end)
        await bench.turns()
        assert not ended, "the client may still be reading"
        bench.clock.time += 1.2
        await bench.io(bench.worker.advance)
        await bench.quiet()

    run(streaming(ended), scenario)
    assert ended == ["cancelled"]
    assert not caplog.records


def test_work_before_the_response_is_not_cancelled_by_a_disconnect(run):
    ended = []
    go_on = []

    async def application(scope, receive, send):
        go_on.append(asyncio.get_running_loop().create_future())
        await go_on[0]
        await respond()(scope, receive, send)
        ended.append("whole")

    async def scenario(bench):
        stream = bench.connect()
        await bench.io(stream.feed, GET)
        await bench.io(stream.lose)
        bench.clock.time += 10
        await bench.io(bench.worker.advance)
        go_on[0].set_result(None)
        await bench.quiet()

    run(application, scenario)
    assert ended == ["whole"]
