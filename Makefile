# make demo   a page on local ports, served by wsgid alone and behind nginx
# make demo-databases   two sites with PostgreSQL, Redis and MariaDB, and these servers
# make test   everything that has to hold before a commit
# make faults the long runs: kills, reloads, floods, leaks, with every request counted
# make fuzz   ten minutes of bytes that nobody would send, for every decoder
# make coverage  how much of the code the tests run
# make bench  what a request costs, beside other servers, in one run
# The other targets are said where they stand.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
FUZZ_VENV ?= .venv-fuzz
BIN = $(VENV)/bin

.PHONY: demo demo-databases test test-all coverage faults fuzz bench build wheel lint clean

demo: $(VENV)/.installed-demo
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m tools.demo

demo-databases: $(VENV)/.installed-demo-databases
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m tools.demo_databases

# These are needed, not wished for: without them this fails. nginx, who visits what it serves, who fails its calls, and
# databases.
VISITORS = strace:strace curl:curl ab:apache2-utils wrk:wrk chromium:chromium chromedriver:chromium-driver \
	promtool:prometheus
# Tests wait for servers most of their time, and run two at a time; those that need the processors for a load do not.
# What is about the hot path runs on both of its forms: compiled, with all others, and pure Python.
TOGETHER = --numprocesses 2 --dist worksteal
test: $(VENV)/.installed-test
	@$(BIN)/python -m tools.nginx >/dev/null
	@$(BIN)/python -m tools.apt $(VISITORS)
	@$(BIN)/python -m tools.databases
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -m alone
	@$(BIN)/python -m pytest -m "not alone" $(TOGETHER)
	@WSGID_PURE=1 $(BIN)/python -m pytest -m hot $(TOGETHER)

# make test on each supported Python of this machine, each in .venv-3.X.
test-all:
	@$(PYTHON) -m tools.test_all

# How much of wsgid/ the tests run, in all processes, as one figure; half an hour. The pure form is measured: coverage.py
# sees no line of a compiled module.
COVERAGE = $(CURDIR)/$(VENV)/coverage
# What is about the compiled form, and about what the master imports: coverage.py imports gevent there.
NOT_MEASURED = tests/unit/test_compiled.py::test_the_compiled_form_is_there \
	tests/unit/test_layers.py::test_the_master_never_imports_gevent_nor_what_the_workers_run
coverage: export COVERAGE_FILE = $(COVERAGE)/data
coverage: export WSGID_PURE = 1
coverage: $(VENV)/.installed-test
	@rm -rf $(COVERAGE) && mkdir --mode 777 $(COVERAGE)
	-@$(BIN)/python -m coverage run -m pytest $(addprefix --deselect ,$(NOT_MEASURED)) $(ONLY)
	@$(BIN)/python -m coverage combine --quiet $(COVERAGE)
	@$(BIN)/python -m coverage report

# Some ten minutes; `make faults ONLY="reload kill-workers"` runs these alone.
faults: $(VENV)/.installed-test
	@$(BIN)/python -m tools.nginx >/dev/null
	@$(BIN)/python -m tools.apt strace:strace
	@$(BIN)/python -m faults $(ONLY)

# Ten minutes; `make fuzz ONLY="http --seconds 60"` tries these alone. Its environment, the compiled form with the address
# sanitizer and what it has found are in .venv-fuzz.
fuzz: $(FUZZ_VENV)/.installed-fuzz
	@$(FUZZ_VENV)/bin/python -m fuzz $(ONLY)

# Forty minutes; `make bench ONLY="hello databases --rounds 2"` runs these alone. The peers have an environment
# of their own.
bench: $(BENCH_VENV)/.installed-bench
	@$(BENCH_VENV)/bin/python -m bench $(ONLY)

# The compiled form again, after a change to its sources.
build: $(VENV)/.installed-test

# For machines without a compiler, with this one's Python: dist/wsgid-*.whl
wheel:
	@$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

# The checks that need no running server.
lint: $(VENV)/.installed-test
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/python -m mypy
	@$(BIN)/python -m bandit --quiet --configfile pyproject.toml --recursive wsgid

# Whatever the other targets made.
clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .hypothesis
	find wsgid -name "*.so" -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Done again when the metadata changes, or what is compiled.
HOT = $(shell find wsgid -name "*.pyx" -o -name "*.pxd")
INSTALLED = setup.cfg setup.py pyproject.toml $(HOT) $(wildcard $(HOT:.pxd=.py))

$(VENV)/.installed-demo: $(INSTALLED)
	@$(PYTHON) -m tools.make_venv $(VENV) demo
	@touch $@

$(VENV)/.installed-demo-databases: $(INSTALLED)
	@$(PYTHON) -m tools.make_venv $(VENV) demo-databases
	@touch $@

$(VENV)/.installed-test: $(INSTALLED)
	@$(PYTHON) -m tools.make_venv $(VENV) test,lint
	@touch $@

$(BENCH_VENV)/.installed-bench: $(INSTALLED)
	@$(PYTHON) -m tools.make_venv $(BENCH_VENV) bench
	@touch $@

$(FUZZ_VENV)/.installed-fuzz: $(INSTALLED)
	@$(PYTHON) -m tools.make_venv $(FUZZ_VENV) fuzz
	@touch $@
