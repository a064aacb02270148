"""What `--reload` watches: directories, and which of the files in them count.

The rules are uvicorn's. A directory may be named by `reload_dirs` or be what a pattern of `reload_includes` means; one
below another is left out; without any it is the working directory. A file counts if it matches a pattern of
`reload_includes` or `*.py`, and none of `reload_excludes` or of the default excludes. A default gives way where the
other list names it. A pattern is matched from the right (`PurePath.match`); an include that names the file literally
wins over every exclude, and an exclude that is a directory leaves out all that is below it.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

DEFAULT_INCLUDES: Final = ("*.py",)
DEFAULT_EXCLUDES: Final = (".*", ".py[cod]", ".sw.*", "~*")

_logger = logging.getLogger("fastserve.error")


class Watched:
    """The three lists of the options, resolved against the working directory; each may be one text or None as well."""

    directories: list[Path]
    """Absolute, in order; none is below another."""

    def __init__(
        self,
        directories: str | Iterable[str] | None = None,
        includes: str | Iterable[str] | None = None,
        excludes: str | Iterable[str] | None = None,
        logger: logging.Logger = _logger,
    ) -> None:
        given, include, exclude = _listed(directories), _listed(includes), _listed(excludes)
        self.has_patterns = bool(include or exclude)
        found = _outermost([Path(name).resolve() for name in given] + _meant_directories(include))
        left_out = _meant_directories(exclude)
        found = [path for path in found if not any(gone == path or gone in path.parents for gone in left_out)]
        if not found:
            if given:
                logger.warning(
                    "Provided reload directories %s did not contain valid directories, watching current working "
                    "directory.",
                    given,
                )
            found = [Path.cwd()]
        self.directories = found
        self._includes = [*(default for default in DEFAULT_INCLUDES if default not in exclude)]
        # The working directory, as ".", is no pattern of files.
        self._includes += [pattern for pattern in include if pattern not in exclude and Path(pattern).parts]
        self._excluded_directories = [Path(name).resolve() for name in exclude if _is_directory(Path(name))]
        self._excludes = [*(default for default in DEFAULT_EXCLUDES if default not in include)]
        self._excludes += [pattern for pattern in exclude if Path(pattern).parts and not _is_directory(Path(pattern))]

    def counts(self, path: Path) -> bool:
        """Whether a change of this file, by its absolute path, is one of the application."""
        matching = [pattern for pattern in self._includes if path.match(pattern)]
        if not matching:
            return False
        if any(str(path).endswith(pattern) for pattern in matching):
            return True
        if any(directory in path.parents for directory in self._excluded_directories):
            return False
        return not any(path.match(pattern) for pattern in self._excludes)


def displayed(path: Path) -> str:
    """The path for the log: relative to the working directory where it is below that, in quotes."""
    try:
        return f"'{path.relative_to(Path.cwd())}'"
    except ValueError:
        return f"'{path}'"


def _listed(given: str | Iterable[str] | None) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    return list(dict.fromkeys(map(str, given)))


def _meant_directories(patterns: Sequence[str]) -> list[Path]:
    """The directories that the patterns name, or match from the working directory."""
    directories = []
    for pattern in patterns:
        # It is meant for hidden files; the hidden directories would all be watched.
        if pattern == ".*":
            continue
        if _is_directory(Path(pattern)):
            directories.append(Path(pattern).resolve())
            continue
        try:
            directories += [match.resolve() for match in Path.cwd().glob(pattern) if _is_directory(match)]
        except (ValueError, NotImplementedError):
            # Absolute, or empty: it can match files, but nothing below here.
            continue
    return directories


def _outermost(paths: Iterable[Path]) -> list[Path]:
    directories = {path for path in paths if _is_directory(path)}
    return sorted(path for path in directories if directories.isdisjoint(path.parents))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
