# `make train` and `make test` do all their own set-up: a Python from 3.11 on and make are all they need.
# Settings: make train PYTHON=python3.12 ENVIRONMENT=3DBall RUN_ID=mine STOP_AT=95

SHELL := /bin/sh
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c .ci/constraints.txt
ENVIRONMENT ?= 3DBall
STOP_AT ?= 95
RESULTS := results
RUN_ID ?= $(ENVIRONMENT)-$(NOW)
NOW := $(shell date +%Y%m%d-%H%M%S)

.PHONY: help setup kernels wheel train test lint proto bench verify-learning verify-environments verify-parity verify-in-game verify-distributed verify-extras verify-faults soak unity-plugin fuzz demos pictures unity-build tensorboard clean

help:
	@echo "make train        train 3DBall until its mean reward is $(STOP_AT), then say where everything is"
	@echo "make test         run every test"
	@echo "make lint         check style (ruff) and types (mypy)"
	@echo "make tensorboard  look at the runs in $(RESULTS)/"
	@echo "make bench        measure speed, beside the official trainer if it can be had, into tests/benchmarks/"
	@echo "make verify-learning  train 3DBall with three seeds and check what it learns, into tests/reports/"
	@echo "make verify-environments  train all three with five seeds and check what they learn, into tests/reports/"
	@echo "make verify-parity  learning curves beside the official trainer's, three seeds each, into tests/reports/"
	@echo "make verify-faults  break players and trainers, ours and the official one, into tests/reports/"
	@echo "make soak         an hour of training watched, 200 kills, 100 restarts, into tests/reports/"
	@echo "make fuzz         search a quarter of an hour for bytes that the codec misreads, into tests/reports/"
	@echo "make demos        run trainers/demos with three seeds each, beside plain torch and Keras, into tests/reports/"
	@echo "make pictures     draw the README's pictures (needs Debian's chromium and chromium-driver)"
	@echo "make unity-build UNITY=/path/to/Unity ENV=3DBall  build the Unity project, with your Unity"
	@echo "make verify-in-game  train in C# without Python under Mono and check what is learnt, into tests/reports/"
	@echo "make verify-extras  install each extra into an empty environment and run its examples, into tests/reports/"
	@echo "make verify-distributed  measure one training on several processes and hosts, into tests/reports/"
	@echo "make unity-plugin  compile the kernels for Unity into unity_envs/UnityProject/Assets/Plugins"
	@echo "make kernels      compile the kernels now instead of at first use"
	@echo "make wheel        build a wheel that carries the compiled kernels, into dist/"
	@echo "make setup        only make .venv and install into it"
	@echo "make proto        compile bridge/protos/*.proto anew"
	@echo "make clean        remove .venv and caches; $(RESULTS)/ stays"

setup: .venv/.installed
	@echo "Ready: $(BIN)/mlbridge --help"

# Some Pythons are there by name only (pyenv's shims), so each has to show that it runs.
.venv/bin/python:
	@pythons="$(PYTHON)"; \
	for python in $${pythons:-python3.13 python3.12 python3.11 python3 python}; do \
	    if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "Making .venv with $$($$python --version)"; \
	        exec $$python -m venv .venv; \
	    fi; \
	done; \
	echo "Found no Python from 3.11 on with its venv module$${pythons:+ (PYTHON=$$pythons is none)}." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name one: make train PYTHON=/path/to/python3" >&2; \
	exit 1

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

kernels: .venv/.installed
	@$(BIN)/python -m trainers.kernels.build

wheel: .venv/.installed
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

proto: .venv/.installed-dev
	@cd bridge/protos && ../../$(BIN)/python -m grpc_tools.protoc -I. --include_imports --descriptor_set_out=descriptor_set.binpb *.proto
	@echo "Wrote bridge/protos/descriptor_set.binpb"

