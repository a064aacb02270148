"""`python -m bench.instructions`: how many instructions a request takes, and whether it has become more.

Instructions, unlike times, are nearly the same in every run, also on a busy machine: a loss of a few percent is seen at
once, by a program. `bench.hot_path` is run under callgrind, which writes down what it has counted whenever a mark is
passed; between two marks lie the requests of one scenario and nothing else. Without valgrind `perf stat` counts, if
the processor and the kernel let it; it knows no marks, so it counts two runs, and what is between them is divided by
the requests that one had more.

The recorded counts are in `bench/instructions.json`, by Python version. They hold for one kind of compiler,
interpreter, machine and counting tool: elsewhere nothing is judged, which is said aloud.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path

from bench.hot_path import SCENARIOS
from fastserve.protocol import _worker

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).with_suffix(".json")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

LIMIT = 0.05
REQUESTS = 1920
# perf's runs cost nothing, but contain the interpreter's start, whose count varies.
PERF_REQUESTS = (2_000, 52_000)
TIME_LIMIT = 300


class CountError(Exception):
    """Counting failed; the text has what the tool said."""


@dataclass(frozen=True)
class Circumstances:
    """What a count depends on besides the code: counts are compared only where all of it is the same.

    compiler: of the extension modules, with its major version. interpreter: how CPython was compiled, its compiler's
    major version and whether with its own profile. machine: the architecture, and the vector instructions that
    choose between implementations. tool: what counted. cython: its version, without the last part.
    """

    compiler: str
    interpreter: str
    machine: str
    tool: str
    cython: str


@dataclass(frozen=True)
class Record:
    """Instructions per request by scenario; `versions`, of tools and interpreter, are for the reader alone."""

    circumstances: Circumstances
    versions: str
    counts: Mapping[str, float]


# --- judgement


def differences(recorded: Circumstances, here: Circumstances) -> list[str]:
    """What is not the same, in words."""
    return [
        f"{field.name}: recorded {getattr(recorded, field.name)}, here {getattr(here, field.name)}"
        for field in fields(Circumstances)
        if getattr(recorded, field.name) != getattr(here, field.name)
    ]


def is_loss(recorded: float, counted: float) -> bool:
    """Whether it is more than `LIMIT` above what is recorded."""
    return counted > recorded * (1 + LIMIT)


def table(recorded: Mapping[str, float], counted: Mapping[str, float]) -> list[str]:
    """One line for each scenario counted: its count, the recorded one, and what to make of the two."""
    lines = [f"{'scenario':<12}{'counted':>10}{'recorded':>10}{'change':>9}"]
    for name, count in counted.items():
        if name not in recorded:
            lines.append(f"{name:<12}{count:>10.0f}{'–':>10}{'':>9}  not recorded yet")
            continue
        change = count / recorded[name] - 1
        note = ""
        if is_loss(recorded[name], count):
            note = f"  LOSS, more than {LIMIT:.0%}"
        elif count < recorded[name] * (1 - LIMIT):
            note = "  better: record the new figure"
        lines.append(f"{name:<12}{count:>10.0f}{recorded[name]:>10.0f}{change:>+9.1%}{note}")
    lines += [f"{name:<12}  recorded, but not a scenario any more" for name in recorded if name not in SCENARIOS]
    return lines


# --- the file


def read_records(path: Path) -> dict[str, Record]:
    """The records by Python version; none where there is no file yet."""
    if not path.exists():
        return {}
    return {
        version: Record(Circumstances(**entry["circumstances"]), entry["versions"], entry["counts"])
        for version, entry in json.loads(path.read_text(encoding="utf-8")).items()
    }


def write_records(path: Path, records: Mapping[str, Record]) -> None:
    """Write the records, counts in whole instructions."""
    entries = {
        version: {
            **asdict(record),
            "counts": {name: round(count) for name, count in record.counts.items()},
        }
        for version, record in sorted(records.items())
    }
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


# --- here


def compiler_of(binary: bytes) -> str:
    """The compiler that an ELF file says it was made by, with its major version."""
    made_by = re.search(rb"(GCC): \([^)]*\) (\d+)\.|(clang) version (\d+)\.", binary)
    if made_by is None:
        return "unknown"
    name, version = (part for part in made_by.groups() if part)
    return f"{name.decode().lower()} {version.decode()}"


def circumstances(tool: str) -> Circumstances:
    """Those of this run."""
    interpreter = re.sub(r"(\d+)\..*", r"\1", platform.python_compiler()).lower()
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        interpreter += ", profiled"
    processor = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return Circumstances(
        compiler=compiler_of(Path(_worker.__file__).read_bytes()),
        interpreter=interpreter,
        machine=platform.machine() + (" avx2" if re.search(r"\bavx2\b", processor) else ""),
        tool=tool,
        cython=".".join(metadata.version("Cython").split(".")[:2]),
    )


# --- counting


def _run(command: Sequence[str], folder: str) -> str:
    """What it writes to its standard error. Raises CountError."""
    # What changes the interpreter's ways (its allocator, development mode) stays outside.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CountError(str(error)) from error
    if done.returncode:
        raise CountError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stderr


def _driver(count: int, *names: str) -> list[str]:
    return [sys.executable, "-m", "bench.hot_path", str(count), *names]


def own_counts(text: str) -> Counter[str]:
    """Instructions by function, without those it calls, from one part that callgrind wrote."""
    counts: Counter[str] = Counter()
    function, of_callee = "", False
    for line in text.splitlines():
        if line.startswith("fn="):
            # A function that calls itself is listed as name'2 as well.
            function = line[3:].rpartition("'")[0] or line[3:]
        elif line.startswith("calls="):
            of_callee = True
        elif line[:1] in {"+", "-", "*"} or line[:1].isdigit():
            if not of_callee:
                counts[function] += int(line.split()[1])
            of_callee = False
    return counts


def read_parts(folder: Path) -> list[Counter[str]]:
    """Each of the parts that callgrind wrote to the folder, in their order."""
    paths = sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    return [own_counts(path.read_text(encoding="utf-8", errors="replace")) for path in paths]


def _requests(name: str, count: int) -> int:
    scenario = SCENARIOS[name]
    return scenario.reads(count) * scenario.requests * scenario.connections


def profiles(names: Sequence[str]) -> dict[str, Counter[str]]:
    """What callgrind counted in each function over all requests of each scenario. Raises CountError."""
    with tempfile.TemporaryDirectory(prefix="fastserve-instructions-") as folder:
        _run(
            [
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--compress-strings=no",
                "--dump-before=getppid", "--dump-before=__getppid", *_driver(REQUESTS, *names),
            ],
            folder,
        )  # fmt: skip
        parts = read_parts(Path(folder))
    # One part ends at each mark: those of the requests are every second one.
    if len(parts) != 2 * len(names):
        raise CountError(f"callgrind wrote {len(parts)} parts for {len(names)} scenarios: it did not see the marks")
    return {name: parts[2 * at + 1] for at, name in enumerate(names)}


def count_with_callgrind(names: Sequence[str]) -> dict[str, float]:
    """Instructions per request. Raises CountError."""
    return {name: profile.total() / _requests(name, REQUESTS) for name, profile in profiles(names).items()}


def _perf_total(count: int, name: str) -> int:
    said = _run(["perf", "stat", "-x,", "-e", "instructions:u", *_driver(count, name)], ".")
    found = re.search(r"^(\d+),[^,]*,instructions:u", said, flags=re.MULTILINE)
    if found is None:
        raise CountError(said.strip())
    return int(found[1])


def count_with_perf(names: Sequence[str]) -> dict[str, float]:
    """Instructions per request. Raises CountError."""
    few, many = PERF_REQUESTS
    return {
        name: (_perf_total(many, name) - _perf_total(few, name)) / (_requests(name, many) - _requests(name, few))
        for name in names
    }


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip().splitlines()[0]
    except (OSError, IndexError):
        return ""


Counting = Callable[[Sequence[str]], dict[str, float]]


def counter() -> tuple[str, str, Counting] | None:
    """What can count here: its name, its version, the function."""
    if shutil.which("valgrind"):
        return "callgrind", _first_line("valgrind", "--version"), count_with_callgrind
    if shutil.which("perf"):
        try:
            _perf_total(1, next(iter(SCENARIOS)))
        except CountError:
            return None
        return "perf", _first_line("perf", "--version"), count_with_perf
    return None


# --- the command


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description="Instructions per request, compared with the recorded ones."
    )
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--check", action="store_true", help=f"fail on a loss of more than {LIMIT:.0%}%")
    does.add_argument("--record", action="store_true", help=f"write the counts to {RECORDED.name}")
    does.add_argument("--profile", action="store_true", help="print what each function takes, with callgrind")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one; may be repeated")
    return parser.parse_args(arguments)


def print_profiles(names: Sequence[str], shown: int = 40) -> None:
    """Print instructions per request of the functions that take most of them. Raises CountError."""
    for name, profile in profiles(names).items():
        requests = _requests(name, REQUESTS)
        print(f"{name}: {profile.total() / requests:.0f}")
        for function, count in profile.most_common(shown):
            print(f"{count / requests:>10.0f}  {function}")


def main(arguments: Sequence[str] | None = None) -> int:
    """0: counted, or nothing can be counted or judged here; 1: a loss; 2: counting failed."""
    options = read_options(arguments)
    found = counter()
    if found is None:
        print("NOT COUNTED: there is no valgrind here, and no perf that may count instructions. Nothing was checked.")
        return 2 if options.record else 0
    tool, version, count = found
    here = circumstances(tool)
    names = options.scenario or list(SCENARIOS)
    try:
        if options.profile:
            print_profiles(names)
            return 0
        counted = count(names)
    except CountError as error:
        print(f"bench.instructions: {error}", file=sys.stderr)
        return 2

    records = read_records(RECORDED)
    recorded = records.get(PYTHON)
    unlike = differences(recorded.circumstances, here) if recorded else []
    comparable = recorded.counts if recorded and not unlike else {}
    print(f"Instructions per request, CPython {platform.python_version()}, {version}")
    print("\n".join(table(comparable, counted)))

    if options.record:
        versions = f"CPython {platform.python_version()}, {version}"
        records[PYTHON] = Record(here, versions, {**comparable, **counted} if options.scenario else counted)
        write_records(RECORDED, records)
        print(f"recorded for CPython {PYTHON}")
        return 0
    if recorded is None:
        print(f"NOTHING COMPARED: no counts are recorded for CPython {PYTHON}; record them with --record")
    elif unlike:
        print("NOTHING COMPARED: the recorded counts hold for something else than what is here:")
        print("\n".join(f"  {line}" for line in unlike))
    lost = [name for name, count in counted.items() if name in comparable and is_loss(comparable[name], count)]
    if lost and options.check:
        print(f"\nFAILED: {', '.join(lost)}. Find out why (--profile tells), or record what it is worth:")
        print("  python -m bench.instructions --record")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
