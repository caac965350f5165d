# Everything a newcomer needs. Each target sets up what it uses by itself; no root and no service is needed.
PYTHON ?= python3
VENV := .venv
API_VENV := .venv-api
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo demo-loop up test test-served test-faults test-browser lint bench migrate

help:  ## show these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The virtual environments are current while pyproject.toml and constraints.txt have not changed.
$(VENV)/.current: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Afterglow needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "setting up $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,embedded,s3,dev]'
	@touch $@

$(API_VENV)/.current: pyproject.toml constraints.txt
	@echo "setting up $(API_VENV), which has no torch"
	@$(PYTHON) -m venv $(API_VENV)
	@$(API_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@

demo: $(VENV)/.current  ## the whole cycle on generated data, in under three minutes
	@$(BIN)/afterglow demo

demo-loop: $(VENV)/.current  ## is it better to choose what people are asked? on generated data, in some minutes
	@$(BIN)/afterglow demo-loop

up: $(VENV)/.current  ## run everything on this machine until Ctrl-C
	@$(BIN)/afterglow up

test: $(VENV)/.current $(API_VENV)/.current  ## all tests on real services, in under ten minutes
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not faults and not browser"
	$(API_VENV)/bin/python -m pytest -q -n 2 --dist loadfile -m "not faults and not browser" $(API_AGAIN)

# Without torch the question is whether the API works at all; what it says to bad requests has been seen above.
API_AGAIN := $(addprefix tests/api/test_,system.py score.py examples.py active_models.py training.py)

test-served: $(VENV)/.current  ## the same on a Postgres and a Redis over TCP; needs Postgres 15 or newer installed
	$(BIN)/python -m tests.served -q -n 2 --dist loadfile tests/db tests/api tests/worker

test-faults: $(VENV)/.current  ## kill, fill up, cut off: the slow tests of what must survive, in under twenty minutes
	timeout 1200 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m faults

test-browser: $(VENV)/.current  ## the pages in a real Chromium (found, or Debian's where root may install), in under ten minutes
	@echo "Chromium: $$($(BIN)/python -m tests.browser.chromium)"
	timeout 600 $(BIN)/python -m pytest -q -m browser tests/browser

lint: $(VENV)/.current  ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A file of bench/ that is a question of its own says in its docstring how it is run, with nothing that must be given.
bench: $(VENV)/.current  ## measure against peers and limits, each question in its own file of bench/
	@for file in $$(grep -lE '^    python -m bench\.[a-z_]+( \[.*)?$$' bench/*.py); do \
		echo "== $$file"; $(BIN)/python -m "bench.$$(basename "$$file" .py)" || exit 1; done

migrate: $(VENV)/.current  ## bring the database's schema up to date
	@$(BIN)/afterglow migrate
