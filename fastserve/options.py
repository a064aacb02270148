"""The option table: one row per option, and nothing about an option anywhere else.

The command line, the environment, `Settings` and the reference page derive from `OPTIONS`. A row holds the names, the
type with its range, the default, the help text and what uvicorn and gunicorn call the same thing. A `ValueType` turns
text (command line, environment) into a value with `parse`, and a Python value (`Config(...)`) into the same with
`check`, and one from a configuration file with `read`; all raise ValueError with a sentence that a caller prefixes with
the option's name.

Precedence: command line, then `FASTSERVE_<PARAM>`, then `UVICORN_<PARAM>` of the options that uvicorn has too, then the
configuration file (`fastserve.configuration_file`), then the default. `none` as text is Python's None where a row is
`optional`; it switches a limit or a deadline off.
"""

import math
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from fastserve.bind import parse_bind

ENV_PREFIX: Final = "FASTSERVE_"
UVICORN_ENV_PREFIX: Final = "UVICORN_"

LOG_LEVELS: Final = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10, "trace": 5}

Group = Literal[
    "Application", "Listening", "TLS", "Proxies", "Workers", "Reload", "Running", "Responses", "WebSocket", "Logging",
    "Limits", "Timeouts", "Other",
]  # fmt: skip

MOST_WORKERS: Final = 256
"""Workers that one supervisor keeps, at most."""

DEFAULT_THREADS: Final = 4
"""Threads that call a WSGI application in one worker, where nobody says how many."""

MOST_THREADS: Final = 1024
"""Threads that call a WSGI application in one worker, at most."""

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_BAD_FIELD_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class ValueType:
    """The type of an option's value. `parse` takes text, `check` a Python value; both return the value to use."""

    metavar: str = "TEXT"
    separator: str | None = None
    """What separates several of them in one environment variable; None is white space."""

    def parse(self, text: str) -> object:
        return self.check(text)

    def check(self, value: object) -> object:
        raise NotImplementedError

    def read(self, value: object) -> object:
        """The value to use for `value`, which a configuration file holds. Raises ValueError."""
        return self.check(value)


@dataclass(frozen=True)
class Text(ValueType):
    """Any string."""

    metavar: str = "TEXT"

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a string")
        return value


@dataclass(frozen=True)
class FilePath(ValueType):
    """A path; as text, with `exists`, of something that is there (a program may name a file it has yet to write)."""

    metavar: str = "PATH"
    exists: bool = False
    separator: str | None = os.pathsep

    def parse(self, text: str) -> str:
        if self.exists and not os.path.exists(text):
            raise ValueError(f"Path {text!r} does not exist")
        return text

    def read(self, value: object) -> str:
        return self.parse(self.check(value))

    def check(self, value: object) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a path")
        return value


