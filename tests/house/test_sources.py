"""What no source file may contain, checked file by file; CONTRIBUTING.md gives the reasons."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.house.sources import PACKAGE, ROOT, logical_lines, package_files, project_files, relative, without_literals

CYTHON = [path for path in project_files() if path.suffix in {".pyx", ".pxd"}]
PYTHON = [path for path in project_files() if path.suffix in {".py", ".pyi"}]
C = [path for path in project_files() if path.suffix in {".c", ".h"}]
TEXT = [path for path in project_files() if "corpus" not in path.parts]

OWNERS_OF_MEMORY = {"_buffer", "_head"}

# Types of C functions that return Python objects: NULL is their failure, so they need no clause.
OBJECT_TYPES = {
    "object", "bytes", "bytearray", "memoryview", "str", "unicode", "list", "tuple", "dict", "set", "frozenset", "type",
    "slice",
}  # fmt: skip
MODIFIERS = {"cdef", "cpdef", "inline", "public", "readonly", "api", "static", "const", "volatile", "struct", "enum"}

FUNCTION = re.compile(r"^\s*(?P<head>(?:cdef|cpdef)\s[^(=]*?)\b(?P<name>\w+)\s*\((?P<rest>.*)$")
BLOCK = re.compile(r"^(?P<indent>\s*)(?:cdef|cpdef)\s+(?P<kind>extern|class|struct|union|enum|packed)\b.*:\s*$")


def matching_parenthesis(text: str) -> int:
    """Position behind the parenthesis that closes the one before `text`, or -1."""
    depth = 1
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return position + 1
    return -1


def c_functions(text: str) -> list[tuple[int, str, str, str]]:
    """(line number, name, return type, what follows the parameters) of every cdef and cpdef function.

    Not among them: declarations of foreign functions inside `cdef extern`, which cannot raise.
    """
    found = []
    for number, line in logical_lines(text):
        if BLOCK.match(line) or re.match(r"\s*(cdef|cpdef)\s+(extern|class)\b", line):
            continue
        match = FUNCTION.match(line)
        if match is None:
            continue
        end = matching_parenthesis(match["rest"])
        tail = match["rest"][end:].strip()
        if (
            end < 0
            or tail.startswith(("(", "=", "["))
            or (tail and not re.match(r"(noexcept|except|nogil|with|:)", tail))
        ):
            continue  # a function pointer or an initialised variable
        words = [word for word in match["head"].split() if word not in MODIFIERS]
        found.append((number, match["name"], " ".join(words), tail))
    return found


def class_names(texts: list[str]) -> set[str]:
    """Names of extension types that the texts define or cimport (by the project's spelling: CapWords)."""
    return {name for text in texts for name in re.findall(r"\bcdef\s+class\s+(?:[\w.]+\.)?(\w+)", text)}


EXTENSION_TYPES = class_names([without_literals(path.read_text(encoding="utf-8")) for path in CYTHON])


@pytest.mark.parametrize("path", CYTHON, ids=relative)
def test_cython_modules_are_joined_by_cimport_alone(path: Path) -> None:
    for number, line in logical_lines(path.read_text(encoding="utf-8")):
        where = f"line {number}: {line.strip()}"
        assert not re.match(r"\s*include\s", line), f"{where}: cimport instead"
        assert not re.match(r"\s*(DEF|IF)\s", line), f"{where}: an enum or a C macro instead"
        assert not re.match(r"\s*from\s+[\w.]+\s+c?import\s+\*", line), f"{where}: name what is used"


@pytest.mark.parametrize("path", CYTHON, ids=relative)
def test_every_c_function_states_its_failure(path: Path) -> None:
    for number, name, returned, tail in c_functions(path.read_text(encoding="utf-8")):
        where = f"line {number}: {name}"
        assert returned, f"{where}: has no return type, which makes it return an object"
        is_object = "*" not in returned and (returned in OBJECT_TYPES | EXTENSION_TYPES)
        if is_object:
            continue
        assert re.search(r"\b(noexcept|except)\b", tail), f"{where} returns {returned}: noexcept or except, which?"


def test_a_class_that_is_no_base_is_final() -> None:
    """A Python class that inherits from it would override C methods, and nobody would call its own."""
    texts = {path: without_literals(path.read_text(encoding="utf-8")) for path in [*CYTHON, *PYTHON]}
    inherits = re.compile(r"^\s*(?:cdef\s+)?class\s+\w+\s*\(([^)]*)\)", flags=re.MULTILINE)
    lists = ",".join(names for text in texts.values() for names in inherits.findall(text))
    bases = {name.strip().rpartition(".")[2] for name in lists.split(",")}
    final, others = set(), {}
    for path, text in texts.items():
        if path.is_relative_to(PACKAGE) and path.suffix in {".pyx", ".pxd"}:
            for decorators, name in re.findall(r"((?:^@.*\n)*)^cdef class (\w+)", text, flags=re.MULTILINE):
                if "@cython.final" in decorators:
                    final.add(name)
                else:
                    others[name] = relative(path)
    assert final
    assert not {name: path for name, path in others.items() if name not in final | bases}, "@cython.final"
    assert not final & bases


@pytest.mark.parametrize("path", [*CYTHON, *C], ids=relative)
def test_raw_memory_has_few_owners(path: Path) -> None:
    if not path.is_relative_to(PACKAGE) or path.stem in OWNERS_OF_MEMORY:
        return
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL) if path in C else without_literals(text)
    calls = re.findall(r"\b(?:malloc|calloc|realloc|free|PyMem_\w+|PyObject_Malloc|PyObject_Free)\s*\(", text)
    assert not calls, f"{calls}: only {sorted(OWNERS_OF_MEMORY)} own memory"


