#!/usr/bin/env bash
# Checks that requirements-bulk.txt has exactly the packages that the extra `bulk` needs. Newer versions on the package
# index do not matter.
# Usage: tools/check_lock_bulk.sh
set -euo pipefail
pinned=requirements-bulk.txt
if ! tools/lock_bulk.sh --constraints <(grep '==' "$pinned") | diff "$pinned" -; then
  echo "$pinned is out of date: run \`make requirements-bulk\`" >&2
  exit 1
fi
