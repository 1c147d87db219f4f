#!/usr/bin/env bash
# Pins what a model needs: requirements.in and the shared package's own needs → requirements.txt.
# Usage: tools/lock.sh MODEL WHEEL
set -euo pipefail
model=$1 wheel=$2
folder=models/$model

# Models share their versions: of what requirements.in does not name, those that other models pin are taken.
named=$(sed -nE 's/^([a-z0-9-]+).*==.*/\1/p' "$folder/requirements.in" | paste -sd'|')
shared=$(find models -name requirements.txt -not -path "$folder/*" -exec grep -hE '^[a-z0-9-]+==' {} + | grep -vE "^($named)==")

# Cog reads plain `name==version` lines only: no hashes, extras, markers or options. The CUDA libraries
# are left out because torch names its own, and the container's torch is built for another CUDA version
# than the one on the package index.
{
  echo "# Made by \`make requirements MODEL=$model\` from requirements.in and shared/pyproject.toml."
  uv pip compile --quiet --no-header --no-annotate --strip-extras --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
    --constraint <(echo "$shared") \
    "$folder/requirements.in" shared/pyproject.toml |
    grep -Ev '^(nvidia-|cuda-|triton==)'
  echo "./vendor/$wheel"
} >"$folder/requirements.txt.new"
mv "$folder/requirements.txt.new" "$folder/requirements.txt"
