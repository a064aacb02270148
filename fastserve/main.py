"""`run`, `main`, `Config` and `Server`, for `from fastserve.main import ...`. `fastserve.main` is the command."""

from fastserve.cli import main, run
from fastserve.config import LOGGING_CONFIG, STARTUP_FAILURE
from fastserve.server.choices import INTERFACE_CHOICES, LEVEL_CHOICES, LIFESPAN_CHOICES
from fastserve.server.config import Config
from fastserve.server.server import Server, ServerState

__all__ = [
    "INTERFACE_CHOICES",
    "LEVEL_CHOICES",
    "LIFESPAN_CHOICES",
    "LOGGING_CONFIG",
    "STARTUP_FAILURE",
    "Config",
    "Server",
    "ServerState",
    "main",
    "run",
]
