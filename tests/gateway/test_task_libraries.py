"""Libraries that look at the current task find an asyncio task: anyio, sniffio, Starlette, SQLAlchemy."""

import asyncio
import contextvars
import gc
import weakref

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import sniffio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from tests.gateway._task_probe import make_ready_value, ready

from fastserve.gateway._task import RequestTask
from tests.gateway.task_harness import LOOPS, dies, run


@pytest.fixture(params=LOOPS)
def new_loop(request):
    return LOOPS[request.param]


def serve_all(new_loop, *apps):
    """Serve the coroutine functions one after the other on one worker, each twice; answers the results."""

    async def main(worker):
        results = []
        for app in apps * 2:
            task, _ = await worker.serve(app())
            assert type(task) is RequestTask
            results.append(task.result())
            assert task.cancelling() == 0
        return results

    return run(new_loop, main)


def test_sniffio(new_loop):
    async def app():
        return sniffio.current_async_library()

    assert serve_all(new_loop, app) == ["asyncio"] * 2


def test_anyio_cancel_scopes(new_loop):
    async def move_on():
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(5)
        assert asyncio.current_task().cancelling() == 0
        return scope.cancelled_caught

    async def fail():
        try:
            with anyio.fail_after(0.001):
                await anyio.sleep(5)
        except TimeoutError:
            return asyncio.current_task().cancelling()

    async def cancelled_at_once():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(5)
        return scope.cancelled_caught

    async def shielded():
        log = []
        with anyio.move_on_after(0.001):
            try:
                await anyio.sleep(5)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.001)
                    log.append("cleaned")
        return log

    async def nested():
        with anyio.CancelScope() as outer:
            with anyio.CancelScope():
                outer.cancel()
                await anyio.sleep(5)
            raise AssertionError
        await anyio.sleep(0)
        return outer.cancelled_caught

    assert serve_all(new_loop, move_on, fail, cancelled_at_once, shielded, nested) == [
        True, 0, True, ["cleaned"], True,
    ] * 2  # fmt: skip


def test_anyio_cancel_scope_around_a_direct_wait(new_loop):
    async def main(worker):
        async def app():
            with anyio.move_on_after(0.001) as scope:
                await worker.mailbox.receive()
            assert scope.cancelled_caught
            assert worker.mailbox.waiting() == 0
            worker.loop.call_later(0.001, worker.mailbox.put, "kept")
            with anyio.fail_after(5):
                return await worker.mailbox.receive()

        for _ in range(2):
            task, _ = await worker.serve(app())
            assert task.result() == "kept"

    run(new_loop, main)


def test_anyio_task_groups(new_loop):
    async def children():
        got = []

        async def child(number):
            await anyio.sleep(0)
            got.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
        return got

    async def failing_child():
        async def child():
            await anyio.sleep(0)
            raise ValueError("child")

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                await anyio.sleep(5)
        except* ValueError as group_error:
            errors = [error.args for error in group_error.exceptions]
        return errors, asyncio.current_task().cancelling()

    async def started():
        async def child(*, task_status):
            task_status.started("ready")
            await anyio.sleep(5)

        async with anyio.create_task_group() as group:
            value = await group.start(child)
            group.cancel_scope.cancel()
        return value

    assert serve_all(new_loop, children, failing_child, started) == [
        [0, 1, 2], ([("child",)], 0), "ready",
    ] * 2  # fmt: skip


def test_anyio_threads_locks_and_streams(new_loop):
    variable = contextvars.ContextVar("variable")

    async def threads():
        variable.set("request's")

        def work():
            anyio.from_thread.run(anyio.sleep, 0)
            return variable.get(), anyio.from_thread.run_sync(variable.get)

        return await anyio.to_thread.run_sync(work)

    async def locks():
        lock, event, semaphore = anyio.Lock(), anyio.Event(), anyio.Semaphore(1)
        order = []

        async def other():
            async with lock:
                order.append("other")
                event.set()

        async with anyio.create_task_group() as group:
            async with lock, semaphore:
                group.start_soon(other)
                await anyio.sleep(0)
                order.append("first")
            await event.wait()
        return order, lock.statistics().owner

    async def streams():
        send, receive = anyio.create_memory_object_stream(0)

        async def producer():
            async with send:
                for number in range(3):
                    await send.send(number)

        async with anyio.create_task_group() as group, receive:
            group.start_soon(producer)
            return [number async for number in receive]

    assert serve_all(new_loop, threads, locks, streams) == [
        ("request's", "request's"), (["first", "other"], None), [0, 1, 2],
    ] * 2  # fmt: skip


def test_anyio_task_info(new_loop):
    async def app():
        info = anyio.get_current_task()
        return info.name == asyncio.current_task().get_name(), info.id == id(asyncio.current_task())

    assert serve_all(new_loop, app) == [(True, True)] * 2


