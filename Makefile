# Needs only Python 3.11, 3.12 or 3.13 and make: each target sets up what it needs, once.
# `make` alone lists the targets. Another Python: make test PYTHON=/path/to/python3.12

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
CLI := .venv-cli
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUPPORTED)' 2> /dev/null && echo $$p && break; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:
	@echo 'make demo    a shop on this machine: carts go in, outcomes come out, and faults are injected'
	@echo 'make run     the local stack until Ctrl-C: simulator, storage emulator, host'
	@echo 'make chaos   thousands of carts while workers are killed and connections fail (make chaos ARGS="--carts 1000")'
	@echo 'make bench   what a checkout costs, beside other programs; 30 minutes (make bench ARGS=--quick: two)'
	@echo 'make install the cart-checkout command alone, for operators, in .venv-cli'
	@echo 'make test    the tests (make test ARGS="-k verdict")'
	@echo 'make fuzz    a million hostile messages (make fuzz ARGS="--bodies 20000 --seed 7")'
	@echo 'make model   every history of two and three messages of one cart, in eleven services; hours'
	@echo 'make faults  every fault of every story, in three services: hours'
	@echo 'make mutants mutation tests of the core and of the message path; hours'
	@echo 'make lint    ruff, and mypy'
	@echo 'make lock    compile the requirements (make lock ARGS=--upgrade)'
	@echo 'make check   lint, and whether the locks are fresh'
	@echo 'make clean   remove everything that these targets made'

.PHONY: demo
demo: $(VENV)/.azurite
	@$(BIN)/python -m local.demo $(ARGS)

.PHONY: run
run: $(VENV)/.azurite
	@$(BIN)/python -m local.stack $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.azurite
	@$(BIN)/python -m local.chaos $(ARGS)

.PHONY: bench
bench: $(BENCH)/.azurite
	@$(BENCH)/bin/python -m bench $(ARGS)

.PHONY: install
install: $(CLI)/.installed
	@echo "Installed: $(abspath $(CLI))/bin/cart-checkout"

.PHONY: test
test: $(VENV)/.azurite $(VENV)/.asyncapi $(VENV)/.typescript_producer $(VENV)/.generators $(VENV)/.kusto
	@scripts/test $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.installed
	@$(BIN)/python -m tests.security.fuzz $(ARGS)

.PHONY: model
model: $(VENV)/.installed
	@$(BIN)/python -m tests.model $(ARGS)

.PHONY: faults
faults: $(VENV)/.installed
	@EVERY_FAULT=1 $(BIN)/python -m pytest -q -p no:cacheprovider --show-capture=no tests/invariants/test_every_fault.py $(ARGS)

.PHONY: mutants
mutants: $(VENV)/.installed
	@scripts/mutants $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: lock
lock: $(VENV)/.installed
	@scripts/lock $(ARGS)

.PHONY: check
check: lint
	@scripts/lock --check
	@echo 'The locks are fresh.'

.PHONY: clean
clean:
	@rm -rf .venv .venv-* .local build *.egg-info .coverage .coverage.* \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the set-up, one stamp for each step ------------------------------------------------------------------

$(VENV)/.python $(CLI)/.python:
	@test -n '$(PYTHON)' && $(PYTHON) -c '$(SUPPORTED)' || { \
		echo 'This needs Python 3.11, 3.12 or 3.13. Where is it? make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'; exit 1; }
	@echo "Setting up $(@D) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(@D)
	@touch $@

$(VENV)/.required: requirements-dev.txt | $(VENV)/.python
	@echo 'Installing requirements-dev.txt, each file checked against its hash ...'
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements-dev.txt
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.required
	@echo 'Installing this project in place ...'
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.asyncapi: tests/contract/asyncapi/package-lock.json $(VENV)/.installed
	@echo "Installing AsyncAPI's parser ..."
	@$(BIN)/python -m tests.contract.parser
	@touch $@

$(VENV)/.kusto: tests/deploy/kusto/package-lock.json $(VENV)/.installed
	@echo "Installing Kusto's language service ..."
	@$(BIN)/python -m tests.deploy.language
	@touch $@

$(VENV)/.typescript_producer: examples/typescript_producer/package-lock.json $(VENV)/.installed
	@echo 'Installing the packages of the producer in TypeScript ...'
	@$(BIN)/python -m tests.examples.typescript_producer
	@touch $@

$(VENV)/.generators: tests/contract/generators/package-lock.json $(VENV)/.installed
	@echo "Installing the generators of other languages ..."
	@$(BIN)/python -m tests.contract.generators --install
	@touch $@

$(VENV)/.azurite: local/azurite/package-lock.json $(VENV)/.installed
	@echo 'Installing Azurite, the storage emulator ...'
	@$(BIN)/python -m local.azurite
	@touch $@

# The operators' command, from a copy of the program, with the pinned run-time requirements and no development tools.
$(CLI)/.installed: pyproject.toml requirements.txt $(wildcard cli/*.py cli/*/*.py shared/*.py shared/*/*.py) | $(CLI)/.python
	@echo 'Installing requirements.txt, each file checked against its hash, and cart-checkout ...'
	@$(CLI)/bin/python -m pip install -qq --require-hashes --requirement requirements.txt
	@rm -rf build  # else files that were renamed since would be installed too
	@$(CLI)/bin/python -m pip install -qq '.[cli]'
	@touch $@

# The benchmark has its own environment, since nothing else needs the programs that it compares with.
$(BENCH)/.required: bench/requirements.txt | $(VENV)/.python
	@echo 'Installing bench/requirements.txt, each file checked against its hash ...'
	@$(VENV)/bin/python -m venv --clear $(BENCH)
	@$(BENCH)/bin/python -m pip install -qq --require-hashes --requirement bench/requirements.txt
	@touch $@

$(BENCH)/.azurite: local/azurite/package-lock.json $(BENCH)/.required
	@$(BENCH)/bin/python -m local.azurite
	@touch $@
