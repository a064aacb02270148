"""One worker: start, serve, stop. `Server` and its state are found here too, as in uvicorn's `server`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastserve.server.server import HANDLED_SIGNALS, Server, ServerState

__all__ = ["HANDLED_SIGNALS", "Server", "ServerState"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("fastserve.server.server"), name)
