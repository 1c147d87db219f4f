#!/usr/bin/env bash
# Fails if there is a newer release of Cog than VERSION.
# Usage: tools/newest_cog.sh VERSION [REPOSITORY]
set -euo pipefail
used=$1 repository=${2:-https://github.com/replicate/cog}
newest=$(git ls-remote --tags --refs "$repository" 'v*' | sed -n 's|.*refs/tags/v\([0-9]*\.[0-9]*\.[0-9]*\)$|\1|p' | sort -V | tail -n 1)
if [ -z "$newest" ]; then
  echo "$repository has no tags like v1.2.3" >&2
  exit 2
fi
echo "Cog $used is used, $newest is the newest."
[ "$newest" = "$(printf '%s\n' "$used" "$newest" | sort -V | head -n 1)" ]
