#!/usr/bin/env bash
# Checks the version of the Cog CLI: older ones do not support local wheels in requirements.txt.
# Usage: tools/check_cog.sh VERSION
set -euo pipefail
wanted=$1
if ! command -v cog >/dev/null; then
  echo "The Cog CLI is not on PATH. Install version $wanted or newer: https://cog.run" >&2
  exit 1
fi
found=$(cog --version | sed 's/^cog version \([0-9.]*\).*/\1/')
if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
  echo "The Cog CLI is version $found. Install version $wanted or newer: https://cog.run" >&2
  exit 1
fi
