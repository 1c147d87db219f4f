#!/usr/bin/env bash
# Local wheels in requirements.txt work from one version of the Cog CLI on.
# Usage: tools/check_cog.sh VERSION
set -euo pipefail
wanted=$1
if ! command -v cog >/dev/null; then
  echo "The Cog CLI is not on PATH: install $wanted or newer, see https://cog.run" >&2
  exit 1
fi
found=$(cog --version | sed 's/^cog version \([0-9.]*\).*/\1/')
if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
  echo "cog $found is too old: install $wanted or newer" >&2
  exit 1
fi
