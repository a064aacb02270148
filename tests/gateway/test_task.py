"""RequestTask is an asyncio task: what `asyncio.current_task()` answers inside a request, and how requests end."""

import asyncio
import contextvars
import gc
import inspect
import io
import sys
import threading
import types
import weakref

import pytest
from tests.gateway._task_probe import Recorder, make_coroutine

from fastserve.gateway._task import RequestTask, TaskDriver, TaskOwner
from fastserve.gateway._task import run as run_task
from tests.gateway.task_harness import LOOPS, Worker, dies, outcome, run

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(params=LOOPS)
def new_loop(request):
    return LOOPS[request.param]


@types.coroutine
def yielding(value):
    return (yield value)


# Driving.


def test_a_coroutine_that_never_waits_has_ended_before_start_returns(new_loop):
    async def main(worker):
        seen = []

        def callback():
            recorder = Recorder(worker.driver)
            task = recorder.start(app())
            seen.append((task.done(), task.result(), recorder.calls, asyncio.current_task(worker.loop)))

        async def app():
            seen.append(asyncio.current_task())
            return "result"

        await worker.after(0, callback)
        task = seen[0]
        assert type(task) is RequestTask
        assert seen[1] == (True, "result", [("finished", None, "result", None)], None)

    run(new_loop, main)


def test_the_owner_is_told_of_each_step_when_no_task_is_current(new_loop):
    async def main(worker):
        async def app():
            await asyncio.sleep(0)
            await worker.loop.run_in_executor(None, int)
            raise KeyError("last")

        task, recorder = await worker.serve(app())
        error = task.exception()
        assert recorder.calls == [("suspended", None), ("suspended", None), ("finished", None, None, error)]

    run(new_loop, main)


@pytest.mark.parametrize("mode", ["native", "asyncio"])
def test_the_owner_gets_the_outcome_in_both_modes(new_loop, mode):
    async def main(worker):
        async def returns():
            await asyncio.sleep(0)
            return "value"

        async def raises():
            raise ValueError("value")

        async def cancelled():
            asyncio.current_task().cancel("why")
            await asyncio.sleep(0)

        for coroutine, kind, text in [
            (returns(), type(None), "None"),
            (raises(), ValueError, "ValueError('value')"),
            (cancelled(), asyncio.CancelledError, "CancelledError('why')"),
        ]:
            task, recorder = await worker.serve(coroutine)
            await asyncio.sleep(0)
            assert isinstance(task, asyncio.Task)
            assert (type(task) is RequestTask) == (mode == "native")
            told = [call for call in recorder.calls if call[0] == "finished"]
            assert len(told) == 1
            assert told[0][1] is None
            assert told[0][2] == ("value" if kind is type(None) else None)
            assert type(told[0][3]) is kind
            assert repr(told[0][3]) == text

    run(new_loop, main, mode)


def test_the_traceback_begins_in_the_application(new_loop):
    async def main(worker):
        async def raises_at_once():
            raise ValueError

        async def raises_after_a_wait():
            await asyncio.sleep(0)
            raise ValueError

        async def raises_after_a_failure():
            future = worker.loop.create_future()
            worker.loop.call_soon(future.set_exception, ValueError())
            await future

        for app in [raises_at_once, raises_after_a_wait, raises_after_a_failure]:
            _, recorder = await worker.serve(app())
            error = recorder.calls[-1][3]
            assert error.__traceback__.tb_frame.f_code is app.__code__

    run(new_loop, main)


def test_start_within_another_task_leaves_the_first_step_to_the_loop(new_loop):
    async def main(worker):
        outer = asyncio.current_task()

        async def app():
            assert asyncio.current_task() is not outer
            return "later"

        task = run_task(app(), worker.driver)
        assert not task.done()
        assert task in asyncio.all_tasks()
        assert asyncio.current_task() is outer
        assert await task == "later"

    run(new_loop, main)


