# Set-up, run and test okoomer on a Debian machine. `make` alone lists the targets.
SHELL := /bin/bash

# Debian's own interpreter where there is one: the guard shares its pages with whatever else runs on it.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

# What `install` puts where: sources, a colon, the directory.
FILES := \
	systemd/okoomer.service:/etc/systemd/system \
	systemd/okoomer-courier.service:/etc/systemd/system \
	systemd/sysusers.d/okoomer.conf:/etc/sysusers.d \
	systemd/user/okoomer-desktop.service:/etc/systemd/user \
	systemd/okoomer-desktop.desktop:/etc/xdg/autostart \
	$(patsubst %,%:/etc/dbus-1/system.d,$(filter-out dbus/org.freedesktop.oom1.%,$(wildcard dbus/*.conf))) \
	$(patsubst %,%:/usr/local/share/dbus-1/system-services,$(wildcard dbus/*.service))

.PHONY: help setup run install placed install-files uninstall test lint bench lab scoreboard clean

help:
	@echo 'make run     guard this machine, in the foreground'
	@echo 'make install guard this machine from now on, by systemd; make uninstall takes that back'
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
	@$(BIN)/python -m compileall -q -o 0 -o 2 src
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

install: placed setup install-files
	ln -sfn '$(CURDIR)/$(BIN)/okoomer' /usr/bin/okoomer
	systemd-sysusers okoomer.conf
	systemctl daemon-reload
	-systemctl reload dbus.service
	systemctl --global enable okoomer-desktop.service
	systemctl enable okoomer.service okoomer-courier.service
	systemctl restart okoomer.service okoomer-courier.service

# Units are not shown what is in a home.
placed:
	@case '$(CURDIR)/' in /home/*|/root/*|/run/user/*|/tmp/*|/var/tmp/*) \
		echo 'the units cannot see $(CURDIR): move it, to /opt/okoomer for example' >&2; exit 3;; esac

# The files alone, below DESTDIR.
install-files:
	@$(foreach file,$(FILES),install -D -m 644 -t '$(DESTDIR)$(lastword $(subst :, ,$(file)))' $(firstword $(subst :, ,$(file))) &&) :

# The policy, courier.toml and the user stay.
uninstall:
	-systemctl disable --now okoomer-courier.service okoomer.service
	-systemctl --global disable okoomer-desktop.service
	rm -f $(foreach file,$(FILES),'$(lastword $(subst :, ,$(file)))/$(notdir $(firstword $(subst :, ,$(file))))')
	rm -f /usr/bin/okoomer
	-systemctl daemon-reload
	-systemctl reload dbus.service

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
