"""A stub and its compiled module say the same: names, parameters, members, enum values, in both directions.

Type checkers cannot see such a drift, since they read the stub alone. Compared is what a user reaches: names without a
leading underscore, and the special methods that stand for syntax. Constructors are read from the .pyx: the compiled
type does not tell its parameters.
"""

import ast
import enum
import importlib
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from tests.house.sources import (
    PACKAGE,
    imported_names,
    imports,
    logical_lines,
    module_name,
    package_files,
    project_files,
    relative,
)

SYNTAX = {
    "__init__", "__call__", "__len__", "__iter__", "__next__", "__getitem__", "__setitem__", "__delitem__",
    "__contains__", "__enter__", "__exit__", "__await__", "__aiter__", "__anext__", "__aenter__", "__aexit__",
    "__int__", "__index__", "__bytes__",
}  # fmt: skip

# What await calls; their meaning is the language's.
COROUTINE = {"send", "throw", "close"}

BASETYPE = 1 << 10
"""Of a type's flags: others may inherit from it (Py_TPFLAGS_BASETYPE)."""

# (name, kind, has a default); the kind as inspect.Parameter names it, positional-only counted as either.
Parameter = tuple[str, str, bool]


@dataclass
class Class:
    """What a stub says of a class."""

    bases: list[str]
    methods: dict[str, list[Parameter]] = field(default_factory=dict)
    properties: set[str] = field(default_factory=set)
    attributes: dict[str, object] = field(default_factory=dict)
    """Name -> value, for members of an enum; None without a value."""
    final: bool = False


@dataclass
class Stub:
    """What a stub says."""

    functions: dict[str, list[Parameter]] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """Every public name."""
        return {*self.functions, *self.classes, *self.constants}


def public(name: str) -> bool:
    """Whether the name is compared."""
    return not name.startswith("_") or name in SYNTAX


def stub_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> list[Parameter]:
    """The parameters as the stub writes them, without self."""
    arguments = function.args
    either = [*arguments.posonlyargs, *arguments.args]
    plain = len(either) - len(arguments.defaults)
    found = [(argument.arg, "EITHER", number >= plain) for number, argument in enumerate(either)]
    if method and not any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list):
        found = found[1:]
    if arguments.vararg:
        found.append((arguments.vararg.arg, "VAR_POSITIONAL", False))
    found += [
        (argument.arg, "KEYWORD_ONLY", default is not None)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        found.append((arguments.kwarg.arg, "VAR_KEYWORD", False))
    return found


def live_parameters(function: object) -> list[Parameter]:
    """The parameters as the compiled function tells them, without self."""
    found = []
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        kind = parameter.kind.name
        kind = "EITHER" if kind in {"POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD"} else kind
        found.append((parameter.name, kind, parameter.default is not parameter.empty))
    return found[1:] if found and found[0][0] in {"self", "cls"} else found


def constructors(source: Path) -> dict[str, list[Parameter]]:
    """Class -> parameters of its __init__ (or __cinit__, where that takes any), read from the .pyx."""
    found: dict[str, list[Parameter]] = {}
    current = ""
    for _, line in logical_lines(source.read_text(encoding="utf-8")):
        if match := re.match(r"(?:cdef\s+)?class\s+(\w+)", line):
            current = match[1]
        elif line[:1].strip():
            current = ""
        elif current and (match := re.match(r"\s+def\s+__c?init__\s*\(\s*self\s*,?(.*)\)\s*(?:->[^:]*)?:", line)):
            parameters = source_parameters(match[1])
            if parameters or current not in found:
                found[current] = parameters
    return found


def source_parameters(text: str) -> list[Parameter]:
    """The parameters in the text between a Cython signature's parentheses."""
    pieces, depth, piece = [], 0, ""
    for character in text + ",":
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += character
    kind, found = "EITHER", []
    for piece in filter(None, pieces):
        if piece == "*":
            kind = "KEYWORD_ONLY"
        elif piece.startswith("**"):
            found.append((piece[2:].split(":")[0].strip(), "VAR_KEYWORD", False))
        elif piece.startswith("*"):
            found.append((piece[1:].split(":")[0].strip(), "VAR_POSITIONAL", False))
            kind = "KEYWORD_ONLY"
        elif piece != "/":
            declared = re.sub(r"\s+(not|or)\s+None\b", "", piece.partition("=")[0].partition(":")[0])
            found.append((declared.split()[-1].lstrip("*&"), kind, "=" in piece))
    return found


def read_stub(path: Path) -> Stub:
    """Read the stub's public names."""
    stub = Stub()
    imported = imported_names(path)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and public(node.name):
            stub.functions[node.name] = stub_parameters(node, method=False)
        elif isinstance(node, ast.ClassDef) and public(node.name):
            described = stub.classes[node.name] = read_class(node)
            described.bases = [imported.get(base, base) for base in described.bases]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and public(node.target.id):
            stub.constants.add(node.target.id)
        elif isinstance(node, ast.Assign):
            stub.constants |= {each.id for each in node.targets if isinstance(each, ast.Name) and public(each.id)}
    return stub


def read_class(node: ast.ClassDef) -> Class:
    """Read a stub's class."""
    described = Class([ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases])
    described.final = "final" in map(ast.unparse, node.decorator_list)
    for member in node.body:
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and public(member.name):
            decorators = {ast.unparse(each) for each in member.decorator_list}
            if "property" in decorators or any(each.endswith(".setter") for each in decorators):
                described.properties.add(member.name)
            else:
                described.methods[member.name] = stub_parameters(member, method=True)
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name) and public(member.target.id):
            described.attributes[member.target.id] = None
        elif isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
            described.attributes[member.targets[0].id] = (
                member.value.value if isinstance(member.value, ast.Constant) else None
            )
    return described


