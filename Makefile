# Two commands matter: `make demo` and `make test`. Both set up what is missing first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check sim walk bench bench-signal bench-stages integration reference up down status clean
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
PYTHON := $(VENV)/bin/python
KAIROS := $(VENV)/bin/kairos
STAMP := $(VENV)/.set-up
PY ?= $(shell for p in python3.12 python3.11 python3; do "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## virtual environment with exactly what requirements.lock pins

# Made anew when the lock or the project's metadata changes; the stamp is written last, so that an
# interrupted set-up is repeated.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PY)" || { echo "kairos: Python 3.11 or 3.12 is not installed (Debian: apt install python3 python3-venv)" >&2; exit 1; }
	@"$(PY)" -c 'import ensurepip' 2>/dev/null || { echo "kairos: Python's venv module is not installed (Debian: apt install python3-venv)" >&2; exit 1; }
	@rm -f $(STAMP)
	@test -x $(PYTHON) || "$(PY)" -m venv $(VENV)
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "compiling the feature kernels (a minute, once) ..."
	@$(PYTHON) -c 'from streams import assembly, settings; assembly.rehearse(("choose",), settings.load())'
	@touch $(STAMP)

demo: setup ## the main job on real input, about three minutes (KEEP=1 SEED=n SHORT=1)
	@$(KAIROS) demo $(if $(KEEP),--keep) $(if $(SEED),--seed $(SEED)) $(if $(SHORT),--short)

# The tests of real parts mostly wait, one after the other: all others run beside them meanwhile, and
# what these said is shown when both are done.
test: check ## the whole suite: lint, types, unit, integration on a real broker and ClickHouse
	@mkdir -p .kairos; log=.kairos/test-pure.log; \
	$(PYTHON) -m pytest -m "not integration" > $$log 2>&1 & pure=$$!; \
	trap 'kill $$pure 2> /dev/null || :' EXIT; \
	real=0; $(PYTHON) -m pytest -m integration || real=$$?; \
	failed=0; wait $$pure || failed=$$?; cat $$log; test $$real = 0 -a $$failed = 0

check: setup ## lint and types only
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

integration: setup ## only the tests that need the real broker or ClickHouse
	@$(PYTHON) -m pytest -m integration

sim: setup ## simulated crashes, zombies, lost acknowledgements against a twin (SEEDS=n, SEED=k)
	@$(PYTHON) tests/simulation/sim.py $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS))

walk: setup ## be one event: every step of the road and what it says
	@$(KAIROS) walk

bench: setup ## print every figure we publish
	@$(PYTHON) -m bench

bench-signal: setup ## the signal path beside Flink, Kafka Streams and others (ARGS="--help")
	@$(PYTHON) -m bench.signal $(ARGS)

bench-stages: setup ## each stage's walk in one process, no broker (ARGS="--events 50000")
	@$(PYTHON) -m bench.stages $(ARGS)

reference: setup ## write settings.reference.env anew from the settings object
	@$(PYTHON) -m infra.settings_reference

up: setup ## start everything
	@$(KAIROS) up

down: setup ## stop everything
	@$(KAIROS) down

status: setup ## what runs, where, with which credentials
	@$(KAIROS) status

clean: setup ## stop everything and remove all state (asks; YES=1 does not)
	@$(KAIROS) clean $(if $(YES),--yes)
