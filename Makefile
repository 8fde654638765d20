# Everything a fresh machine with Python 3.11 and make needs: `make sweep` runs the main job, `make test` the tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin

# Python reads where this folder lies in the encoding of LC_ALL, and in that of C no path has an umlaut.
ifneq (,$(filter C POSIX,$(LC_ALL)))
export LC_ALL = C.UTF-8
endif

# Images of containers often say that no bytecode shall be written. Then each process compiles all of torch anew, which
# takes twice as long as importing it, and the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

# A folder is called sweep, too: these are commands, not files.
.PHONY: sweep test lint docs install clean

sweep: install
	$(BIN)/python -m sweep run quickstart quickstart-search quickstart-workers

test: install
	$(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install
	$(BIN)/python docs/generate.py

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) results .mypy_cache .pytest_cache .ruff_cache
