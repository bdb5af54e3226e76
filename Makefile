# make verify: every claim on real photographs.  make test: the tests.  Both set up their own environment in .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AXE := axe-core@4.14.1
INPUTS := pyproject.toml constraints.txt multires/_haar.c
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: verify test lint docs bench reference clean
.DELETE_ON_ERROR:

verify: $(VENV)/installed
	@$(BIN)/multires verify

test: $(VENV)/installed-dev lint
	@HYPOTHESIS_PROFILE=ci OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist loadgroup --cov --cov-report=term --cov-fail-under=90 $(ARGS)
	@$(BIN)/python -m coverage report --include='multires/*' --fail-under=95 --format=total

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

docs: $(VENV)/installed-dev
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m sphinx --fail-on-warning --quiet -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

bench: $(VENV)/installed-dev
	@for name in haar capture audit hvae; do $(BIN)/multires bench $$name || exit; done

# train and evaluate the reference HVAEs, weights with cards and sheets in $(OUT)/weights;
# on a GPU with LAUNCH='accelerate launch --mixed_precision bf16' OPTIONS='--steps ...'
OUT ?= runs/reference
DRAWS ?= 50
reference: $(VENV)/installed
	@for preset in digits mnist mnist-shared fashion-mnist fashion-mnist-shared; do \
	  run=$(OUT)/$$preset; options="$(OPTIONS)"; [ $$preset != digits ] || options=; \
	  if [ -e $$run/run.json ]; then how="--resume $$run"; else how="--out $$run $$options"; fi; \
	  $(BIN)/$(or $(LAUNCH),python) -m analysis train hvae $$preset $$how && \
	  $(BIN)/multires evaluate $$run --draws $(DRAWS) --sheet $(OUT)/weights/hvae-$$preset.png --ship $(OUT)/weights || exit; \
	done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python >= 3.11 is needed, this is " + sys.version.split()[0] + "; name another with make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python $(INPUTS)
	@echo "Installing multires in $(VENV) ..." >&2
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the tools for tests and docs ..." >&2
	@$(INSTALL) --editable '.[dev,peers,docs]'
	@npm install --silent --no-save --no-package-lock --prefix $(VENV) $(AXE) || echo "axe-core was not installed, which takes npm: pages will not be tested for accessibility" >&2
	@touch $@

clean:
	rm -rf $(VENV) build runs docs/_build *.egg-info multires/*.so
