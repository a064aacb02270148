"""The sources of changes, and the thread that passes them on; no test waits for a time."""

import logging
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastserve.supervisor import watcher as watcher_module
from fastserve.supervisor.watched import Watched
from fastserve.supervisor.watcher import Source, StatReload, Watcher, WatchFiles, find_source

PATIENCE = 20.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text("one")
    (tmp_path / "page.html").write_text("one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def polling(delay: float = 0.0) -> StatReload:
    return StatReload(Watched(), delay)


class TestStatReload:
    def test_nothing_has_changed(self, folder: Path) -> None:
        assert polling().scan() == []

    def test_a_save(self, folder: Path) -> None:
        source = polling()
        (folder / "app.py").write_text("longer")
        assert source.scan() == [folder / "app.py"]
        assert source.scan() == []

    def test_a_save_of_the_same_size(self, folder: Path) -> None:
        source = polling()
        os.utime(folder / "app.py", ns=(0, os.stat("app.py").st_mtime_ns + 1))
        assert source.scan() == [folder / "app.py"]

    def test_a_second_save_of_the_same_size_in_the_same_tick_of_the_clock(self, folder: Path) -> None:
        first = os.stat("app.py").st_mtime_ns
        source = polling()
        for text in ("two", "six"):
            (folder / "app.py").write_text(text)
            os.utime(folder / "app.py", ns=(first, first))
            assert source.scan() == [folder / "app.py"]
            assert source.scan() == []

    def test_content_is_read_for_a_while_only(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = os.stat("app.py").st_mtime_ns
        source = polling()
        monkeypatch.setattr(watcher_module.time, "time_ns", lambda: first + 60_000_000_000)
        # Once more, for what may have been saved after the last look.
        (folder / "app.py").write_text("two")
        os.utime(folder / "app.py", ns=(first, first))
        assert source.scan() == [folder / "app.py"]
        (folder / "app.py").write_text("six")
        os.utime(folder / "app.py", ns=(first, first))
        assert source.scan() == []

    def test_an_older_file_put_in_its_place(self, folder: Path) -> None:
        old = folder / "old"
        old.write_text("two")
        os.utime(old, (0, 0))
        source = polling()
        old.rename(folder / "app.py")
        assert source.scan() == [folder / "app.py"]

    def test_files_that_come_and_go(self, folder: Path) -> None:
        source = polling()
        (folder / "inner").mkdir()
        (folder / "inner" / "new.py").write_text("")
        assert source.scan() == [folder / "inner" / "new.py"]
        (folder / "inner" / "new.py").unlink()
        (folder / "app.py").unlink()
        assert source.scan() == [folder / "app.py", folder / "inner" / "new.py"]

    def test_only_sources(self, folder: Path) -> None:
        source = polling()
        (folder / "page.html").write_text("longer")
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "app.py").write_text("")
        (folder / "broken.py").symlink_to("nowhere")
        assert source.scan() == []

    def test_patterns_have_no_effect(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "fastserve.error"):
            caplog.handler.setLevel(logging.WARNING)
            logging.getLogger("fastserve.error").addHandler(caplog.handler)
            try:
                StatReload(Watched(None, "*.html"), 0.0)
            finally:
                logging.getLogger("fastserve.error").removeHandler(caplog.handler)
        assert "--reload-include and --reload-exclude have no effect unless watchfiles is installed." in caplog.messages

    def test_looks_as_often_as_it_was_told(self, folder: Path) -> None:
        waits: list[float] = []

        class Stop(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                waits.append(timeout or 0.0)
                if len(waits) == 2:
                    (folder / "app.py").write_text("longer")
                return len(waits) == 4

        assert list(polling(300.0).changes(Stop(), threading.Event())) == [[folder / "app.py"]]
        assert waits == [300.0] * 4


class Scripted:
    """A source that says what it is told, or fails."""

    def __init__(self, *batches: list[Path] | Exception) -> None:
        self.name = "Scripted"
        self.batches = batches

    def changes(self, stop: threading.Event, watching: threading.Event) -> Iterator[list[Path]]:
        for batch in self.batches:
            if isinstance(batch, Exception):
                raise batch
            watching.set()
            yield batch
        watching.set()
        stop.wait()


def taken(watcher: Watcher, count: int) -> list[Path]:
    """The files of that many wake-ups or fewer, once they are all there."""
    found: dict[Path, None] = {}
    while len(found) < count:
        assert select.select([watcher], [], [], PATIENCE)[0], "nobody was woken"
        found.update(dict.fromkeys(watcher.take()))
    return list(found)


def never() -> Source:
    raise AssertionError("the spare source is not needed")


def test_the_thread_wakes_whoever_waits() -> None:
    watcher = Watcher(Scripted([Path("a"), Path("b")], [Path("b"), Path("c")]), never)
    assert watcher.take() == []
    assert not select.select([watcher], [], [], 0)[0]
    watcher.start()
    assert taken(watcher, 3) == [Path("a"), Path("b"), Path("c")]
    watcher.stop()


def test_what_cannot_watch_is_replaced() -> None:
    watcher = Watcher(Scripted([Path("a")], OSError("limit reached")), lambda: Scripted([Path("b")]))
    watcher.start()
    assert taken(watcher, 2) == [Path("a"), Path("b")]
    watcher.stop()


def test_who_starts_the_thread_goes_on_when_it_watches() -> None:
    class Slow(Scripted):
        """Begins to watch after it has been told to; whatever is saved before is lost."""

        begun = False

        def changes(self, stop: threading.Event, watching: threading.Event) -> Iterator[list[Path]]:
            began.wait(PATIENCE)
            self.begun = True
            yield from super().changes(stop, watching)

    began = threading.Event()
    source = Slow()
    watcher = Watcher(source, never)
    threading.Timer(0.05, began.set).start()
    watcher.start()
    assert source.begun
    watcher.stop()


def test_stopped_before_it_was_started() -> None:
    Watcher(Scripted(), never).stop()


def test_without_the_package_times_are_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(watcher_module.importlib, "import_module", missing)
    assert isinstance(find_source(Watched(), 0.0), StatReload)


class TestWatchFiles:
    @pytest.fixture
    def watcher(self, folder: Path) -> Iterator[Watcher]:
        pytest.importorskip("watchfiles")
        source = find_source(Watched(None, "*.html", "test_*"), 0.0)
        assert isinstance(source, WatchFiles)
        watcher = Watcher(source, never)
        watcher.start()
        yield watcher
        watcher.stop()

    def test_saves_new_files_and_removals(self, watcher: Watcher, folder: Path) -> None:
        (folder / "notes.txt").write_text("")
        (folder / "test_app.py").write_text("")
        (folder / "inner").mkdir()
        (folder / "page.html").write_text("two")
        (folder / "app.py").unlink()
        assert {path.name for path in taken(watcher, 2)} == {"page.html", "app.py"}
