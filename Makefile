# The one front door: everything the project can do is a target here, and continuous integration calls these.
#
# Needed beforehand: CPython 3.11 or later with its headers and the venv module, a C compiler, make. All else is
# installed into a virtual environment of the project's own: .venv for the default python3, .venv-X.Y for any other
# interpreter given as PYTHON=..., so that several live beside each other. Files named .stamp-* inside them remember
# what is installed; only a newer pyproject.toml makes pip run again.

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV ?= .venv
else
VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
PY = $(VENV)/bin/python
PIP = $(PY) -m pip --quiet --disable-pip-version-check
JOBS ?= $(shell nproc 2>/dev/null || echo 1)

PORT ?= 8000
ARGS ?=
T ?=
FUZZ_SECONDS ?= 60

export FASTSERVE_BUILD_JOBS = $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help serve build build-tests debug test asan check format fuzz bench compare instructions soak neon wheel docs clean distclean orphans
.DELETE_ON_ERROR:

help:
	@echo 'make serve    build and serve examples/hello.py        PORT=8000 ARGS="--log-level debug"'
	@echo 'make build    compile the extension modules in place; build-tests: those of the tests too'
	@echo 'make test     build and run the tests                  T="tests/parser -k chunked" PYTHON=python3.13'
	@echo 'make check    lint, formatting, types, stubs, floors'
	@echo 'make format   let ruff format the Python files'
	@echo 'make debug    the tests on a build with bounds checks and live-object counts'
	@echo 'make asan     the tests on a build under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make fuzz     every fuzz target on the asan build      FUZZ_SECONDS=60'
	@echo 'make bench    micro-benchmarks and load benchmarks     ARGS=--quick'
	@echo 'make compare  two commits under load, as a ratio       A=main~1 B=main ARGS="--scenario small"'
	@echo 'make instructions  instructions per request against the recorded ones   ARGS=--record'
	@echo 'make soak     lost requests while workers are restarted, killed, added   ARGS="--server fastserve --seconds 10"'
	@echo 'make neon     the vector code for aarch64 against its scalar twin, under an emulator'
	@echo 'make wheel    dist/: a source archive, and a wheel built from it'
	@echo 'make docs     bring the generated parts of the documentation up to date'
	@echo 'make clean    remove what was built; distclean: and the virtual environments'

# --- virtual environments

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo '$(PYTHON) is older than 3.11; choose another: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) \
	    || { rm -rf $(VENV); echo '$(PYTHON) has no venv module (Debian, Ubuntu: install python3-venv)' >&2; exit 1; }
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

# The project's own dependencies and the build's: enough to compile and to serve.
$(VENV)/.stamp-build: $(VENV)/.stamp-venv pyproject.toml
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
	    > $(VENV)/requirements.txt
	$(PIP) install --group build -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-build
	$(PIP) install --group test
	@touch $@

$(VENV)/.stamp-lint: $(VENV)/.stamp-build
	$(PIP) install --group lint
	@touch $@

# --- the release build, in place

# Generated C depends on the directives in setup.py, which Cython's own dependency tracking does not see.
build/.stamp-%: setup.py
	rm -rf build/cython-$*
	@mkdir -p build && touch $@

# An extension whose source is gone would still be imported.
orphans:
	@find fastserve tests -name '*.so' | while read -r so; do \
	    [ -e "$${so%%.*}.pyx" ] || { echo "removing $$so: its source is gone"; rm -f "$$so"; }; \
	done

build: $(VENV)/.stamp-build build/.stamp-release orphans
	FASTSERVE_BUILD=release $(PY) setup.py -q build_ext --inplace

build-tests: $(VENV)/.stamp-build build/.stamp-release orphans
	FASTSERVE_BUILD=release FASTSERVE_TEST_MODULES=1 $(PY) setup.py -q build_ext --inplace

serve: build
	@echo
	@echo 'Serving examples/hello.py. Look at http://127.0.0.1:$(PORT)/ - Ctrl-C ends it.'
	@echo
	@exec $(PY) -m fastserve hello:app --app-dir examples --port $(PORT) $(ARGS)

test: $(VENV)/.stamp-test build-tests
	$(PY) -m pytest -q $(T)

# --- other builds, each in its own copy of the tree: extensions of all builds have the same names

COPIED = $(wildcard fastserve tests bench examples docs setup.py pyproject.toml README.md LICENSE)
BUILT_ONLY = --exclude='*.so' --exclude=__pycache__

# $(1): the variant. The copy keeps modification times, so that only what changed is compiled again.
define build_variant
@mkdir -p build/$(1)
@cd build/$(1) && for top in $(COPIED); do find $$top -type f ! -name '*.so' 2>/dev/null; done | while read -r file; do \
    [ -e "$(CURDIR)/$$file" ] || rm -f "$$file"; done
