#!/usr/bin/env bash
# Logs in to the registry of an image; the token comes from the variable TOKEN.
# Usage: TOKEN=… tools/log_in.sh IMAGE USER
set -euo pipefail
image=$1 user=$2
registry=${image%%/*}
if [ "$registry" = r8.im ]; then
  cog login --token-stdin <<<"$TOKEN"
else
  docker login "$registry" --username "$user" --password-stdin <<<"$TOKEN"
fi
