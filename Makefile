# Set-up, run and test okoomer on a Debian machine. `make` alone lists the targets.
SHELL := /bin/bash

# Debian's own interpreter where there is one: the guard shares its pages with whatever else runs on it.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup run test lint bench lab scoreboard clean

help:
	@echo 'make run     guard this machine, in the foreground'
	@echo 'make test    set up what the tests need and run them all'
	@echo 'make setup   the set-up alone: $(BIN)/okoomer'
	@echo 'make lint    types, style and the import contract'
	@echo 'make bench   measure okoomer beside its peers, in boxes'
	@echo 'make lab     the same where memory truly runs out, in virtual machines: hours; QUICK=1: 20 minutes'

setup: $(VENV)/.setup

$(VENV)/.setup: pyproject.toml requirements.lock
	@test -n '$(PYTHON)' || { echo 'okoomer needs Python 3.11 or newer: apt-get install python3' >&2; exit 3; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call install,python3-venv)
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

# Installs Debian packages, as root; anybody else is told which.
define install
{ \
	[ "$$(id -u)" = 0 ] || { echo 'missing; as root: apt-get install $(1)' >&2; exit 3; }; \
	apt-get install -y -q $(1) >/dev/null 2>&1 || { apt-get update -q >/dev/null && apt-get install -y -q $(1) >/dev/null; }; \
}
endef

run: setup
	@exec $(BIN)/okoomer run

test: setup
	@$(PYTHON) tests/needs.py
	@$(BIN)/python -m pytest

lint: setup
	@$(BIN)/python -m pytest -q tests/unit/test_lint.py

bench: setup
	@$(PYTHON) tests/needs.py
	@$(BIN)/python -m bench

# Runs what is missing, so it can be interrupted; out/lab/scoreboard.html is the page.
lab: setup
	@$(PYTHON) tests/needs.py
	@$(BIN)/python -m lab matrix $(if $(QUICK),--quick)

# The runs in out/lab become the published ones.
scoreboard: setup
	@$(BIN)/python -m lab publish

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
