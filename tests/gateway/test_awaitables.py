"""What receive() and send() answer: finished awaitables, and the one that the protocol wakes."""

import asyncio
import gc
import weakref

import pytest
from tests.gateway._task_probe import Mailbox, make_ready_value, ready

from fastserve.gateway._task import RequestTask
from tests.gateway.task_harness import LOOPS, run

VALUES = [None, {"type": "http.request"}, (), (1, 2), ValueError("not raised"), StopIteration(3), ValueError, 0]


class Message(dict):
    """A dict that can be referred to weakly."""


@pytest.fixture(params=LOOPS)
def new_loop(request):
    return LOOPS[request.param]


# Finished awaitables.


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_ready_value_is_awaited_without_suspending(value):
    async def app():
        return await make_ready_value(value)

    coroutine = app()
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value is value


def test_ready_is_awaited_without_suspending():
    async def app():
        return await ready, await ready

    with pytest.raises(StopIteration) as stopped:
        app().send(None)
    assert stopped.value.value == (None, None)


def test_a_ready_value_inside_exception_handlers():
    async def app():
        try:
            raise KeyError
        except KeyError:
            got = await make_ready_value(1), await ready
        return got

    with pytest.raises(StopIteration) as stopped:
        app().send(None)
    assert stopped.value.value == (1, None)


def test_a_ready_value_may_be_awaited_twice():
    async def app():
        awaitable = make_ready_value(1)
        return await awaitable, await awaitable

    with pytest.raises(StopIteration) as stopped:
        app().send(None)
    assert stopped.value.value == (1, 1)


def test_a_ready_value_is_not_kept():
    async def app():
        return weakref.ref(await make_ready_value(Message()))

    gc.disable()
    try:
        with pytest.raises(StopIteration) as stopped:
            app().send(None)
        assert stopped.value.value() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("make", [lambda: make_ready_value(None), lambda: ready], ids=["value", "ready"])
def test_finished_awaitables_by_hand(make):
    with pytest.raises(StopIteration):
        make().send(None)
    with pytest.raises(StopIteration):
        next(make().__await__())
    with pytest.raises(KeyError, match="instance"):
        make().throw(KeyError("instance"))
    with pytest.raises(KeyError):
        make().throw(KeyError)
    with pytest.raises(KeyError, match="text"):
        make().throw(KeyError, "text", None)
    make().close()


def test_finished_awaitables_are_coroutines_to_asyncio(new_loop):
    async def main(worker):
        async def app():
            got = [
                await asyncio.wait_for(make_ready_value("wait_for"), 5),
                await asyncio.ensure_future(make_ready_value("ensure_future")),
                await asyncio.create_task(make_ready_value("create_task")),
                await asyncio.shield(make_ready_value("shield")),
                *await asyncio.gather(make_ready_value("gather"), ready),
            ]
            async with asyncio.timeout(5):
                await ready
            got.append(await asyncio.wait_for(ready, 5))
            return got

        task, _ = await worker.serve(app())
        assert task.result() == ["wait_for", "ensure_future", "create_task", "shield", "gather", None, None]

    run(new_loop, main)


# Waiters.


@pytest.mark.parametrize("value", [*VALUES[1:4], 0], ids=repr)
def test_a_waiter_with_something_there_does_not_suspend(new_loop, value):
    async def main(worker):
        async def app():
            worker.mailbox.put(value)
            return await worker.mailbox.receive()

        task, recorder = await worker.serve(app())
        assert task.result() == value
        assert [call[0] for call in recorder.calls] == ["finished"]

    run(new_loop, main)


def test_a_waiter_takes_nothing_before_it_is_awaited(new_loop):
    async def main(worker):
        worker.mailbox.put("message")
        worker.mailbox.receive()

        async def app():
            return await worker.mailbox.receive()

        task, _ = await worker.serve(app())
        assert task.result() == "message"

    run(new_loop, main)


def test_a_waiter_is_awaited_once(new_loop):
    async def main(worker):
        async def app():
            worker.mailbox.put("message")
            waiter = worker.mailbox.receive()
            await waiter
            with pytest.raises(RuntimeError, match="awaited already"):
                await waiter

        task, _ = await worker.serve(app())
        assert task.exception() is None

    run(new_loop, main)


def test_a_waiter_is_awaited_by_one(new_loop):
    async def main(worker):
        async def app():
            waiter = worker.mailbox.receive()

            async def second():
                with pytest.raises(RuntimeError, match="being awaited already"):
                    await waiter

            other = asyncio.create_task(second())
            message = await waiter
            await other
            return message

        ended = worker.start(app())
        await worker.after(3, worker.mailbox.put, "message")
        assert (await ended)[0].result() == "message"

    run(new_loop, main)


