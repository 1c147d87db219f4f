#!/usr/bin/env bash
# Tells whether a model's requirements.txt holds what its requirements.in needs, no more and no less. Newer
# versions on the package index change nothing.
# Usage: tools/check_lock.sh MODEL WHEEL
set -euo pipefail
model=$1 wheel=$2
pinned=models/$model/requirements.txt
if ! tools/lock.sh "$model" "$wheel" --constraints <(grep '==' "$pinned") | diff "$pinned" -; then
  echo "$pinned is not current: run \`make requirements MODEL=$model\`" >&2
  exit 1
fi
