PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-flink lint lock setup

# Runs the whole pipeline on MovieLens-100K through kfp.local and prints the result.
demo: setup
	$(BIN)/mdctr run movielens

test: setup
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 -m "not flink"

# Builds a dataset on a real Flink cluster on this machine; needs Java 11 or 17 and Maven.
test-flink: setup
	$(BIN)/python -m pytest tests/flink -m flink -s

lint: setup
	$(BIN)/ruff check .

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
