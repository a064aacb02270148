"""What is watched: by uvicorn's rules, asked of uvicorn itself."""

import itertools
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn

from fastserve.supervisor.watched import Watched, displayed
from tests.supervisor.world import Lines

FILES = [
    "app.py", "page.html", ".hidden", ".hidden.py", "~backup.py", "module.pyc", ".sw.py", "inner/app.py",
    "inner/deep/page.html", "inner/.env", ".venv/module.py", "other/test_app.py", "notes.txt",
]  # fmt: skip
INCLUDES = [None, "*.html", ["*.html", "*.txt"], ".hidden", "inner", ".*", "~*", "*.py", "inner/*.html", "none*"]
EXCLUDES = [None, "*.py", "test_*", "*.html", "inner/*", ["*.txt", "other/*"], ".*", "app.py"]
DIRECTORIES = [None, ["inner"], ["inner", "inner/deep"], ["other", "inner/deep"], ["missing"], "other"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file_filter(monkeypatch: pytest.MonkeyPatch):
    """uvicorn's filter, which does not need watchfiles and still is where that is imported."""
    try:
        import watchfiles  # noqa: F401  # may be missing
    except ImportError:
        monkeypatch.setitem(sys.modules, "watchfiles", SimpleNamespace(watch=None))
    from uvicorn.supervisors.watchfilesreload import FileFilter  # needs the above

    return FileFilter


def uvicorn_config(directories, includes, excludes) -> uvicorn.Config:
    return uvicorn.Config(
        "app:app", reload=True, reload_dirs=directories, reload_includes=includes, reload_excludes=excludes,
        log_config=None,
    )  # fmt: skip


@pytest.mark.parametrize(("includes", "excludes"), [*itertools.product(INCLUDES, EXCLUDES)])
def test_files_are_those_of_uvicorn(folder: Path, file_filter, includes, excludes) -> None:
    watched, expected = Watched(None, includes, excludes), file_filter(uvicorn_config(None, includes, excludes))
    paths = [folder / name for name in FILES]
    assert [path for path in paths if watched.counts(path)] == [path for path in paths if expected(path)]


@pytest.mark.parametrize(
    ("directories", "includes", "excludes"), [*itertools.product(DIRECTORIES, INCLUDES, [None, "inner", "inner/*"])]
)
def test_directories_are_those_of_uvicorn(folder: Path, directories, includes, excludes) -> None:
    expected = uvicorn_config(directories, includes, excludes).reload_dirs
    assert Watched(directories, includes, excludes).directories == sorted(expected)


@pytest.mark.parametrize("spelling", ["inner", "./inner", "{}/inner"])
def test_a_directory_leaves_out_all_below_it(folder: Path, spelling: str) -> None:
    """Also if it is given as relative, as uvicorn's documentation has it."""
    watched = Watched(None, None, spelling.format(folder))
    assert watched.counts(folder / "app.py")
    assert not watched.counts(folder / "inner" / "app.py")
    assert not watched.counts(folder / "inner" / "deep" / "module.py")


@pytest.mark.parametrize("pattern", ["/somewhere/*.html", "", ".", "**"])
def test_patterns_that_find_no_directory(folder: Path, pattern: str) -> None:
    assert Watched(None, pattern).counts(folder / "app.py")


def test_directories_that_do_not_exist(folder: Path) -> None:
    logger, lines = logging.Logger("watched"), Lines()
    logger.addHandler(lines)
    assert Watched(["missing"], logger=logger).directories == [folder]
    assert lines.records == [(
        "WARNING",
        "Provided reload directories ['missing'] did not contain valid directories, watching current working "
        "directory.",
    )]  # fmt: skip


def test_displayed(folder: Path) -> None:
    assert displayed(folder / "inner" / "app.py") == "'inner/app.py'"
    assert displayed(Path("/somewhere/app.py")) == "'/somewhere/app.py'"
