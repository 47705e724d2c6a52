# Two commands: `make demo` shows the main job, `make test` runs every test. Each sets up what it needs.
# `make check` is the quick inner loop, `make cluster` runs the controller on a real control plane.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Named after the folder, because an environment that was moved with its checkout has to be made again.
READY := .venv/.ready-$(firstword $(shell pwd | cksum))
# The tests with servers mostly wait, so there are more of them at a time than cores.
WORKERS ?= 4

.PHONY: help setup demo test check lint types contracts unit sizes cluster picture golden lock clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "}; {printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements/uv.txt requirements/dev.txt pyproject.toml deploy/setup.sh
	@PYTHON=$(PYTHON) bash deploy/setup.sh
	@touch $@

setup: $(READY) ## Make the environment in .venv from the hashed requirements

demo: $(READY) ## Replay an hour of real traffic on a simulated cluster, live, with table and picture (under 60 s)
	@$(BIN)/simulator demo --out out/demo $(ARGS)

test: $(READY) ## Every test, the real control plane included
	@$(BIN)/python -m deploy.localcluster build
	@$(MAKE) --no-print-directory lint contracts types
	@$(BIN)/python -m simulator.compiled >&2  # else the first test of each worker compiles, within its time limit
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

check: $(READY) ## Lint, types, import contracts, tests without servers (under two minutes)
	@$(MAKE) --no-print-directory lint contracts
	@$(MAKE) --no-print-directory -j2 --output-sync types unit

lint: $(READY) ## Lint and format check
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

types: $(READY) ## Strict types
	@$(BIN)/mypy

contracts: $(READY) ## Who may import whom
	@$(BIN)/lint-imports

unit: $(READY) ## Tests that start no server
	@$(BIN)/python -m simulator.compiled >&2
	@$(BIN)/pytest -q -n auto -m "not servers and not endtoend" $(ARGS)

sizes: $(READY) ## Sizes of modules and functions against their targets
	@$(BIN)/python -m benchmarks.code_sizes

cluster: $(READY) ## A real control plane, Prometheus, emulated engines and the controller, until Ctrl-C
	@$(BIN)/python -m deploy.localcluster build
	@$(BIN)/python -m deploy.localcluster demo $(ARGS)

picture: $(READY) ## Render the demo's HTML to docs/demo.png with headless Chromium
	@$(BIN)/python -m docs.picture out/demo/report.html docs/demo.png

golden: $(READY) ## Rewrite the golden scenarios; read the diff before you commit it
	@$(BIN)/pytest -q tests/scenarios --rewrite

lock: $(READY) ## Lock the requirements again
	@bash deploy/lock.sh

clean: ## Remove the environment and what was made here; the cache of built servers stays
	@rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
