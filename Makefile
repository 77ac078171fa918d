# Everything a developer or a first visitor does. Needs python3 (3.11 or newer, with venv) and make, nothing else:
# the rest is installed below this directory, in .uv/ and .venv/. Works with GNU make from 3.81 (macOS) on.

# A python3 that is too old (macOS ships 3.9) gives way to a newer one beside it. `make PYTHON=…` chooses another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; exit; }; done; \
	echo python3)
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
# Tests wait for other processes as often as they compute: more of them than there are cores. The tests of a file share what it
# sets up, which takes longer than they do.
JOBS ?= 3
PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
# The servers and files of tests are thrown away: in memory, where Linux has room for them there, no disk holds them up.
TMPDIR ?= $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { found = $$6 } END { print found ? found : "/tmp" }')
PYTEST := TMPDIR="$(TMPDIR)" $(BIN)/pytest

# uv takes the Python that was found and downloads none.
export UV_PYTHON_DOWNLOADS := never
# uv brings certificates of its own; where the machine has a store, that one counts: a company's proxy is in it.
export UV_SYSTEM_CERTS ?= $(shell for store in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
	/etc/ssl/cert.pem; do [ -s "$$store" ] && { echo true; exit; }; done; echo false)
# Every command is a process of its own; compiling what it imports would take longer than all else it does.
export UV_COMPILE_BYTECODE := true
unexport PYTHONDONTWRITEBYTECODE

# What the demonstration may be told: make demo ONCE=1 SENSORS=50 EDITION=postgresql BROKER=nats
DEMO := $(if $(ONCE),--once) $(if $(SENSORS),--sensors $(SENSORS)) $(if $(EDITION),--edition $(EDITION)) \
	$(if $(BROKER),--broker $(BROKER))

.PHONY: help install demo airflow test test-unit test-integration test-acceptance catalog lint types audit format marts secrets compose-check bench clean distclean

help: ## list the targets
	@echo "make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1@\2/p' Makefile | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

install: .venv/.installed ## install everything into .venv (nothing outside this directory)

demo: .venv/.installed ## database, broker, simulated sensors, collector, Airflow; Ctrl-C ends it (ONCE=1 SENSORS= EDITION= BROKER=)
	@$(BIN)/simulator demo $(DEMO)

airflow: .venv/.installed ## Airflow, which builds the marts and scans the quality (PG* say where; else the demonstration's database)
	@[ -n "$$PGHOST" ] || [ -f .env ] || [ ! -f .local/env ] || . ./.local/env; $(BIN)/simulator airflow

test: .venv/.installed ## all tests (JOBS=3)
	@$(PYTEST) $(PARALLEL)

test-unit: .venv/.installed ## tests that start nothing
	@$(PYTEST) tests/unit

test-integration: .venv/.installed ## tests with real databases and brokers
	@$(PYTEST) $(PARALLEL) tests/integration

test-acceptance: .venv/.installed ## tests that do what a user does
	@$(PYTEST) tests/acceptance

lint: .venv/.installed ## ruff and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint timescale/sql

types: .venv/.installed ## mypy, strict
	$(BIN)/mypy

audit: .venv/.installed ## ask a vulnerability service about every locked package (AUDIT= options of pip-audit)
	@$(UV) export --frozen --all-extras --quiet --no-emit-project --output-file .uv/requirements.txt
	@$(BIN)/python .ci/audit.py .uv/requirements.txt $(AUDIT)

format: .venv/.installed ## mend what ruff and sqlfluff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix timescale/sql

marts: .venv/.installed ## build and test the marts (PG* say where): all that has changed, or all when it is the first time
	@DO_NOT_TRACK=1 $(BIN)/dbt --no-version-check build --project-dir dbt_project --profiles-dir dbt_project

catalog: .venv/.installed ## one page that describes every table, readable offline (PG* say where the marts are)
	@$(BIN)/python dbt_project/catalog.py

secrets: ## docker compose: give every secret of .env that is empty a value, and the broker a certificate, once
	@sh deploy/secrets.sh

compose-check: .venv/.installed ## docker compose: check the file, and boot it where an engine and its images are
	@$(PYTEST) tests/unit/project/test_compose_file.py tests/acceptance/test_compose.py

bench: .venv/.installed ## how fast readings come in; the other benchmarks are bench/*.py, results under bench/results/
	@$(BIN)/python bench/ingest.py

clean: ## remove caches and what the demonstration left
	rm -rf .local .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -path ./.venv -prune -o -path ./.uv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also what was installed
	rm -rf .venv .uv

# pip knows the user's package index (environment or pip.conf), uv does not read pip's: where one is set, the same
# locked versions are taken from it, checked against the hashes in uv.lock.
.venv/.installed: pyproject.toml uv.lock $(UV)
	@index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(.uv/bin/python -m pip config get global.index-url 2>/dev/null)}}"; \
	if [ -z "$$index" ]; then \
		$(UV) sync --frozen --all-extras --python "$(PYTHON)"; \
	else \
		$(UV) export --frozen --all-extras --quiet --no-emit-project --output-file .uv/requirements.txt && \
		{ [ -x $(BIN)/python ] || $(UV) venv --quiet --python "$(PYTHON)" .venv; } && \
		UV_DEFAULT_INDEX="$$index" $(UV) pip sync --quiet --python $(BIN)/python --require-hashes .uv/requirements.txt && \
		UV_DEFAULT_INDEX="$$index" $(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .; \
	fi
	@touch $@

$(UV):
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "make: no python3 here. Install Python 3.11 or newer" \
		"(Debian: apt install python3 python3-venv; macOS: brew install python), or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$("$(PYTHON)" --version)" \
		"is too old. Install Python 3.11 or newer, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv." \
		"Install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "installing into .uv/ and .venv/ …"
	@rm -rf .uv
	@"$(PYTHON)" -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
