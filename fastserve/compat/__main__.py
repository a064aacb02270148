"""`python -m fastserve.compat PROGRAM [ARGUMENTS]`: run a program with fastserve in uvicorn's place.

PROGRAM is a script (`app.py`), a module (`-m package.module`) or an installed command (`fastapi`, `litestar`,
`uvicorn`). The Python programs that it starts find fastserve as well.
"""

import runpy
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from fastserve.compat import install

_USAGE = "usage: python -m fastserve.compat SCRIPT | COMMAND | -m MODULE [ARGUMENTS]"


def main(arguments: list[str]) -> None:
    """Run what `arguments` say, as the main program of this process. Ends in SystemExit as that program does."""
    if not arguments or arguments[0] in ("-h", "--help") or (arguments[0] == "-m" and len(arguments) < 2):
        print(f"{_USAGE}\n\n{__doc__ or ''}", file=sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)
    install(subprocesses=True)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    name = arguments[0]
    sys.argv = arguments
    if name == "uvicorn":
        runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)
    elif Path(name).is_file():
        sys.path[0] = str(Path(name).resolve().parent)
        runpy.run_path(name, run_name="__main__")
    else:
        sys.exit(_command(name).load()())


def _command(name: str) -> EntryPoint:
    for found in entry_points(group="console_scripts", name=name):
        return found
    print(f"{_USAGE}\n\nThere is neither a file nor an installed command {name!r}.", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
