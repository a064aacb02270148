"""What the frameworks' applications share: the file they serve, and what they do off the road."""

import asyncio
import threading
import time
from hashlib import sha256
from pathlib import Path

from asgiref.sync import async_to_sync

FILE = Path(__file__).with_name("django_project") / "content.txt"
PIECES = [f"piece {number}\n" for number in range(100)]


def pieces():
    """They take a while: a server does something else meanwhile."""
    for number, piece in enumerate(PIECES):
        if number % 5 == 0:
            time.sleep(0.001)
        yield piece


def described(name, filename, data):
    """What is answered to an upload."""
    return f"{name} {filename} {len(data)} {sha256(data).hexdigest()}"


async def _later(value):
    await asyncio.sleep(0)
    return f"{value} from {type(asyncio.get_running_loop()).__name__}"


def through_asgiref():
    """A coroutine's value, as synchronous views get it."""
    return async_to_sync(_later)("asgiref")


def through_asyncio():
    return asyncio.run(_later("asyncio"))


local = threading.local()


def counted_here():
    """How often this thread has been here, and which it is."""
    local.count = getattr(local, "count", 0) + 1
    return f"{threading.get_ident()} {local.count}"