@dataclass(frozen=True)
class Integer(ValueType):
    """A whole number between `minimum` and `maximum`, both inclusive."""

    minimum: int = 0
    maximum: int | None = None
    metavar: str = "INTEGER"

    def parse(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a valid integer") from None
        return self.check(number)

    def check(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number")
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            bound = f"at least {self.minimum}" if self.maximum is None else f"between {self.minimum} and {self.maximum}"
            raise ValueError(f"{value} is not {bound}")
        return value


@dataclass(frozen=True)
class IntegerOrAuto(Integer):
    """A whole number, or `auto`: found out where it is used."""

    metavar: str = "INTEGER|auto"

    def parse(self, text: str) -> int | str:  # type: ignore[override]  # one value more than its base
        return self.check(text.strip().lower()) if text.strip().lower() == "auto" else super().parse(text)

    def check(self, value: object) -> int | str:  # type: ignore[override]  # one value more than its base
        return value if value == "auto" and isinstance(value, str) else super().check(value)


@dataclass(frozen=True)
class Size(Integer):
    """A number of bytes; as a string with an optional suffix K, M or G (powers of 1024, `KiB` and `kb` are K too)."""

    metavar: str = "BYTES"

    def parse(self, text: str) -> int:
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a number of bytes such as 65536, 64K or 1.5G")
        number, suffix = match.groups()
        return super().check(int(float(number) * 1024 ** " kmg".index(suffix.lower() or " ")))

    def check(self, value: object) -> int:
        return self.parse(value) if isinstance(value, str) else super().check(value)


@dataclass(frozen=True)
class Address(ValueType):
    """Where to listen; `fastserve.bind` has the grammar. The value is the text, as it was given."""

    metavar: str = "ADDRESS"

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a string")
        parse_bind(value)
        return value


@dataclass(frozen=True)
class Seconds(ValueType):
    """A duration in seconds, fractions allowed. Zero only where it means something (`zero`); less than that only where
    it means the same (`negative`)."""

    zero: bool = False
    negative: bool = False
    metavar: str = "SECONDS"

    def parse(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number of seconds") from None
        return self.check(number)

    def check(self, value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a number of seconds")
        if (value < 0 and not self.negative) or (value == 0 and not self.zero):
            raise ValueError(f"{value} is not {'at least' if self.zero else 'more than'} 0")
        return float(value)


@dataclass(frozen=True)
class Boolean(ValueType):
    """True or False; on the command line a word that follows the option."""

    metavar: str = "BOOLEAN"

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ValueError(f"{text!r} is not a valid boolean")

    def check(self, value: object) -> bool:
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        raise ValueError(f"{value!r} is not True or False")


@dataclass(frozen=True)
class Flag(Boolean):
    """On or off, by the option's name alone. `off` is the name of the switch that turns it off, if there is one."""

    metavar: str = ""
    off: str | None = None


@dataclass(frozen=True)
class Choice(ValueType):
    """One of a few words. With `open_to_import_strings`, a `module:attribute` as well."""

    words: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    open_to_import_strings: bool = False

    @property
    def metavar(self) -> str:  # type: ignore[override]  # derived from the words, read-only
        return f"[{'|'.join(self.words)}]"

    def check(self, value: object) -> str:
        known = (*self.words, *self.unlisted)
        if isinstance(value, str) and (value in known or (self.open_to_import_strings and ":" in value)):
            return value
        raise ValueError(f"{value!r} is not one of {', '.join(map(repr, self.words))}")


@dataclass(frozen=True)
class Level(ValueType):
    """A log level by name; a program may also give its number."""

    metavar: str = f"[{'|'.join(LOG_LEVELS)}]"

    def check(self, value: object) -> str | int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in LOG_LEVELS:
            return value.lower()
        raise ValueError(f"{value!r} is not one of {', '.join(map(repr, LOG_LEVELS))}")


@dataclass(frozen=True)
class Permissions(ValueType):
    """File permissions: octal digits as text, a number in Python."""

    metavar: str = "OCTAL"

    def check(self, value: object) -> int:
        if isinstance(value, str):
            if not re.fullmatch(r"(0o)?[0-7]{1,4}", value):
                raise ValueError(f"{value!r} is not an octal mode such as 660")
            value = int(value.removeprefix("0o"), 8)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0o777:
            raise ValueError(f"{value!r} is not a mode between 0 and 0o777")
        return value


@dataclass(frozen=True)
class FieldLine(ValueType):
    """A response field: `Name:Value` as text, a (name, value) pair in Python. RFC 9110, sections 5.1 and 5.5."""

    metavar: str = "NAME:VALUE"

    def parse(self, text: str) -> tuple[str, str]:
        name, colon, value = text.partition(":")
        if not colon:
            raise ValueError(f"{text!r} is not of the form Name:Value")
        return self.check((name, value))

    def read(self, value: object) -> tuple[str, str]:
        return self.parse(value) if isinstance(value, str) else self.check(value)

    def check(self, value: object) -> tuple[str, str]:
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
            raise ValueError(f"{value!r} is not a (name, value) pair")
        name, content = value
        if not isinstance(name, str) or not isinstance(content, str):
            raise ValueError(f"{value!r} is not a pair of strings")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not a field name")
        content = content.strip(" \t")
        if _BAD_FIELD_VALUE.search(content):
            raise ValueError(f"{content!r} is not a field value: control and non-latin-1 characters are not allowed")
        return name, content


@dataclass(frozen=True)
class Peers(ValueType):
    """Comma-separated addresses, networks and literals; a program may also give a list. The value is what was given."""

    metavar: str = "LIST"

    def check(self, value: object) -> str | list[str]:
        if isinstance(value, str):
            return value
        if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
            return list(value)
        raise ValueError(f"{value!r} is not a string or a list of strings")


@dataclass(frozen=True)
class NamedCertificate(ValueType):
    """The certificate of a host: `name=certfile[:keyfile]` as text, (name, certfile, keyfile or None) in Python."""

    metavar: str = "NAME=CERTFILE[:KEYFILE]"

    def parse(self, text: str) -> tuple[str, str, str | None]:
        name, equals, files = text.partition("=")
        certificate, _, key = files.partition(":")
        if not equals or not name or not certificate:
            raise ValueError(f"{text!r} is not of the form name=certfile or name=certfile:keyfile")
        return name.lower(), certificate, key or None

    def check(self, value: object) -> tuple[str, str, str | None]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, Sequence) or len(value) != 3:
            raise ValueError(f"{value!r} is not (name, certfile, keyfile)")
        name, certificate, key = (os.fspath(part) if isinstance(part, os.PathLike) else part for part in value)
        if not isinstance(name, str) or not isinstance(certificate, str) or not isinstance(key, (str, type(None))):
            raise ValueError(f"{value!r} is not (name, certfile, keyfile)")
        return name.lower(), certificate, key


@dataclass(frozen=True)
class Function(ValueType):
    """Something that can be called: for programs only, there is no text for it."""

    metavar: str = "CALLABLE"

    def parse(self, text: str) -> object:
        raise ValueError(f"{text!r}: only a program can give a callable")

    def check(self, value: object) -> object:
        if not callable(value):
            raise ValueError(f"{value!r} cannot be called")
        return value


@dataclass(frozen=True)
class Option:
    """One row. `param` names the Config parameter and, upper-cased after FASTSERVE_, the environment variable."""

    param: str
    type: ValueType
    default: object
    help: str
    group: Group
    name: str = ""
    """The switch, `--limit-request-line`; derived from `param` unless given. Empty for the APP argument."""
    optional: bool = False
    """None is a value; `none` is its text."""
    multiple: bool = False
    """May be given several times; the value is a list. In the environment, separated by white space."""
    lone: bool = False
    """A program may give one item of a `multiple` option instead of a list."""
    hidden: bool = False
    missing: str = ""
    """What is not supported yet. Whoever gives a value other than the default is refused with it; see `refusal`."""
    missing_values: tuple[object, ...] = ()
    """The values that `missing` is about, if not all but the default."""
    ignored: str = ""
    """Why `ignored_values` have no effect: the log says so to whoever gives one."""
    ignored_values: tuple[object, ...] = ()
    """The values that `ignored` is about, if not all but the default."""
    command_line: bool = True
    """False for what only a program can give."""
    setting: bool = True
    """A field of Settings. False for what only the command line and `fastserve.run` act on."""
    uvicorn: str | None = None
    """uvicorn's parameter of the same meaning."""
    gunicorn: str | None = None
    """gunicorn's setting of the same meaning."""
    env: str = field(init=False)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, the first one that is set and not empty counts."""
        return (self.env,) if self.uvicorn is None else (self.env, UVICORN_ENV_PREFIX + self.uvicorn.upper())

    @property
    def description(self) -> str:
        """The help text, followed by what of it is not supported yet."""
        if not self.missing:
            return self.help
        values = ", ".join(str(value) for value in self.missing_values if value is not None)
        return f"{self.help} Not supported yet{values and f': {values}'}."

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", ENV_PREFIX + self.param.upper())
        if not self.name and self.param != "app":
            object.__setattr__(self, "name", "--" + self.param.replace("_", "-"))

    def parse(self, text: str) -> object:
        """The value of `text` (one occurrence of a `multiple` option). Raises ValueError."""
        if self.optional and text.strip().lower() == "none":
            return None
        return self.type.parse(text)

    def check(self, value: object) -> object:
        """The value to use for `value` given from Python. Raises ValueError."""
        checked = self._check(value)
        if refusal := self.refusal(checked):
            raise ValueError(refusal)
        return checked

    def _check(self, value: object) -> object:
        if self.multiple:
            if value is None:
                return []
            if self.lone and isinstance(value, (str, os.PathLike)):
                value = [value]
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise ValueError(f"{value!r} is not a list")
            return [self.type.check(item) for item in value]
        if value is None and self.optional:
            return None
        return self.type.check(value)

    def read(self, value: object) -> object:
        """The value to use for `value` of a configuration file, where "none" is None. Raises ValueError."""
        if self.multiple:
            items = value if isinstance(value, list) else [value]
            return [self.type.read(item) for item in items]
        if self.optional and value == "none":
            return None
        return self.type.read(value)

    def refusal(self, value: object) -> str:
        """Why `value` cannot be served: what is not supported yet. Empty if it can."""
        return self.missing if self.missing and self._is_among(value, self.missing_values) else ""

    def explanation(self, value: object) -> str:
        """Why `value` is accepted and has no effect. Empty if it has one."""
        return self.ignored if self.ignored and self._is_among(value, self.ignored_values) else ""

    def _is_among(self, value: object, values: tuple[object, ...]) -> bool:
        return value in values if values else value != ([] if self.multiple else self.default)


_INTERFACES = Choice(("auto", "asgi3", "asgi2", "wsgi"))

_TABLE: Final = (
    # Application
    Option(
        "app", Text("APP"), None, "The application: module:attribute, or module:factory with --factory.", "Application",
        uvicorn="app", gunicorn="wsgi_app",
    ),
    Option(
        "factory", Flag(), False, "Treat APP as an application factory: a callable without arguments that returns it.",
        "Application", uvicorn="factory",
    ),
    Option(
        "app_dir", FilePath(), "", "Look for APP in this directory. Default: the current directory.", "Application",
        setting=False, uvicorn="app_dir", gunicorn="pythonpath",
    ),
    Option(
        "interface", _INTERFACES, "auto", "The application's interface.", "Application",
        uvicorn="interface",
    ),
    Option(
        "lifespan", Choice(("auto", "on", "off")), "auto",
        "Run the application's lifespan: auto goes on without where the application does not support it.",
        "Application", uvicorn="lifespan",
    ),
    Option(
        "root_path", Text(), "", "The path that the application is mounted below: scope['root_path'].", "Application",
        uvicorn="root_path", gunicorn="root_path",
    ),
    Option(
        "config", FilePath(exists=True), None,
        "Configuration file (TOML). Default: fastserve.toml, else [tool.fastserve] of pyproject.toml, in the current "
        "directory.",
        "Application", optional=True, setting=False, gunicorn="config",
    ),
    # Listening
    Option(
        "host", Text(), "127.0.0.1",
        "Address or host name to listen on; '::' or an empty string: every IPv4 and IPv6 address.", "Listening",
        optional=True, uvicorn="host", gunicorn="bind",
    ),
    Option(
        "port", Integer(0, 65535), 8000, "Port to listen on; 0 picks a free one.", "Listening",
        uvicorn="port", gunicorn="bind",
    ),
    Option(
        "uds", FilePath(), None, "Listen on a Unix socket instead of host and port.", "Listening",
        optional=True, uvicorn="uds", gunicorn="bind",
    ),
    Option(
        "uds_permissions", Permissions(), None,
        "Mode of the Unix socket's file. Default: that of the file it replaces, else 666.", "Listening",
        optional=True, gunicorn="umask",
    ),
    Option(
        "fd", Integer(0), None, "Listen on an inherited socket: its file descriptor.", "Listening",
        optional=True, uvicorn="fd", gunicorn="bind",
    ),
    Option(
        "bind", Address(), None,
        "Listen on host:port, [ipv6]:port, :port, unix:path?mode=660 or fd://number, instead of what host, port, uds "
        "and fd say; may be repeated.",
        "Listening", multiple=True, gunicorn="bind",
    ),
    Option(
        "backlog", Integer(1, 2**31 - 1), 2048, "Connections the kernel holds until they are accepted.", "Listening",
        uvicorn="backlog", gunicorn="backlog",
    ),
    # TLS
    Option(
        "ssl_keyfile", FilePath(), None, "Private key (PEM); with it or --ssl-certfile the server speaks TLS.", "TLS",
        optional=True, uvicorn="ssl_keyfile", gunicorn="keyfile",
    ),
    Option(
        "ssl_certfile", FilePath(), None, "Certificate chain (PEM); the key too, without --ssl-keyfile.", "TLS",
        optional=True, uvicorn="ssl_certfile", gunicorn="certfile",
    ),
    Option(
        "ssl_keyfile_password", Text(), None, "Password of an encrypted private key.", "TLS",
        optional=True, uvicorn="ssl_keyfile_password",
    ),
    Option(
        "ssl_version", Integer(0), int(ssl.PROTOCOL_TLS_SERVER), "Protocol, a number of the ssl module.", "TLS",
        uvicorn="ssl_version", gunicorn="ssl_version",
    ),
    Option(
        "ssl_cert_reqs", Integer(0, 2), int(ssl.CERT_NONE),
        "Client certificates: 0 none, 1 optional, 2 required; a number of the ssl module.", "TLS",
        uvicorn="ssl_cert_reqs", gunicorn="cert_reqs",
    ),
    Option(
        "ssl_ca_certs", FilePath(), None, "Authorities that client certificates are checked against (PEM).", "TLS",
        optional=True, uvicorn="ssl_ca_certs", gunicorn="ca_certs",
    ),
    Option(
        "ssl_ciphers", Text(), None, "Ciphers of TLS 1.2 and older, as OpenSSL writes them. Default: OpenSSL's.", "TLS",
        optional=True, uvicorn="ssl_ciphers", gunicorn="ciphers",
    ),
    Option(
        "ssl_sni", NamedCertificate(), None,
        "Certificate for clients that ask for this name, which may begin with '*.'; may be repeated.", "TLS",
        multiple=True,
    ),
    Option(
        "ssl_context_factory", Function(), None,
        "Called with the Config and a function that makes the usual SSLContext; returns the SSLContext to use.", "TLS",
        optional=True, command_line=False, gunicorn="ssl_context",
    ),
    # Proxies
    Option(
        "proxy_headers", Flag(off="--no-proxy-headers"), True,
        "Take the client's address and scheme from X-Forwarded-For and X-Forwarded-Proto of a trusted peer.", "Proxies",
        uvicorn="proxy_headers",
    ),
    Option(
        "forwarded_allow_ips", Peers(), None,
        "Peers to trust as proxies, comma-separated: addresses, networks, unix (any peer on a Unix socket), unix:USER, "
        "or * alone. Default: $FORWARDED_ALLOW_IPS, else 127.0.0.1,::1.",
        "Proxies", optional=True, uvicorn="forwarded_allow_ips", gunicorn="forwarded_allow_ips",
    ),
    Option(
        "forwarded", Flag(), False, "Take client and scheme from a trusted peer's Forwarded field (RFC 7239) instead.",
        "Proxies",
    ),
    Option(
        "forwarded_extra", Flag(), False, "Take X-Forwarded-Host, -Port and -Prefix of a trusted peer as well.",
        "Proxies",
    ),
    Option(
        "proxy_protocol", Flag(), False,
        "Connections of trusted peers begin with the PROXY protocol, version 1 or 2.", "Proxies",
        gunicorn="proxy_protocol",
    ),
    # Workers
    Option(
        "workers", IntegerOrAuto(1, MOST_WORKERS), None,
        "Worker processes; auto: one per CPU that this process may use. Default: $WEB_CONCURRENCY, else 1.", "Workers",
        optional=True, uvicorn="workers", gunicorn="workers",
    ),
    Option(
        "supervise", Flag(), False, "Run a supervisor for a single worker too: rolling restarts, recovery, health.",
        "Workers",
    ),
    Option(
        "preload", Flag(), False,
        "Import the application once and fork the workers from there; SIGHUP imports it again.", "Workers",
        gunicorn="preload_app",
    ),
    Option(
        "pid_file", FilePath(), None, "Write the process id into this file while the server runs.", "Workers",
        name="--pid", optional=True, gunicorn="pidfile",
    ),
    Option(
        "process_name", Text(), "fastserve", "What the titles of the processes begin with.", "Workers",
        gunicorn="proc_name",
    ),
    Option(
        "threads", Integer(1, MOST_THREADS), None,
        "Threads of each worker that call a WSGI application; 1: its event loop does. No effect with ASGI. "
        f"Default: {DEFAULT_THREADS}.",
        "Workers", optional=True, gunicorn="threads",
    ),
    # Reload
    Option(
        "reload", Flag(), False, "Restart the server when files change; for development.", "Reload",
        uvicorn="reload", gunicorn="reload",
    ),
    Option(
        "reload_dirs", FilePath(exists=True), None,
        "Directory to watch; may be repeated. Default: the current directory.", "Reload",
        name="--reload-dir", multiple=True, lone=True, uvicorn="reload_dirs",
    ),
    Option(
        "reload_includes", Text("GLOB"), None, "Files to watch; may be repeated. Default: *.py.", "Reload",
        name="--reload-include", multiple=True, lone=True, uvicorn="reload_includes",
    ),
    Option(
        "reload_excludes", Text("GLOB"), None,
        "Files and directories not to watch; may be repeated. Default: .*, .py[cod], .sw.* and ~*.", "Reload",
        name="--reload-exclude", multiple=True, lone=True, uvicorn="reload_excludes",
    ),
    Option(
        "reload_delay", Seconds(zero=True), 0.25, "Time between two looks at the files.", "Reload",
        uvicorn="reload_delay",
    ),
    # Running
    Option(
        "env_file", FilePath(exists=True), None,
        "File of environment variables for the application; needs python-dotenv.", "Running",
        optional=True, uvicorn="env_file",
    ),
    Option(
        "loop", Choice(("auto", "asyncio", "uvloop", "zuvloop"), unlisted=("none",), open_to_import_strings=True),
        "auto",
        "Event loop; also the import string of a loop factory. auto and zuvloop: uvloop where it is installed, else "
        "asyncio.",
        "Running",
        ignored="fastserve has no part for zuvloop and chooses as auto does", ignored_values=("zuvloop",),
        uvicorn="loop", gunicorn="asgi_loop",
    ),
    Option(
        "transport", Choice(("auto", "native", "loop")), "auto",
        "What moves the bytes: our own epoll, or the event loop's transports. auto: the former.", "Running",
    ),
    Option(
        "task", Choice(("auto", "native", "asyncio")), "auto",
        "What runs a request: our own task, or asyncio.Task. auto: asyncio's in debug mode or with a task factory.",
        "Running",
    ),
    Option(
        "reset_contextvars", Flag(), False, "Run each request in an empty contextvars.Context.", "Running",
        uvicorn="reset_contextvars",
    ),
    Option(
        "callback_notify", Function(), None,
        "Coroutine function that the running server awaits every timeout_notify seconds.", "Running",
        optional=True, command_line=False,
    ),
    Option(
        "timeout_notify", Seconds(), 30.0, "Time between two calls of callback_notify.", "Running",
        command_line=False,
    ),
    # Responses
    Option(
        "server_header", Flag(off="--no-server-header"), True, "Send the Server field.", "Responses",
        uvicorn="server_header",
    ),
    Option(
        "date_header", Flag(off="--no-date-header"), True, "Send the Date field.", "Responses",
        uvicorn="date_header",
    ),
    Option(
        "headers", FieldLine(), None, "A field to add to every response; may be repeated.", "Responses",
        name="--header", multiple=True, uvicorn="headers",
    ),
    # WebSocket
    Option(
        "ws_max_size", Size(1), 16 * 2**20, "Bytes of a message that is received; beyond: close code 1009.",
        "WebSocket", uvicorn="ws_max_size",
    ),
    Option(
        "ws_max_queue", Integer(0), 32, "Received messages that wait for the application; 0: any number.", "WebSocket",
        uvicorn="ws_max_queue",
    ),
    Option(
        "ws_ping_interval", Seconds(zero=True, negative=True), 20.0, "Time between two pings; none or 0: no pings.",
        "WebSocket", optional=True, uvicorn="ws_ping_interval",
    ),
    Option(
        "ws_ping_timeout", Seconds(zero=True), 20.0, "Time for a pong to arrive; beyond: close code 1011.", "WebSocket",
        optional=True, uvicorn="ws_ping_timeout",
    ),
    Option(
        "ws_per_message_deflate", Boolean(), True, "Compress messages where the client offers it.", "WebSocket",
        uvicorn="ws_per_message_deflate",
    ),
    # Logging
    Option(
        "log_level", Level(), None, "Log level; trace also logs every ASGI message. [default: info]", "Logging",
        optional=True, uvicorn="log_level", gunicorn="loglevel",
    ),
    Option(
        "log_config", FilePath(exists=True), None, "Logging configuration: a .json, .yaml or .ini file.", "Logging",
        optional=True, uvicorn="log_config", gunicorn="logconfig",
    ),
    Option(
        "access_log", Flag(off="--no-access-log"), True, "Log one line per response.", "Logging",
        uvicorn="access_log", gunicorn="accesslog",
    ),
    Option(
        "access_log_format", Text(), None,
        "Access log line in gunicorn's atoms, such as '%(h)s %(r)s %(s)s'; or json. Default: uvicorn's line.",
        "Logging", optional=True, gunicorn="access_log_format",
    ),
    Option(
        "use_colors", Flag(off="--no-use-colors"), None, "Colour the log. Default: on a terminal.", "Logging",
        optional=True, uvicorn="use_colors",
    ),
    # Limits
    Option(
        "limit_concurrency", Integer(1), None, "Connections or running requests beyond which the answer is 503.",
        "Limits", optional=True, uvicorn="limit_concurrency", gunicorn="worker_connections",
    ),
    Option(
        "limit_queue", Integer(0), 1024,
        "Requests of a WSGI application that wait for a thread; beyond: 503. As granian's --backpressure.", "Limits",
    ),
    Option(
        "limit_max_requests", Integer(1), None,
        "Stop the process after this many requests; a supervised worker is replaced first.", "Limits",
        optional=True, uvicorn="limit_max_requests", gunicorn="max_requests",
    ),
    Option(
        "limit_max_requests_jitter", Integer(0), 0, "Random addition to --limit-max-requests, at most this.", "Limits",
        uvicorn="limit_max_requests_jitter", gunicorn="max_requests_jitter",
    ),
    Option(
        "limit_max_rss", Size(1), None, "Resident memory of a supervised worker; one that has more is replaced.",
        "Limits", optional=True,
    ),
    Option(
        "limit_worker_lifetime", Seconds(), None, "Age at which a supervised worker is replaced, plus up to 10 %.",
        "Limits", optional=True,
    ),
    Option(
        "limit_request_line", Size(16), 8192, "Bytes of a request line; beyond: 414.", "Limits",
        gunicorn="limit_request_line",
    ),
    Option(
        "limit_request_head", Size(64), 65536, "Bytes of a request's head; beyond: 431.",
        "Limits", gunicorn="limit_request_field_size",
    ),
    Option(
        "limit_request_fields", Integer(1), 100, "Fields of a request's head; beyond: 431.", "Limits",
        gunicorn="limit_request_fields",
    ),
    Option(
        "limit_request_body", Size(1), None,
        "Bytes of a request's body; beyond: 413. Default: no limit; 1 GiB for a WSGI application.", "Limits",
        optional=True,
    ),
    # Timeouts
    Option(
        "timeout_keep_alive", Seconds(zero=True), 5.0, "Close a connection that is idle between two requests.",
        "Timeouts", uvicorn="timeout_keep_alive", gunicorn="keepalive",
    ),
    Option(
        "timeout_header", Seconds(), 10.0, "Time for a request's head to arrive, from its first byte or the connect.",
        "Timeouts", optional=True,
    ),
    Option(
        "timeout_ssl_handshake", Seconds(), 10.0, "Time for a TLS handshake.", "Timeouts",
        optional=True,
    ),
    Option(
        "timeout_body", Seconds(), 60.0, "Longest pause of a client in the middle of a request's body.", "Timeouts",
        optional=True,
    ),
    Option(
        "timeout_write", Seconds(), 60.0, "Longest pause of a client that does not read its response.", "Timeouts",
        optional=True,
    ),
    Option(
        "timeout_queue", Seconds(), 30.0,
        "Time that a request waits for a thread of a WSGI application; beyond: 503. As mod_wsgi's queue-timeout.",
        "Timeouts", optional=True,
    ),
    Option(
        "timeout_request", Seconds(), None, "Time for a whole request: 504 before the response started, else closed.",
        "Timeouts", optional=True, gunicorn="timeout",
    ),
    Option(
        "timeout_graceful_shutdown", Seconds(zero=True), 30.0,
        "When stopping: time for running requests to finish before their tasks are cancelled; none waits forever.",
        "Timeouts", optional=True, uvicorn="timeout_graceful_shutdown", gunicorn="graceful_timeout",
    ),
    Option(
        "timeout_graceful_disconnect", Seconds(zero=True), 20.0,
        "When stopping: time before requests that still run receive http.disconnect, counted from the start of the "
        "stop; none, or a time beyond --timeout-graceful-shutdown, leaves this step out.",
        "Timeouts", optional=True,
    ),
    Option(
        "timeout_graceful_cancel", Seconds(zero=True), 5.0,
        "When stopping: time for cancelled tasks to clean up before their connections are aborted.", "Timeouts",
    ),
    Option(
        "timeout_graceful_idle", Seconds(zero=True), 1.0,
        "When stopping: time a connection that has just become idle gets for one more request.", "Timeouts",
    ),
    Option(
        "timeout_worker_startup", Seconds(zero=True), 60.0,
        "Time for a supervised worker to become ready, the application's startup included; none or 0: no limit.",
        "Timeouts", optional=True,
    ),
    Option(
        "timeout_worker_healthcheck", Seconds(zero=True), 30.0,
        "Time for which a supervised worker's event loop may be blocked; then it is killed and replaced; none or 0: no "
        "limit. At half of it its stack and its requests are logged.",
        "Timeouts", optional=True, uvicorn="timeout_worker_healthcheck", gunicorn="timeout",
    ),
    # Accepted, so that a uvicorn command line works unchanged
    Option(
        "http", Choice(("auto", "h11", "httptools", "zttp")), "auto",
        "Accepted for compatibility with uvicorn; there is one HTTP implementation.", "Other",
        ignored="fastserve has one HTTP implementation, its own", uvicorn="http",
    ),
    Option(
        "http2", Flag(), False, "HTTP/2.", "Other", missing="HTTP/2 is not supported yet", uvicorn="http2",
    ),
    Option(
        "h11_max_incomplete_event_size", Size(1), None,
        "Accepted for compatibility with uvicorn; --limit-request-line and --limit-request-head bound a request here.",
        "Other", optional=True, ignored="a request is bounded by limit_request_line and limit_request_head here",
        uvicorn="h11_max_incomplete_event_size",
    ),
    Option(
        "ws", Choice(("auto", "none", "websockets", "websockets-sansio", "wsproto")), "auto",
        "none: WebSocket handshakes are served as HTTP. The others are one; there is one implementation.", "WebSocket",
        ignored="fastserve has one WebSocket implementation, its own",
        ignored_values=("websockets", "websockets-sansio", "wsproto"), uvicorn="ws",
    ),
)  # fmt: skip

OPTIONS: Final[dict[str, Option]] = {row.param: row for row in _TABLE}
"""Every option by its parameter name, in the order of `--help`."""
