# Every target installs what it needs: `make demo` and `make test` need no other set-up.
PYTHON ?= python3
BIN := .venv/bin
DEMO := data/demo_shop
DEMO_RUN := demo
DAGSTER_HOME := $(CURDIR)/.dagster_home
PORT ?= 3000
# Where a container forbids Python its cache of compiled files, every process of a test would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo dev test test-unit test-lowest test-spark check format docs bench bench-spark growth fuzz year size crash-test long-life concurrency erase-test bad-days evidence compare lock clean
help:
	@echo "make demo   install, make the demo shop, run the main job on it"
	@echo "make dev    open the Dagster UI on 127.0.0.1:$(PORT)"
	@echo "make test   install and run the tests"
	@echo "make test-unit  those of them that make no run of the whole pipeline: about two minutes"
	@echo "make test-lowest  those again, on the oldest versions of the dependencies that the project allows"
	@echo "make test-spark  the same for the Spark engine; needs Java 17 or later"
	@echo "make check  lint, formatting and types"
	@echo "make docs   write docs/reference.md and the counts in the docs from the code"
	@echo "make bench  compare time and memory with a hand-written script"
	@echo "make bench-spark compare both engines on the same lines"
	@echo "make growth measure how time and memory grow from 1 to 50 million lines"
	@echo "make fuzz, make year, make size, make crash-test, make concurrency, make long-life"
	@echo "            long tests: damaged input, 365 nights, file size, killed runs, two runs and a reader,"
	@echo "            400 nights of one process"
	@echo "make bad-days  faults of single days, clean days and takeovers on real and generated shops"
	@echo "make evidence  planted groups and shops with a known truth: what is chosen, named and advised"
	@echo "make compare BASE=PATH  compare the results of another checkout with those of this one"
	@echo "make lock   pin the requirements files again"

# Versions and hashes are pinned for everything, including the build backend, so pip has nothing to resolve.
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: .venv/installed

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

demo: .venv/installed
	$(BIN)/python data/demo_shop.py --out $(DEMO)
	$(BIN)/seg-pipeline run --source $(DEMO) --warehouse $(DEMO_RUN)/warehouse.duckdb --output $(DEMO_RUN)/published

# Uses the demo shop unless a settings file or the environment names other orders.
ifndef SEG_PIPELINE_CONFIG
dev: export SEG_PIPELINE_SOURCE_PATH ?= $(DEMO)
dev: export SEG_PIPELINE_WAREHOUSE_PATH ?= $(DEMO_RUN)/warehouse.duckdb
dev: export SEG_PIPELINE_OUTPUT_PATH ?= $(DEMO_RUN)/published
endif

# The UI keeps its history in its own home, where the dialog for new users is marked as seen.
# Dagster's warning that a newer command exists is no help to somebody who typed `make dev`.
dev: export PYTHONWARNINGS = ignore:Function `dev_command` is superseded
dev: .venv/installed
	$(BIN)/python data/demo_shop.py --out $(DEMO)
	@mkdir -p $(DAGSTER_HOME)/.nux
	@cp deploy/dagster.yaml $(DAGSTER_HOME)/dagster.yaml
	@echo "seen: 1" > $(DAGSTER_HOME)/.nux/nux.yaml
	DAGSTER_HOME=$(DAGSTER_HOME) $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

# A worker per core and no more than four: each run fits its models on all cores already.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadgroup

test: .venv/installed-dev
	$(BIN)/pytest $(PARALLEL)

test-unit: .venv/installed-dev
	$(BIN)/pytest $(PARALLEL) -m "not whole_run"

# The highest versions are those of the other requirements files.
.venv-lowest/installed: requirements-lowest.txt pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-lowest.txt
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test-lowest: .venv-lowest/installed
	.venv-lowest/bin/pytest $(PARALLEL) -m "not whole_run"

.venv/installed-spark: .venv/installed-dev requirements-spark.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-spark.txt
	@touch $@

