# make demo   a page on a local port, served by wsgid behind nginx
# make test   everything that has to hold before a commit
# make faults the long runs: kills, reloads, floods, leaks, with every request counted
# make bench  what a request costs, beside other servers, in one run
# The other targets are said where they stand.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
BIN = $(VENV)/bin

.PHONY: demo test test-all faults bench lint clean

demo: $(VENV)/.installed-demo
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m tools.demo

# nginx is needed, not wished for: without it this fails.
test: $(VENV)/.installed-test
	@$(BIN)/python -m tools.nginx >/dev/null
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest

# make test on each supported Python of this machine, each in .venv-3.X.
test-all:
	@$(PYTHON) -m tools.test_all

# Some ten minutes; `make faults ONLY="reload kill-workers"` runs these alone.
faults: $(VENV)/.installed-test
	@$(BIN)/python -m tools.nginx >/dev/null
	@$(BIN)/python -m faults $(ONLY)

# Half an hour; `make bench ONLY="hello flask --rounds 2"` runs these alone. The peers have an environment of their own.
bench: $(BENCH_VENV)/.installed-bench
	@$(BENCH_VENV)/bin/python -m bench $(ONLY)

# The two checks that need no running server.
lint: $(VENV)/.installed-test
	@$(BIN)/python -m flake8
	@$(BIN)/python -m mypy

# Whatever the other targets made.
clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .hypothesis
	find wsgid -name "*.so" -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Done again when the metadata changes.
$(VENV)/.installed-demo: setup.cfg pyproject.toml
	@$(PYTHON) -m tools.make_venv $(VENV) demo
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml
	@$(PYTHON) -m tools.make_venv $(VENV) test,lint
	@touch $@

$(BENCH_VENV)/.installed-bench: setup.cfg pyproject.toml
	@$(PYTHON) -m tools.make_venv $(BENCH_VENV) bench
	@touch $@
