"""The log: its formatters, the TRACE level and how the options configure it.

Loggers: `fastserve` (handler on stderr) with `fastserve.error` (all server messages) and `fastserve.asgi` (every ASGI
message, at TRACE) below it; `fastserve.access` (handler on stdout) stands alone. An access record's arguments are
`(client_addr, method, full_path, http_version, status_code)`: filters index them, so their order is a promise.
"""

import copy
import http
import importlib
import json
import logging
import logging.config
import sys
from configparser import RawConfigParser
from typing import Any, ClassVar, Final, Literal

from fastserve.config import LOG_LEVELS, LogConfig

TRACE_LOG_LEVEL: Final = LOG_LEVELS["trace"]

_COLORS: Final = {
    "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36, "bright_red": 91, "bright_white": 97,
}  # fmt: skip

# "CRITICAL", the longest level name, and its colon fill the prefix but for one space.
_LEVEL_WIDTH: Final = 8


def style(text: str, fg: str | None = None, bold: bool = False) -> str:
    """`text` between ANSI escapes: coloured, bold, then back to normal."""
    color = f"\033[{_COLORS[fg]}m" if fg is not None else ""
    return f"{color}{chr(27) + '[1m' if bold else ''}{text}\033[0m"


class ColourizedFormatter(logging.Formatter):
    """A formatter with `%(levelprefix)s`: the level's name, a colon, padded; in colour with `use_colors`.

    Without `use_colors`, colours are used where stdout is a terminal. A record with a `color_message` (given in
    `extra`) shows that in place of its message when colours are used.
    """

    level_name_colors: ClassVar[dict[int, str]] = {
        TRACE_LOG_LEVEL: "blue",
        logging.DEBUG: "cyan",
        logging.INFO: "green",
        logging.WARNING: "yellow",
        logging.ERROR: "red",
        logging.CRITICAL: "bright_red",
    }

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        self.use_colors = sys.stdout.isatty() if use_colors is None else bool(use_colors)
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)

    def color_level_name(self, level_name: str, level_no: int) -> str:
        color = self.level_name_colors.get(level_no)
        return level_name if color is None else style(level_name, fg=color)

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Other handlers see the same record: what belongs to this output goes into a copy.
        shown = copy.copy(record)
        level_name = shown.levelname
        padding = " " * (_LEVEL_WIDTH - len(level_name))
        if self.use_colors:
            level_name = self.color_level_name(level_name, shown.levelno)
            if "color_message" in shown.__dict__:
                shown.msg = shown.__dict__["color_message"]
                shown.message = shown.getMessage()
        shown.__dict__["levelprefix"] = f"{level_name}:{padding}"
        return super().formatMessage(shown)


class DefaultFormatter(ColourizedFormatter):
    """The formatter of the server's messages."""


class AccessFormatter(ColourizedFormatter):
    """The formatter of access records; adds `client_addr`, `request_line` and `status_code` (with its phrase)."""

    status_code_colors: ClassVar[dict[int, str]] = {
        1: "bright_white",
        2: "green",
        3: "yellow",
        4: "red",
        5: "bright_red",
    }

    def get_status_code(self, status_code: int) -> str:
        try:
            phrase = http.HTTPStatus(status_code).phrase
        except ValueError:
            phrase = ""
        text = f"{status_code} {phrase}"
        color = self.status_code_colors.get(status_code // 100)
        return style(text, fg=color) if self.use_colors and color is not None else text

    def formatMessage(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            raise ValueError("an access record has five arguments: client, method, path, HTTP version, status")
        client_addr, method, full_path, http_version, status_code = record.args
        request_line = f"{method} {full_path} HTTP/{http_version}"
        shown.__dict__.update(
            client_addr=client_addr,
            request_line=style(request_line, bold=True) if self.use_colors else request_line,
            status_code=self.get_status_code(int(str(status_code))),
        )
        return super().formatMessage(shown)


def configure(
    log_config: LogConfig,
    log_level: str | int | None = None,
    access_log: bool = True,
    use_colors: bool | None = None,
    access_log_format: str | None = None,
) -> None:
    """Set up logging for this process.

    `log_config` is a dictionary for `logging.config.dictConfig`, the path of such a dictionary (.json, .yaml, .yml) or
    of an INI file for `fileConfig`, anything else `fileConfig` takes, or None to leave logging alone. With an
    `access_log_format`, whose lines are complete, `AccessFormatter` gives way to their plain text. Raises OSError
    and ValueError for a file that cannot be read or makes no sense, ImportError for YAML without PyYAML.
    """
    logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
    if isinstance(log_config, dict):
        logging.config.dictConfig(_with_colors(log_config, use_colors))
    elif isinstance(log_config, str) and log_config.endswith(".json"):
        with open(log_config, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))
    elif isinstance(log_config, str) and log_config.endswith((".yaml", ".yml")):
        logging.config.dictConfig(_load_yaml(log_config))
    elif log_config is not None:
        _configure_from_ini(log_config)
    if log_level is not None:
        level = LOG_LEVELS[log_level.lower()] if isinstance(log_level, str) else log_level
        for name in ("fastserve.error", "fastserve.access", "fastserve.asgi"):
            logging.getLogger(name).setLevel(level)
    if not access_log:
        silenced = logging.getLogger("fastserve.access")
        silenced.handlers = []
        silenced.propagate = False
    if access_log_format is not None:
        for handler in logging.getLogger("fastserve.access").handlers:
            if isinstance(handler.formatter, AccessFormatter):
                handler.setFormatter(logging.Formatter("%(message)s"))


def reopen() -> None:
    """Open every log file anew, after somebody has renamed it; nothing that was in a file is lost."""
    named = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(found for found in named if isinstance(found, logging.Logger))]
    for handler in dict.fromkeys(handler for known in loggers for handler in known.handlers):
        # Of a handler that delays, the file is opened by its first record.
        for found in (handler, getattr(handler, "target", None)):
            if isinstance(found, logging.FileHandler):
                _reopen_file(found)


def _reopen_file(handler: logging.FileHandler) -> None:
    handler.acquire()
    mode, old = handler.mode, handler.stream
    try:
        if old is None:
            return
        # The file may not have been renamed: opening it with "w" would empty it.
        handler.mode = mode.replace("w", "a")
        handler.stream = handler._open()
        old.close()
    except OSError as error:
        logging.getLogger("fastserve.error").error("Cannot reopen log file %s: %s", handler.baseFilename, error)
    finally:
        handler.mode = mode
        handler.release()


def _with_colors(log_config: dict[str, Any], use_colors: bool | None) -> dict[str, Any]:
    """`log_config` with `use_colors` in our two formatters, where they are there. Copies what it changes."""
    if use_colors is None:
        return log_config
    formatters = dict(log_config.get("formatters", {}))
    for name in ("default", "access"):
        if name in formatters:
            formatters[name] = {**formatters[name], "use_colors": use_colors}
    return {**log_config, "formatters": formatters}


def _load_yaml(path: str) -> dict[str, Any]:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError as error:
        raise ImportError("Install the PyYAML package to use --log-config with YAML files.") from error
    with open(path, encoding="utf-8") as file:
        try:
            loaded = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} is not a mapping")
    return loaded


def _configure_from_ini(source: Any) -> None:
    if isinstance(source, str):
        # fileConfig reports a missing or empty file as a missing section.
        with open(source, encoding="utf-8") as file:
            parser = RawConfigParser()
            parser.read_file(file)
        source = parser
    logging.config.fileConfig(source, disable_existing_loggers=False)
