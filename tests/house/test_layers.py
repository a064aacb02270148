"""The floors: an import or cimport goes to the same floor or down, never up, and never round in a circle.

What a file may know is decided here and explained in ARCHITECTURE.md. A new file of the package's top folder, or a new
folder, must be given its floor in FLOORS before anything else passes.
"""

from pathlib import Path

import pytest

from tests.house.sources import imports, module_name, package_files, relative

# From the top down. A folder stands for all that is in it.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "check", "__main__", "__init__", "main", "workers"}),
    frozenset({"supervisor", "supervisors"}),
    frozenset({"server", "importer", "logging", "middleware", "protocols"}),
    frozenset({"transport"}),
    frozenset({"protocol"}),
    frozenset({"gateway"}),
    frozenset({"_exchange", "_websocket"}),
    frozenset({"_fields", "_head", "_request_parser"}),
    frozenset({"_parser", "_frames", "_deflate", "_messages"}),
    frozenset({"_buffer", "_growing", "_scan", "_mask", "_utf8", "_chars", "_names", "_live"}),
    frozenset(
        {"compat", "options", "config", "configuration_file", "bind", "cgroup", "trust", "errors", "types", "_version"}
    ),
)

FILES = package_files(".py", ".pyi", ".pyx", ".pxd")
MODULES = {module_name(path) for path in FILES}

Edge = tuple[str, str]


def floor(module: str) -> int:
    """The number of the module's floor, the lowest being 0."""
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else "__init__"
    for height, rooms in enumerate(reversed(FLOORS)):
        if room in rooms:
            return height
    raise LookupError(f"{module} has no floor: give {room!r} one in FLOORS")


def targets(path: Path) -> list[tuple[int, str]]:
    """(line number, module of the package) of every import of the package's own modules."""
    found = []
    for line, module, name in imports(path):
        if module.split(".")[0] == "fastserve":
            inner = f"{module}.{name}"
            found.append((line, inner if inner in MODULES else module))
    return found


def edges() -> dict[Edge, str]:
    """(importing module, imported module) -> where, for imports between different modules of the package."""
    found: dict[Edge, str] = {}
    for path in FILES:
        for line, target in targets(path):
            if target != module_name(path):
                found.setdefault((module_name(path), target), f"{relative(path)}:{line}")
    return found


def circle(graph: dict[str, list[str]]) -> list[str] | None:
    """Some circle of the graph as the modules along it, or None."""
    finished: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str] | None:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in finished:
            return None
        for target in graph.get(module, ()):
            if found := walk(target, [*way, module]):
                return found
        finished.add(module)
        return None

    for module in graph:
        if found := walk(module, []):
            return found
    return None


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_file_has_a_floor(path: Path) -> None:
    assert floor(module_name(path)) >= 0


def test_no_import_climbs() -> None:
    climbing = [f"{where}: {source} imports {target}" for (source, target), where in edges().items()
                if floor(target) > floor(source)]  # fmt: skip
    assert not climbing, "\n".join(climbing)


def test_no_circles() -> None:
    graph: dict[str, list[str]] = {}
    for source, target in edges():
        graph.setdefault(source, []).append(target)
    found = circle(graph)
    assert found is None, " -> ".join(found)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nobody_imports_the_package_root(path: Path) -> None:
    # "from fastserve import _x" runs the root as well, and finds whatever the root has made of the name.
    rooted = [f"line {line}" for line, module, _ in imports(path) if module == "fastserve"]
    assert not rooted, rooted


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_are_absolute(path: Path) -> None:
    dotted = [f"line {line}: {module}" for line, module, _ in imports(path) if module.startswith(".")]
    assert not dotted, dotted


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imported_modules_exist(path: Path) -> None:
    # Mostly a proof that the reader above reads: a cimport of a module that is not there would not compile.
    missing = [f"line {line}: {target}" for line, target in targets(path) if target not in MODULES]
    assert not missing, missing


def test_the_reader_sees_every_form(tmp_path: Path) -> None:
    source = tmp_path / "_x.pyx"
    source.write_text(
        '"""import a.not_this"""\n'
        "import a.one, b as c  # import a.not_this\n"
        "from a.two cimport (\n    first,  # a comment, (\n    second as third,\n)\n"
        "cdef f():\n    from .near import near\n    cimport a.three; cimport a.four\n"
        "from a.five \\\n    import five\n"
    )
    assert imports(source) == [
        (2, "a.one", None),
        (2, "b", None),
        (3, "a.two", "first"),
        (3, "a.two", "second"),
        (8, ".near", "near"),
        (9, "a.three", None),
        (9, "a.four", None),
        (10, "a.five", "five"),
    ]


def test_a_circle_is_found() -> None:
    assert circle({"a": ["b"], "b": ["c", "d"], "d": ["b"]}) == ["b", "d", "b"]
    assert circle({"a": ["b", "c"], "b": ["c"]}) is None