@tar -cf - $(BUILT_ONLY) $(COPIED) | tar -xf - -C build/$(1)
@cd build/$(1) && find fastserve tests -name '*.so' | while read -r so; do [ -e "$${so%%.*}.pyx" ] || rm -f "$$so"; done
@[ ! build/$(1)/setup.py -nt build/$(1)/.stamp ] || rm -rf build/$(1)/build
cd build/$(1) && FASTSERVE_BUILD=$(1) $(abspath $(PY)) setup.py -q build_ext --inplace
@touch build/$(1)/.stamp
endef

# Not -X dev: asyncio's debug mode, which it turns on, selects asyncio's own tasks and leaves ours untested.
debug: $(VENV)/.stamp-test
	$(call build_variant,debug)
	cd build/debug && PYTHONMALLOC=debug $(abspath $(PY)) -m pytest -q --ignore=tests/house $(T)

# The sanitizer's run-time must be the first library of the process, and so must the C++ one whose exceptions it
# intercepts. CPython keeps objects until it exits: leaks are counted by the debug build's own counters instead,
# and freed memory is kept back in small measure only, or tests that bound memory would count it.
SANITIZED = LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libstdc++.so.6)" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:quarantine_size_mb=4 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc

asan: $(VENV)/.stamp-test
	$(call build_variant,asan)
	cd build/asan && $(SANITIZED) $(abspath $(PY)) -m pytest -q --ignore=tests/house $(T)

fuzz: $(VENV)/.stamp-test
	$(call build_variant,asan)
	cd build/asan && set -e; for target in tests/fuzz/fuzz_*.py; do \
	    echo "$$target, $(FUZZ_SECONDS) s"; \
	    $(SANITIZED) PYTHONPATH=. FUZZ_SECONDS=$(FUZZ_SECONDS) $(abspath $(PY)) $$target; done

# --- judgement

# cython-lint starts pycodestyle by name, hence the PATH.
check: $(VENV)/.stamp-test $(VENV)/.stamp-lint build-tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	find fastserve tests bench -name '*.pyx' -o -name '*.pxd' | PATH="$(abspath $(VENV))/bin:$$PATH" xargs cython-lint
	$(VENV)/bin/mypy
	$(PY) -m pytest -q tests/house

format: $(VENV)/.stamp-lint
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.stamp-test build-tests
	$(PY) -m pytest -q -o addopts=--import-mode=importlib bench/micro
	$(PY) -m bench.load $(ARGS)

# B is the working tree if not given.
compare: $(VENV)/.stamp-test
	@[ -n '$(A)' ] || { echo 'which commits? make compare A=... B=...' >&2; exit 2; }
	$(PY) -m bench.compare $(A) $(B) $(ARGS)

instructions: build
	$(PY) -m bench.instructions $(or $(ARGS),--check)

soak: $(VENV)/.stamp-test build
	$(PY) -m bench.soak $(ARGS)

# The vector code of a processor that is not here. Where it is: make neon NEON_CC=cc NEON_RUN=
NEON_CC ?= aarch64-linux-gnu-gcc
NEON_RUN ?= qemu-aarch64-static

neon:
	@for tool in $(NEON_CC) $(NEON_RUN); do command -v $$tool > /dev/null || { echo "no $$tool" \
	    '(Debian, Ubuntu: install gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static)' >&2; exit 1; }; done
	@mkdir -p build
	$(NEON_CC) -std=c11 -O2 -static -Wall -Wextra -Wno-unused-function -Wno-unused-parameter -Werror -Ifastserve \
	    tests/parser/vectors.c -o build/vectors
	$(NEON_RUN) build/vectors

# --- what is handed out

# setuptools packs whatever earlier builds left in build/lib*, removed modules included.
wheel: $(VENV)/.stamp-build
	rm -rf dist build/lib* build/bdist* *.egg-info
	$(PY) -c 'import os; from setuptools import build_meta; os.makedirs("dist"); build_meta.build_sdist("dist")' > /dev/null
	env -u FASTSERVE_BUILD -u FASTSERVE_TEST_MODULES $(PIP) wheel --no-deps --wheel-dir dist dist/*.tar.gz
	@ls -l dist

docs: $(VENV)/.stamp-test build
	PYTHONPATH=. $(PY) docs/options_table.py
	PYTHONPATH=. $(PY) docs/uvicorn_table.py
	PYTHONPATH=. $(PY) docs/websocket_table.py

clean:
	rm -rf build dist bench/build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find fastserve tests bench -name '*.so' -delete
	find fastserve tests bench examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-*