def test_start_within_its_own_context_leaves_the_first_step_to_the_loop(new_loop):
    async def main(worker):
        async def app():
            return asyncio.current_task().get_context()

        task, _ = await worker.serve(app())
        # A callback that runs in the request's context, as one the application scheduled does.
        inner = []
        worker.loop.call_soon(lambda: inner.append(run_task(app(), worker.driver)), context=task.result())
        await asyncio.sleep(0)
        assert inner[0].done()
        assert inner[0].result() is not task.result()

    run(new_loop, main)


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("waits", [False, True])
def test_keyboard_interrupt_and_system_exit_leave_the_loop(new_loop, fatal, waits):
    loop = new_loop()
    recorded = []

    async def app():
        if waits:
            await asyncio.sleep(0)
        raise fatal("stop")

    def begin():
        recorder = Recorder(TaskDriver(loop, "native"))
        recorded.append((recorder.start(app()), recorder))

    try:
        loop.call_soon(begin)
        with pytest.raises(fatal, match="stop"):
            loop.run_forever()
        task, recorder = recorded[0]
        assert isinstance(task.exception(), fatal)
        assert recorder.calls[-1][3] is task.exception()
        assert asyncio.current_task(loop) is None
    finally:
        loop.close()


def test_auto_mode_follows_debug_mode_and_task_factory(new_loop):
    async def main(worker):
        worker.loop.set_debug(False)
        driver = TaskDriver(worker.loop)
        assert driver.native
        worker.loop.set_debug(True)
        driver.choose()
        assert not driver.native
        worker.loop.set_debug(False)
        made = []

        def factory(loop, coroutine, **options):
            made.append(asyncio.Task(coroutine, loop=loop, **options))
            return made[-1]

        worker.loop.set_task_factory(factory)
        driver.choose()
        assert not driver.native
        assert TaskDriver(worker.loop, "native").native

        async def app():
            return asyncio.current_task()

        task = run_task(app(), driver)
        assert await task is task
        assert made == [task]
        worker.loop.set_task_factory(None)
        driver.choose()
        assert driver.native
        made.clear()

    run(new_loop, main)


def test_an_old_task_factory_without_a_context_argument_serves():
    # On asyncio's loop only: uvloop always passes a context.
    async def main(worker):
        worker.loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))

        async def app():
            variable.set("inner")

        await run_task(app(), TaskDriver(worker.loop))
        assert variable.get() == "unset"
        worker.loop.set_task_factory(None)

    run(asyncio.new_event_loop, main)


def test_unknown_mode():
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="'fast': choose auto, native or asyncio"):
        TaskDriver(loop, "fast")
    loop.close()


def test_awaitables_that_are_no_coroutines(new_loop):
    class Later:
        def __await__(self):
            return asyncio.sleep(0, "later").__await__()

    @types.coroutine
    def generator():
        yield
        return "generator"

    async def main(worker):
        future = worker.loop.create_future()
        future.set_result("future")
        for awaitable, result in [(Later(), "later"), (generator(), "generator"), (future, "future")]:
            task, _ = await worker.serve(make_coroutine(awaitable))
            assert task.result() == result
        with pytest.raises(TypeError, match="'int' object cannot be awaited"):
            make_coroutine(3)

    run(new_loop, main)


def test_a_coroutine_of_its_own_making(new_loop):
    class Coroutine:
        def __init__(self):
            self.log = []

        def __await__(self):
            return self

        def send(self, value):
            self.log.append("send")
            if len(self.log) == 1:
                asyncio.current_task().cancel()
                return None
            raise AssertionError

        def throw(self, kind, *rest):
            self.log.append(type(kind))
            stop = StopIteration("thrown")
            raise stop

        def close(self):
            pass

    async def main(worker):
        coroutine = Coroutine()
        task, _ = await worker.serve(make_coroutine(coroutine))
        assert task.get_coro() is coroutine
        assert task.result() == "thrown"
        assert coroutine.log == ["send", asyncio.CancelledError]

    run(new_loop, main)


# Identity.


