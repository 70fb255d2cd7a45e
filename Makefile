PYTHON ?= python3
BIN := .venv/bin
TUTORIALS := $(patsubst docs/%.py,build/%.ipynb,$(wildcard docs/tutorials/*.py))

.PHONY: demo help check lint test test-all test-faults test-matrix test-neighbours package traffic docs hooks clean

demo: .venv/installed ## train on digits, 0.7 to 2.9 minutes on 2 CPU cores
	$(BIN)/python -m benchmarks run demo

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

check: lint ## format, style, types and the library's fast tests
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.jax_cache JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	  $(BIN)/pytest -n 2 -m 'not slow' tests/library prox_optax

lint: .venv/installed ## format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: ONLY = -m 'not slow'
test-all: ONLY = -m 'not weekly'
test test-all: lint ## lint, tests, doctests, README; -all: the slow too
	$(BIN)/pytest -n 2 $(ONLY)

test-faults: .venv/installed ## kills, full disks, damaged files, bad data
	$(BIN)/pytest -n 2 -m faults

test-matrix: .venv/installed ## the wheel on each Python, newest and oldest versions
	$(BIN)/python tests/matrix.py

package: .venv-package/installed ## build sdist and wheel in dist, and check them as a release does
	.venv-package/bin/validate-pyproject pyproject.toml
	rm -rf dist
	.venv-package/bin/python -m build
	.venv-package/bin/twine check --strict dist/*
	.venv-package/bin/check-wheel-contents dist
	.venv-package/bin/pyroma --min 8 dist/*.tar.gz

test-neighbours: .venv/installed ## the recipes with Flower, Keras and other libraries
	$(BIN)/python tests/neighbours.py

traffic: .venv-traffic/installed ## count what an update moves; fails over budget
	.venv-traffic/bin/python -m benchmarks traffic $(TINY)

docs: .venv-docs/installed $(TUTORIALS) ## the site of docs/ in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict
	@echo 'Open build/site/index.html, or to search in it http://localhost:8000 after'
	@echo '  .venv-docs/bin/python -m http.server --directory build/site'

build/tutorials/%.ipynb: docs/tutorials/%.py $(wildcard prox_optax/*.py) .venv-docs/installed
	mkdir -p $(@D)
	.venv-docs/bin/jupytext --to ipynb --set-kernel python3 --execute --output $@ $<

hooks: .venv/installed ## let git run format, style and types before each commit
	$(BIN)/pip install --quiet --group hooks
	$(BIN)/pre-commit install

# The plugins stand apart: jax looks for the devices of all that it finds.
.venv/installed: PACKAGES = --editable '.[examples]' --group test
.venv-traffic/installed: PACKAGES = --editable '.[benchmarks]' --group traffic
.venv-docs/installed: PACKAGES = --editable . --group docs
.venv-package/installed: PACKAGES = --group package
.venv/installed .venv-traffic/installed .venv-docs/installed .venv-package/installed: pyproject.toml
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit( \
	  'prox_optax needs Python 3.11 or newer, this is ' + sys.version.split()[0] \
	  + '; write for example: make PYTHON=python3.12 demo')"
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGES)
	touch $@

clean: ## remove the environments and the caches
	rm -rf .venv .venv-docs .venv-package .venv-traffic build dist *.egg-info
	rm -rf .hypothesis .jax_cache .mypy_cache .pytest_cache .ruff_cache
