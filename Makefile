# The same commands for people and for CI; `make help` prints them.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_DEV := $(VENV)/.installed-dev
STAMP_DOCS := $(VENV)/.installed-docs
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
CHECKED := cacscore_client calcium_scoring service model_training tests documentation
PYTEST_WORKERS ?= 2
MERMAID_VERSION := 11.12.0
export CHAOS_STUDIES ?= 100
export CHAOS_KILLS ?= 200
export CHAOS_OUTAGE_S ?= 60
EVALUATION_PATIENTS ?= 60
EVALUATION_WORKERS ?= 1
ABLATION_PATIENTS ?= 144
HOSTILE_FILES ?= 20000
HOSTILE_UPLOAD_MIB ?= 2000
FUZZ_EXAMPLES ?= 100
ABLATION_TRAINING ?= 60
ABLATION_STEPS ?= 1000
ABLATION_CONFIG ?= provisional
BENCH_OPTIONS ?=
LOAD_CLIENTS ?= 200
LOAD_SECONDS ?= 180

.DEFAULT_GOAL := help
.PHONY: help compose-test setup setup-dev demo test check lint types imports openapi openapi-check conformance references docs docs-serve setup-docs constraints evaluate ablation bench bench-read chaos hostile fuzz-api load audit clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## build .venv with all that runs on a laptop (no root, no Docker, no GPU)

setup-dev: $(STAMP_DEV) ## the same with training, tests and linters

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; $(PYTHON) is older. Set PYTHON=..."; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) \
	  || { echo "This Python has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PIP) -e '.[embedded]'
	@touch $@

$(STAMP_DEV): $(STAMP)
	@# torch by its pinned name alone: its dependants then take the build that is there.
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[embedded,training,dev]'
	@touch $@

demo: setup ## score a simulated patient through the whole service; prints score, mask and picture
	$(BIN)/cacscore demo --out demo-output

test: setup-dev ## run every test that needs no special machine
	$(BIN)/pytest -n $(PYTEST_WORKERS) -m "not gpu and not e2e and not chaos and not compose"
	@# One service scores for all end-to-end tests: they run in one process, with the cores to themselves.
	$(BIN)/pytest -m "e2e and not gpu"

chaos: setup-dev ## kill every part of the service at every stage; CHAOS_STUDIES, CHAOS_KILLS set the size
	$(BIN)/pytest -m chaos -p no:randomly tests/chaos

compose-test: setup-dev ## the compose stack on a Docker engine of its own: root on Debian, 10 minutes
	$(BIN)/pytest -m compose -p no:randomly tests/compose

check: lint types imports openapi-check ## everything that reads the code without running the tests

lint: setup-dev ## formatting, lint rules, spelling
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/typos

types: setup-dev ## mypy in strict mode, tests included
	$(BIN)/mypy

imports: setup-dev ## who may import whom (the layers of docs/architecture.md)
	$(BIN)/lint-imports

openapi: setup-dev ## write openapi/openapi.json from the code
	$(BIN)/python -m service.api.export_openapi openapi/openapi.json

conformance: setup-dev ## write docs/dicom-conformance.md from the code
	$(BIN)/python -m service.adapters.dicom_network.conformance

openapi-check: setup-dev ## fail when openapi/openapi.json is not what the code says
	$(BIN)/python -m service.api.export_openapi --check openapi/openapi.json

references: setup-dev ## write the client's types and docs/reference from the code
	$(BIN)/python -m documentation.references

docs: setup-docs ## build the documentation in build/site; a link that leads nowhere fails it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-serve: setup-docs ## show the documentation at http://127.0.0.1:8001 and follow every change
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8001

setup-docs: $(STAMP_DOCS) ## .venv with what the documentation is built with

$(STAMP_DOCS): $(STAMP)
	$(PIP) -e '.[docs]'
	@# Diagrams are drawn by a script of the site's own; without npm they stay text.
	@mkdir -p build/mermaid
	@if command -v npm >/dev/null; then \
	  (cd build/mermaid && npm pack --silent mermaid@$(MERMAID_VERSION) >/dev/null \
	    && tar -xzf mermaid-$(MERMAID_VERSION).tgz package/dist/mermaid.min.js package/LICENSE) \
	    || echo "Mermaid could not be fetched; diagrams stay text."; \
	fi
	@touch $@

constraints: setup-dev ## pin the tree that is installed now
	@# The GPU build of ONNX Runtime is never installed beside the CPU build: its pin is carried over.
	@grep '^onnxruntime-gpu==' constraints.txt > .constraints.gpu
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | sort -f - .constraints.gpu > .constraints.new
	@mv .constraints.new constraints.txt && rm .constraints.gpu

evaluate: setup-dev ## every figure of the model card: simulates missing test patients, hours on a CPU
	$(BIN)/python -m model_training simulate --cases runs/test-cases --split test \
	  --n $(EVALUATION_PATIENTS) --workers $(EVALUATION_WORKERS)
	$(BIN)/python -m model_training evaluate --cases runs/test-cases --split test \
	  --n $(EVALUATION_PATIENTS) --workers $(EVALUATION_WORKERS) --out docs/evaluation

ablation: setup-dev ## tables 1 and 2 of the paper: simulates what is missing, trains five networks
	for split in train:$(ABLATION_TRAINING) validation:12 test:$(ABLATION_PATIENTS); do \
	  $(BIN)/python -m model_training simulate --cases runs/ablation-cases --near-heart-mm 30 \
	    --split $${split%:*} --n $${split#*:} || exit 1; \
	done
	$(BIN)/python -m model_training ablation --cases runs/ablation-cases \
	  --config $(ABLATION_CONFIG) --steps $(ABLATION_STEPS) --n-test $(ABLATION_PATIENTS)

bench: setup-dev ## time and memory of whole scans, beside exhaustive inference; minutes to an hour
	$(BIN)/python -m tests.benchmarks.bench_speed $(BENCH_OPTIONS)

bench-read: setup-dev ## time and memory of reading 300 slices, beside SimpleITK on the same files
	$(BIN)/python -m tests.benchmarks.bench_read

hostile: setup-dev ## more than 200 attacks and HOSTILE_FILES mutated files: no crash, no 500, nothing left
	CACSCORE_HOSTILE_FILES=$(HOSTILE_FILES) CACSCORE_HOSTILE_UPLOAD_MIB=$(HOSTILE_UPLOAD_MIB) $(BIN)/pytest -p no:randomly tests/hostile

fuzz-api: setup-dev ## schemathesis on a running service, all checks; FUZZ_EXAMPLES requests an operation
	CACSCORE_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/pytest tests/fuzz

load: setup-dev ## many clients at a running gateway: times, errors, memory (LOAD_CLIENTS, LOAD_SECONDS)
	$(BIN)/python -m tests.benchmarks.load --clients $(LOAD_CLIENTS) --seconds $(LOAD_SECONDS)

audit: setup-dev ## known vulnerabilities of the pins, bandit on the code, SBOM in build/sbom.json
	$(BIN)/python -m tests.audit --sbom build/sbom.json

clean: ## remove what the other targets made
	rm -rf $(VENV) build demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
