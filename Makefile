# On a machine with Python >= 3.11 and make: `make sample` renders, `make check` is for every change, `make test` is all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RENDERS := $(VENV)/.renders
# Processes that share the files of tests; each opens the networks of its own.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install sample wheels check quick test fuzz bench lint types format picture clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv with dh and its development tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dh needs Python >= 3.11, and $(PYTHON) is older; name another one: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# What rendering needs, with a bar of what is fetched; nothing where the development tools are there already.
$(RENDERS): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

sample: $(if $(wildcard $(STAMP)),$(STAMP),$(RENDERS))  ## render examples/manifests/sample.yaml and say where the video is
	$(BIN)/dh render examples/manifests/sample.yaml --if-exists overwrite
	@echo
	@echo "video:  examples/out/hello.mp4"
	@echo "result: examples/out/hello.mp4.json"

wheels: install  ## dist/: the wheel of dhcli, and that of dhcli-cpu without the libraries for GPUs
	$(BIN)/python -m hatchling build --target wheel
	$(BIN)/python -m tools.cpu_wheel dist/dhcli-*.whl

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports --no-cache

types: install
	$(BIN)/mypy

quick: install
	$(BIN)/pytest -m 'not slow' --numprocesses=$(WORKERS) --dist=loadfile

check: install  ## formatting, lint, types, layers and the quick tests: less than 1 minute on 2 cores
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint types quick

test: lint types  ## formatting, lint, types, layers and all tests: about 10 minutes on 2 cores
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadfile

fuzz: install  ## 200 damaged files of each container through the whole pipeline; DH_FUZZ_SEEDS=1000 for more
	DH_FUZZ_SEEDS=$${DH_FUZZ_SEEDS:-200} $(BIN)/pytest tests/fuzz

bench: install  ## measure rendering at four sizes on an idle machine and draw docs/performance.md anew
	$(BIN)/python benchmarks/speed.py

format: install  ## put the code into its standard form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

picture: install  ## draw docs/images/before-after.png and report.png anew
	$(BIN)/python docs/images/before_after.py
	$(BIN)/python docs/images/report_page.py

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) examples/out/*.mp4* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
