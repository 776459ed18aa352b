# Commands that set everything up, on a machine with nothing but Python 3.11 or later:
#     make demo           simulate two epochs, correct them, and measure A - B before and after
#     make test           check the style, the docstrings and the behaviour
#     make test-oldest    check the behaviour on the oldest versions that are supported (with Python 3.11 only)
# Another interpreter: make test PYTHON=/path/to/python3.12

SHELL := /bin/bash
VENV := .venv
OLDEST := .venv-oldest

# The first that is new enough and can make a virtual environment.
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
    $$python -c "$(SUITABLE)" >/dev/null 2>&1 && { echo $$python; break; }; done)

# A process for each core, of which none takes more than one, and one file of tests in one of them.
PYTEST := python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo test test-oldest clean

demo: $(VENV)/installed
	$(VENV)/bin/python examples/two_epochs demo

test: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m numpydoc.hooks.validate_docstrings $$(find jwst_modfix -name '*.py')
	$(VENV)/bin/$(PYTEST)

# Of the slow runs, which take most of the time, those that ask something of the stock pipeline's version.
test-oldest: $(OLDEST)/installed
	$(OLDEST)/bin/$(PYTEST) -m "not slow or versions"

$(OLDEST)/installed: CONSTRAINTS := --constraint constraints-oldest.txt
$(OLDEST)/installed: constraints-oldest.txt
%/installed: pyproject.toml
	@$(or $(PYTHON),false) -c "$(SUITABLE)" || { \
	    echo "Needs Python 3.11 or later with its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; \
	    echo "Name the interpreter if it is not on the PATH: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.11" >&2; \
	    exit 1; }
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' $(CONSTRAINTS)
	@touch $@

clean:
	rm -rf $(VENV) $(OLDEST) demo
