"""`Config`: the options, and what is done with them before serving: logs, the application, the sockets.

It extends the pure values of `fastserve.config.Settings` and keeps the method names that uvicorn's users know. What
cannot work is one line in the log and exit code 3 (SystemExit), as on the command line.
"""

import configparser
import inspect
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn, cast

from fastserve.bind import Bind
from fastserve.compat import adopt
from fastserve.config import STARTUP_FAILURE, Settings
from fastserve.options import OPTIONS
from fastserve.server import environment, interface, logs, loops
from fastserve.server.importer import ImportFromStringError, import_from_string
from fastserve.server.lifespan import LifespanOff, LifespanOn
from fastserve.server.trace import MessageLogger
from fastserve.server.wsgi import WSGIMiddleware
from fastserve.transport import listeners
from fastserve.transport.listeners import Listener

logger = logging.getLogger("fastserve.error")

# What the readers of logging configuration files raise for a file that makes no sense.
_BAD_LOG_CONFIG = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, configparser.Error)


class Config(Settings):
    """The configuration of one server. `load` imports the application; until then `loaded` is False."""

    loaded: bool = False
    loaded_app: Any = None
    """The application as an ASGI 3 callable, once loaded."""

    environment: dict[str, str]
    """The variables that `env_file` has set."""

    def __post_init__(self) -> None:
        # First of all: the file may say how many workers there are.
        self.environment = self._load_environment()
        super().__post_init__()
        self.configure_logging()
        if self.env_file is not None:
            logger.info("Loading environment from '%s'", self.env_file)
        for param, option in OPTIONS.items():
            if option.setting and (reason := option.explanation(getattr(self, param))):
                logger.info("%s=%r has no effect: %s.", param, getattr(self, param), reason)
        if (self.reload_dirs or self.reload_includes or self.reload_excludes) and not self.should_reload:
            logger.warning(
                "Current configuration will not reload as not all conditions are met, please refer to documentation."
            )

    @property
    def asgi_version(self) -> str:
        return "2.0" if self.interface == "asgi2" else "3.0"

    @property
    def ws_protocol_class(self) -> type | None:
        """None: there is no class to choose."""
        return None

    @property
    def lifespan_class(self) -> Callable[["Config"], LifespanOn | LifespanOff]:
        return LifespanOff if self.lifespan == "off" or self.interface == "wsgi" else LifespanOn

    @property
    def should_reload(self) -> bool:
        """Whether the application is restarted when its files change: it must be an import string for that."""
        return isinstance(self.app, str) and self.reload

    @property
    def use_subprocess(self) -> bool:
        return self.reload or self.workers > 1

    @property
    def http_protocol_class(self) -> type:
        """What reads HTTP/1.1 here. It is not an asyncio protocol, and setting another one has no effect."""
        from fastserve.protocol._http1 import Http1Connection

        return Http1Connection

    @http_protocol_class.setter
    def http_protocol_class(self, value: object) -> None:
        logger.warning("http_protocol_class has no effect: fastserve has one HTTP implementation, its own.")

    def configure_logging(self) -> None:
        """Set up the loggers of this process. Raises ValueError for a configuration file that cannot be used."""
        adopt(self.log_config)
        try:
            logs.configure(self.log_config, self.log_level, self.access_log, self.use_colors)
        except _BAD_LOG_CONFIG as error:
            if not isinstance(self.log_config, str):
                raise
            raise ValueError(f"log_config: cannot use {self.log_config!r}: {error}") from error

    def _load_environment(self) -> dict[str, str]:
        if self.env_file is None:
            return {}
        try:
            return environment.load(cast(str, OPTIONS["env_file"].check(self.env_file)))
        except ValueError as error:
            raise ValueError(f"env_file: {error}") from None

    def load_app(self) -> Any:
        """Import the application and return it as it is. Logs the reason and exits where that fails."""
        try:
            return import_from_string(self.app)
        except ImportFromStringError as error:
            self._fail("Error loading ASGI app. %s", error)

    def load(self) -> None:
        """Import the application, call it if it is a factory, and find out its interface."""
        app = self._from_factory(self.load_app())
        if self.interface == "auto":
            self.interface = interface.detect(app)
        if self.interface == "wsgi":
            app = WSGIMiddleware(app)
        elif self.interface == "asgi2":
            app = interface.from_asgi2(app)
        if logger.getEffectiveLevel() <= logs.TRACE_LOG_LEVEL:
            app = MessageLogger(app)
        self.loaded_app = app
        self.loaded = True

    def get_loop_factory(self) -> loops.LoopFactory | None:
        """The factory of the event loop; None where asyncio's policy decides. Logs and exits without the loop."""
        try:
            return loops.loop_factory(self.loop)
        except (ImportFromStringError, ModuleNotFoundError) as error:
            self._fail("Error loading custom loop setup function. %s", error)

    def requested_binds(self) -> list[Bind]:
        """Where to listen: `bind`, `fd` or `uds`; else the sockets of the service manager; else `host` and `port`.

        Takes the service manager's variables out of the environment, so that they are found once. Raises OSError where
        they make no sense.
        """
        passed = listeners.passed_sockets(os.environ)
        return passed if passed and not self.bind and self.fd is None and self.uds is None else self.binds

    def listen(self) -> list[Listener]:
        """Bind and listen on every one of `requested_binds`. Raises OSError."""
        return listeners.bind_all(self.requested_binds(), self.backlog)

    def bind_socket(self) -> socket.socket:
        """A listening socket that child processes inherit, announced in the log. Logs and exits where that fails.

        Of a host name with several addresses it is the first. The file of a Unix socket is the caller's to remove.
        """
        try:
            first, *others = self.listen()
        except OSError as error:
            self._fail("%s", error)
        listeners.close_all(others)
        self.announce([first])
        first.sock.set_inheritable(True)
        return first.sock

    def announce(self, bound: list[Listener]) -> None:
        """Log where the server can be reached: one line for each bind, also if its name has several addresses."""
        announced: list[Bind] = []
        for listener in bound:
            # By identity: two binds to free ports are equal and not the same.
            if listener.bind is not None and not any(listener.bind is bind for bind in announced):
                announced.append(listener.bind)
                self._announce(listener.bind, listener.sock.getsockname())

    def _announce(self, bind: Bind, name: Any) -> None:
        arguments: tuple[Any, ...]
        if bind.fd is not None:
            address, arguments = "socket %s", (name,)
            if bind.name:
                address, arguments = "socket %s named %s", (name, bind.name)
        elif bind.path is not None:
            address, arguments = "unix socket %s", (bind.path,)
        else:
            host = bind.host or name[0]
            address = "%s://[%s]:%d" if ":" in host else "%s://%s:%d"
            arguments = ("http", host, name[1])
        prefix, suffix = "Fastserve running on ", " (Press CTRL+C to quit)"
        logger.info(
            prefix + address + suffix,
            *arguments,
            extra={"color_message": prefix + logs.style(address, bold=True) + suffix},
        )

    def _from_factory(self, loaded: Any) -> Any:
        """What `loaded` returns if it is a factory, else `loaded`.

        Without --factory it is one if it can be called without arguments: TypeError says that it is not.
        """
        try:
            app = loaded()
        except TypeError as error:
            if self.factory:
                self._fail("Error loading ASGI app factory: %s", error)
            return loaded
        if inspect.iscoroutine(app):
            app.close()
            self._fail("Error loading ASGI app factory: %s", "a factory must not be a coroutine function")
        if not self.factory:
            logger.warning(
                "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
            )
        return app

    def _fail(self, message: str, *arguments: object) -> NoReturn:
        logger.error(message, *arguments)
        sys.exit(STARTUP_FAILURE)