def test_anyio_workers_outlive_the_request(new_loop):
    async def app():
        # Found by its callback of run_until_complete(): the worker's main task, not the request's.
        return await anyio.to_thread.run_sync(lambda: 1)

    async def main(worker):
        references = []
        for _ in range(3):
            task, _ = await worker.serve(app())
            assert task._callbacks is None
            references.append(weakref.ref(task))
            del task
        await asyncio.sleep(0)
        assert all(dies(reference) for reference in references)

    run(new_loop, main)


# Starlette.


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = str(isinstance(asyncio.current_task(), asyncio.Task))
        return response


async def stream(request):
    async def numbers():
        for number in range(3):
            yield f"{number};"
            await asyncio.sleep(0)

    return StreamingResponse(numbers())


async def endless(request):
    async def numbers():
        try:
            while True:
                yield "tick;"
                await asyncio.sleep(0)
        finally:
            request.app.state.closed = True

    return StreamingResponse(numbers())


async def echo(request):
    return PlainTextResponse(b"".join([part async for part in request.stream()]))


def in_thread(request):
    return PlainTextResponse("threaded")


def fails(request):
    raise LookupError("application")


def make_application():
    return Starlette(
        routes=[Route("/stream", stream), Route("/endless", endless), Route("/echo", echo, methods=["POST"]),
                Route("/thread", in_thread), Route("/fails", fails)],
        middleware=[Middleware(Stamp), Middleware(Stamp)],
    )  # fmt: skip


class Client:
    """The server's side of one ASGI exchange, on our awaitables.

    It claims HTTP spec 2.3, with which Starlette waits for http.disconnect in a second task while it streams.
    """

    def __init__(self, worker, application, path, *body, method="GET", leave_after=None):
        self.box = type(worker.mailbox)(worker.driver)
        self.sent = []
        self.leave_after = leave_after
        self.scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [],
            "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        if not body:
            self.box.put({"type": "http.request", "body": b"", "more_body": False})
        for position, part in enumerate(body):
            message = {"type": "http.request", "body": part, "more_body": position < len(body) - 1}
            worker.loop.call_later(0.001 * (position + 1), self.box.put, message)
        self.coroutine = application(self.scope, self.receive, self.send)

    def receive(self):
        if self.box.messages[0]:
            return make_ready_value(self.box.messages[0].pop(0))
        return self.box.receive()

    def send(self, message):
        self.sent.append(message)
        if len(self.sent) == self.leave_after:
            self.box.put({"type": "http.disconnect"})
        return ready

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)


def test_starlette_base_http_middleware(new_loop):
    async def main(worker):
        application = make_application()
        for _ in range(2):
            for path, options, body in [
                ("/stream", {}, b"0;1;2;"),
                ("/thread", {}, b"threaded"),
            ]:
                client = Client(worker, application, path, **options)
                task, _ = await worker.serve(client.coroutine)
                assert task.exception() is None
                assert client.body == body
                assert (b"x-stamp", b"True") in client.sent[0]["headers"]
            client = Client(worker, application, "/echo", b"one ", b"two ", b"three", method="POST")
            task, _ = await worker.serve(client.coroutine)
            assert task.exception() is None
            assert client.body == b"one two three"
            client = Client(worker, application, "/fails")
            task, recorder = await worker.serve(client.coroutine)
            assert client.sent[0]["status"] == 500
            assert isinstance(recorder.calls[-1][3], LookupError)

    run(new_loop, main)


def test_starlette_client_leaves_a_stream(new_loop):
    async def main(worker):
        application = make_application()
        for _ in range(2):
            application.state.closed = False
            client = Client(worker, application, "/endless", leave_after=5)
            task, _ = await worker.serve(client.coroutine)
            assert task.exception() is None
            await asyncio.sleep(0)
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)
            assert application.state.closed
            assert client.box.waiting() == 0

    run(new_loop, main)


# SQLAlchemy.


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sqlalchemy_scoped_session_by_current_task(new_loop):
    async def main(worker):
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=NullPool)
        scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        sessions = []

        async def app(number):
            session = scoped()
            assert isinstance(session, AsyncSession)
            assert scoped() is session
            value = (await scoped.execute(text(f"select {number}"))).scalar()
            assert scoped() is session
            assert len(scoped.registry.registry) >= 1
            sessions.append(session)
            await scoped.remove()
            return value

        ended = [worker.start(app(number)) for number in range(3)]
        assert [task.result() for task, _ in await asyncio.gather(*ended)] == [0, 1, 2]
        task, _ = await worker.serve(app(3))
        assert task.result() == 3
        assert len(set(map(id, sessions))) == 4
        assert scoped.registry.registry == {}
        await engine.dispose()

    run(new_loop, main)
