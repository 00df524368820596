# make demo             a page on local ports, served by wsgid directly and behind nginx
# make demo-databases   two sites with PostgreSQL, Redis and MariaDB, and these servers
# make test             all checks and tests; they have to pass before a commit
# make apps             real applications from PyPI, behind nginx and over --http, with a reload in the middle
# make faults           long runs with kills, reloads, floods and leaks; every request is counted
# make fuzz             ten minutes of malformed and random bytes for every decoder
# make coverage         how much of the code the tests run
# make bench            what a request costs, compared with other servers in the same run
# make docs             the documentation as a site; make docs-serve shows it while you write
# make release          the files of a release in dist/, each one tried in an empty environment
# Each of the other targets has a comment above it.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
FUZZ_VENV ?= .venv-fuzz
RELEASE_VENV ?= .venv-release
DOCS_VENV ?= .venv-docs
BIN = $(VENV)/bin

.PHONY: demo demo-databases test test-all coverage faults fuzz bench apps build wheel release image reference docs \
	docs-serve lint clean

demo: $(VENV)/.installed-demo
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m tools.demo

demo-databases: $(VENV)/.installed-demo-databases
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m tools.demo_databases

# The tests need these programs, and fail without them: nginx, clients, strace (which makes system calls fail), shells,
# and databases.
VISITORS = strace:strace curl:curl ab:apache2-utils wrk:wrk chromium:chromium chromedriver:chromium-driver \
	promtool:prometheus zsh:zsh fish:fish groff:groff-base logrotate:logrotate
# Most of the time the tests wait for servers, so four tests run at a time. Tests that put a load on a server run alone.
# Tests of the hot path run on both forms: on the compiled form with all other tests, and on the pure Python form.
TOGETHER = --numprocesses 4 --dist worksteal
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

# How much of wsgid/ the tests run, in all processes, as one figure. It takes twenty minutes, and Python 3.12 or
# later. The pure form is measured, because coverage.py sees no line of a compiled module.
COVERAGE = $(CURDIR)/$(VENV)/coverage
NOT_MEASURED = --deselect tests/unit/test_compiled.py::test_the_compiled_form_is_there
coverage: export COVERAGE_FILE = $(COVERAGE)/data
coverage: export WSGID_PURE = 1
coverage: $(VENV)/.installed-test
	@$(BIN)/python -c "import sys; sys.version_info < (3, 12) and sys.exit('make coverage needs Python 3.12: PYTHON=python3.12')"
	@rm -rf $(COVERAGE) && mkdir --mode 777 $(COVERAGE)
	-@$(BIN)/python -m coverage run -m pytest $(NOT_MEASURED) -m alone $(ONLY)
	-@$(BIN)/python -m coverage run -m pytest $(NOT_MEASURED) -m "not alone" $(TOGETHER) $(ONLY)
	@# A process that was killed, or that had no descriptor left, leaves a file without data.
	-@$(BIN)/python -m coverage combine --quiet $(COVERAGE)
	@$(BIN)/python -m coverage report --ignore-errors

# It takes some ten minutes. `make faults ONLY="reload kill-workers"` runs only these scenarios.
faults: $(VENV)/.installed-test
	@$(BIN)/python -m tools.nginx >/dev/null
	@$(BIN)/python -m tools.apt strace:strace
	@$(BIN)/python -m faults $(ONLY)

# It takes ten minutes. `make fuzz ONLY="http --seconds 60"` tries only this decoder. The virtual environment, the
# compiled form with the address sanitizer, and the findings are in .venv-fuzz.
fuzz: $(FUZZ_VENV)/.installed-fuzz
	@$(FUZZ_VENV)/bin/python -m fuzz $(ONLY)

# It takes forty minutes. `make bench ONLY="hello databases --rounds 2"` measures only these shapes. The peers have a
# virtual environment of their own.
bench: $(BENCH_VENV)/.installed-bench
	@$(BENCH_VENV)/bin/python -m bench $(ONLY)

# Real applications from PyPI, each in an environment of its own. It takes long, the first time longer.
# `make apps ONLY="trac zope"` runs only these.
apps: $(VENV)/.installed-test
	@$(BIN)/python -m tools.nginx >/dev/null
	@$(BIN)/python -m apps $(ONLY)

# Compile the hot path again, after a change to its sources.
build: $(VENV)/.installed-test

# A wheel for machines without a compiler that have the Python of this machine: dist/wsgid-*.whl
wheel:
	@$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

# The sdist, and a wheel for each supported Python of this machine, in dist/. tools/release.py says what is checked. It
# takes a quarter of an hour. `make release ONLY=3.12` builds the wheel for this Python alone.
release: $(RELEASE_VENV)/.installed-release
	@$(RELEASE_VENV)/bin/python -m tools.release $(ONLY)

# The steps of examples/Dockerfile without Docker: does the image serve, and how large is it? For root on Debian.
image:
	@$(PYTHON) -m tools.apt mmdebstrap:mmdebstrap
	@$(PYTHON) -m tools.image

# Write what follows from declarations: tables and pages of reference, manual pages, completions. Run it after a change to
# an option, a subcommand, a signal, a docstring of the Python API, or a sentence of the log.
reference: $(VENV)/.installed-test
	@$(BIN)/python -m tools.options_doc
	@$(BIN)/python -m tools.command_docs
	@$(BIN)/python -m tools.reference_docs

# The site of docs/, in build/site. A link or an anchor that leads nowhere is an error.
docs: $(DOCS_VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

docs-serve: $(DOCS_VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs serve --livereload

# The checks that need no running server.
lint: $(VENV)/.installed-test
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/python -m mypy
	@$(BIN)/python -m bandit --quiet --configfile pyproject.toml --recursive wsgid
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec examples/compose.yaml
	@$(BIN)/zizmor --offline --quiet --no-progress .github
	@$(BIN)/hadolint examples/Dockerfile

# Remove all files that the other targets have made.
clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .hypothesis
	find wsgid -name "*.so" -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is updated when the metadata or a source of a compiled module changes.
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

$(RELEASE_VENV)/.installed-release: setup.cfg
	@$(PYTHON) -m tools.make_venv $(RELEASE_VENV) release --tools
	@touch $@

$(DOCS_VENV)/.installed-docs: setup.cfg
	@$(PYTHON) -m tools.make_venv $(DOCS_VENV) docs --tools
	@touch $@
