"""Event loops: from the name of one, or the import string of a factory, to the factory."""

import asyncio
import importlib.util
from collections.abc import Callable
from typing import cast

from fastserve.server.importer import import_from_string

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: str) -> LoopFactory | None:
    """The factory of the loop that `--loop` names; None leaves the choice to asyncio (its policy).

    Raises ImportFromStringError for an import string that leads nowhere and ModuleNotFoundError without uvloop.
    """
    if name == "none":
        return None
    if name in ("auto", "zuvloop"):
        name = "uvloop" if importlib.util.find_spec("uvloop") is not None else "asyncio"
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    if name == "uvloop":
        import uvloop

        return cast(LoopFactory, uvloop.new_event_loop)
    return cast(LoopFactory, import_from_string(name))
