#!/usr/bin/env bash
# Checks that requirements-bulk.txt and requirements-cluster.txt have exactly the packages that bulk jobs and their
# clusters need. Newer versions on the package index do not matter.
# Usage: tools/check_lock_bulk.sh
set -euo pipefail
check() {
  local pinned=$1 from=$2
  tools/lock_bulk.sh "$from" --constraints <(grep '==' "$pinned") | diff "$pinned" - ||
    { echo "$pinned is out of date: run \`make requirements-bulk\`" >&2 && exit 1; }
}
check requirements-bulk.txt ""
check requirements-cluster.txt requirements-bulk.txt
