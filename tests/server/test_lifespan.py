"""The lifespan, beside uvicorn's: the same applications, the same lines, the same verdict."""

import asyncio
import logging
import types

import pytest
import uvicorn.lifespan.on

from fastserve.server.config import Config
from fastserve.server.lifespan import LifespanOff, LifespanOn


async def good(scope, receive, send):
    scope["state"]["seen"] = (await receive())["type"]
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def unsupported(scope, receive, send):
    raise TypeError("http only")


async def returns_at_once(scope, receive, send):
    pass


async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def fails_without_words(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed"})


async def fails_and_raises(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
    raise RuntimeError


async def shutdown_fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "still writing"})


async def shutdown_raises(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise RuntimeError("on the way out")


async def raises_while_serving(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise RuntimeError("in between")


async def exits(scope, receive, send):
    await receive()
    raise SystemExit(5)


async def completes_twice(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.startup.complete"})


async def shuts_down_first(scope, receive, send):
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def unknown_message(scope, receive, send):
    await receive()
    await send({"type": "lifespan.ready"})


APPLICATIONS = [
    good,
    unsupported,
    returns_at_once,
    fails,
    fails_without_words,
    fails_and_raises,
    shutdown_fails,
    shutdown_raises,
    raises_while_serving,
    exits,
    completes_twice,
    shuts_down_first,
    unknown_message,
]


async def through(lifespan):
    verdicts = []
    await lifespan.startup()
    verdicts.append(lifespan.should_exit)
    if not lifespan.should_exit:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await lifespan.shutdown()
        verdicts.append(lifespan.should_exit)
    return verdicts, lifespan.state


def lines_of(caplog, logger):
    return [
        (record.levelname, record.getMessage(), bool(record.exc_info))
        for record in caplog.records
        if record.name == logger and record.levelno > logging.DEBUG
    ]


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("app", APPLICATIONS, ids=lambda app: app.__name__)
def test_lifespan_is_uvicorns(caplog, run_jumping, app, mode):
    caplog.set_level(logging.DEBUG, logger="fastserve.error")
    caplog.set_level(logging.DEBUG, logger="uvicorn.error")
    ours = Config(app, log_config=None, interface="asgi3", lifespan=mode)
    ours.load()
    theirs = types.SimpleNamespace(loaded=True, loaded_app=app, lifespan=mode, asgi_version="3.0")
    our_verdict = run_jumping(through(ours.lifespan_class(ours)))
    their_verdict = run_jumping(through(uvicorn.lifespan.on.LifespanOn(theirs)))
    assert our_verdict == their_verdict
    assert lines_of(caplog, "fastserve.error") == lines_of(caplog, "uvicorn.error")
    assert lines_of(caplog, "fastserve.error")


def test_traceback_of_an_unsupported_lifespan_is_a_debug_line(caplog, run_jumping):
    caplog.set_level(logging.DEBUG, logger="fastserve.error")
    config = types.SimpleNamespace(loaded_app=unsupported, lifespan="auto", asgi_version="3.0")
    run_jumping(through(LifespanOn(config)))
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.levelname == "DEBUG"
    assert str(record.exc_info[1]) == "http only"


def test_scope(run_jumping):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    config = types.SimpleNamespace(loaded_app=app, lifespan="auto", asgi_version="2.0")
    _, state = run_jumping(through(LifespanOn(config)))
    assert seen == [{"type": "lifespan", "asgi": {"version": "2.0", "spec_version": "2.0"}, "state": {}}]
    assert seen[0]["state"] is state


def test_startup_and_shutdown_run_in_one_task(run_jumping):
    tasks = []

    async def app(scope, receive, send):
        async with asyncio.TaskGroup():
            tasks.append(asyncio.current_task())
            await good(scope, receive, send)
            tasks.append(asyncio.current_task())

    config = types.SimpleNamespace(loaded_app=app, lifespan="on", asgi_version="3.0")
    assert run_jumping(through(LifespanOn(config)))[0] == [False, False]
    assert tasks[0] is tasks[1]


def test_off(run_jumping, log_lines):
    config = Config(good, log_config=None, lifespan="off")
    assert config.lifespan_class is LifespanOff
    assert run_jumping(through(LifespanOff(config))) == ([False, False], {})
    assert log_lines() == []