def test_all_are_woken_although_the_owner_of_one_fails(new_loop):
    async def main(worker):
        async def app():
            return await worker.mailbox.receive()

        failed = worker.start(app(), failure=LookupError("owner"))
        ended = worker.start(app())
        await asyncio.sleep(0)

        def callback():
            worker.mailbox.messages[0].append("first")
            with pytest.raises(LookupError, match="owner"):
                worker.mailbox.put("second")

        await worker.after(3, callback)
        assert [(await one)[0].result() for one in (failed, ended)] == ["first", "second"]

    run(new_loop, main)


def test_a_wake_from_an_io_callback_steps_the_task_before_it_returns(new_loop):
    async def main(worker):
        got = []

        async def app():
            for _ in range(3):
                got.append(await worker.mailbox.receive())
                assert type(asyncio.current_task()) is RequestTask
            return "end"

        ended = worker.start(app())
        await asyncio.sleep(0)

        def callback():
            worker.mailbox.put("a")
            assert got == ["a"]
            worker.mailbox.put("b")
            assert got == ["a", "b"]
            assert asyncio.current_task(worker.loop) is None
            worker.mailbox.put("c")
            got.append("callback")

        await worker.after(0, callback)
        assert got == ["a", "b", "c", "callback"]
        task, recorder = await ended
        assert task.result() == "end"
        assert [call[:2] for call in recorder.calls] == [("suspended", None)] * 3 + [("finished", None)]

    run(new_loop, main)


def test_a_wake_from_another_task_waits_for_the_loop(new_loop):
    async def main(worker):
        got = []

        async def app():
            got.append(await worker.mailbox.receive())

        ended = worker.start(app())
        await asyncio.sleep(0)
        worker.mailbox.put("message")
        assert got == []
        await ended
        assert got == ["message"]

    run(new_loop, main)


def test_a_wake_from_the_requests_own_context_waits_for_the_loop(new_loop):
    async def main(worker):
        got = []

        async def app():
            # What the application schedules runs in the context that a step would have to enter.
            worker.loop.call_soon(act, context=asyncio.current_task().get_context())
            got.append(await worker.mailbox.receive())

        def act():
            worker.mailbox.put("message")
            got.append("act")

        await worker.serve(app())
        assert got == ["act", "message"]

    run(new_loop, main)


def test_a_wake_of_one_request_inside_another(new_loop):
    async def main(worker):
        got = []

        async def first():
            got.append(await worker.mailbox.receive())

        async def second():
            worker.mailbox.put("from the second")
            got.append("second goes on")
            await asyncio.sleep(0)

        ended = [worker.start(first()), worker.start(second())]
        await asyncio.gather(*ended)
        assert got == ["second goes on", "from the second"]

    run(new_loop, main)


@pytest.mark.parametrize("mode", ["native", "asyncio"])
def test_somebody_elses_task_waits_on_a_future(new_loop, mode):
    async def main(worker):
        box = worker.mailbox

        async def app():
            return [
                await asyncio.create_task(box.receive()),
                await asyncio.wait_for(box.receive(), 5),
                *await asyncio.gather(box.receive(), box.receive()),
                await asyncio.shield(box.receive()),
                await box.receive(),
            ]

        ended = worker.start(app())
        for number in range(6):
            while not box.waiting():
                await asyncio.sleep(0)
            await worker.after(0, box.put, number)
        assert (await ended)[0].result() == [0, 1, 2, 3, 4, 5]

    run(new_loop, main, mode)


def test_kinds_do_not_wake_each_other(new_loop):
    async def main(worker):
        box = worker.mailbox
        got = []

        async def receives(kind):
            got.append((kind, await box.receive(kind)))

        async def app():
            await asyncio.gather(receives(0), receives(1), receives(1))

        ended = worker.start(app())
        await worker.after(3, box.put, "one", 1)
        assert box.waiting() >= 2 or got
        await worker.after(3, box.put, "nil", 0)
        await worker.after(3, box.put, "uno", 1)
        await ended
        assert sorted(got) == [(0, "nil"), (1, "one"), (1, "uno")]
        assert box.waiting() == 0

    run(new_loop, main)


def test_a_wake_for_nothing_leaves_it_waiting(new_loop):
    async def main(worker):
        box = worker.mailbox

        async def direct():
            return await box.receive()

        async def by_future():
            return await asyncio.create_task(box.receive())

        for app in [direct, by_future]:
            ended = worker.start(app())
            for _ in range(3):
                await worker.after(3, box.wake_for_nothing)
                await asyncio.sleep(0)
                assert box.waiting() == 1
            await worker.after(3, box.put, "message")
            assert (await ended)[0].result() == "message"

    run(new_loop, main)


