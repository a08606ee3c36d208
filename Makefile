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

BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
PATCHER := $(BIN)/patcher
MINI    := tests/snapshots/norbert4-mini
DEMO    := build/norbert4-mini-splade

.DEFAULT_GOAL := help
.PHONY: help install demo patch publish test lint test-transformers4 snapshot clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

install: $(STAMP) ## make .venv and install everything into it

demo: $(STAMP) ## patch the bundled miniature NorBERT4, verify it, write its card, publish it to a local Hub
	$(BIN)/python -m tests.demo --out $(DEMO)

patch: $(STAMP) ## the same on a model of the Hub: MODEL= REVISION= OUT= DEVICE=
	$(PATCHER) patch $(MODEL) --out $(OUT) --device $(DEVICE) $(if $(REVISION),--revision $(REVISION)) $(ARGS)

publish: $(STAMP) ## push the result: TO=user/name PRIVATE=1 DRY_RUN=1
	@test -n "$(TO)" || { echo "Error: TO is not set." >&2; echo "Hint: make publish TO=user/name" >&2; exit 2; }
	$(PATCHER) publish $(OUT) $(TO) $(if $(PRIVATE),--private) $(if $(DRY_RUN),--dry-run) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## lint, types and all tests; SNAPSHOT=<id or folder> also tests another model of the family
	$(if $(SNAPSHOT),PATCHER_TEST_SNAPSHOT=$(SNAPSHOT)) $(BIN)/python -m pytest $(ARGS)

test-transformers4: $(STAMP) ## the original on transformers 4.57 against the patched one on 5, through the cap
	$(PYTHON) -m venv .venv4
	.venv4/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==4.57.6
	PATCHER_TRANSFORMERS4=$(CURDIR)/.venv4/bin/python $(BIN)/python -m pytest tests/compatibility $(ARGS)

snapshot: $(STAMP) ## train the bundled miniature again (some minutes)
	$(BIN)/python -m tests.snapshots.build --out $(MINI)

clean: ## remove what the targets made, the environments too
	rm -rf build .venv .venv4
