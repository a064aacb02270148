"""The same scenarios under asyncio.Task and under RequestTask must leave the same traces.

A scenario is a coroutine function. It writes to `trace` what it sees, may have `loop.call_soon` act on its task from
outside, and ends somehow; result or exception, cancellation count and the order of callbacks belong to the trace.
"""

import asyncio
import types

import pytest

from tests.gateway.task_harness import LOOPS, outcome, run

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


@types.coroutine
def bare_yield(value=None):
    return (yield value)


def task():
    return asyncio.current_task()


def soon(call, *arguments):
    asyncio.get_running_loop().call_soon(call, *arguments)


def state(of):
    return of.done(), of.cancelled(), of.cancelling(), of._must_cancel, of._state


# Ends.


@scenario
async def returns(trace):
    return 1


@scenario
async def returns_none_after_a_turn(trace):
    await asyncio.sleep(0)


@scenario
async def raises(trace):
    raise ValueError("text", 2)


@scenario
async def raises_base_exception(trace):
    class Odd(BaseException):
        pass

    Odd.__qualname__ = Odd.__name__ = "Odd"
    try:
        await asyncio.sleep(0)
        raise Odd
    except BaseException as error:
        raise asyncio.InvalidStateError("wrapped") from error


@scenario
async def raises_stop_iteration(trace):
    raise StopIteration(3)


@scenario
async def raises_generator_exit(trace):
    raise GeneratorExit("unusual")


@scenario
async def raises_cancelled_error(trace):
    raise asyncio.CancelledError("by hand", 3)


@scenario
async def cancelled_error_subclass(trace):
    class Mine(asyncio.CancelledError):
        pass

    await asyncio.sleep(0)
    raise Mine("subclass")


# Cancellation.


@scenario
async def cancels_itself_and_returns(trace):
    trace.append(task().cancel("unawaited"))
    trace.append(state(task()))
    return 1


@scenario
async def cancels_itself_and_raises(trace):
    task().cancel()
    raise KeyError("first")


@scenario
async def cancels_itself_and_waits(trace):
    task().cancel("a")
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError as error:
        trace.append((error.args, state(task())))
    await asyncio.sleep(0)
    trace.append(state(task()))
    return 1


@scenario
async def cancels_itself_before_a_bare_yield(trace):
    task().cancel("a")
    try:
        await bare_yield()
    except asyncio.CancelledError as error:
        trace.append((error.args, state(task())))
        raise


@scenario
async def cancelled_while_waiting(trace):
    this = task()

    def act():
        trace.append(("waiting", this._fut_waiter is not None, state(this)))
        trace.append(this.cancel("from outside"))
        trace.append(("cancelling", state(this)))

    soon(act)
    await asyncio.sleep(1)


@scenario
async def cancelled_twice_before_it_runs(trace):
    this = task()
    soon(lambda: trace.append((this.cancel("one"), this.cancel("two"), state(this))))
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError as error:
        trace.append((error.args, state(this)))
    try:
        await asyncio.sleep(0)
        trace.append("not cancelled again")
        await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        trace.append((error.args, state(this)))
    return state(this)


@scenario
async def cancelled_after_its_future_is_done(trace):
    this = task()
    future = asyncio.get_running_loop().create_future()

    def act():
        future.set_result("lost")
        trace.append((this.cancel("late"), state(this)))

    soon(act)
    try:
        trace.append(await future)
    except asyncio.CancelledError as error:
        trace.append((error.args, state(this)))
    return 1


@scenario
async def cancelled_after_its_future_failed(trace):
    this = task()
    future = asyncio.get_running_loop().create_future()

    def act():
        future.set_exception(ValueError("lost"))
        this.cancel("late")

    soon(act)
    try:
        trace.append(await future)
    except BaseException as error:
        trace.append((repr(error), state(this)))
    return 1


@scenario
async def the_future_is_cancelled_not_the_task(trace):
    future = asyncio.get_running_loop().create_future()
    soon(future.cancel, "the future")
    try:
        await future
    except asyncio.CancelledError as error:
        trace.append((error.args, state(task())))
        raise


@scenario
async def cancelled_during_a_bare_yield(trace):
    soon(task().cancel, "bare")
    try:
        await bare_yield()
        trace.append("went on")
        await bare_yield()
    except asyncio.CancelledError as error:
        trace.append((error.args, state(task())))
    return 1


@scenario
async def refuses_cancellation_three_times(trace):
    this = task()
    for count in range(3):
        soon(this.cancel, count)
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError as error:
            trace.append((error.args, this.cancelling()))
    trace.append([this.uncancel() for _ in range(5)])
    await asyncio.sleep(0)
    return "survived"


@scenario
async def uncancel_before_delivery(trace):
    this = task()
    this.cancel("taken back")
    trace.append((this.uncancel(), state(this)))
    try:
        await asyncio.sleep(0)
        trace.append("went on")
    except asyncio.CancelledError as error:
        trace.append(error.args)
    return state(this)