@pytest.mark.parametrize("path", [*CYTHON, *PYTHON, *C], ids=relative)
def test_a_file_opens_with_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".pyi" or not text.strip():
        return  # a stub's words are in its module; an empty __init__.py says nothing to explain
    if path.suffix in {".pyx", ".py"}:
        opening = re.match(r"(?:#[^\n]*\n|\s)*[rR]?(\"\"\"|\")(?P<words>\s*\S+)", text) or re.match(r"#!?\s*\S", text)
    else:
        opening = re.match(r"(#\s*\S|/\*[\s*]*\S|//\s*\S)", text)
    assert opening, "no opening docstring or comment"


@pytest.mark.parametrize("path", project_files(), ids=relative)
def test_names_are_nouns_users_know(path: Path) -> None:
    if relative(path) == "fastserve/protocols/utils.py":
        return  # a name of uvicorn's, which applications import
    assert not re.fullmatch(r"_?(utils?|helpers?|misc|common|stuff)", path.stem.lower()), "name what is in it"


@pytest.mark.parametrize("path", package_files(".pyi"), ids=relative)
def test_stubs_hold_types_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            assert ast.get_docstring(node) is None, f"line {getattr(node, 'lineno', 1)}: the docstring is the module's"


# Written so that this file does not contain what it looks for.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE = re.compile(r"(?<![\w.\-/<>:])/(usr|root|home|opt|work|Users)/\w")
REGISTRY = re.compile(r"(py" + r"pi\.org|python" + r"hosted|index[-_]" + r"url|find[-_]" + r"links)", re.IGNORECASE)


def read_text(path: Path) -> str:
    """The file's text; empty for what is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("path", TEXT, ids=relative)
def test_nothing_is_left_unfinished(path: Path) -> None:
    found = [f"line {number}" for number, line in enumerate(read_text(path).splitlines(), 1) if UNFINISHED.search(line)]
    assert not found, found


@pytest.mark.parametrize("path", TEXT, ids=relative)
def test_no_file_knows_a_machine(path: Path) -> None:
    # The first line may name an interpreter.
    lines = enumerate(read_text(path).splitlines(), 1)
    found = [
        f"line {number}: {line.strip()[:100]}"
        for number, line in lines
        if REGISTRY.search(line) or (MACHINE.search(line) and not (number == 1 and line.startswith("#!")))
    ]
    assert not found, found


def test_every_folder_of_the_package_is_shipped() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {relative(path.parent).replace("/", ".") for path in package_files(".py") if path.name == "__init__.py"}
    assert set(metadata["tool"]["setuptools"]["packages"]) == folders


@pytest.mark.parametrize(
    ("line", "stated"),
    [
        ("cdef int f(self) except -1:", True),
        ("cdef inline void f(char* p) noexcept nogil:", True),
        ("cdef Py_ssize_t f(int a,\n        int b)", False),
        ("cdef void f()", False),
        ("cdef char* f() except NULL", True),
        ("cdef const char* f()", False),
    ],
)
def test_the_reader_sees_a_missing_clause(line: str, stated: bool) -> None:
    [(_, name, returned, tail)] = c_functions(line)
    assert name == "f"
    assert returned
    assert bool(re.search(r"\b(noexcept|except)\b", tail)) is stated


@pytest.mark.parametrize(
    "line",
    ["cdef int x = f(1)", "cdef int (*callback)(int) noexcept", "cdef class A(B):", "cdef char* p = <char*> q(2)"],
)
def test_the_reader_skips_what_is_no_function(line: str) -> None:
    assert c_functions(line) == []
