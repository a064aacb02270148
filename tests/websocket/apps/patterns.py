"""How applications and libraries use `receive` and `send` beyond one after the other; each tells what it saw."""

import asyncio
import contextlib
import threading

import anyio
import anyio.from_thread
import anyio.to_thread

from tests.websocket.apps import plain, tell


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        await plain.app(scope, receive, send)
        return
    route, _, key = scope["path"].strip("/").partition("/")
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    try:
        await ROUTES[route](receive, send, key)
    finally:
        tell(key, "left")


def text(words):
    return {"type": "websocket.send", "text": words}


async def impatient(receive, send, key):
    """Every receive() has a time limit, after which something else is done. No message may be lost."""
    ticks = 0
    while True:
        try:
            message = await asyncio.wait_for(receive(), 0.01)
        except TimeoutError:
            ticks += 1
            if ticks == 2:
                await send(text("ticked"))
            continue
        if message["type"] == "websocket.disconnect":
            tell(key, f"disconnect {message['code']}")
            return
        await send(text(message["text"]))


async def one_of_two(receive, send, key):
    """Whichever comes first: a message, or something else; the receive() that lost is cancelled, and begun again."""
    elsewhere = asyncio.Queue()

    async def producer():
        for number in range(300):
            await elsewhere.put(f"tick {number}")
            await asyncio.sleep(0)

    producing = asyncio.create_task(producer())
    while True:
        receiving = asyncio.ensure_future(receive())
        getting = asyncio.ensure_future(elsewhere.get())
        done, rest = await asyncio.wait([receiving, getting], return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if getting in done:
            await send(text(getting.result()))
        if receiving in done:
            message = receiving.result()
            if message["type"] == "websocket.disconnect":
                tell(key, f"disconnect {message['code']}")
                break
            await send(text(message["text"]))
    await producing


async def two_tasks(receive, send, key):
    """One task reads, another writes, as in every chat; the end of the one ends the other."""

    async def write():
        number = 0
        while True:
            await send(text(f"tick {number}"))
            number += 1
            await asyncio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        while (message := await receive())["type"] == "websocket.receive":
            await send(text(message["text"]))
        tell(key, f"disconnect {message['code']}")
        group.cancel_scope.cancel()


async def many_writers(receive, send, key):
    """Ten tasks send large messages at the same time, to a client that does not keep up."""

    async def write(number):
        for _ in range(20):
            await send({"type": "websocket.send", "bytes": bytes([number]) * 100_000})

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(write(number))
    await send({"type": "websocket.close"})


async def from_threads(receive, send, key):
    """Threads send through the event loop."""
    loop = asyncio.get_running_loop()

    def work():
        for number in range(50):
            asyncio.run_coroutine_threadsafe(sent(send, f"thread {number}"), loop).result()

    thread = threading.Thread(target=work)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)

    def work_for_anyio():
        anyio.from_thread.run(send, text("from anyio"))

    await anyio.to_thread.run_sync(work_for_anyio)
    assert (await receive())["text"] == "go on"
    loop.call_soon(lambda: loop.create_task(sent(send, "later")))
    assert (await receive())["type"] == "websocket.disconnect"


async def sent(send, words):
    await send(text(words))


async def deadline(receive, send, key):
    """A deadline around everything."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            while (await receive())["type"] == "websocket.receive":
                pass
    await send({"type": "websocket.close", "code": 4008, "reason": "time is up"})


async def outlives(receive, send, key):
    """The application returns; a task of its goes on sending."""

    async def later():
        await asyncio.sleep(0.05)
        try:
            await send(text("too late"))
        except Exception as error:
            tell(key, f"{type(error).__name__} {isinstance(error, OSError)}")

    outlives.task = asyncio.create_task(later())


async def floods(receive, send, key):
    """Sends without end while the client says nothing, until it has gone."""
    number = 0
    try:
        while True:
            await send(text(f"message {number}"))
            number += 1
            # A loop that never lets the event loop turn would not hear of the end on any server.
            await asyncio.sleep(0)
    except OSError as error:
        tell(key, f"send raised {type(error).__name__}")
    message = await receive()
    tell(key, f"{message['type']} {message['code']}")


async def receives_too_often(receive, send, key):
    """Whoever asks again after the disconnect waits, and is not told a second time."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        message = await asyncio.wait_for(receive(), 0.2)
        tell(key, f"again {message['type']}")
    except TimeoutError:
        tell(key, "nothing more")


ROUTES = {
    function.__name__.replace("_", "-"): function
    for function in (
        impatient,
        one_of_two,
        two_tasks,
        many_writers,
        from_threads,
        deadline,
        outlives,
        floods,
        receives_too_often,
    )
}
