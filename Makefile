# `make demo` and `make test` do all their own set-up: they start with `install`, which does nothing when it is done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= sample_media/shapes-30s.mp4

.PHONY: install demo test check clean

install: $(STAMP)

# Again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qvl needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: install
	$(BIN)/qvl ask $(DEMO) "What shape is purple?"
	$(BIN)/qvl locate $(DEMO) "a purple cross appears" -f srt
	$(BIN)/qvl summarize $(DEMO)

# One thread a worker: the tests are many and small.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache build dist