def test_identity(new_loop):
    async def main(worker):
        async def app():
            task = asyncio.current_task()
            assert isinstance(task, asyncio.Task)
            assert isinstance(task, asyncio.Future)
            assert asyncio.isfuture(task)
            assert asyncio.ensure_future(task) is task
            assert hash(task) == hash(task)
            assert {task: 1}[asyncio.current_task()] == 1
            assert task == asyncio.current_task()
            assert inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_RUNNING
            assert task.get_loop() is asyncio.get_running_loop()
            assert task._loop is task.get_loop()
            assert task.get_name().startswith("Request-")
            task.set_name(3)
            assert task.get_name() == "3"
            assert task.get_stack()[-1].f_code is app_after_a_turn.__code__
            text = io.StringIO()
            task.print_stack(file=text)
            assert text.getvalue().startswith("Stack for <Task pending name='3' coro=<")
            assert repr(task).startswith("<Task pending name='3' coro=<")
            return weakref.ref(task)

        async def app_after_a_turn():
            await asyncio.sleep(0)
            return await app()

        first, _ = await worker.serve(app_after_a_turn())
        first_name, first_reference = first.get_name(), first.result()
        assert first_reference() is first
        second, _ = await worker.serve(app_after_a_turn())
        assert second is not first
        assert second != first
        assert first_name == "3"
        with pytest.raises(TypeError):
            RequestTask()
        del first
        assert dies(first_reference)

    run(new_loop, main)


def test_names_are_not_shared(new_loop):
    async def main(worker):
        async def app():
            return asyncio.current_task().get_name()

        names = [(await worker.serve(app()))[0].result() for _ in range(3)]
        assert len(set(names)) == 3

    run(new_loop, main)


def test_it_has_what_asyncio_tasks_have():
    public = {name for name in dir(asyncio.Task) if not name.startswith("__")} | {"get_context"}
    assert public <= set(dir(RequestTask))


@pytest.mark.skipif(not hasattr(asyncio.Task, "get_context"), reason="asyncio.Task.get_context came with 3.12")
def test_signatures_are_those_of_asyncio():
    for name in ["cancel", "uncancel", "cancelling", "done", "result", "get_coro", "get_context", "get_name"]:
        assert str(inspect.signature(getattr(RequestTask, name))).replace("(self, /", "(self") == str(
            inspect.signature(getattr(asyncio.Task, name))
        ).replace("(self, /", "(self"), name


def test_all_tasks_has_it_only_from_first_wait_to_end(new_loop):
    async def main(worker):
        async def app():
            task = asyncio.current_task()
            before = task in asyncio.all_tasks()
            await asyncio.sleep(0)
            return before, task in asyncio.all_tasks()

        task, _ = await worker.serve(app())
        assert task.result() == (False, True)
        assert task not in asyncio.all_tasks()

    run(new_loop, main)


def test_current_task_is_restored_between_steps(new_loop):
    async def main(worker):
        log = []

        async def app(name):
            for _ in range(3):
                log.append((name, asyncio.current_task().get_name()))
                await asyncio.sleep(0)

        async def named(name):
            asyncio.current_task().set_name(name)
            await app(name)

        ended = [worker.start(named(name)) for name in "abc"]
        await asyncio.gather(*ended)
        assert len(log) == 9
        assert all(name == task for name, task in log)

    run(new_loop, main)


# Contexts.


def test_each_request_has_its_own_copy_of_the_base_context(new_loop):
    variable.set("base")

    async def main(worker):
        async def app(value):
            seen = variable.get()
            variable.set(value)
            await asyncio.sleep(0)
            in_callback = worker.loop.create_future()
            worker.loop.call_soon(lambda: in_callback.set_result(variable.get()))
            in_thread = await asyncio.to_thread(variable.get)
            assert asyncio.current_task().get_context()[variable] == value
            return seen, variable.get(), await in_callback, in_thread

        ended = [worker.start(app(value)) for value in "ab"]
        for (task, _), value in zip(await asyncio.gather(*ended), "ab", strict=True):
            assert task.result() == ("base", value, value, value)
        assert variable.get() == "base"

    contextvars.copy_context().run(run, new_loop, main)
    variable.set("unset")


