"""Every option of the installed uvicorn, asked of its own command: names, variables, defaults, values, complaints.

Nothing here lists an option: what a new release adds is compared, or missed, by itself.
"""

import importlib.util
import sys
from pathlib import Path

import click
import pytest
import uvicorn
from click.testing import CliRunner

import fastserve.cli
from fastserve.options import OPTIONS, Integer, Size

OURS = {parameter.name: parameter for parameter in fastserve.cli.main.params}
THEIRS = [parameter for parameter in uvicorn.main.params if parameter.expose_value]

SCRIPT = Path(__file__).resolve().parents[2] / "docs/uvicorn_table.py"

WORDS = {
    "host": "::1",
    "http": "h11",
    "ws": "wsproto",
    "loop": "asyncio",
    "forwarded_allow_ips": "10.0.0.0/8,/run/web.sock",
    "headers": "X-A:b",
}
"""Text for options whose type says no more than that it is text."""


@pytest.fixture(scope="module")
def different_defaults():
    """The options whose default may differ: those that the documents give a reason for."""
    spec = importlib.util.spec_from_file_location("uvicorn_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DIFFERENT_DEFAULTS


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch, tmp_path):
    """An empty directory, and an environment in which nobody has set an option."""
    monkeypatch.chdir(tmp_path)
    for parameter in THEIRS:
        monkeypatch.delenv(f"UVICORN_{parameter.name.upper()}", raising=False)
        monkeypatch.delenv(f"FASTSERVE_{parameter.name.upper()}", raising=False)


def texts(parameter: click.Parameter) -> list[str]:
    """Values for a command line."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return list(kind.choices)
    if isinstance(kind, click.Path):
        Path("there").write_text("")
        return ["there"]
    samples = {"integer": "2", "float": "1.5", "boolean": "false"}
    return [samples.get(kind.name) or WORDS.get(parameter.name, "text:text")]


def plain(value: object) -> object:
    """A value as both have it: our fields are pairs, uvicorn splits them later; lists and tuples alike."""
    if isinstance(value, (list, tuple)):
        return [":".join(item) if isinstance(item, tuple) else item for item in value]
    return value


def parsed(command: click.Command, name: str, arguments: list[str]) -> object:
    context = command.make_context("x", ["app:app", *arguments] if name != "app" else arguments)
    return plain(context.params[name])


def each(condition=lambda parameter: True):
    return pytest.mark.parametrize("theirs", [p for p in THEIRS if condition(p)], ids=lambda p: p.name)


def is_flag(parameter: click.Parameter) -> bool:
    return bool(getattr(parameter, "is_flag", False))


@each()
def test_the_option_is_here(theirs, different_defaults):
    ours = OURS[theirs.name]
    context = click.Context(fastserve.cli.main)
    assert OPTIONS[theirs.name].uvicorn == theirs.name
    assert (ours.opts, ours.secondary_opts) == (theirs.opts, theirs.secondary_opts)
    assert (is_flag(ours), ours.multiple) == (is_flag(theirs), theirs.multiple)
    if theirs.name in different_defaults:
        assert ours.get_default(context) != theirs.get_default(context)
    else:
        # Depending on its version click has an object of its own for a default that was never given.
        assert parsed(fastserve.cli.main, theirs.name, ["app:app"] if theirs.name == "app" else []) == parsed(
            uvicorn.main, theirs.name, ["app:app"] if theirs.name == "app" else []
        )


@each(lambda parameter: parameter.name != "app" and not is_flag(parameter))
def test_values_on_the_command_line(theirs):
    for text in texts(theirs):
        arguments = [theirs.opts[0], text] * (2 if theirs.multiple else 1)
        assert parsed(fastserve.cli.main, theirs.name, arguments) == parsed(uvicorn.main, theirs.name, arguments)


@each(is_flag)
def test_switches(theirs):
    for switch in (*theirs.opts, *theirs.secondary_opts):
        assert parsed(fastserve.cli.main, theirs.name, [switch]) == parsed(uvicorn.main, theirs.name, [switch])


@each()
def test_values_in_uvicorns_variables(theirs, monkeypatch):
    for text in ["0", "yes"] if is_flag(theirs) else texts(theirs):
        if theirs.multiple:
            separator = theirs.type.envvar_list_splitter or "  "
            text = f"{text}{separator}{text}"
        monkeypatch.setenv(f"UVICORN_{theirs.name.upper()}", text)
        assert parsed(fastserve.cli.main, theirs.name, []) == parsed(uvicorn.main, theirs.name, [])
        monkeypatch.delenv(f"UVICORN_{theirs.name.upper()}")


@each()
def test_our_variable_wins_over_uvicorns(theirs, monkeypatch):
    first = OURS[theirs.name].envvar
    assert first == [f"FASTSERVE_{theirs.name.upper()}", f"UVICORN_{theirs.name.upper()}"]


def complaint(command: click.Command, arguments: list[str]) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments, prog_name="server")
    return result.exit_code, result.output


def has_bad_values(parameter: click.Parameter) -> bool:
    return not is_flag(parameter) and parameter.type.name != "text"


@each(has_bad_values)
def test_bad_values(theirs):
    arguments = ["app:app", theirs.opts[0], "nonsense"]
    code, output = complaint(fastserve.cli.main, arguments)
    expected = complaint(uvicorn.main, arguments)
    assert (code, expected[0]) == (2, 2)
    kind = OPTIONS[theirs.name].type
    if theirs.type.name in ("integer", "float") and (not isinstance(kind, Integer) or isinstance(kind, Size)):
        # More is understood here, fractions of seconds and 64K: what is wrong is said in other words.
        output, expected = (text.rpartition(":")[0] for text in (output, expected[1]))
        assert output == expected
    else:
        assert output == expected[1]


@pytest.mark.parametrize("arguments", [[], ["app:app", "--nonsense"], ["app:app", "--port"], ["app:app", "other:app"]])
def test_command_lines_that_make_no_sense(arguments):
    assert complaint(fastserve.cli.main, arguments) == complaint(uvicorn.main, arguments)


def test_every_option_has_its_row_in_the_documents():
    page = (SCRIPT.parent / "uvicorn.md").read_text(encoding="utf-8")
    assert {f"| `UVICORN_{p.name.upper()}` |" in page for p in THEIRS} == {True}
    assert "| missing |" not in page


def test_uvicorn_is_what_is_compared():
    assert uvicorn.__name__ in sys.modules
    assert len(THEIRS) > 45
