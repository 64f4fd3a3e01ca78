# Two commands are enough: `make demo` and `make test`. Each creates the environment in .venv when it is missing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

PYTEST_FLAGS ?=
# Test processes, one PyTorch thread each: two are 1.6 times as fast as one on two cores. Tests of a file stay together.
TEST_WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all coverage check format eval bench constraints clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## make or update the environment in .venv

# uv, itself from pip, chooses torch and torchvision that fit each other; plain pip may take a CPU-only torch for which no
# torchvision loads. The last line proves that they do.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit("lungdet needs Python >= 3.11; try: make setup PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt --compile-bytecode --editable '.[mlflow,lidc,onnx,launchers,imagenet,objects,dask,dev]'
	$(BIN)/python -W ignore -c 'import torch, torchvision, timm, monai; print("torch", torch.__version__, "torchvision", torchvision.__version__)'
	@touch $@

# Where `lungdet phantom` wrote it, whatever LUNGDET_DATA says.
DEMO := $${paths.data}/phantom

demo: setup  ## the whole chain on a simulated cohort, offline: three networks, then nodules in the test scans
	$(BIN)/lungdet phantom
	$(BIN)/lungdet preprocess
	$(BIN)/lungdet train model=unet_seg trainer.max_epochs=10
	$(BIN)/lungdet train model=luna_cls
	$(BIN)/lungdet train model=malignancy model.init_from=latest
	$(BIN)/lungdet detect 'input=$(DEMO)' only=test out=detections/demo overwrite=true \
	  networks.segmentation=latest networks.classifier=latest networks.malignancy=latest \
	  'annotations=$(DEMO)/annotations.csv' 'excluded=$(DEMO)/annotations_excluded.csv'
	@echo "open detections/demo/index.html and the reports named above in a browser; 'make eval' computes the last training's again"

test: setup  ## the test suite in TEST_WORKERS processes, but for the tests marked slow; PYTEST_FLAGS adds options
	$(PYTEST) -m 'not slow' $(PYTEST_FLAGS)

test-all: setup  ## every test: also sweeps, folds, searches, kill -9, several processes
	$(PYTEST) $(PYTEST_FLAGS)

coverage: setup  ## every test, with line and branch coverage; fails under 90 %
	$(MAKE) test-all PYTEST_FLAGS="--cov --cov-report=term --cov-fail-under=90"

check: setup  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

eval: setup  ## numbers and report of the latest run
	$(BIN)/lungdet eval run=latest

bench: setup  ## the table of docs/benchmarks.md, small
	$(BIN)/lungdet bench all --quick

constraints: setup  ## pin the newest versions that fit pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
	  --no-header --no-annotate --no-emit-index-url --quiet --output-file constraints.txt

clean:  ## remove runs, stores, cohorts and caches; keeps .venv
	rm -rf runs stores cohorts detections mlflow.db mlruns .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