@pytest.mark.parametrize("mode", ["native", "asyncio"])
def test_empty_context(new_loop, mode):
    async def main(worker):
        variable.set("worker's")

        async def app():
            return variable.get()

        task, _ = await worker.serve(app())
        assert task.result() == "unset"

    run(new_loop, main, mode, empty_context=True)


def test_no_context_is_left_entered(new_loop):
    async def main(worker):
        seen = []

        async def app():
            variable.set("inner")
            await asyncio.sleep(0)
            raise ValueError

        def callback():
            run_task(app(), worker.driver)
            seen.append(variable.get())

        await worker.after(0, callback)
        for _ in range(3):
            await worker.after(0, lambda: seen.append(variable.get()))
        assert seen == ["unset"] * 4

    run(new_loop, main)


# Cancellation.


def test_an_unawaited_cancel_does_not_reach_the_next_request(new_loop):
    async def main(worker):
        async def cancels():
            asyncio.current_task().cancel()
            return "returned all the same"

        async def plain():
            task = asyncio.current_task()
            await asyncio.sleep(0)
            return task.cancelling(), task._must_cancel

        task, recorder = await worker.serve(cancels())
        assert outcome(task) == ("cancelled", (), 1)
        assert recorder.calls == [("finished", None, "returned all the same", None)]
        for _ in range(3):
            task, _ = await worker.serve(plain())
            assert task.result() == (0, False)

    run(new_loop, main)


def test_cancel_from_outside_reaches_the_wait(new_loop):
    async def main(worker):
        async def app():
            try:
                await worker.loop.create_future()
            except asyncio.CancelledError as error:
                return error.args

        ended = worker.start(app())
        await asyncio.sleep(0)
        (task,) = [task for task in asyncio.all_tasks() if type(task) is RequestTask]
        assert isinstance(task._fut_waiter, asyncio.Future)
        assert task.cancel("shutdown")
        await ended
        assert task.result() == ("shutdown",)
        assert not task.cancel()

    run(new_loop, main)


# Leaks.


def test_nothing_keeps_a_finished_task(new_loop):
    async def main(worker):
        async def returns():
            await asyncio.sleep(0)
            return weakref.ref(asyncio.current_task())

        async def raises():
            try:
                raise ValueError(weakref.ref(asyncio.current_task()))
            finally:
                await asyncio.sleep(0)

        async def at_once():
            return weakref.ref(asyncio.current_task())

        for app in [returns, raises, at_once]:
            task, recorder = await worker.serve(app())
            reference = task.exception().args[0] if task.exception() else task.result()
            assert reference() is task
            del task, recorder
            # The callback in which this runs holds the future that brought the task.
            await asyncio.sleep(0)
            assert dies(reference)

    run(new_loop, main)


def test_a_finished_task_needs_no_garbage_collector(new_loop):
    async def main(worker):
        async def app():
            await asyncio.sleep(0)
            return weakref.ref(asyncio.current_task())

        reference = (await worker.serve(app()))[0].result()
        await asyncio.sleep(0)
        assert reference() is None

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:

            async def whole():
                await main(Worker("native"))

            runner.run(whole())
    finally:
        gc.enable()


def test_a_pending_task_that_is_lost_is_reported_as_asyncio_does(new_loop):
    async def main(worker):
        async def app():
            await asyncio.get_running_loop().create_future()

        worker.start(app())
        await asyncio.sleep(0)
        gc.collect()
        (trouble,) = worker.troubles
        assert trouble["message"] == "Task was destroyed but it is pending!"
        assert isinstance(trouble["task"], asyncio.Task)
        worker.troubles.clear()
        del trouble

        async def quiet():
            asyncio.current_task()._log_destroy_pending = False
            await asyncio.get_running_loop().create_future()

        worker.start(quiet())
        await asyncio.sleep(0)
        gc.collect()

    run(new_loop, main)


