# A command per chore. `make run` and `make test` are all a newcomer needs; CONTRIBUTING.md explains the rest.
#
#   make run ARGS="-p 4333 -cid my-cluster"     arguments for the server
#   make test PYTEST_ARGS="-x -k durable"       arguments for pytest
#   make bench ARGS="--quick"                   arguments for the benchmark: --only NAME, --list, --help
#   make test PYTHON=python3.13                 which Python makes the environment (after `make clean`)

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What the compiled package is made from. Directories are listed too, since removing a file only touches its directory.
INPUTS := setup.py pyproject.toml $(shell find src -not -path '*/__pycache__*' -not -path '*.egg-info*')

DATABASES := sqlite postgres mysql

# The sources as they are, and no bytecode beside them: nothing built ever lies in src/.
PLAIN := PYTHONPATH=src PYTHONPYCACHEPREFIX=$(CURDIR)/build/pycache

.PHONY: run setup test test-compiled test-plain check tidy operations cli client interop faults sql mysql sanitize bench docs pictures ci clean

run: $(VENV)/installed
	@exec $(BIN)/nats-streaming-server $(ARGS)

setup: $(VENV)/equipped

# The plain run comes first, so that the closing line of the whole is the last one.
test: test-plain test-compiled

test-compiled: $(VENV)/equipped
	$(BIN)/python -m pytest tests/conformance --through-nats $(PYTEST_ARGS)
	set -e; for driver in $(DATABASES); do \
	    $(BIN)/python -m pytest tests/conformance --store SQL:$$driver $(PYTEST_ARGS); done
	$(BIN)/python -m pytest tests/unit tests/tidy tests/databases tests/bench tests/conformance tests/operations tests/cli tests/client tests/faults tests/interop $(PYTEST_ARGS)

# Everything that runs on a database, with each of the three: takes ten minutes. With PYTEST_ARGS=--long there are
# fifty kills of each, which takes seven more.
sql: $(VENV)/equipped
	set -e; for driver in $(DATABASES); do \
	    $(BIN)/python -m pytest tests/conformance --store SQL:$$driver $(PYTEST_ARGS); done
	$(BIN)/python -m pytest tests/databases tests/faults/test_sql_*.py tests/interop/test_go_sql*.py $(PYTEST_ARGS)

# The same with MySQL in place of MariaDB, where apt can fetch it from Debian's unstable distribution.
mysql: $(VENV)/equipped
	export TEST_MYSQLD=$$(tools/unpack_mysql build/mysql) && \
	    $(BIN)/python -m pytest tests/conformance --store SQL:mysql $(PYTEST_ARGS) && \
	    $(BIN)/python -m pytest tests/databases tests/faults/test_sql_*.py tests/interop/test_go_sql*.py \
	        -k 'mysql or MySql' $(PYTEST_ARGS)

test-plain: $(VENV)/equipped
	$(PLAIN) $(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

check: $(VENV)/equipped
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest --quiet tests/tidy

tidy operations cli client interop faults: $(VENV)/equipped
	$(BIN)/python -m pytest tests/$@ $(PYTEST_ARGS)

# The compiled modules with gcc's address sanitizer, which ends the run at the first byte that is not theirs. Built from a
# copy: what lies in build/ is taken for up to date whatever the flags were. Python itself leaks on purpose.
SANITIZED := $(CURDIR)/build/sanitized
SANITIZED_TESTS ?= tests/unit/stores tests/unit/protocol tests/unit/listener tests/unit/streaming

sanitize: $(VENV)/equipped
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)/source
	cp -r setup.py pyproject.toml README.md LICENSE src $(SANITIZED)/source
	CFLAGS="-fsanitize=address -fno-omit-frame-pointer -O1" LDFLAGS=-fsanitize=address \
		$(PIP) install --no-deps --target $(SANITIZED)/installed $(SANITIZED)/source
	LD_PRELOAD=$$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
		PYTHONPATH=$(SANITIZED)/installed PYTHONPYCACHEPREFIX=$(SANITIZED)/pycache \
		$(BIN)/python -m pytest $(SANITIZED_TESTS) $(PYTEST_ARGS)

# Ours and the Go server side by side, into docs/internals/benchmarks.md; the other benches are run by themselves.
bench: $(VENV)/equipped
	@$(BIN)/python -m bench.suite $(ARGS)

# Pages that are made from the source.
docs: $(VENV)/installed
	$(BIN)/python -m tools.options_page
	$(BIN)/python -m tools.commands_page

# The tool in a real terminal, for docs/guide; every run draws other figures.
pictures: $(VENV)/equipped
	$(BIN)/python -m tools.command_pictures

ci:
	bash .ci/run

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

# An environment, and in it our package as a wheel, with what it needs to run. Compiled modules whose sources did not
# change are taken from build/; the plain files there go first, or a deleted module would be installed again.
$(VENV)/installed: $(INPUTS) | $(VENV)/created
	@echo "building and installing nats-streaming-server, which takes about a minute the first time"
	@if [ -d build ]; then find build -path 'build/lib*' -type f -name '*.p*' -delete; fi
	$(PIP) install ".[sql]"
	@touch $@

# What tests and checks need beside it. Older versions of pip know no dependency groups.
$(VENV)/equipped: $(VENV)/installed
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group test --group dev --group bench
	@touch $@

$(VENV)/created:
	@command -v $(PYTHON) >/dev/null || { echo "missing: Python >= 3.11: no $(PYTHON) (try make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) tools/preflight.py
	$(PYTHON) -m venv $(VENV)
	@touch $@
