# Targets for users and developers. Requires only python3 (3.11 or newer, with venv) and make; everything else is
# installed below this directory, in .uv/ and .venv/. Works with GNU make 3.81 (macOS) and newer.

# If python3 is too old (macOS ships 3.9), the first newer python3.N is used. `make PYTHON=…` selects another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; exit; }; done; \
	echo python3)
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
# Tests often wait for other processes, so more workers than cores are useful. All tests of a file run in one worker, because
# they share fixtures that take longer than the tests.
JOBS ?= 3
PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Test servers keep temporary data in memory (/dev/shm) if it has more than 4 GB free, which is faster than a disk.
TMPDIR ?= $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { folder = $$6 } END { print folder ? folder : "/tmp" }')
PYTEST := TMPDIR="$(TMPDIR)" $(BIN)/pytest

# uv uses the selected Python and downloads none.
export UV_PYTHON_DOWNLOADS := never
# Use the certificate store of the system, if there is one, instead of uv's: it may contain the authority of a company proxy.
export UV_SYSTEM_CERTS ?= $(shell for store in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
	/etc/ssl/cert.pem; do [ -s "$$store" ] && { echo true; exit; }; done; echo false)
# Compile all packages at installation: every command is a separate process, and compiling at import would dominate its run time.
export UV_COMPILE_BYTECODE := true
unexport PYTHONDONTWRITEBYTECODE

# Options of the demonstration: make demo ONCE=1 SENSORS=50 EDITION=postgresql BROKER=nats
DEMO := $(if $(ONCE),--once) $(if $(SENSORS),--sensors $(SENSORS)) $(if $(EDITION),--edition $(EDITION)) \
	$(if $(BROKER),--broker $(BROKER))

.PHONY: help install demo airflow test test-unit test-integration test-acceptance catalog lint types audit format marts secrets compose-check bench clean distclean

help: ## list the targets
	@echo "make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1@\2/p' Makefile | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

install: .venv/.installed ## install everything into .venv (nothing outside this directory)

demo: .venv/.installed ## run database, broker, simulated sensors, collector, Airflow; Ctrl-C stops all (ONCE=1 SENSORS= EDITION= BROKER=)
	@$(BIN)/simulator demo $(DEMO)

airflow: .venv/.installed ## run Airflow, which builds the marts and scans quality (database: PG*, else that of the demonstration)
	@[ -n "$$PGHOST" ] || [ -f .env ] || [ ! -f .local/env ] || . ./.local/env; $(BIN)/simulator airflow

test: .venv/.installed ## run all tests (JOBS=3)
	@$(PYTEST) $(PARALLEL)

test-unit: .venv/.installed ## run the tests that start no server
	@$(PYTEST) tests/unit

test-integration: .venv/.installed ## run the tests with real databases and brokers
	@$(PYTEST) $(PARALLEL) tests/integration

test-acceptance: .venv/.installed ## run the tests of complete user workflows
	@$(PYTEST) tests/acceptance

lint: .venv/.installed ## run ruff and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint timescale/sql

types: .venv/.installed ## run mypy (strict)
	$(BIN)/mypy

audit: .venv/.installed ## check all locked packages for known vulnerabilities (AUDIT= options of pip-audit)
	@$(UV) export --frozen --all-extras --quiet --no-emit-project --output-file .uv/requirements.txt
	@$(BIN)/python .ci/audit.py .uv/requirements.txt $(AUDIT)

format: .venv/.installed ## apply the automatic fixes of ruff and sqlfluff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix timescale/sql

marts: .venv/.installed ## build and test the marts, incrementally after the first time (database: PG*)
	@DO_NOT_TRACK=1 $(BIN)/dbt --no-version-check build --project-dir dbt_project --profiles-dir dbt_project

catalog: .venv/.installed ## generate the catalog, one offline page that describes every table (database: PG*)
	@$(BIN)/python dbt_project/catalog.py

secrets: ## docker compose: generate every empty secret in .env, and a certificate for the broker
	@sh deploy/secrets.sh

compose-check: .venv/.installed ## docker compose: check the file, and start it if an engine and the images are available
	@$(PYTEST) tests/unit/project/test_compose_file.py tests/acceptance/test_compose.py

bench: .venv/.installed ## measure the ingest rate (other benchmarks: bench/*.py, results: bench/results/)
	@$(BIN)/python bench/ingest.py

clean: ## remove caches and the data of the demonstration
	rm -rf .local .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -path ./.venv -prune -o -path ./.uv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv and .uv
	rm -rf .venv .uv

# uv does not read pip's package index (environment or pip.conf). If one is set, the same locked versions are installed
# from it and checked against the hashes in uv.lock.
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
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "make: python3 is not installed. Install Python 3.11 or newer" \
		"(Debian: apt install python3 python3-venv; macOS: brew install python), or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$("$(PYTHON)" --version)" \
		"is too old. Install Python 3.11 or newer, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv." \
		"Install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "installing into .uv/ and .venv/ …"
	@rm -rf .uv
	@"$(PYTHON)" -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
