# Every target sets up what is missing first, inside this folder only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Many tests wait more than they compute.
PYTEST_WORKERS ?= 3
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Nothing is written outside this folder, caches included.
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_cache := $(CURDIR)/.cache/npm
export JSII_RUNTIME_PACKAGE_CACHE_ROOT := $(CURDIR)/.cache/jsii
export CDK_DISABLE_CLI_TELEMETRY := true
export NODE_DISABLE_COMPILE_CACHE := 1

.PHONY: demo test check mutate docs bench format lock setup clean

# Without what only tests and benchmarks need.
demo: $(VENV)/.demo node_modules/.complete
	@exec $(BIN)/solarshed demo $(ARGS)

test: setup
	@$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadgroup $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test

# Ten minutes on two cores. For some of it: make bench ARGS="decoding years". Also writes bench.json and bench.png.
bench: setup
	@$(BIN)/python -m tests.bench --output build/bench $(ARGS)

# Slow: about half an hour on two cores. Not part of CI.
mutate: setup
	@$(BIN)/python -m tests.mutate

docs: setup
	$(BIN)/python -m tests.device.decision_table > docs/decision-table.md

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Locks hold exact versions and hashes, no addresses. Needs uv on the PATH.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --upgrade -o locks/dev.txt
	sed -i '1i # Every package of this project, exact and hashed; made by `make lock`.' locks/dev.txt
	uv pip compile pyproject.toml --extra demo --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --constraint locks/dev.txt -o locks/demo.txt
	sed -i '1i # What the demo needs, in the versions of dev.txt, exact and hashed; made by `make lock`.' locks/demo.txt
	uv pip compile pyproject.toml --extra device --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --constraint locks/dev.txt -o locks/device.txt
	sed -i '1i # What a Raspberry Pi needs, in the versions of dev.txt, exact and hashed; made by `make lock`.' locks/device.txt

setup: $(VENV)/.complete node_modules/.complete

$(VENV)/.demo: locks/demo.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "solarshed: needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "solarshed: this Python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv (once, about a minute) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r locks/demo.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.complete: locks/dev.txt $(VENV)/.demo
	@echo "Setting up what tests and benchmarks need ..."
	@$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r locks/dev.txt
	@touch $@

node_modules/.complete: package-lock.json $(VENV)/.demo
	@echo "Setting up the CDK's command line in node_modules ..."
	@npm ci --silent
	@touch $@

clean:
	rm -rf $(VENV) node_modules cdk.out .cache build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis mutants
