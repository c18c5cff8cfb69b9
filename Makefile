# `make train` and `make test` do all their own set-up: a Python from 3.11 on and make are all they need.
# Settings: make train PYTHON=python3.12 ENVIRONMENT=3DBall RUN_ID=mine STOP_AT=95

SHELL := /bin/sh
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check -c .ci/constraints.txt
ENVIRONMENT ?= 3DBall
STOP_AT ?= 95
RESULTS := results
RUN_ID ?= $(ENVIRONMENT)-$(NOW)
NOW := $(shell date +%Y%m%d-%H%M%S)

.PHONY: help setup train test lint proto bench tensorboard clean

help:
	@echo "make train        train 3DBall until its mean reward is $(STOP_AT), then say where everything is"
	@echo "make test         run every test"
	@echo "make lint         check style (ruff) and types (mypy)"
	@echo "make tensorboard  look at the runs in $(RESULTS)/"
	@echo "make bench        measure speed, into $(RESULTS)/bench.json"
	@echo "make setup        only make .venv and install into it"
	@echo "make proto        compile bridge/protos/*.proto anew"
	@echo "make clean        remove .venv and caches; $(RESULTS)/ stays"

setup: .venv/.installed
	@echo "Ready: $(BIN)/mlbridge --help"

# Named Pythons first, newest first; some may be there by name only (pyenv's shims), so each has to show that it runs.
.venv/bin/python:
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	    for candidate in python3.13 python3.12 python3.11 python3 python; do \
	        if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	            python=$$candidate; break; \
	        fi; \
	    done; \
	fi; \
	if [ -z "$$python" ]; then \
	    echo "Found no Python from 3.11 on (with its venv module; on Debian and Ubuntu: apt install python3-venv)." >&2; \
	    echo "Install one, or name one: make train PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Making .venv with $$($$python --version)"; \
	$$python -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml .ci/constraints.txt
	@echo "Installing mlagents-bridge into .venv (the first time takes minutes: PyTorch is large)"
	@$(PIP_INSTALL) -e '.[plot]'
	@touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml .ci/constraints.txt
	@echo "Installing mlagents-bridge and what its tests need into .venv (the first time takes minutes: PyTorch is large)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch .venv/.installed $@

train: .venv/.installed
	@$(BIN)/mlbridge learn $(ENVIRONMENT) --env $(ENVIRONMENT) --run-id $(RUN_ID) --results-dir $(RESULTS) --stop-at-reward $(STOP_AT)
	@$(BIN)/mlbridge plot $(RESULTS)/$(RUN_ID)
	@echo
	@echo "Everything of this run:  $(RESULTS)/$(RUN_ID)/"
	@echo "Learning curve:          $(RESULTS)/$(RUN_ID)/learning_curve.png"
	@echo "Model for Unity:         $(RESULTS)/$(RUN_ID)/$(ENVIRONMENT).onnx"
	@echo "Charts in the browser:   make tensorboard, then open http://localhost:6006"

test: .venv/.installed-dev
	@$(BIN)/python -m pytest -q

lint: .venv/.installed-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

proto: .venv/.installed-dev
	@cd bridge/protos && ../../$(BIN)/python -m grpc_tools.protoc -I. --include_imports --descriptor_set_out=descriptor_set.binpb *.proto
	@echo "Wrote bridge/protos/descriptor_set.binpb"

bench: .venv/.installed
	@mkdir -p $(RESULTS)
	@$(BIN)/mlbridge bench --json $(RESULTS)/bench.json

tensorboard: .venv/.installed
	@$(BIN)/tensorboard --logdir $(RESULTS)

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks build dist *.egg-info
	find bridge trainers unity_envs tests -name __pycache__ -type d -prune -exec rm -rf {} +
