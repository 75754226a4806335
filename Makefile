# The project's chores. `make` alone lists them; each that needs Python makes .venv first.

PY := .venv/bin/python
UV ?= uv
PYTHONS := 3.9 3.10 3.11 3.12
# manylinux_2_28: what glibc 2.28 and newer run (Debian 10, Ubuntu 20.04, RHEL 8).
COMPILE = $(UV) pip compile --quiet --custom-compile-command "make lock" --generate-hashes --only-binary :all: \
	--python-platform x86_64-manylinux_2_28
export PYTHON MXNET

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all tutorials lint format lock bench-setup bench-lock bench clean

help: ## list these targets
	@echo "make TARGET [PYTHON=python3.11] [MXNET=mxnet-cu112] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 14

setup: ## make .venv from the lock file; MXNET=mxnet-cu112 for NVIDIA GPUs, PYTHON=... for another Python
	@sh tools/setup.sh

demo: setup ## train, evaluate and run a small detector
	@$(PY) tools/run_demo.py $(ARGS)

test: setup ## run the tests but the slow ones; ARGS="tests/symbol -x" goes to pytest
	@$(PY) -m pytest -m "not slow and not tutorial" $(ARGS)

tutorials: setup ## run the three tutorials of docs/tutorials, from the first line to the last
	@$(PY) -m pytest -m tutorial tests/test_tutorials.py

test-all: setup ## run all tests
	@$(PY) -m pytest $(ARGS)

lint: setup ## check style and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: setup ## mend what lint can mend
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

lock: ## resolve requirements/requirements.in anew (needs uv: pip install uv); ARGS=--upgrade takes newer versions
	@for python in $(PYTHONS); do \
		$(COMPILE) --python-version $$python --override requirements/overrides.in $(ARGS) \
			requirements/requirements.in --output-file requirements/python$$python.txt || exit 1; \
	done
	@grep '^mxnet==' requirements/requirements.in | sed 's/^mxnet\(==[0-9.]*\).*/mxnet-cu112\1/' | \
		$(COMPILE) --python-version 3.9 --no-deps --no-annotate - --output-file requirements/mxnet-cu112.txt

bench-setup: ## make .venv-bench, with the engines that `make bench` measures ours against
	@sh tools/setup_bench.sh

bench: setup bench-setup ## measure ours beside other engines; ARGS="--networks ssd7_300" goes to tools/benchmark.py
	@$(PY) tools/benchmark.py --peers onnxruntime,openvino,opencv,torch --out output/bench $(ARGS)

bench-lock: ## resolve requirements/bench.in anew (needs uv); there are no wheels of these for Python 3.9
	@for python in $(filter-out 3.9,$(PYTHONS)); do \
		$(subst make lock,make bench-lock,$(COMPILE)) --python-version $$python --override requirements/bench-overrides.in \
			$(ARGS) requirements/bench.in --output-file requirements/bench-python$$python.txt || exit 1; \
	done

clean: ## remove .venv, .venv-bench and caches; what you trained and downloaded stays
	@rm -rf .venv .venv-bench .pytest_cache .ruff_cache .hypothesis
	@find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
