"""`--env-file`: variables for the application, put into the environment of the process.

As under uvicorn the file is read after the options are known, so it cannot give options, and a variable that is set
already stays as it is. A process that replaces another reads the file again: what the file said before is taken back
first, unless somebody has changed it since.
"""

import logging
import os
from collections.abc import Mapping

logger = logging.getLogger("fastserve.error")


def load(path: str, earlier: Mapping[str, str] | None = None) -> dict[str, str]:
    """Set the variables of the file at `path`; returns those that were set, and to what.

    `earlier` is what an earlier call returned, in this process or one that it descends from. Raises ValueError without
    python-dotenv, or if the file cannot be read; then nothing is changed.
    """
    try:
        import dotenv
    except ModuleNotFoundError:
        raise ValueError("reading it needs python-dotenv, which is not installed: pip install python-dotenv") from None
    taken_back = {name: value for name, value in (earlier or {}).items() if os.environ.get(name) == value}
    for name in taken_back:
        del os.environ[name]
    before = set(os.environ)
    try:
        with open(path, encoding="utf-8") as file:
            dotenv.load_dotenv(stream=file)
    except (OSError, UnicodeError) as error:
        os.environ.update(taken_back)
        raise ValueError(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from None
    return {name: value for name, value in os.environ.items() if name not in before}


def reload(path: str, earlier: Mapping[str, str]) -> dict[str, str]:
    """As `load`, for a process that takes over. Logs what is wrong with the file; then the variables stay."""
    try:
        return load(path, earlier)
    except ValueError as error:
        logger.warning("env_file: %s. The variables stay as they were.", error)
        return dict(earlier)
