# Everything is installed into .venv; nothing outside this folder changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # else every kernel compiles PyTorch anew, which takes longer than its work

.PHONY: help env run lab report test test-browser test-networks test-slurm bench replicate lint notebooks lock clean

help:  ## print this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(VENV)/.ready  ## install everything into .venv (about 6 GB with CUDA libraries)

# uv from the machine if it has one, else from PyPI into .venv
$(VENV)/.ready: requirements.txt pyproject.toml
	@echo "installing into $(VENV): some minutes, about 6 GB"
	@command -v uv >/dev/null && uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	uv pip install --quiet --python $(BIN)/python -r requirements.txt
	uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

run: env  ## run the study of study.yaml: data/runs/, figures/
	snakemake --cores all
	@echo "Tables and executed notebooks: data/runs/   Figures and tables for the thesis: figures/<run>/, first summary.png"

lab: env  ## open JupyterLab on copies of the notebooks, in data/lab
	mkdir -p data/lab && cp -n notebooks/*.ipynb data/lab/ && jupyter lab data/lab

report: env  ## what the study found, as a folder of HTML: report/index.html
	python -m medrob report

test: env  ## run all tests (unit tests, then the notebooks)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-browser: env  ## the explorer in Chromium (Debian: chromium, chromium-driver): some minutes
	OMP_NUM_THREADS=1 pytest tests/browser.py

test-networks: env  ## layers of sixty networks of timm and Hugging Face: some minutes
	OMP_NUM_THREADS=1 pytest -n auto --maxprocesses 4 tests/networks.py

test-slurm: env  ## a study through SLURM on this machine (root, Debian), and the same tables as without
	tests/slurm/run

bench: env  ## compare the speed with other libraries, single thread; time the analysis
	OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_corruptions.py
	OMP_NUM_THREADS=1 python tests/benchmarks/bench_saliency.py
	OMP_WAIT_POLICY=passive python tests/benchmarks/bench_training.py
	OMP_NUM_THREADS=1 python tests/benchmarks/bench_analysis.py
	OMP_NUM_THREADS=1 python tests/benchmarks/bench_coverage.py 100

replicate: env  ## published results beside ours, on real data: make replicate SETS="a.npz cells/table.csv" SEEDS=3
	python tests/benchmarks/replicate.py $(SETS) --seeds $(or $(SEEDS),1)

lint: env  ## check style and types
	ruff format --check .
	ruff check .
	mypy

notebooks: env  ## execute the committed notebooks again, in place
	python notebooks/execute.py

lock: env  ## choose newest versions again: requirements.txt from pyproject.toml
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --no-emit-index-url --custom-compile-command "make lock" -o requirements.txt pyproject.toml

clean:  ## remove caches and .venv; results in data/ and figures/ stay
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
