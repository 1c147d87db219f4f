#!/usr/bin/env bash
# Prints the requirements.txt of a model, from its requirements.in and the dependencies of the shared package.
# Usage: tools/lock.sh MODEL WHEEL [OPTION OF uv …]
set -euo pipefail
model=$1 wheel=$2
shift 2
folder=models/$model

# Models share their versions: if requirements.in does not name a package, the version that other models pin is taken.
named=$(sed -nE 's/^([a-z0-9-]+).*==.*/\1/p' "$folder/requirements.in" | paste -sd'|')
pinned=$(find models -name requirements.txt -not -path "$folder/*" -exec grep -hE '^[a-z0-9-]+==' {} + | grep -vE "^($named)==")

# Cog supports only plain `name==version` lines: no hashes, extras, markers or options. The CUDA libraries are removed
# because the torch in the container is built for another CUDA version than the one on the package index, and requires
# its own libraries.
echo "# Made by \`make requirements MODEL=$model\` from requirements.in and shared/pyproject.toml."
uv pip compile --quiet --no-header --no-annotate --strip-extras --no-emit-index-url --no-emit-find-links \
  --python-version 3.11 --python-platform x86_64-unknown-linux-gnu "$@" --constraint <(echo "$pinned") \
  "$folder/requirements.in" shared/pyproject.toml |
  grep -Ev '^(nvidia-|cuda-|triton==)'
echo "./vendor/$wheel"