@scenario
async def uncancel_one_of_two(trace):
    this = task()
    this.cancel("one")
    this.cancel("two")
    trace.append((this.uncancel(), state(this)))
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        trace.append(error.args)
    return state(this)


@scenario
async def cancel_after_the_end(trace):
    this = task()
    this.add_done_callback(lambda t: trace.append((t.cancel(), t.uncancel(), t.cancelling())))
    return 1


@scenario
async def cancelled_with_a_cleanup_that_waits(trace):
    soon(task().cancel)
    try:
        await asyncio.sleep(1)
    finally:
        trace.append("cleanup")
        await asyncio.sleep(0)
        trace.append("cleaned")


@scenario
async def a_child_that_ignores_cancellation(trace):
    async def child():
        for _ in range(2):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                trace.append("ignored")
        return "child"

    this = task()
    inner = asyncio.ensure_future(child())

    def act(count):
        trace.append((this.cancel(), this.cancelling()))
        if count:
            soon(lambda: soon(lambda: soon(act, count - 1)))

    soon(lambda: soon(act, 1))
    trace.append(await inner)
    return state(this)


# Callbacks.


@scenario
async def callbacks_in_order(trace):
    this = task()

    def second(t):
        trace.append(("second", t is this))

    this.add_done_callback(lambda t: trace.append(("first", outcome(t))))
    this.add_done_callback(second)
    this.add_done_callback(second)
    this.add_done_callback(lambda t: t.add_done_callback(lambda u: trace.append(("added late", u is this))))
    await asyncio.sleep(0)
    trace.append(this.remove_done_callback(second))
    trace.append(this.remove_done_callback(second))
    this.add_done_callback(second)
    this.add_done_callback(lambda t: trace.append(asyncio.current_task()))
    return 1


@scenario
async def callbacks_run_after_the_step(trace):
    task().add_done_callback(lambda t: trace.append("callback"))
    soon(trace.append, "scheduled before")
    trace.append("end")


@scenario
async def callback_contexts(trace):
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    variable.set("request's")
    task().add_done_callback(lambda t: trace.append(variable.get()))
    task().add_done_callback(lambda t: trace.append(variable.get()), context=context)
    variable.set("later")


# Yields.


@scenario
async def bad_yields(trace):
    this = task()
    loop = asyncio.get_running_loop()
    other = asyncio.new_event_loop()
    future = loop.create_future()
    blocking_elsewhere = asyncio.Future(loop=other)
    blocking_elsewhere._asyncio_future_blocking = True
    for value in [3, "text", future, (x for x in ()), this, blocking_elsewhere, ()]:
        try:
            await bare_yield(value)
        except RuntimeError as error:
            trace.append(str(error).split(" <")[0].split(" in task")[0])
    other.close()
    try:
        await this
    except RuntimeError as error:
        trace.append(str(error).split(":")[0])


@scenario
async def not_allowed(trace):
    this = task()
    for call in [lambda: this.set_result(1), lambda: this.set_exception(ValueError()), this.result, this.exception]:
        try:
            call()
        except Exception as error:
            trace.append(repr(error))
    try:
        this._log_traceback = True
    except ValueError as error:
        trace.append(repr(error))


@scenario
async def futures_done_and_failing(trace):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    done.set_result("done")
    trace.append(await done)
    late = loop.create_future()
    soon(late.set_result, "late")
    trace.append(await late)
    failing = loop.create_future()
    soon(failing.set_exception, KeyError("failed"))
    try:
        await failing
    except KeyError as error:
        trace.append(error.args)
    trace.append(task()._fut_waiter)


# asyncio's own constructs.


@scenario
async def timeouts(trace):
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(1)
    except TimeoutError as error:
        trace.append((repr(error), repr(error.__cause__), state(task())))
    try:
        async with asyncio.timeout(-1):
            await asyncio.sleep(1)
    except TimeoutError:
        trace.append(state(task()))
    async with asyncio.timeout(1):
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(1), asyncio.timeout(0):
            await asyncio.sleep(1)
    except TimeoutError:
        trace.append(state(task()))
    return 1


@scenario
async def timeout_and_cancel_from_outside(trace):
    this = task()
    asyncio.get_running_loop().call_later(0.001, this.cancel, "outside")
    async with asyncio.timeout(1):
        await asyncio.sleep(2)


@scenario
async def wait_for(trace):
    for seconds, work in [(1, asyncio.sleep(0, "in time")), (0.001, asyncio.sleep(1)), (0, asyncio.sleep(1))]:
        try:
            trace.append(await asyncio.wait_for(work, seconds))
        except TimeoutError as error:
            trace.append((repr(error), state(task())))
    asyncio.get_running_loop().call_later(0.001, task().cancel)
    await asyncio.wait_for(asyncio.sleep(1), 2)


