# The main commands are `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test lint types unit fuzz bench bench-gpu wheel readme docs architecture clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, build a simulated dataset, train, run, write a report"
	@echo "make test   set up, lint, check types, run the tests"
	@echo "make fuzz   damage inputs of every format and command (writes results/robustness.md)"
	@echo "make bench  measure, side by side (writes results/bench)"
	@echo "make bench-gpu  measure the presets called paper on a CUDA device (writes results/gpu.md)"
	@echo "make wheel  build the wheel and try it in a clean environment"
	@echo "make readme run every command of the README"
	@echo "make docs   build the site of the documentation, with executed notebooks (.site/html)"
	@echo "make architecture  draw the packages and their imports (docs/images/architecture.svg)"

$(VENV)/.base: pyproject.toml constraints.txt
	@echo "installing into $(VENV): about 3 GB, a minute or two after downloads" >&2
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e ".[build,models]"
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) install -q -c constraints.txt -e ".[build,models,test]"
	@touch $@

demo: $(VENV)/.base
	$(BIN)/rsbench demo --out demo

test: $(VENV)/.test lint types unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# Two processes of one thread each: more threads than cores are slower. Tests start many processes,
# which would each compile all modules if no bytecode were kept.
unit: $(VENV)/.test
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# The tests hold a small part of it; this is all, about five minutes.
fuzz: $(VENV)/.test
	$(BIN)/python tools/fuzz.py --jobs 2 --write results/robustness.md

bench: $(VENV)/.test
	$(BIN)/python -m pytest tests/bench -q --benchmark-only --benchmark-json results/bench/latest.json
	$(BIN)/python tools/bench_table.py results/bench/latest.json > results/bench/README.md

bench-gpu: $(VENV)/.test
	$(BIN)/python tools/bench_gpu.py --device cuda --side 128 --minutes 8 --out results/gpu.md

wheel: $(VENV)/.test
	PYTHON=$(PYTHON) tools/try_wheel.sh $(BIN)/python

readme: $(VENV)/.test
	$(BIN)/python tools/readme_commands.py README.md

$(VENV)/.docs: $(VENV)/.base
	$(PIP) install -q -c constraints.txt -e ".[build,models,docs]"
	@touch $@

# The site fails at the first warning: a dead link, a page that is not listed, a faulty docstring.
docs: $(VENV)/.docs
	$(BIN)/python tools/docs_site.py

architecture:
	$(PYTHON) tools/architecture.py docs/images/architecture.svg

clean:
	rm -rf $(VENV) .site demo dist
