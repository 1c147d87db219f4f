#!/usr/bin/env bash
# Checks that the requirements.txt of a model has exactly the packages that its requirements.in needs. Newer versions
# on the package index do not matter.
# Usage: tools/check_lock.sh MODEL WHEEL
set -euo pipefail
model=$1 wheel=$2
pinned=models/$model/requirements.txt
if ! tools/lock.sh "$model" "$wheel" --constraints <(grep '==' "$pinned") | diff "$pinned" -; then
  echo "$pinned is out of date: run \`make requirements MODEL=$model\`" >&2
  exit 1
fi
