#!/usr/bin/env bash
# Prints requirements-bulk.txt: what the extra `bulk` of the shared package needs beside the requirements of any model.
# Usage: tools/lock_bulk.sh [FILE [OPTION OF uv …]]
# With requirements-bulk.txt as FILE, prints requirements-cluster.txt: its pins, and what `ray job submit` and RayJob
# need in addition on the machines of a cluster. An empty FILE is none.
set -euo pipefail
pinned=$(cat models/*/requirements.txt | grep -E '^[a-z0-9-]+==' | sort | uniq -c)
models=$(find models -mindepth 2 -maxdepth 2 -name requirements.txt | wc -l)
of_every_model=$(awk -v models="$models" '$1 == models { print $2 }' <<<"$pinned")
# The tests' bucket needs an older python-dateutil than pandas would take.
older="python-dateutil<3"
bulk=${1:-/dev/null}
wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
if [ "$bulk" = /dev/null ]; then
  echo "# Made by \`make requirements-bulk\` from the extra \`bulk\` in shared/pyproject.toml."
else
  echo "# Made by \`make requirements-bulk\` from $bulk and ray[default]."
  echo "ray[default]" >"$wanted"
fi
uv pip compile --quiet --no-header --no-annotate --strip-extras --no-emit-index-url --no-emit-find-links \
  --python-version 3.11 --python-platform x86_64-unknown-linux-gnu "${@:2}" \
  --constraint <(awk '{ print $2 }' <<<"$pinned"; echo "$older"; cat "$bulk") \
  --extra bulk shared/pyproject.toml "$wanted" |
  grep -Ev '^(nvidia-|cuda-|triton==)' | grep -vxF "$of_every_model"
