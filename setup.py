"""Build script: one extension table, one directive dictionary, three variants.

FASTSERVE_BUILD chooses the variant:

    release  (default)  -O2, no checks
    debug               -O0 -g, bounds checks, live-object counters (FASTSERVE_DEBUG)
    asan                debug, under AddressSanitizer and UndefinedBehaviorSanitizer

Every `.pyx` below fastserve/ is one extension module, named after its path;
each may include the C headers beside it. `tests/` has compiled modules too
(they reach what only C can call); they are built by debug and asan, and by
release when FASTSERVE_TEST_MODULES is set, and are never installed.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
VARIANT = os.environ.get("FASTSERVE_BUILD", "release")
JOBS = int(os.environ.get("FASTSERVE_BUILD_JOBS", os.cpu_count() or 1))

COMPILER_FLAGS = {
    # -g0: interpreters are often built with -g, and pass it on; symbols remain, which is what profilers need.
    "release": ["-O2", "-g0", "-fno-semantic-interposition", "-fvisibility=hidden", "-fno-plt"],
    "debug": ["-O0", "-g", "-UNDEBUG", "-DFASTSERVE_DEBUG=1"],
    "asan": [
        "-O1",
        "-g",
        "-UNDEBUG",
        "-DFASTSERVE_DEBUG=1",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        # CPython itself calls methods through differently typed pointers.
        "-fno-sanitize=function" if os.environ.get("CC", "").startswith("clang") else "-Wall",
    ],
}
LINKER_FLAGS = {"release": [], "debug": [], "asan": ["-fsanitize=address,undefined"]}
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-unused-function",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
]

if VARIANT not in COMPILER_FLAGS:
    raise SystemExit(f"FASTSERVE_BUILD={VARIANT!r}: choose one of {', '.join(COMPILER_FLAGS)}")
CHECKED = VARIANT != "release"

DIRECTIVES = {
    "language_level": "3",
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "nonecheck": False,
    "cdivision": True,
    "always_allow_keywords": True,
    "warn.undeclared": False,
    "warn.unreachable": True,
    "warn.maybe_uninitialized": False,
    "warn.unused": False,
}


def compiled_modules():
    folders = ["fastserve"]
    if CHECKED or os.environ.get("FASTSERVE_TEST_MODULES"):
        folders.append("tests")
    for folder in folders:
        for source in sorted((ROOT / folder).rglob("*.pyx")):
            path = source.relative_to(ROOT)
            yield Extension(
                ".".join(path.with_suffix("").parts),
                [str(path)],
                include_dirs=["fastserve"],
                depends=["setup.py", *(str(header.relative_to(ROOT)) for header in (ROOT / "fastserve").rglob("*.h"))],
                extra_compile_args=COMPILER_FLAGS[VARIANT] + WARNINGS,
                extra_link_args=LINKER_FLAGS[VARIANT],
            )


# Cython's worker processes import this file anew where they are not forked.
if __name__ == "__main__":
    setup(
        ext_modules=cythonize(
            list(compiled_modules()),
            compiler_directives=DIRECTIVES,
            build_dir=f"build/cython-{VARIANT}",
            nthreads=JOBS,
            annotate=bool(os.environ.get("FASTSERVE_ANNOTATE")),
        ),
        options={"build_ext": {"parallel": JOBS}},
    )
