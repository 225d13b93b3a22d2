# `make run` and `make test` work on a fresh Debian 12 machine; apt-get is the only thing that runs with sudo.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
LISTEN ?= 127.0.0.1

.PHONY: help run test lint unit fresh bench clean deps-run deps-test fuzz

help:
	@echo "make run [LISTEN=ADDRESS]  install what is missing, start the daemon in the foreground with a demo domain"
	@echo "make test                  install what the tests need, lint, run all tests"
	@echo "make lint                  ruff, mypy --strict, layers, house rules"
	@echo "make fuzz [MINUTES=10]     hostile input: coverage-guided fuzzers and generated messages, findings kept as regression files"
	@echo "make soak [MINUTES=30]     simulated calls under random faults, and a real daemon killed under load"
	@echo "make bench, bench-quick    measure the daemon and its peers in one run (about 20 minutes, 5 minutes); bench/results"
	@echo "make profile               where the signalling process spends its time under load; bench/results/profile.txt"
	@echo "make compiled              the hot rooms as extension modules in build/compiled (NGCPD_COMPILED=build/compiled uses them)"
	@echo "make test-compiled         the tests of these rooms on the compiled build"
	@echo "make fresh                 repeat the README's words in a fresh Debian 12 chroot (root)"
	@echo "make clean                 remove the virtual environment and caches (keeps ./var)"

$(VENV)/.runtime: requirements/runtime.txt
	@scripts/setup runtime

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	@scripts/setup test

deps-run: $(VENV)/.runtime
	@scripts/setup packages-runtime

deps-test: deps-run $(VENV)/.test
	@scripts/setup packages-test

run: deps-run
	@NGCPD_LISTEN=$(LISTEN) exec $(BIN)/python -m ngcpd.cli.run

lint: deps-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/house_lint.py

unit: deps-test
	$(BIN)/pytest -q

test: lint unit

$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.test
	@scripts/setup fuzz

fuzz: deps-test $(VENV)/.fuzz
	$(BIN)/python -m fuzz.run $(MINUTES)

# A peer that cannot be installed is missing from the table, the others are measured all the same.
.PHONY: bench-quick profile deps-bench
deps-bench: $(VENV)/.runtime
	@scripts/setup packages-bench || echo "not all peers could be installed"
	@mkdir -p build; [ -x $(BIN)/mypyc ] || scripts/setup test; $(BIN)/python scripts/compile.py >build/compile.log 2>&1 || echo "the compiled build failed, see build/compile.log"
	@[ build/bench-venv/.bench -nt requirements/bench.txt ] || scripts/setup bench || echo "Sippy and the profiler could not be installed"

# Optional: the source tree stays as it is, and nothing else uses what is made here.
.PHONY: compiled test-compiled
compiled: $(VENV)/.test
	@scripts/setup packages-compile
	$(BIN)/python scripts/compile.py

test-compiled: deps-test compiled
	NGCPD_COMPILED=$(CURDIR)/build/compiled $(BIN)/pytest -q tests/sip tests/calls tests/edge tests/routing tests/registrar tests/media

bench: deps-bench
	$(BIN)/python -m bench.harness

bench-quick: deps-bench
	$(BIN)/python -m bench.harness --quick

profile: deps-bench
	$(BIN)/python -m bench.profile

fresh:
	scripts/fresh

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info

# 80 % simulated calls under random faults, 20 % a real daemon killed under load; figures in docs/reliability.md
.PHONY: soak
soak: MINUTES ?= 30
soak: deps-test
	$(BIN)/python scripts/soak.py --minutes $(MINUTES)