test-spark: .venv/installed-spark
	$(BIN)/pytest -n 2 --dist worksteal seg_pipeline_tests/spark

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@# Not every registry reports known vulnerabilities, and it may be out of reach; those it reports fail the check.
	@rm -f .venv/audit.json
	$(BIN)/pip-audit --require-hashes --disable-pip --progress-spinner off --timeout 15 -f json -o .venv/audit.json \
		-r requirements.txt || ! grep -qs '"vulns": \[{' .venv/audit.json

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: DEFAULT := kmeans,hierarchical,gaussian_mixture
bench: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.floor
	$(BIN)/python -m seg_pipeline_tests.bench --lines 20000 --customers 1000 --formats parquet --algorithms $(DEFAULT)
	$(BIN)/python -m seg_pipeline_tests.bench --algorithms $(DEFAULT)
	$(BIN)/python -m seg_pipeline_tests.bench --pairs 1 --lines 10000000 --customers 500000 --formats parquet
	$(BIN)/python -m seg_pipeline_tests.bench.large --lines 10000000 100000000 --memory-limit 4GB
	$(BIN)/python -m seg_pipeline_tests.bench.core
	$(BIN)/python -m seg_pipeline_tests.bench.accuracy
	$(BIN)/python -m seg_pipeline_tests.bench.scoring

# Long tests of ingestion and operation, up to an hour each; docs/operations.md has their figures.
fuzz: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.fuzz --inputs 2000 --command 50 --seed 1

size: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.size

year: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.year

# Night after night in one process, and some with Dagster's home.
long-life: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.long_life --nights 400
	$(BIN)/python -m seg_pipeline_tests.bench.long_life --nights 60 --home
	$(BIN)/python -m seg_pipeline_tests.bench.long_life --files 10000

crash-test: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.crash --kills 120

# Faults of single days, clean days and takeovers on real and generated shops; then whole nights.
bad-days: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.bad_days --faults --shops online_retail cdnow stationary b2b
	$(BIN)/python -m seg_pipeline_tests.bench.bad_days --clean
	$(BIN)/python -m seg_pipeline_tests.bench.ageing
	$(BIN)/python -m seg_pipeline_tests.bench.takeovers
	$(BIN)/python -m seg_pipeline_tests.bench.bad_days --nights 30

# Planted groups and shops with a known truth; writes the tables of docs/evidence.md. About half an hour.
evidence: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.planted --sets 200 --write
	$(BIN)/python -m seg_pipeline_tests.bench.evidence --write

erase-test: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.erase

concurrency: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.concurrency --seconds 300

# BASE is another checkout, or a folder of its results.
compare: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.compare $(BASE)

docs: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.reference

# About two hours and 40 GB of disk. The driver's Java is separate from the executor's, and work is divided as for 32 cores.
bench-spark: .venv/installed-spark
	$(BIN)/python -m seg_pipeline_tests.bench.spark --lines 10000000 30000000 100000000 \
		--master 'local-cluster[1,2,6144]' --set spark.config.spark.driver.memory=2g \
		--set spark.config.spark.executor.memory=5g --set spark.config.spark.default.parallelism=32

# Up to 50 million lines: a few minutes and 6 GB of disk.
growth: .venv/installed-dev
	$(BIN)/python -m seg_pipeline_tests.bench.growth --plot docs/growth.png

# Writes names, versions and hashes for every Python from 3.11 on, but no registry's address.
lock:
	$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --no-strip-extras --extra build --extra dev --extra postgres --extra s3 pyproject.toml \
		-o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --no-strip-extras --extra build -c requirements-dev.txt pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --no-strip-extras --extra spark --extra delta -c requirements-dev.txt pyproject.toml \
		-o requirements-spark.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --no-strip-extras --resolution lowest-direct --extra build --extra dev --extra postgres \
		--extra s3 pyproject.toml -o requirements-lowest.txt

clean:
	rm -rf .venv .venv-lowest .dagster_home $(DEMO) $(DEMO_RUN)
