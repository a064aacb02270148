"""`Settings`: the checked value of every option, and the constants that come with them.

A pure value: this module sits on the lowest floor, so that every floor may read it. What acts on the values (importing
the application, configuring logs, binding sockets) is `fastserve.server.config.Config`, which extends `Settings` and is
what the package exports. Each field's default, range and meaning is its row in `fastserve.options`; a test holds the
two lists of names together.
"""

import importlib
import os
import ssl
from collections.abc import Awaitable, Callable
from configparser import RawConfigParser
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import IO, Any, Final, Literal, cast

from fastserve.bind import Bind, parse_bind
from fastserve.cgroup import cpu_limit
from fastserve.options import LOG_LEVELS, MOST_WORKERS, OPTIONS
from fastserve.trust import TrustedPeers

__all__ = ["LOGGING_CONFIG", "LOG_LEVELS", "STARTUP_FAILURE", "LogConfig", "Settings"]

STARTUP_FAILURE: Final = 3
"""Exit code of a process that could not start serving."""

SSL_PROTOCOL_VERSION: Final = ssl.PROTOCOL_TLS_SERVER
"""The default of `ssl_version`."""

LogConfig = dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None

LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "fastserve.server.logs.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "fastserve.server.logs.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
        },
    },
    "handlers": {
        "default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "fastserve": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "fastserve.error": {"level": "INFO"},
        "fastserve.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}
"""The default of `log_config`. Programs change it in place before they start a server, so it is never copied here."""


def _default(param: str) -> Any:
    return OPTIONS[param].default


def _worker_count(given: int | str | None) -> int:
    """The number of workers for what was given; where nothing was, WEB_CONCURRENCY is asked."""
    if given is None:
        text = os.environ.get("WEB_CONCURRENCY", "").strip()
        try:
            given = cast(int | str | None, OPTIONS["workers"].parse(text)) if text else None
        except ValueError as error:
            raise ValueError(f"WEB_CONCURRENCY: {error}") from None
    if isinstance(given, str):
        return min(cpu_limit(), MOST_WORKERS)
    return given or 1


@dataclass(eq=False)
class Settings:
    """The options of one server, checked.

    Takes the application (an import string or the object) and any option of the table by its parameter name. Raises
    TypeError for a name that does not exist and ValueError, naming the parameter, for a value out of range. `workers`
    may be given as "auto" or None; it is a number afterwards.
    """

    app: Any
    host: str | None = _default("host")
    port: int = _default("port")
    uds: str | None = _default("uds")
    fd: int | None = _default("fd")
    loop: str = _default("loop")
    _: KW_ONLY
    factory: bool = _default("factory")
    interface: str = _default("interface")
    lifespan: str = _default("lifespan")
    root_path: str = _default("root_path")
    uds_permissions: int | None = _default("uds_permissions")
    bind: list[str] = field(default_factory=list)
    backlog: int = _default("backlog")
    ssl_keyfile: str | None = _default("ssl_keyfile")
    ssl_certfile: str | None = _default("ssl_certfile")
    ssl_keyfile_password: str | None = field(default=_default("ssl_keyfile_password"), repr=False)
    ssl_version: int = _default("ssl_version")
    ssl_cert_reqs: int = _default("ssl_cert_reqs")
    ssl_ca_certs: str | None = _default("ssl_ca_certs")
    ssl_ciphers: str | None = _default("ssl_ciphers")
    ssl_sni: list[tuple[str, str, str | None]] = field(default_factory=list)
    ssl_context_factory: Callable[..., ssl.SSLContext] | None = field(default=_default("ssl_context_factory"))
    proxy_headers: bool = _default("proxy_headers")
    forwarded_allow_ips: list[str] | str | None = field(default=_default("forwarded_allow_ips"))
    forwarded: bool = _default("forwarded")
    forwarded_extra: bool = _default("forwarded_extra")
    proxy_protocol: bool = _default("proxy_protocol")
    workers: int = _default("workers")
    supervise: bool = _default("supervise")
    preload: bool = _default("preload")
    pid_file: str | None = _default("pid_file")
    process_name: str = _default("process_name")
    threads: int | None = _default("threads")
    limit_queue: int = _default("limit_queue")
    timeout_queue: float | None = _default("timeout_queue")
    reload: bool = _default("reload")
    reload_dirs: list[str] = field(default_factory=list)
    reload_includes: list[str] = field(default_factory=list)
    reload_excludes: list[str] = field(default_factory=list)
    reload_delay: float = _default("reload_delay")
    env_file: str | None = _default("env_file")
    transport: Literal["auto", "native", "loop"] = _default("transport")
    task: Literal["auto", "native", "asyncio"] = _default("task")
    reset_contextvars: bool = _default("reset_contextvars")
    callback_notify: Callable[..., Awaitable[None]] | None = field(default=_default("callback_notify"))
    timeout_notify: float = _default("timeout_notify")
    server_header: bool = _default("server_header")
    date_header: bool = _default("date_header")
    headers: list[tuple[str, str]] = field(default_factory=list)
    ws_max_size: int = _default("ws_max_size")
    ws_max_queue: int = _default("ws_max_queue")
    ws_ping_interval: float | None = _default("ws_ping_interval")
    ws_ping_timeout: float | None = _default("ws_ping_timeout")
    ws_per_message_deflate: bool = _default("ws_per_message_deflate")
    log_level: str | int | None = _default("log_level")
    log_config: LogConfig = field(default_factory=lambda: LOGGING_CONFIG, repr=False)
    access_log: bool = _default("access_log")
    access_log_format: str | None = _default("access_log_format")
    use_colors: bool | None = _default("use_colors")
    limit_concurrency: int | None = _default("limit_concurrency")
    limit_max_requests: int | None = _default("limit_max_requests")
    limit_max_requests_jitter: int = _default("limit_max_requests_jitter")
    limit_max_rss: int | None = _default("limit_max_rss")
    limit_worker_lifetime: float | None = _default("limit_worker_lifetime")
    limit_request_line: int = _default("limit_request_line")
    limit_request_head: int = _default("limit_request_head")
    limit_request_fields: int = _default("limit_request_fields")
    limit_request_body: int | None = _default("limit_request_body")
    timeout_keep_alive: float = _default("timeout_keep_alive")
    timeout_header: float | None = _default("timeout_header")
    timeout_ssl_handshake: float | None = _default("timeout_ssl_handshake")
    timeout_body: float | None = _default("timeout_body")
    timeout_write: float | None = _default("timeout_write")
    timeout_request: float | None = _default("timeout_request")
    timeout_graceful_shutdown: float | None = _default("timeout_graceful_shutdown")
    timeout_graceful_disconnect: float | None = _default("timeout_graceful_disconnect")
    timeout_graceful_cancel: float = _default("timeout_graceful_cancel")
    timeout_graceful_idle: float = _default("timeout_graceful_idle")
    timeout_worker_startup: float | None = _default("timeout_worker_startup")
    timeout_worker_healthcheck: float | None = _default("timeout_worker_healthcheck")
    http: str = _default("http")
    http2: bool = _default("http2")
    h11_max_incomplete_event_size: int | None = _default("h11_max_incomplete_event_size")
    ws: str = _default("ws")

    def __post_init__(self) -> None:
        for param, option in OPTIONS.items():
            # The application may be any object, the log configuration one of several: their users check them.
            if option.setting and param not in ("app", "log_config"):
                try:
                    setattr(self, param, option.check(getattr(self, param)))
                except ValueError as error:
                    raise ValueError(f"{param}: {error}") from None
        if isinstance(self.log_config, os.PathLike):
            self.log_config = os.fspath(self.log_config)
        self.workers = _worker_count(self.workers)
        if self.forwarded_allow_ips is None:
            self.forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
        try:
            TrustedPeers(self.forwarded_allow_ips)
        except ValueError as error:
            raise ValueError(f"forwarded_allow_ips: {error}") from None

    @property
    def trusted_peers(self) -> TrustedPeers:
        """Who is believed as a proxy: `forwarded_allow_ips`."""
        return TrustedPeers(self.forwarded_allow_ips or [])

    @property
    def binds(self) -> list[Bind]:
        """Where to listen: `bind`, else `fd`, else `uds`, else `host` and `port`."""
        if self.bind:
            requested = [parse_bind(text) for text in self.bind]
        elif self.fd is not None:
            requested = [Bind(fd=self.fd)]
        elif self.uds is not None:
            requested = [Bind(path=self.uds)]
        else:
            requested = [Bind(host=self.host or "", port=self.port)]
        return [
            replace(bind, mode=self.uds_permissions) if bind.path is not None and bind.mode is None else bind
            for bind in requested
        ]

    @property
    def encoded_headers(self) -> list[tuple[bytes, bytes]]:
        """The fields every response starts with, after `date`: names in lower case; `server` unless replaced or off."""
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        if self.server_header and all(name != b"server" for name, _ in fields):
            fields.insert(0, (b"server", b"fastserve"))
        return fields


def __getattr__(name: str) -> Any:
    # What uvicorn's module of this name has as well, and is made of what lies above.
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_ELSEWHERE: Final = {
    "Config": "fastserve.server.config",
    "HTTP_PROTOCOLS": "fastserve.server.choices",
    "INTERFACES": "fastserve.server.choices",
    "LIFESPAN": "fastserve.server.choices",
    "LOOP_FACTORIES": "fastserve.server.choices",
    "LifespanOff": "fastserve.server.lifespan",
    "LifespanOn": "fastserve.server.lifespan",
    "MessageLoggerMiddleware": "fastserve.middleware.message_logger",
    "ProxyHeadersMiddleware": "fastserve.middleware.proxy_headers",
    "TRACE_LOG_LEVEL": "fastserve.server.logs",
    "UvicornDeprecationWarning": "fastserve.server.choices",
    "WS_PROTOCOLS": "fastserve.server.choices",
    "WSGIMiddleware": "fastserve.server.wsgi",
    "create_ssl_context": "fastserve.server.config",
    "import_from_string": "fastserve.server.importer",
}
