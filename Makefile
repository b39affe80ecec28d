# Two commands: `make demo` trains on handwritten digits, `make test` runs the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test check lint docs clean

demo: $(READY)
	@$(BIN)/taut train digits --out runs/demo --force

test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not slow"

# what is slow, or needs system packages
check: $(READY) lint
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

# the site, into build/docs
docs: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

# torch comes first, so that no other package chooses a build of it
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "taut needs Python 3.11 or newer; say make PYTHON=python3.11"; exit 2)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch numpy
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) runs build dist src/*.egg-info
