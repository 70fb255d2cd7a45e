PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-matrix clean

demo: .venv/installed ## train on real digits: a table, a figure, a CSV
	$(BIN)/python -m benchmarks run demo

test: .venv/installed ## style, types, tests, doctests and the README's code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

test-matrix: .venv/installed ## the wheel on each Python, newest and oldest versions
	$(BIN)/python tests/matrix.py

.venv/installed: pyproject.toml
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit( \
	  'prox_optax needs Python 3.11 or newer, this is ' + sys.version.split()[0] \
	  + '; write for example: make PYTHON=python3.12 demo')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean: ## remove the environment and the caches
	rm -rf .venv build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
