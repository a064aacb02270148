"""A worker put together: which gateway answers, and what is set up for it."""

import asyncio
import sys
import threading

import pytest

from fastserve.options import DEFAULT_THREADS
from fastserve.server.assembly import SWITCH_INTERVAL, assemble
from fastserve.server.config import Config


def wsgi(environ, start_response):
    start_response("204 No Content", [])
    return []


async def asgi(scope, receive, send):
    pass


def threads_of(app, **options):
    """How many threads a worker for `app` has of its own, and the switch interval while it serves."""
    config = Config(app, log_config=None, **options)
    config.load()

    async def main():
        before = set(threading.enumerate())
        assembly = assemble(config, asyncio.get_running_loop(), {})
        try:
            return len(set(threading.enumerate()) - before), sys.getswitchinterval()
        finally:
            assembly.close()
            assert set(threading.enumerate()) <= before

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("app", "options", "threads"),
    [(wsgi, {}, DEFAULT_THREADS), (wsgi, {"threads": 3}, 3), (wsgi, {"threads": 1}, 0), (asgi, {"threads": 3}, 0)],
)
def test_threads(app, options, threads):
    usual = sys.getswitchinterval()
    assert threads_of(app, **options) == (threads, SWITCH_INTERVAL if threads else usual)
    assert sys.getswitchinterval() == usual


def test_threads_have_no_effect_with_asgi(log_lines):
    Config(asgi, log_config=None, threads=3).load()
    assert log_lines() == ["INFO threads=3 has no effect: the application is ASGI, and runs in the event loop."]
