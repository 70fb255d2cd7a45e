PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-faults test-matrix traffic docs clean

demo: .venv/installed ## train on digits, 1.5 to 4.3 minutes on 2 CPU cores
	$(BIN)/python -m benchmarks run demo

test: ONLY = -m 'not slow'
test test-all: .venv/installed ## style, types, tests, doctests, README; -all: the slow too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 $(ONLY)

test-faults: .venv/installed ## kills, full disks, damaged files, bad data
	$(BIN)/pytest -n 2 -m faults

test-matrix: .venv/installed ## the wheel on each Python, newest and oldest versions
	$(BIN)/python tests/matrix.py

traffic: .venv-traffic/installed ## count what an update moves; fails over budget
	.venv-traffic/bin/python -m benchmarks traffic

docs: .venv-docs/installed ## the site of docs/ in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict
	@echo 'Open build/site/index.html, or to search in it http://localhost:8000 after'
	@echo '  .venv-docs/bin/python -m http.server --directory build/site'

# The plugins stand apart: jax looks for the devices of all that it finds.
.venv/installed: EXTRA = test
.venv-traffic/installed: EXTRA = traffic
.venv-docs/installed: EXTRA = docs
.venv/installed .venv-traffic/installed .venv-docs/installed: pyproject.toml
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit( \
	  'prox_optax needs Python 3.11 or newer, this is ' + sys.version.split()[0] \
	  + '; write for example: make PYTHON=python3.12 demo')"
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	touch $@

clean: ## remove the environments and the caches
	rm -rf .venv .venv-docs .venv-traffic build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
