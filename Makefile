# Two commands do it all: `make demo` and `make test`.
# PYTHON        the interpreter to build .venv with (>= 3.11)
# ARGS          for `make bench-peers`: what benchmarks/peers.py is told
# TORCH_INDEX   where to get torch, such as https://download.pytorch.org/whl/cpu (PyPI's Linux build brings CUDA)

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?= --json .bench/peers.json --figure .bench/peers.svg
PEERS := loop-torch loop-onnxruntime mne-lsl ezmsg timeflux
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help install demo test lab long faults browser lint format types imports wheel bench-peers clean

help:
	@echo "make demo      set up .venv and see it work; then .venv/bin/pretap demo --web: the same in the browser, and a game"
	@echo "make test      set up .venv and run every test"
	@echo "make faults    the fault suite alone; writes docs/faults.md"
	@echo "make lab       several computers with clocks of their own, alone: needs root on Linux, skipped otherwise"
	@echo "make long      the long cases, which make test leaves out"
	@echo "make browser   the monitor's page in the system's Chromium, alone"
	@echo "make install   set up .venv only"
	@echo "make lint types imports   the checks that CI runs"
	@echo "make wheel     build the wheel into dist/"
	@echo "make bench-peers   install the peers into .bench/ (6 GB) and measure pretap against them"

install: $(VENV)/.installed

demo: install
	$(BIN)/pretap demo

test: install
	$(BIN)/python -m pytest -n 2 tests/unit tests/integration/test_laboratory.py
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/integration --ignore tests/integration/test_laboratory.py
	$(BIN)/python -m pytest tests/faults/test_publishing.py
	$(BIN)/python -m pytest -n 4 tests/faults --ignore tests/faults/test_publishing.py
	$(BIN)/python -m pytest tests/browser
	$(BIN)/python -m pytest tests/lab -k "discovery or four_computers"

lab: install
	$(BIN)/python -m pytest tests/lab

long: install
	$(BIN)/python -m pytest --long -m long

browser: install
	$(BIN)/python -m pytest tests/browser

faults: install
	$(BIN)/python -m pytest -n 4 --dist worksteal tests/faults --faults-report docs/faults.md

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

# On Linux the wheel with the compiled engine becomes a manylinux one; without a C compiler it is a pure one.
wheel: install
	rm -f dist/pretap-*.whl
	$(BIN)/python -m build --wheel --outdir dist .
	@for built in dist/pretap-*-linux_*.whl; do [ ! -e "$$built" ] || \
	  { PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist "$$built" && rm "$$built"; }; done

bench-peers: install $(PEERS:%=.bench/%/.installed)
	$(BIN)/python benchmarks/peers.py $(ARGS)

.bench/%/.installed: benchmarks/peer_bench/requirements/%.txt
	rm -rf .bench/$*
	$(PYTHON) -m venv .bench/$*
ifneq ($(TORCH_INDEX),)
	.bench/$*/bin/python -m pip install --quiet --disable-pip-version-check --index-url $(TORCH_INDEX) $$(grep ^torch== $<)
endif
	.bench/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf $(VENV) .bench dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py core/pretap/decoder/lanes.c realtime/pretap_realtime/native/receive.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pretap needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "This Python cannot make virtual environments. Run: sudo apt-get install python3-venv   (then: make $(MAKECMDGOALS))"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes on the first run (torch, MNE, ...)"
ifneq ($(TORCH_INDEX),)
	$(PIP) torch --index-url $(TORCH_INDEX)
endif
	$(PIP) -e '.[dev]'
	@touch $@
