"""`fastserve check`: whether a server with these options would start, and what every option is and why.

Imports the application (its lifespan is not run), loads the TLS files, binds what would be bound and lets go of it at
once. Nothing is served. The report goes to standard output, what the application and its import have to say to the
log as ever.
"""

import contextlib
import logging
import os
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from fastserve.bind import Bind
from fastserve.config import LOGGING_CONFIG, STARTUP_FAILURE, Settings
from fastserve.options import OPTIONS, Option, Permissions
from fastserve.server.config import Config
from fastserve.transport import listeners

logger = logging.getLogger("fastserve.error")

TRUSTED_PROXIES: Final = "127.0.0.1,::1"
"""Whose word is taken where nobody says otherwise; uvicorn's default."""

WARNED: Final = 1
"""Exit code where the server would start, and something about it is worth a look."""


@dataclass
class Report:
    """What the examinations have found, line by line."""

    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def examining(self, what: str) -> Iterator[None]:
        """Turn what goes wrong inside into a failure of `what`."""
        try:
            yield
        except SystemExit:
            self.failures.append(f"{what}: cannot be loaded, the log says why")
        except (OSError, ValueError) as error:
            self.failures.append(f"{what}: {error}")
        except Exception:
            logger.exception("Error loading %s", what)
            self.failures.append(f"{what}: cannot be loaded, the log says why")

    @property
    def exit_code(self) -> int:
        return STARTUP_FAILURE if self.failures else WARNED if self.warnings else 0


def check(config: Config, app_dir: str, sources: Mapping[str, str]) -> int:
    """Examine and report; `sources` says where each option comes from. Returns the exit code: 0, 1 or 3."""
    report = Report()
    table = _table(config, app_dir, sources)
    _examine_tls(config, report)
    with report.examining("application"):
        if report.failures:
            # The whole configuration cannot be loaded any more, and why is known.
            config.load_app()
            click.echo(f"application  {config.app} is imported")
        else:
            config.load()
            click.echo(f"application  {config.app} is imported, its interface is {config.interface}")
    with report.examining("event loop"):
        config.get_loop_factory()
    with report.examining("listening"):
        for bind in config.requested_binds():
            _examine_bind(bind, config.backlog, report)
    if config.forwarded_allow_ips == "*" and (config.proxy_headers or config.proxy_protocol):
        report.warnings.append("forwarded_allow_ips: every client is trusted to say who it is")
    click.echo()
    click.echo(table)
    click.echo()
    for line in report.warnings:
        click.echo(f"warning  {line}")
    for line in report.failures:
        click.echo(f"failure  {line}")
    click.echo("The server would not start." if report.failures else "The server would start.")
    return report.exit_code


def _examine_bind(bind: Bind, backlog: int, report: Report) -> None:
    with report.examining("listening"):
        # Binding would remove it, and with it the mode that its successor takes over.
        if bind.path is None or not listeners.is_stale(bind.path):
            listeners.close_all(listeners.bind_all([bind], backlog))
        click.echo(f"listening    {bind} can be bound")


def _examine_tls(settings: Settings, report: Report) -> None:
    """Load what the ssl_* options name, each by itself, so that one report has everything that is wrong."""
    pairs = [("ssl_sni", certificate, key) for _, certificate, key in settings.ssl_sni]
    if settings.ssl_certfile is not None:
        pairs.insert(0, ("ssl_certfile", settings.ssl_certfile, settings.ssl_keyfile))
    for param, certificate, key in pairs:
        with report.examining(param):
            if missing := [path for path in (certificate, key) if path is not None and not os.path.exists(path)]:
                raise ValueError(f"{missing[0]!r} does not exist")
            # An empty password instead of OpenSSL's question on the terminal, which nobody answers at boot.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key, settings.ssl_keyfile_password or "")
            click.echo(f"tls          {certificate} and its key fit")
            if os.stat(key or certificate).st_mode & stat.S_IROTH:
                report.warnings.append(f"{param}: every user of this machine can read the key {key or certificate!r}")
    if settings.ssl_ca_certs is not None:
        with report.examining("ssl_ca_certs"):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(settings.ssl_ca_certs)
            click.echo(f"tls          {settings.ssl_ca_certs} has authorities for client certificates")
    if settings.ssl_ciphers is not None:
        with report.examining("ssl_ciphers"):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(settings.ssl_ciphers)


def _table(config: Config, app_dir: str, sources: Mapping[str, str]) -> str:
    rows = []
    for param, option in OPTIONS.items():
        if option.command_line and param != "config":
            value, source = app_dir if param == "app_dir" else getattr(config, param), sources[param]
            if source == "default" and (variable := _UNPREFIXED.get(param)) and os.environ.get(variable, "").strip():
                value, source = os.environ[variable] if value is None else value, variable
            if param == "forwarded_allow_ips" and value is None:
                value = TRUSTED_PROXIES
            rows.append((param, _shown(option, value), source))
    name_width = max(len(name) for name, _, _ in rows)
    value_width = min(40, max(len(value) for _, value, _ in rows))
    return "\n".join(f"{name:<{name_width}}  {value:<{value_width}}  {source}" for name, value, source in rows)


# Variables that uvicorn and gunicorn read as well, under the names that their platforms chose.
_UNPREFIXED: Final = {"workers": "WEB_CONCURRENCY", "forwarded_allow_ips": "FORWARDED_ALLOW_IPS"}


def _shown(option: Option, value: Any) -> str:
    """The value as it would be typed, as far as it fits on a line."""
    if option.param == "ssl_keyfile_password" and value is not None:
        return "(not shown)"
    if value is LOGGING_CONFIG:
        return "(built in)"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    if isinstance(option.type, Permissions):
        return f"{value:o}"
    if isinstance(value, float):
        return f"{value:g}"
    if option.multiple:
        return " ".join(":".join(filter(None, item)) if isinstance(item, tuple) else str(item) for item in value)
    return str(value)
