# `make` lists the targets. `make demo` and `make test` set everything up by themselves in .venv.

VENV := .venv
BIN := $(VENV)/bin
FIND_PYTHON := for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done
CONFIG ?= config/notifier.yaml

.DEFAULT_GOAL := help
.PHONY: help demo test prove check run lint format types layers bench schema clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.installed  ## the whole notifier at work on a simulated account; ends by itself
	@$(BIN)/notifier demo

test: $(VENV)/.installed-dev  ## all tests, under five minutes
	@$(BIN)/pytest -n 3 --dist worksteal

prove: $(VENV)/.installed-dev  ## the proofs of docs/guarantees.md at full length, about three quarters of an hour
	@$(BIN)/python -m tests.proof

check: format-check lint types layers test  ## the whole gate: format, lint, types, layers, tests

run: $(VENV)/.installed  ## run the worker with CONFIG (default config/notifier.yaml)
	@$(BIN)/notifier run --config $(CONFIG)

.PHONY: format-check
format-check: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .

lint: $(VENV)/.installed-dev  ## lint
	@$(BIN)/ruff check .

format: $(VENV)/.installed-dev  ## format and mend what lint can mend
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

types: $(VENV)/.installed-dev  ## strict types
	@$(BIN)/mypy

layers: $(VENV)/.installed-dev  ## import layers and file sizes
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.file_sizes

bench: $(VENV)/.installed-dev  ## measure speed and memory against floors in the same run
	@$(BIN)/python -m bench

schema: $(VENV)/.installed  ## write config/notifier.schema.json anew
	@$(BIN)/notifier schema > config/notifier.schema.json

clean:  ## remove the virtual environment and caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@python=$$($(FIND_PYTHON)); test -n "$$python" || { \
		echo "Python 3.11 or later (with venv) was not found; install it, or say make PYTHON=/path/to/python" >&2; exit 1; }; \
	echo "setting up $(VENV) with $$($$python --version) ..."; "$$python" -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "installing ..."; $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	@echo "installing, with what the tests need ..."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.installed $@
