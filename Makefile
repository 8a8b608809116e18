# Everything a contributor or CI does, each target with all of its own set-up.
# Needs Python 3.11 to 3.13, make and git; `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

HTML := _build/html
CHECK := _build/check
JB_FLAGS := -W -n --keep-going
NOTEBOOKS = $(shell find chapters -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')
STRIP := --keep-output --keep-count --keep-id \
         --extra-keys "metadata.language_info cell.metadata.execution"
PAGES := $(shell find chapters rnnlib -type f -not -name '*.pyc' \
           -not -path '*/.ipynb_checkpoints/*')
LOOK := _config.yml _toc.yml $(shell find web -type f -not -name '*.pyc')

# One thread: results and timings then do not depend on the number of cores.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONPATH := $(CURDIR)

.PHONY: help book test unit nbval site serve lint format notebooks data bench \
        experiments clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

book: $(HTML)/.built ## build the book into _build/html/index.html

test: $(READY) ## data, unit tests, notebooks re-run, clean strict build, site tests
	$(MAKE) --no-print-directory data
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory nbval
	$(MAKE) --no-print-directory site

unit: $(READY) ## the unit tests alone
	$(BIN)/python -m pytest tests -m "not site"

nbval: $(READY) ## re-run every notebook and compare with its stored outputs
	$(BIN)/python -m pytest --nbval --nbval-current-env \
	  --nbval-sanitize-with=tests/nbval.cfg --nbval-cell-timeout=120 \
	  -n 2 --dist loadscope $(NOTEBOOKS)

site: $(READY) ## build the book from nothing, warnings as errors, and test its pages
	rm -rf $(CHECK)
	$(BIN)/jupyter-book build . --path-output $(CHECK) $(JB_FLAGS) -q
	BOOK_HTML=$(CHECK)/_build/html $(BIN)/python -m pytest tests -m site

serve: book ## show the book on http://localhost:8000 (PORT=…)
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

lint: $(READY) ## check style and that notebooks carry no noise
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify $(STRIP) $(NOTEBOOKS)

format: $(READY) ## repair what lint can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout $(STRIP) $(NOTEBOOKS)

notebooks: $(READY) ## re-run every notebook in place (NOTEBOOKS=… for some)
	for notebook in $(NOTEBOOKS); do \
	  $(BIN)/jupyter-execute --inplace --timeout=120 "$$notebook"; done
	$(BIN)/nbstripout $(STRIP) $(NOTEBOOKS)

data: $(READY) ## fetch the data sets into the cache (RNNLIB_DATA)
	$(BIN)/python -m rnnlib.data

# One that ends with 2 needs a GPU and has said so.
bench: $(READY) ## run every benchmark
	for file in benchmarks/[!_]*.py; do \
	  $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)" || test $$? = 2; done

experiments: $(READY) ## run every long training
	for file in experiments/[!_]*.py; do \
	  $(BIN)/python -m "experiments.$$(basename "$$file" .py)"; done

clean: ## delete what was built; the virtual environment and the data stay
	rm -rf _build .pytest_cache .ruff_cache

# The virtual environment, set up again when what it holds is named differently.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit( \
	  None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} \
	  is {v[0]}.{v[1]}; say which: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

# A changed style sheet or setting reaches old pages only in a build from nothing.
_build/.look: $(READY) $(LOOK)
	rm -rf $(HTML) _build/.doctrees
	mkdir -p _build && touch $@

# A page that gave a warning is read again next time, so that it warns again.
$(HTML)/.built: _build/.look $(PAGES)
	$(BIN)/jupyter-book build . $(JB_FLAGS) -q || { rm -rf _build/.doctrees; exit 1; }
	touch $@
