# The two commands to know: `make demo` and `make test`. `make check` is the one that says whether it is good.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# tests wait as often as they work
WORKERS ?= $(shell expr 3 \* $$(getconf _NPROCESSORS_ONLN))

.PHONY: demo test check lint format clean simulate mutants kill hazards delivery processes secrets bench screenshots deploy-check serve-day

demo: $(VENV)/.installed
	$(BIN)/syncer demo

test: $(VENV)/.tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

check: lint test

# The campaigns. `make test` has a short form of each; here they are long. ROUNDS=n says how long.
LONG := SYNCER_CAMPAIGN=long SYNCER_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest

simulate: $(VENV)/.tests
	$(LONG) tests/simulation/test_simulation.py

mutants: $(VENV)/.tests
	$(LONG) tests/simulation/test_mutants.py

kill: $(VENV)/.tests
	$(LONG) tests/campaigns/test_kill_runs.py tests/campaigns/test_kill_state_writes.py

hazards: $(VENV)/.tests
	$(LONG) tests/hazards

delivery: $(VENV)/.tests
	$(LONG) tests/campaigns/test_delivery_matrix.py tests/campaigns/test_delivery_noise.py tests/campaigns/test_delivery_pool.py

processes: $(VENV)/.tests
	$(LONG) tests/campaigns/test_two_processes.py tests/campaigns/test_suspended_holder.py tests/campaigns/test_sigterm.py tests/campaigns/test_calendar_zones.py

secrets: $(VENV)/.tests
	$(LONG) tests/campaigns/test_secrets.py tests/campaigns/test_secrets_databases.py tests/campaigns/test_secrets_notifications.py

serve-day: $(VENV)/.tests
	$(LONG) tests/campaigns/test_serve_day.py tests/campaigns/test_serve_takeover.py

# Real databases and a fast sink; ROWS=20000 for a look. `fingerprints.py` measures the state alone.
bench: $(VENV)/.tests
	$(BIN)/python tests/benchmarks/bench.py --rows $(or $(ROWS),1000000)

# deploy/ alone; systemd-analyze and promtool (Debian: systemd, prometheus) are the system's, see .ci/run
deploy-check: $(VENV)/.checks
	$(BIN)/python -m pytest tests/deploy

# The pictures in docs/images; needs Chromium.
screenshots: $(VENV)/.tests
	$(BIN)/python tests/web/screenshots.py

lint: $(VENV)/.checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis syncer-demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.tests: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.checks: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[check]'
	@touch $@ $(VENV)/.tests $(VENV)/.installed
