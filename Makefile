# `make help` lists the targets.  PYTHON=python3.12 make test runs them on another Python.

PYTHON ?= python3
TESTS ?= tests
VENV := .venv
BIN := $(VENV)/bin
COMPILED := .venv-compiled
# Processes that run tests.  The functional tests wait longer than they work.
JOBS ?= 3

# The tests that reach compiled modules, and those of the daemon in which bytes, ends and limits matter.
COMPILED_TESTS := tests.test_native tests.test_service tests.test_tap \
	$(addprefix tests.,cli contracts relay policy frontends upkeep) \
	$(addprefix tests.functional.test_,streams failures limits stop)

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1 \2/p' Makefile | while read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

run: $(VENV)/.fresh ## serve etc/proxy.ini in the foreground
	$(BIN)/twistd -n tcpproxy --config etc/proxy.ini

test: $(VENV)/.fresh ## the whole suite, or TESTS=tests.policy.test_balance
	$(BIN)/python -m twisted.trial -j$(JOBS) $(TESTS)

test39: ## the unit and contract tests on the floor: Python 3.9 with Twisted 25.5
	.ci/test39 $(filter-out tests,$(TESTS))

compiled: $(COMPILED)/.fresh ## proxyd with its hot modules compiled by mypyc, in .venv-compiled; wants a C compiler

testcompiled: $(COMPILED)/.fresh ## the tests of what is compiled, and of the daemon, on the compiled modules
	cd $(COMPILED)/tested && PROXYD_COMPILE=1 ../bin/python -m twisted.trial -j$(JOBS) \
		$(if $(filter tests,$(TESTS)),$(COMPILED_TESTS),tests.test_native $(TESTS))

check: $(VENV)/.dev ## style, types, who imports whom, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m twisted.trial --reporter=text tests.test_architecture tests.test_documents

proof: $(VENV)/.fresh ## the long proofs of tests/proof, or PROOFS="stalled pgbench"
	$(BIN)/python -m tests.proof $(PROOFS)

soak: $(VENV)/.fresh ## a daemon under an hour of mixed load, or MINUTES=2: what does it hold afterwards?
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

bench: $(VENV)/.fresh $(COMPILED)/.fresh ## measure beside HAProxy and nginx; SECONDS=1 ROUNDS=1 ROWS="connect bulk" PROXIES=proxyd,nginx
	$(BIN)/python -m bench $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(PROXIES),--proxies $(PROXIES)) $(ROWS)

balance: $(VENV)/.fresh ## what one choice of a server costs, for each way to balance; WAYS="leastconn maglev"
	$(BIN)/python -m bench.balance $(WAYS)

lists: $(VENV)/.fresh ## what a list of a million networks costs, beside libraries that are installed; KINDS="proxyd py-radix"
	$(BIN)/python -m bench.lists $(KINDS)

affinity: $(VENV)/.fresh ## what it costs to remember a million clients: memory, and time for a connection
	$(BIN)/python -m bench.affinity

counters: $(VENV)/.fresh ## what it costs to count clients: memory of an entry, and time for a connection
	$(BIN)/python -m bench.counters

profile: $(VENV)/.bench ## where the daemon spends its time in a row: ROW=connect SECONDS=5 TOOL=py-spy, or perf
	$(BIN)/python -m bench.profile $(if $(SECONDS),--seconds $(SECONDS)) $(if $(TOOL),--tool $(TOOL)) \
		$(or $(ROW),small64)

services: ## install the servers and clients that the functional tests talk to (root, Debian)
	.ci/services

clean: ## remove what the other targets made
	find proxyd -name '*.so' -delete
	rm -rf .venv .venv-3.9 .venv-compiled build bench/build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .import_linter_cache

# pip is brought up to date first: Debian 11's cannot install a checkout in place from setup.cfg.
$(VENV)/.fresh: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.fresh
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.fresh
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

# From a copy: no older build's leavings go in, and nothing compiled comes to lie beside the sources.  In the
# folder "tested" there are the tests and not the sources, which would be imported instead.
$(COMPILED)/.fresh: setup.cfg setup.py pyproject.toml $(shell find proxyd twisted -name '*.py')
	$(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/python -m pip install --quiet --upgrade pip
	rm -rf $(COMPILED)/source $(COMPILED)/tested
	mkdir $(COMPILED)/source $(COMPILED)/tested
	cp -R README.md etc proxyd twisted pyproject.toml setup.cfg setup.py $(COMPILED)/source
	PROXYD_COMPILE=1 $(COMPILED)/bin/python -m pip install --quiet '$(COMPILED)/source[test,compression]'
	ln -s ../../tests $(COMPILED)/tested/tests
	touch $@

.PHONY: help run test test39 compiled testcompiled check proof soak bench balance lists affinity counters profile \
	services clean
