PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The tests without those that have a target of their own.
FAST := "not flink and not slow and not image and not serving and not cluster"

.PHONY: demo test test-slow test-flink test-image test-cluster test-serving coverage lint lock setup

# Runs the whole pipeline on MovieLens-100K through kfp.local and prints the result.
demo: setup
	$(BIN)/mdctr run movielens

test: lint
	$(BIN)/python -m pytest -n 2 -m $(FAST)

# The tests that take long: every model, framework and kind of log where `make test` has some.
test-slow: setup
	$(BIN)/python -m pytest -n 2 -m slow

# Builds a dataset on a real Flink cluster on this machine; needs Java 11 or 17 and Maven.
test-flink: setup
	$(BIN)/python -m pytest tests/flink -m flink -s

# Builds the image of k8s/Dockerfile from Debian's packages, without a registry or a container
# engine, and runs the compiled pipeline's steps in it. Needs root, debootstrap and 10 GB in
# .cache/image; takes about ten minutes.
test-image: setup
	$(BIN)/python -m pytest tests/image -m image -s

# Runs the demo on a cluster and waits for the pushed version; docs/cluster.md makes a cluster.
# KFP_HOST is the URL of Kubeflow Pipelines, NAMESPACE the one of a multi-user installation, SET
# changes the configuration.
SET ?= cluster.gpus=0
test-cluster: setup
	KFP_HOST="$(KFP_HOST)" NAMESPACE="$(NAMESPACE)" SET="$(SET)" \
		$(BIN)/python -m pytest tests/kubeflow/test_cluster.py -m cluster -s

# Scores models with TensorFlow for Java; needs Java 11 or later and Maven.
test-serving: setup
	$(BIN)/python -m pytest tests/serving -m serving -s -rs

# Runs the tests and prints the branch coverage of each file that they do not cover entirely.
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 -m $(FAST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/.installed

# Touched when all is installed, so that an interrupted set-up is done again.
$(VENV)/.installed: requirements.txt setup.py
	@command -v $(PYTHON) >/dev/null || { echo 'mdctr needs Python 3.11: install it, or name it with make PYTHON=...' >&2; exit 1; }
	@echo 'Setting up $(VENV) from requirements.txt (a few minutes, once)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Renews the lock from requirements.in; needs uv.
lock:
	uv pip compile --custom-compile-command 'make lock' --python-version 3.11 --generate-hashes --allow-unsafe requirements.in -o requirements.txt
