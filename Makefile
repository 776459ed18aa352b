# Each command installs what it needs. Required: Python 3.11 or later.
#     make demo           simulate two epochs, correct them, and measure A - B before and after
#     make test           check the style, the docstrings, the type hints and the behaviour
#     make test-oldest    check the behaviour on the oldest versions that are supported (with Python 3.11 or 3.12)
#     make test-fast      check the behaviour without the slow tests
#     make test-mutants   check that the tests notice plausible mistakes in the code
#     make docs           build the documentation in docs/_build, and run its tutorials and doctests
# Another interpreter: make test PYTHON=/path/to/python3.12

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest

# The first interpreter that is new enough and can make a virtual environment.
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
    $$python -c "$(SUITABLE)" >/dev/null 2>&1 && { echo $$python; break; }; done)

# One process for each core, with one thread; each file of tests runs in one process.
PYTEST := python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# Modules whose names docs/api publishes: numpydoc docstrings and type hints are required there.
PUBLISHED := $(addprefix jwst_modfix/,__init__.py errors.py table/table.py table/model.py apply/record.py \
    fitting/measurements.py fitting/solution.py derivation/derive.py report/figures.py \
    steps/module_offset.py steps/module_offset_derive.py steps/pipelines.py)

# These, and other modules whose type hints are complete.
TYPED := $(PUBLISHED) $(addprefix jwst_modfix/,text.py integration.py apply/factor.py table/calibration.py \
    table/rebase.py cli/calibrations.py)

.PHONY: demo test check-types check-behaviour test-fast test-mutants test-oldest docs clean

demo: $(VENV)/installed
	$(BIN)/python examples/two_epochs demo

# The type hints are checked beside the tests: of two cores, one would wait for them.
test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m numpydoc.hooks.validate_docstrings $(PUBLISHED)
	@$(MAKE) --no-print-directory --jobs=2 check-types check-behaviour

check-types:
	$(BIN)/python -m mypy --strict $(TYPED)

check-behaviour:
	OMP_NUM_THREADS=1 $(BIN)/$(PYTEST)

# For developers: put plausible mistakes into the code, one at a time, and see whether the fast tests notice them.
test-mutants: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants

# The slow tests are left out, except those that depend on the version of the stock pipeline.
test-oldest: $(OLDEST)/installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/$(PYTEST) -m "not slow or versions"

# For another interpreter in another environment: make test-fast VENV=.venv-3.12 PYTHON=python3.12 TESTS=tests/test_apply.py
test-fast: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/$(PYTEST) -m "not slow or versions" $(TESTS)

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -W --keep-going -n -b doctest -D sphinx_gallery_conf.plot_gallery=0 -D nb_execution_mode=off docs docs/_build/doctest
	$(BIN)/sphinx-build -W --keep-going -n docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

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
	rm -rf $(VENV) $(VENV)-3.12 $(OLDEST) demo $(addprefix docs/,_build gallery jupyter_execute modfix_demo tutorials \
	    $(addprefix images/,architecture.svg deriving.svg photmjsr_change.svg report.png))
