# Everything a person types first.  PYTHON picks the interpreter (3.11 or newer), PIP_ARGS passes through to pip.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/pytest -n 2

.PHONY: install demo dashboard test prove

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps --no-build-isolation -e .
	touch $@

demo: install
	$(BIN)/harness demo

dashboard: install
	$(BIN)/harness dashboard

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

prove: install
	$(PYTEST) -m prove