def live_names(module: ModuleType, source: Path) -> set[str]:
    """The module's own public names: not what it imports."""
    imported = imported_names(source)
    return {
        name
        for name, value in vars(module).items()
        if public(name)
        and (getattr(value, "__module__", module.__name__) == module.__name__ or isinstance(value, type(len)))
        and name not in imported
        and not inspect.ismodule(value)
    }


STUBS = package_files(".pyi")
COMPILED = {module_name(path): path for path in package_files(".pyx")}
OWN_CLASSES = {name for path in STUBS for name in read_stub(path).classes}


@pytest.fixture(params=STUBS, ids=relative)
def stub_path(request: pytest.FixtureRequest) -> Path:
    """Each stub in turn."""
    path: Path = request.param
    return path


@pytest.fixture
def module(stub_path: Path) -> ModuleType:
    """The compiled module of the stub."""
    return importlib.import_module(module_name(stub_path))


@pytest.fixture
def stub(stub_path: Path) -> Stub:
    """What the stub says."""
    return read_stub(stub_path)


def test_what_python_imports_has_a_stub() -> None:
    wanted = set()
    for path in project_files():
        if path.suffix in {".py", ".pyi"}:
            for _, target, name in imports(path):
                wanted |= {target, f"{target}.{name}"} & COMPILED.keys()
    missing = [module for module in sorted(wanted) if not COMPILED[module].with_suffix(".pyi").exists()]
    assert not missing


def test_the_module_is_compiled(stub_path: Path, module: ModuleType) -> None:
    assert stub_path.with_suffix(".pyx").exists(), "a stub without its module"
    assert str(module.__file__).endswith(".so")


def test_names(stub_path: Path, module: ModuleType, stub: Stub) -> None:
    assert stub.names == live_names(module, stub_path.with_suffix(".pyx"))


def test_functions(module: ModuleType, stub: Stub) -> None:
    for name, parameters in stub.functions.items():
        assert live_parameters(getattr(module, name)) == parameters, name


def test_classes(stub_path: Path, module: ModuleType, stub: Stub) -> None:
    constructed = constructors(stub_path.with_suffix(".pyx"))
    for name, described in stub.classes.items():
        live = getattr(module, name)
        bases = {base.__name__ for base in live.__bases__ if base is not object}
        # A stub may name abstract bases besides: what the class behaves as without deriving from it.
        assert bases == {base for base in described.bases if base in bases or base in OWN_CLASSES}, f"bases of {name}"
        if issubclass(live, enum.Enum):
            continue
        assert described.final is not bool(live.__flags__ & BASETYPE), f"{name}: final or not"
        members = {each: value for each, value in vars(live).items() if public(each)}
        members.pop("__init__", None)
        fields = {each for each, value in members.items() if inspect.isdatadescriptor(value)}
        constants = {each for each, value in members.items() if isinstance(value, int | str | bytes | float)}
        assert fields | constants == described.properties | described.attributes.keys(), f"attributes of {name}"
        methods = {each: value for each, value in members.items() if each not in fields | constants}
        assert methods.keys() == described.methods.keys() - {"__init__"}, f"methods of {name}"
        for method in methods:
            if not method.startswith("__"):
                assert live_parameters(getattr(live, method)) == described.methods[method], f"{name}.{method}"
        assert described.methods.get("__init__", []) == constructed.get(name, []), f"constructor of {name}"


def test_enums(module: ModuleType, stub: Stub) -> None:
    for name, described in stub.classes.items():
        live = getattr(module, name)
        if issubclass(live, enum.Enum):
            assert set(live.__members__) == described.attributes.keys(), name
            for member, value in described.attributes.items():
                assert value is None or live[member].value == value, f"{name}.{member}"


def test_everything_public_is_explained(module: ModuleType, stub: Stub) -> None:
    assert module.__doc__
    silent = [name for name in (*stub.functions, *stub.classes) if not getattr(module, name).__doc__]
    for name, described in stub.classes.items():
        live = getattr(module, name)
        explained = {*described.methods, *described.properties} - SYNTAX - COROUTINE
        silent += [f"{name}.{member}" for member in sorted(explained) if not getattr(live, member).__doc__]
    assert not silent


def test_the_reader_sees_every_kind_of_parameter(tmp_path: Path) -> None:
    source = tmp_path / "_x.pyx"
    source.write_text(
        "cdef class A:\n"
        "    def __init__(self, str host not None, dict[str, int] ports=None, *, bint on=True, **rest) -> None:\n"
        "        pass\n"
        "cdef class B:\n"
        "    def f(self): pass\n"
    )
    parameters = [("host", "EITHER", False), ("ports", "EITHER", True), ("on", "KEYWORD_ONLY", True)]
    assert constructors(source) == {"A": [*parameters, ("rest", "VAR_KEYWORD", False)]}
    stub = tmp_path / "_x.pyi"
    stub.write_text(
        "class A:\n    def __init__(self, host: str, ports: object = ..., *, on: bool = ..., **rest): ...\n"
    )
    assert read_stub(stub).classes["A"].methods == {"__init__": [*parameters, ("rest", "VAR_KEYWORD", False)]}


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
