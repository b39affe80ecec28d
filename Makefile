# Two commands: `make demo` trains on handwritten digits, `make test` runs the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PEER := .bench/bin/python

.PHONY: demo test check bench browser docs fuzz lint types clean

demo: $(READY)
	@$(BIN)/taut train digits --out runs/demo --force

test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not slow and not browser"

# what is slow, or needs system packages
check: $(READY) lint
	$(BIN)/python -m pytest -n auto -m slow

# speed, side by side with a hand-written loop and with pythae, which needs an environment of its own
bench: $(READY) $(PEER)
	$(BIN)/python -m benchmarks.speed --pythae $(PEER) --out benchmarks

$(PEER): constraints.txt
	$(PYTHON) -m venv .bench
	.bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.bench/bin/pip install --quiet --disable-pip-version-check --no-deps pythae==0.1.2
	.bench/bin/pip install --quiet --disable-pip-version-check pydantic cloudpickle imageio scipy tqdm typing_extensions scikit-learn "numpy<2"

# fifty thousand spoiled files and options, where `make check` tries two thousand
fuzz: $(READY)
	TAUT_FUZZ=50000 $(BIN)/python -m pytest tests/test_fuzz.py

# the page in Chromium, which must be at /usr/bin/chromium; what fails there on a busy machine is tried once more, by itself
browser: $(READY)
	$(BIN)/python -m pytest -m browser tests || $(BIN)/python -m pytest -m browser --last-failed --last-failed-no-failures none tests

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

# every type in src/taut, and how many of the public names have one that is known
types: $(READY)
	$(BIN)/python -m pyright --pythonpath $(BIN)/python
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m pyright --verifytypes taut --ignoreexternal | tail -n 20

# the site, into build/docs; pages that have not changed are not run again
docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -D nb_execution_mode=cache docs build/docs

# torch comes first, so that no other package chooses a build of it
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "taut needs Python 3.11 or newer; say make PYTHON=python3.11"; exit 2)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch numpy
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .bench runs build dist src/*.egg-info