# Others that use the task.


def test_others_await_the_task(new_loop):
    async def main(worker):
        async def app(fails):
            task = asyncio.current_task()

            async def waits():
                return await task

            children = [
                asyncio.ensure_future(waits()),
                asyncio.ensure_future(asyncio.wait_for(asyncio.shield(task), 10)),
                asyncio.gather(task, return_exceptions=True),
                asyncio.ensure_future(asyncio.wait({task})),
            ]
            await asyncio.sleep(0)
            if fails:
                raise KeyError(children)
            return children

        for fails in (False, True):
            task, _ = await worker.serve(app(fails))
            children = task.exception().args[0] if fails else task.result()
            got = await asyncio.gather(*children, return_exceptions=True)
            end = task.exception() if fails else task.result()
            assert got == [end, end, [end], ({task}, set())]
            children.clear()

    run(new_loop, main)


def test_threads_reach_the_task(new_loop):
    async def main(worker):
        async def app():
            async def inner():
                return threading.get_ident()

            loop = asyncio.get_running_loop()
            ident = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(inner(), loop).result(timeout=30))
            return ident == threading.get_ident()

        task, _ = await worker.serve(app())
        assert task.result()

    run(new_loop, main)


def test_the_waiter_fields_while_waiting(new_loop):
    async def main(worker):
        async def app():
            await worker.loop.create_future()

        ended = worker.start(app())
        await asyncio.sleep(0)
        (task,) = [task for task in asyncio.all_tasks() if type(task) is RequestTask]
        assert not task._fut_waiter.done()
        assert "wait_for=<Future pending" in repr(task)
        with pytest.raises(asyncio.InvalidStateError, match="Result is not set"):
            task.result()
        with pytest.raises(asyncio.InvalidStateError, match="Exception is not set"):
            task.exception()
        task.cancel()
        await ended
        assert repr(task).startswith("<Task cancelled name='Request-")

    run(new_loop, main)


def test_a_yield_that_is_no_future_is_an_error_for_the_application(new_loop):
    async def main(worker):
        other = asyncio.new_event_loop()

        async def app(make):
            with pytest.raises(RuntimeError) as caught:
                await yielding(make())
            await asyncio.sleep(0)
            return str(caught.value)

        future = worker.loop.create_future()
        for make, text in [
            (lambda: 3, "Task got bad yield: 3"),
            (lambda: future, "yield was used instead of yield from in task"),
            (lambda: (x for x in ()), "yield was used instead of yield from for generator in task"),
            (asyncio.current_task, "Task cannot await on itself"),
            (lambda: asyncio.Future(loop=other), "attached to a different loop"),
        ]:
            task, _ = await worker.serve(app(make))
            assert text in task.result()
        other.close()

    run(new_loop, main)


def test_a_future_whose_add_done_callback_fails_is_an_error_for_the_application(new_loop):
    class Broken:
        _asyncio_future_blocking = True

        def get_loop(self):
            return asyncio.get_running_loop()

        def add_done_callback(self, function, *, context):
            raise LookupError("broken")

    async def main(worker):
        async def app():
            with pytest.raises(LookupError, match="broken"):
                await yielding(Broken())

        task, _ = await worker.serve(app())
        assert task.exception() is None

    run(new_loop, main)


def test_the_base_owner_ignores_what_it_is_told():
    assert isinstance(TaskOwner(), TaskOwner)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks_inside_a_request(new_loop):
    async def main(worker):
        async def child():
            inner = asyncio.current_task()
            message = await worker.mailbox.receive()
            assert asyncio.current_task() is inner
            return inner, message

        async def app():
            outer = asyncio.current_task()
            task = asyncio.Task(child(), loop=worker.loop, eager_start=True)
            assert asyncio.current_task() is outer
            inner, message = await task
            assert inner is task
            return message

        ended = worker.start(app())
        await asyncio.sleep(0)
        worker.mailbox.put("message")
        assert (await ended)[0].result() == "message"

    run(new_loop, main)
