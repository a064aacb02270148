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
from ssl import SSLContext
from typing import Any, NoReturn, cast

from fastserve.bind import Bind
from fastserve.compat import adopt
from fastserve.config import STARTUP_FAILURE, Settings
from fastserve.options import OPTIONS
from fastserve.server import access_format, environment, interface, logs, loops
from fastserve.server.importer import ImportFromStringError, import_from_string
from fastserve.server.lifespan import LifespanOff, LifespanOn
from fastserve.server.trace import MessageLogger
from fastserve.transport import listeners
from fastserve.transport.listeners import Listener
from fastserve.transport.tls import Certificates, TlsError, TlsFiles

logger = logging.getLogger("fastserve.error")

# uvicorn ends in a traceback there.
_TLS_FAILURE = 1

# What the readers of logging configuration files raise for a file that makes no sense.
_BAD_LOG_CONFIG = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, configparser.Error)


def create_ssl_context(
    certfile: str,
    keyfile: str | None,
    password: str | None,
    ssl_version: int,
    cert_reqs: int,
    ca_certs: str | None,
    ciphers: str | None,
) -> SSLContext:
    """A context for a server, from files (PEM), as uvicorn's function of this name. Raises TlsError."""
    return TlsFiles(certfile, keyfile, password, int(ssl_version), int(cert_reqs), ca_certs, ciphers).load()


class Config(Settings):
    """The configuration of one server. `load` imports the application; until then `loaded` is False."""

    loaded: bool = False
    loaded_app: Any = None
    """The application once loaded: as an ASGI 3 callable, or where `interface` is "wsgi" a WSGI one."""
    among_others: bool = False
    """Whether processes that this configuration knows nothing of serve the application as well."""
    _certificates: Certificates | None = None

    environment: dict[str, str]
    """The variables that `env_file` has set."""

    def __post_init__(self) -> None:
        # First of all: the file may say how many workers there are.
        self.environment = self._load_environment()
        super().__post_init__()
        if self.is_ssl and self.transport == "native":
            raise ValueError("transport: 'native' cannot speak TLS; 'auto' and 'loop' can")
        if self.ssl_sni and not self.is_ssl:
            raise ValueError("ssl_sni: ssl_certfile is needed for clients that ask for another name, or for none")
        if self.ssl_keyfile and not self.ssl_certfile and self.ssl_context_factory is None:
            raise ValueError("ssl_keyfile: ssl_certfile is needed as well")
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
    def is_ssl(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def is_native(self) -> bool:
        """Whether connections are the worker's own, and may go to another worker."""
        return self.transport != "loop" and not self.is_ssl

    @property
    def ssl(self) -> SSLContext | None:
        """The context of new TLS connections; None without TLS, and before the configuration is loaded."""
        return self._certificates.context if self._certificates is not None else None

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
    def multiprocess(self) -> bool:
        """Whether other processes may serve the application at the same time."""
        return self.among_others or self.workers > 1 or self.supervise

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
        """Set up the loggers of this process. Raises ValueError for a file or a format that cannot be used."""
        if self.access_log_format not in (None, access_format.JSON):
            try:
                access_format.parse(self.access_log_format)
            except ValueError as error:
                raise ValueError(f"access_log_format: {error}") from None
        adopt(self.log_config)
        try:
            logs.configure(self.log_config, self.log_level, self.access_log, self.use_colors, self.access_log_format)
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
        """Load certificates, import the application, call it if it is a factory, and find out its interface."""
        self.load_certificates()
        app = self._from_factory(self.load_app())
        if not callable(app):
            self._fail(
                "Error loading ASGI app. It is not callable, but %s.", "None" if app is None else type(app).__name__
            )
        if self.interface == "auto":
            self.interface = interface.detect(app)
            if interface.is_unclear(app):
                logger.warning(
                    "Nothing about the application says which interface it speaks; it is served as ASGI 2. "
                    "If it speaks another, --interface wsgi or asgi3 says so."
                )
        if self.interface == "asgi2":
            app = interface.from_asgi2(app)
        if self.interface != "wsgi":
            if logger.getEffectiveLevel() <= logs.TRACE_LOG_LEVEL:
                app = MessageLogger(app)
            if self.threads is not None:
                logger.info(
                    "threads=%d has no effect: the application is ASGI, and runs in the event loop.", self.threads
                )
        self.loaded_app = app
        self.loaded = True

    def load_certificates(self) -> Certificates | None:
        """The certificates, loaded at the first call; None without TLS. Logs what is wrong with them and exits, with
        the code that uvicorn exits with."""
        if self._certificates is None and self.is_ssl:
            named = [(name, self._tls_files(certfile, keyfile)) for name, certfile, keyfile in self.ssl_sni]
            paths = [path for path in (self.ssl_certfile, self.ssl_keyfile, self.ssl_ca_certs) if path]
            try:
                self._certificates = Certificates(self._make_context, named, paths)
            except TlsError as error:
                self._fail("Error loading TLS files. %s", error, code=_TLS_FAILURE)
        return self._certificates

    def check_certificates(self) -> None:
        """As `load_certificates`, without keeping them: this process does not serve."""
        self.load_certificates()
        self._certificates = None

    def _make_context(self) -> SSLContext:
        if self.ssl_context_factory is None:
            return self._default_context()
        context = self.ssl_context_factory(self, self._default_context)
        if not isinstance(context, SSLContext):
            raise TypeError(f"`ssl_context_factory` must return an `ssl.SSLContext`, got {type(context).__name__}")
        return context

    def _default_context(self) -> SSLContext:
        if not self.ssl_certfile:
            raise RuntimeError("The default of `ssl_context_factory` needs `ssl_certfile`, which is not set.")
        return self._tls_files(self.ssl_certfile, self.ssl_keyfile).load()

    def _tls_files(self, certfile: str, keyfile: str | None) -> TlsFiles:
        return TlsFiles(
            certfile,
            keyfile,
            self.ssl_keyfile_password,
            self.ssl_version,
            self.ssl_cert_reqs,
            self.ssl_ca_certs,
            self.ssl_ciphers,
        )

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
            arguments = ("https" if self.is_ssl else "http", host, name[1])
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
        except Exception:
            if self.factory or not interface.takes_anything(loaded):
                raise
            return loaded
        if inspect.iscoroutine(app):
            app.close()
            self._fail("Error loading ASGI app factory: %s", "a factory must not be a coroutine function")
        if not self.factory:
            logger.warning(
                "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
            )
        return app

    def _fail(self, message: str, *arguments: object, code: int = STARTUP_FAILURE) -> NoReturn:
        logger.error(message, *arguments)
        sys.exit(code)
