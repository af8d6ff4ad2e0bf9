# Everything runs in .venv, made on first use. Needs python3 (>= 3.11, with venv and pip) and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test test-slow check bench clean

demo: .venv/ready
	$(BIN)/aureole demo --out demo-out

test: .venv/ready
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-slow: .venv/ready
	$(BIN)/python -m pytest -n $(WORKERS) -m slow

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH=$(BIN):$$PATH python scripts/undefined_names.py
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python -m benchmarks.run

# The last line compiles the search, so that neither the demo nor several test workers do it.
# torch comes first and by version: left to the resolver, a newer build may bring gigabytes of CUDA packages.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -c "from aureole.verify import prepare; prepare()"
	touch $@

clean:
	rm -rf .venv demo-out