# 108,000 steps are about a training to mean reward 95: early on every episode ends soon, which costs messages.
# The official trainer is measured as well where a Python 3.10 is found; it is installed into .cache/peer, once.
bench: .venv/.installed
	@peer=$$($(BIN)/python tests/benchmarks/build_peer.py) && MLBRIDGE_PEER_PYTHON="$$peer" \
	    $(BIN)/mlbridge bench --full --steps 108000 --json tests/benchmarks/bench.json --markdown tests/benchmarks/bench.md

verify-learning: .venv/.installed
	@peer=$$($(BIN)/python tests/benchmarks/build_peer.py --no-install) && MLBRIDGE_PEER_PYTHON="$$peer" \
	    $(BIN)/python tests/reports/verify_learning.py

verify-parity: .venv/.installed
	@peer=$$($(BIN)/python tests/benchmarks/build_peer.py --no-install) && MLBRIDGE_PEER_PYTHON="$$peer" \
	    $(BIN)/python tests/reports/verify_parity.py $(if $(REUSE),--reuse $(REUSE))

verify-distributed: .venv/.installed
	@$(BIN)/python tests/reports/verify_distributed.py

verify-in-game: .venv/.installed
	@$(BIN)/python tests/reports/verify_in_game.py

verify-extras: .venv/.installed
	@$(BIN)/python tests/reports/verify_extras.py

demos: .venv/.installed-dev
	@$(BIN)/python tests/reports/verify_demos.py

unity-plugin: .venv/.installed
	@$(BIN)/python -m trainers.kernels.unity_plugins

verify-environments: .venv/.installed
	@$(BIN)/python tests/reports/verify_environments.py

verify-faults: .venv/.installed
	@peer=$$($(BIN)/python tests/benchmarks/build_peer.py --no-install) && MLBRIDGE_PEER_PYTHON="$$peer" \
	    $(BIN)/python tests/reports/verify_faults.py

soak: .venv/.installed
	@$(BIN)/python tests/reports/verify_soak.py $(if $(PHASES),--phases $(PHASES))

fuzz: .venv/.installed-dev
	@$(BIN)/python tests/reports/verify_fuzzing.py $(if $(SECONDS),--seconds $(SECONDS))

pictures: .venv/.installed-dev
	@for name in CubeMover PoleBalancer 3DBall; do \
	    $(BIN)/mlbridge learn $$name --env $$name --in-process --run-id pictures-$$name --results-dir $(RESULTS) --seed 1 --force && \
	    $(BIN)/mlbridge play $$name --model random --model $(RESULTS)/pictures-$$name/$$name.onnx --seed 1 --renderer plain \
	        --caption "untrained" --caption "trained" --output unity_envs/pictures/$$name.gif || exit 1; \
	done
	@$(BIN)/python tests/browser/pictures.py --results $(RESULTS)

# Needs an installed Unity Editor with a licence.
UNITY_TARGET := $(if $(filter Darwin,$(shell uname -s)),OSXUniversal,$(if $(filter Linux,$(shell uname -s)),Linux64,Win64))
TARGET ?= $(UNITY_TARGET)
unity-build:
	@if [ -z "$(UNITY)" ] || [ -z "$(ENV)$(OWN)" ]; then \
	    echo "make unity-build UNITY=/path/to/Unity ENV=3DBall [VARIANT=hard] [TARGET=Linux64, Win64 or OSXUniversal] [SERVER=1]" >&2; \
	    exit 2; \
	fi
	@"$(UNITY)" -batchmode -nographics -quit -accept-apiupdate -projectPath unity_envs/UnityProject -logFile - \
	    -buildTarget $(TARGET) $(if $(SERVER),-standaloneBuildSubtarget Server) \
	    -executeMethod MlAgentsBridge.Build.FromCommandLine --target $(TARGET) $(if $(SERVER),--server) \
	    $(if $(OWN),--own $(OWN),--env-name $(ENV)) $(if $(VARIANT),--variant $(VARIANT))

tensorboard: .venv/.installed
	@$(BIN)/tensorboard --logdir $(RESULTS)

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks build dist *.egg-info
	find bridge trainers unity_envs tests -name __pycache__ -type d -prune -exec rm -rf {} +
