# One word per job. `make` alone lists them.
PYTHON   ?= python3
VENV     ?= .venv
MODEL    ?= ltg/norbert4-base
REVISION ?=
DEVICE   ?= auto
OUT      ?= build/$(notdir $(MODEL))-splade
TO       ?=
PRIVATE  ?=
DRY_RUN  ?=
SNAPSHOT ?=
ARGS     ?=
PROGRAMS ?= 50000
CONFIG   ?= templates/training_config.yaml

BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
PATCHER := $(BIN)/patcher
MINI    := tests/snapshots/norbert4-mini
DEMO    := build/norbert4-mini-splade

.DEFAULT_GOAL := help
.PHONY: help install demo patch patch-family publish train train-demo threshold-demo test test-nightly lint docs test-transformers4 \
        test-sentence-transformers5 test-hub \
        sweep mutations bench snapshot pictures figures clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Error: the exact versions in constraints.txt need Python 3.11 or newer." >&2; \
	  echo "Hint: make PYTHON=python3.12, or without make: pip install ." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

install: $(STAMP) ## make .venv and install everything into it

demo: $(STAMP) ## patch the bundled miniature NorBERT4, verify it, write its card, publish it to a local Hub
	$(BIN)/python -m tests.demo --out $(DEMO)

patch: $(STAMP) ## the same on a model of the Hub: MODEL= REVISION= OUT= DEVICE=
	$(PATCHER) patch $(MODEL) --out $(OUT) --device $(DEVICE) $(if $(REVISION),--revision $(REVISION)) $(ARGS)

patch-family: $(STAMP) ## the same on a list of models: ALL=list.txt (the NorBERT4 family without it) OUT= (a folder for all of them)
	$(PATCHER) patch --all $(or $(ALL),templates/family.txt) --out $(if $(filter file default,$(origin OUT)),build,$(OUT)) --device $(DEVICE) $(ARGS)

publish: $(STAMP) ## push the result: TO=user/name PRIVATE=1 DRY_RUN=1
	@test -n "$(TO)" || { echo "Error: TO is not set." >&2; echo "Hint: make publish TO=user/name" >&2; exit 2; }
	$(PATCHER) publish $(OUT) $(TO) $(if $(PRIVATE),--private) $(if $(DRY_RUN),--dry-run) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/codespell

docs: $(STAMP) ## build the site of docs/ into build/site; a warning is an error
	$(BIN)/python -m mkdocs build --strict -f docs/mkdocs.yml

train: $(STAMP) ## train a SPLADE retriever on a patched base: CONFIG=
	$(BIN)/python templates/train_splade.py $(CONFIG) $(ARGS)

train-demo: $(STAMP) ## train the miniature with and without its cap, and fill the table (some minutes)
	$(BIN)/python -m tests.training.demo $(ARGS)

threshold-demo: $(STAMP) ## train a capped model honestly for three seeds, check it with a threshold, and build that in: ARGS="--seeds 42"
	$(BIN)/python -m tests.threshold.demo build/threshold-demo $(ARGS)
	$(PATCHER) threshold $$(ls -d build/threshold-demo/seed-?? | head -1) --sweep --trust-remote-code --device cpu \
	  --save build/threshold-demo/sparse

test: lint ## lint, types and all tests; SNAPSHOT=<id or folder> also tests another model of the family
	OMP_NUM_THREADS=1 $(if $(SNAPSHOT),PATCHER_TEST_SNAPSHOT=$(SNAPSHOT)) $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-nightly: $(STAMP) ## what make test leaves out: 50,000 generated programs, other ones each time (PROGRAMS=), all installed models, benchmarks
	PATCHER_TEST_PROGRAMS=$(PROGRAMS) $(BIN)/python -m pytest tests/codemods/test_meaning.py $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m nightly $(ARGS)

test-transformers4: $(STAMP) ## the original on transformers 4.57 against the patched one on 5, through the cap
	$(PYTHON) -m venv .venv4
	.venv4/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==4.57.6
	PATCHER_TRANSFORMERS4=$(CURDIR)/.venv4/bin/python $(BIN)/python -m pytest tests/compatibility $(ARGS)

test-sentence-transformers5: $(STAMP) ## a model with a built-in threshold on sentence-transformers 5.0, 5.1 and 5.4
	$(PYTHON) -m venv .venv5
	for pair in "5.0.0 4.57.6" "5.1.2 4.57.6" "5.4.1 5.23.0"; do set -- $$pair; \
	  .venv5/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 \
	    sentence-transformers==$$1 transformers==$$2 && \
	  PATCHER_SENTENCE_TRANSFORMERS5=$(CURDIR)/.venv5/bin/python $(BIN)/python -m pytest \
	    tests/compatibility/test_sentence_transformers5.py $(ARGS) || exit 1; \
	done

test-hub: $(STAMP) ## a round on the true Hub, in a private repository that is removed again: TO=user/name
	@test -n "$(TO)" || { echo "Error: TO is not set." >&2; echo "Hint: make test-hub TO=user/name" >&2; exit 2; }
	PATCHER_TEST_HUB_TO=$(TO) $(BIN)/python -m pytest tests/publish/test_any_hub.py $(ARGS)

sweep: $(STAMP) ## plan all model code that the installed packages bring; ARGS=--update accepts what it finds
	$(BIN)/python -m tests.sweep $(ARGS)

mutations: $(STAMP) ## break each check's code in turn and see a test turn red (minutes): ARGS="--only CHECK"
	$(BIN)/python -m tests.mutations $(ARGS)

bench: $(STAMP) ## ratios of time, memory and bytes against their floors (half an hour): ARGS="--only verify --pairs 3 --markdown --all"
	$(BIN)/python -m tests.benchmarks $(ARGS)

snapshot: $(STAMP) ## train the bundled miniature again (some minutes)
	$(BIN)/python -m tests.snapshots.build --out $(MINI)

pictures: $(STAMP)
	$(BIN)/python -m tests.snapshots.pictures

figures: pictures ## run again what README and docs show: pictures, outputs, tables, the page of the Python API
	$(BIN)/python -m tests.docs.figures $(ARGS)

clean: ## remove what the targets made, the environments too
	rm -rf build .venv .venv4 .venv5
