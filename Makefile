# Everything a newcomer, a contributor and CI do here. `make` lists it.
#
# Needed: Python 3.11 or newer, Node 20 or newer. Everything else is installed into .venv and labextension/node_modules.
# Each installation leaves a stamp, so that the second call is quick; a changed pyproject.toml or lab extension renews it.

PYTHON ?= python3
PORT ?= 8888
# Tests mostly wait for servers and browsers, and some hold deadlines: two at a time keep two cores busy, not late.
PYTEST_ARGS ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder
JEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
NODE_STAMP := labextension/node_modules/.yarn-state.yml
CLIENT := tests/wire/client
CLIENT_BUILT := $(CLIENT)/dist/trials/all.test.js
# What others wrote in JavaScript for the tests to talk to, and the client's own packages.
TEST_PACKAGES := $(patsubst %/package-lock.json,%/node_modules/.package-lock.json,$(wildcard tests/*/*/package-lock.json))
LAB_SOURCES := $(wildcard labextension/*.json labextension/*.mjs labextension/yarn.lock labextension/style/*) \
  $(shell find labextension/src -name '*.ts' -not -path '*/__tests__/*' 2>/dev/null)

BUILT := jupyter_agent/labextension jupyter_agent/widgets/static

# JupyterLab refuses root without a word for it, and opens a browser where there is a screen.
LAB_FLAGS := $(if $(filter 0,$(shell id -u)),--allow-root)
ifneq ($(shell uname),Darwin)
LAB_FLAGS += $(if $(DISPLAY)$(WAYLAND_DISPLAY),,--no-browser)
endif

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export YARN_ENABLE_TELEMETRY := 0
# The lab extension's commands are the environment's own, not those of the machine.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lab demo test test-python test-lab lint format types build bench screenshots docs-check generate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- to use -----------------------------------------------------------------------------------------------------

lab: $(STAMPS)/lab ## open JupyterLab on the tour notebook (PORT=8888)
	@echo "JupyterLab is starting on port $(PORT) (or the next free one); its address with the token follows. Stop it with Ctrl-C."
	$(BIN)/jupyter lab $(LAB_FLAGS) --port=$(PORT) \
	  --LabApp.default_url=/lab/tree/notebooks/00-tour.ipynb

demo: $(STAMPS)/lab ## run the tour's main job here in the terminal, with no key
	$(BIN)/jupyter agent demo

# --- to check ---------------------------------------------------------------------------------------------------

test: test-python test-lab ## run all tests: Python, the protocol's client in TypeScript, the lab extension

test-python: $(STAMPS)/test $(TEST_PACKAGES) $(CLIENT_BUILT)
	@# Deadlines are held once what was just installed is on disk.
	@sync
	$(BIN)/python -m pytest $(PYTEST_ARGS) || { [ $$? = 1 ] && $(BIN)/python .ci/heard_again.py; }

test-lab: $(STAMPS)/test $(NODE_STAMP)
	cd labextension && jlpm test $(JEST_ARGS)

lint: $(STAMPS)/dev $(NODE_STAMP) ## ruff, prettier, and generated files that are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd labextension && jlpm lint
	$(BIN)/python -m jupyter_agent.protocol.generate --check
	$(BIN)/python -m jupyter_agent.gateway.configuration --check

format: $(STAMPS)/dev $(NODE_STAMP) ## put all code in its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd labextension && jlpm format

types: $(STAMPS)/dev $(NODE_STAMP) ## mypy and tsc, both strict
	$(BIN)/mypy
	cd labextension && jlpm types

docs-check: $(STAMPS)/test ## links, examples and generated parts of the documentation
	$(BIN)/python -m jupyter_agent.protocol.generate --check
	$(BIN)/python -m jupyter_agent.gateway.configuration --check
	$(BIN)/python -m pytest tests/test_documents.py $(wildcard tests/docs) $(PYTEST_ARGS)

bench: $(STAMPS)/test ## print the figures of docs/performance.md
	$(BIN)/python -m benchmarks

# --- to make ----------------------------------------------------------------------------------------------------

screenshots: $(STAMPS)/test ## take the documentation's pictures anew, in a real browser
	mkdir -p docs/screenshots
	JUPYTER_AGENT_SCREENSHOTS=docs/screenshots JUPYTER_AGENT_REQUIRE=chromium \
	  $(BIN)/python -m pytest tests/browser/test_tour.py tests/browser/test_saved.py tests/browser/test_views.py tests/browser/test_charts.py \
	  tests/browser/test_workflow.py -k "main_job or stranger_shows or test_views or test_charts or test_workflow"

generate: $(STAMPS)/dev ## write the protocol's JSON Schema and TypeScript types anew
	$(BIN)/python -m jupyter_agent.protocol.generate
	$(BIN)/python -m jupyter_agent.gateway.configuration

build: $(STAMPS)/dev ## make the sdist, and the wheel from it, into dist/
	rm -rf dist $(BUILT)
	$(BIN)/python -m build

clean: ## remove everything that was built or installed
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf $(BUILT) labextension/lib labextension/node_modules labextension/.yarn
	rm -rf labextension/tsconfig.tsbuildinfo tests/*/*/node_modules $(CLIENT)/dist
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- installations ----------------------------------------------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) --version`. Name another: make PYTHON=python3.12 …"; exit 1; }
	@command -v node > /dev/null || { echo "Node 20 or newer is needed to build the lab extension: install it (nodejs.org)."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A wider extra contains the narrower ones, so that installing it makes their stamps too. The lab extension is built anew,
# since the build looks at the age of src/ alone and would leave a changed style or package.json out.
$(STAMPS)/lab: $(VENV)/pyvenv.cfg pyproject.toml $(LAB_SOURCES)
	@echo "Installing into $(VENV) and building the lab extension: some minutes the first time …"
	@rm -rf $(BUILT)
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: $(VENV)/pyvenv.cfg pyproject.toml $(LAB_SOURCES)
	@echo "Installing into $(VENV) and building the lab extension: some minutes the first time …"
	@rm -rf $(BUILT)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@mkdir -p $(STAMPS) && touch $(STAMPS)/lab $@

$(STAMPS)/dev: $(VENV)/pyvenv.cfg pyproject.toml $(LAB_SOURCES)
	@echo "Installing into $(VENV) and building the lab extension: some minutes the first time …"
	@rm -rf $(BUILT)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@mkdir -p $(STAMPS) && touch $(STAMPS)/lab $(STAMPS)/test $@

$(NODE_STAMP): labextension/package.json labextension/yarn.lock | $(STAMPS)/lab
	cd labextension && jlpm install
	@touch $@

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(CLIENT_BUILT): $(CLIENT)/node_modules/.package-lock.json $(wildcard $(CLIENT)/tsconfig.json $(CLIENT)/src/*.ts $(CLIENT)/trials/*.ts)
	cd $(CLIENT) && npm run --silent build
	@touch $@