def test_what_the_source_raises_is_raised_where_it_is_awaited(new_loop):
    async def main(worker):
        async def app():
            with pytest.raises(ConnectionResetError):
                await worker.mailbox.receive()
            with pytest.raises(ConnectionResetError):
                await asyncio.create_task(worker.mailbox.receive())

        ended = worker.start(app())
        await worker.after(3, worker.mailbox.put, ConnectionResetError())
        await worker.after(3, worker.mailbox.put, ConnectionResetError())
        assert (await ended)[0].exception() is None
        assert worker.mailbox.waiting() == 0

    run(new_loop, main)


# Waiters and cancellation.


def test_a_cancelled_waiter_is_forgotten_and_its_message_kept(new_loop):
    async def main(worker):
        box = worker.mailbox

        async def app():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await box.receive()
            assert box.waiting() == 0
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(box.receive(), 0.001)
            assert box.waiting() == 0
            worker.loop.call_soon(box.put, "kept")
            await asyncio.sleep(0.001)
            return await box.receive()

        task, _ = await worker.serve(app())
        assert task.result() == "kept"

    run(new_loop, main)


@pytest.mark.parametrize("order", ["cancel first", "wake first"])
@pytest.mark.parametrize("inner", [False, True], ids=["request task", "child task"])
def test_cancelled_and_woken_at_once(new_loop, order, inner):
    async def main(worker):
        box = worker.mailbox

        async def app():
            waiting = asyncio.create_task(box.receive()) if inner else asyncio.current_task()
            acts = [lambda: waiting.cancel("both"), lambda: box.put("kept")]

            keep.append(asyncio.create_task(between(acts)))
            with pytest.raises(asyncio.CancelledError, match="both"):
                await (waiting if inner else box.receive())
            assert box.waiting() == 0
            return await box.receive()

        # A task, so that the wake-up waits for the loop.
        async def between(acts):
            for call in acts if order == "cancel first" else reversed(acts):
                call()

        keep = []
        task, _ = await worker.serve(app())
        assert task.result() == "kept"

    run(new_loop, main)


def test_the_direct_waiter_as_fut_waiter(new_loop):
    async def main(worker):
        async def app():
            await worker.mailbox.receive()

        ended = worker.start(app())
        await asyncio.sleep(0)
        (task,) = [task for task in asyncio.all_tasks() if type(task) is RequestTask]
        waiter = task._fut_waiter
        assert not waiter.done()
        assert "wait_for=" in repr(task)
        assert task.cancel("message")
        assert waiter.done()
        assert not waiter.cancel()
        await ended
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError, match="message"):
            task.result()

    run(new_loop, main)


def test_cancel_of_itself_meets_the_direct_wait(new_loop):
    async def main(worker):
        async def app():
            asyncio.current_task().cancel("itself")
            with pytest.raises(asyncio.CancelledError, match="itself"):
                await worker.mailbox.receive()
            return asyncio.current_task()._must_cancel

        task, _ = await worker.serve(app())
        assert task.result() is False

    run(new_loop, main)


def test_a_lost_request_takes_its_waiter_along(new_loop):
    async def main(worker):
        box = Mailbox(worker.driver)
        log = []

        async def app(box):
            asyncio.current_task()._log_destroy_pending = False
            try:
                await box.receive()
            finally:
                log.append("closed")

        worker.start(app(box))
        await asyncio.sleep(0)
        assert box.waiting() == 1
        del box
        gc.collect()
        assert log == ["closed"]

    run(new_loop, main)


def test_a_waiter_by_hand(new_loop):
    async def main(worker):
        box = worker.mailbox
        waiter = box.receive()
        future = waiter.send(None)
        assert asyncio.isfuture(future)
        assert box.waiting() == 1
        with pytest.raises(KeyError):
            waiter.throw(KeyError())
        assert box.waiting() == 0
        closed = box.receive()
        closed.send(None)
        closed.close()
        assert box.waiting() == 0
        with pytest.raises(RuntimeError, match="awaited already"):
            closed.send(None)
        box.put("value")
        with pytest.raises(StopIteration) as stopped:
            box.receive().send(None)
        assert stopped.value.value == "value"

    run(new_loop, main)


def test_messages_are_not_kept(new_loop):
    async def main(worker):
        async def app():
            references = []
            for _ in range(3):
                references.append(weakref.ref(await worker.mailbox.receive()))
                # Past the call that put it there, which is what stepped us.
                await asyncio.sleep(0)
                assert references[-1]() is None
            return len(references)

        ended = worker.start(app())
        await asyncio.sleep(0)
        for _ in range(3):
            await worker.after(3, lambda: worker.mailbox.put(Message()))
        assert (await ended)[0].result() == 3

    gc.disable()
    try:
        run(new_loop, main)
    finally:
        gc.enable()