@scenario
async def task_group(trace):
    async def child(name, fails=False):
        try:
            await asyncio.sleep(0 if fails else 1)
            raise ValueError(name)
        except asyncio.CancelledError:
            trace.append(("cancelled", name))
            raise

    async with asyncio.TaskGroup() as group:
        good = group.create_task(asyncio.sleep(0, "good"))
    trace.append((good.result(), state(task())))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child("a"))
            group.create_task(child("b", True))
            await asyncio.sleep(1)
    except* ValueError as group_error:
        trace.append([error.args for error in group_error.exceptions])
    trace.append(state(task()))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child("c"))
            await asyncio.sleep(0)
            raise KeyError("body")
    except* KeyError as group_error:
        trace.append([error.args for error in group_error.exceptions])
    trace.append(state(task()))
    asyncio.get_running_loop().call_later(0.001, task().cancel, "outside")
    async with asyncio.TaskGroup() as group:
        group.create_task(child("d"))


@scenario
async def gathering(trace):
    async def fails():
        await asyncio.sleep(0)
        raise ValueError("gathered")

    trace.append(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)))
    trace.append(repr(await asyncio.gather(fails(), asyncio.sleep(0, 2), return_exceptions=True)))
    try:
        await asyncio.gather(fails(), asyncio.sleep(0))
    except ValueError as error:
        trace.append(error.args)
    soon(task().cancel, "while gathering")
    await asyncio.gather(asyncio.sleep(1), asyncio.sleep(1))


@scenario
async def shielding(trace):
    inner = asyncio.ensure_future(asyncio.sleep(0.002, "survives"))
    soon(task().cancel, "outer only")
    try:
        await asyncio.shield(inner)
    except asyncio.CancelledError as error:
        trace.append((error.args, inner.cancelled(), state(task())))
    trace.append(task().uncancel())
    trace.append(await inner)


@scenario
async def waiting_and_as_completed(trace):
    done, pending = await asyncio.wait(
        [asyncio.ensure_future(asyncio.sleep(0, 1)), asyncio.ensure_future(asyncio.sleep(5, 2))],
        return_when=asyncio.FIRST_COMPLETED,
    )
    trace.append(([one.result() for one in done], len(pending)))
    for one in pending:
        one.cancel()
    for one in asyncio.as_completed([asyncio.sleep(0.003, "late"), asyncio.sleep(0, "early")]):
        trace.append(await one)


@scenario
async def locks_and_queues(trace):
    queue, lock, event, condition = asyncio.Queue(1), asyncio.Lock(), asyncio.Event(), asyncio.Condition()

    async def producer():
        for item in range(3):
            await queue.put(item)
        async with lock:
            trace.append("lock")
        event.set()

    async def notifier():
        async with condition:
            condition.notify_all()

    async with lock:
        child = asyncio.ensure_future(producer())
        for _ in range(3):
            trace.append(await queue.get())
        await asyncio.sleep(0)
    await event.wait()
    async with condition:
        notifying = asyncio.ensure_future(notifier())
        await condition.wait()
    await asyncio.gather(child, notifying)
    soon(task().cancel)
    try:
        await queue.get()
    except asyncio.CancelledError:
        trace.append("get cancelled")
    queue.put_nowait("kept")
    trace.append(queue.get_nowait())


@scenario
async def awaited_by_a_child(trace):
    this = task()

    async def child():
        try:
            trace.append(("child got", await this))
        except BaseException as error:
            trace.append(("child got", repr(error)))

    keep.append(asyncio.ensure_future(child()))
    await asyncio.sleep(0)
    return "for the child"


@scenario
async def cancelled_by_a_child(trace):
    this = task()

    async def child():
        trace.append(this.cancel("by the child"))

    keep.append(asyncio.ensure_future(child()))
    await asyncio.sleep(1)


@scenario
async def a_child_that_awaits_it_is_cancelled(trace):
    this = task()

    async def child():
        await this

    inner = asyncio.ensure_future(child())
    soon(lambda: soon(inner.cancel, "through the child"))
    try:
        await asyncio.sleep(0.01)
    except asyncio.CancelledError as error:
        trace.append((error.args, state(this)))
        raise


@scenario
async def async_generators(trace):
    async def numbers():
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            trace.append("closed")

    generator = numbers()
    async for number in generator:
        if number == 2:
            break
    await generator.aclose()
    return number


@scenario
async def in_threads(trace):
    trace.append(await asyncio.to_thread(lambda: 5))
    try:
        await asyncio.to_thread(lambda: 1 // 0)
    except ZeroDivisionError as error:
        trace.append(repr(error))


keep = []


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_same_trace(name, new_loop):
    def traced(native):
        trace = []

        async def main(worker):
            if native:
                ended, _ = await worker.serve(SCENARIOS[name](trace))
            else:
                ended = worker.loop.create_task(SCENARIOS[name](trace))
                await asyncio.wait({ended})
            await asyncio.gather(*keep)
            keep.clear()
            await asyncio.sleep(0)
            trace.append(("end", outcome(ended), state(ended)))

        run(new_loop, main)
        return trace

    assert traced(native=True) == traced(native=False)
