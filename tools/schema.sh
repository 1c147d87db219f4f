#!/usr/bin/env bash
# Prints the schema of a model, as Cog generates it: with `cog-schema` if it is on PATH, else from the label of IMAGE or
# of an image that `cog build` makes. The version of Cog is replaced by "dev", because it differs between the two.
# Usage: tools/schema.sh MODEL [IMAGE]
set -euo pipefail
model=$1 image=${2:-}
if [ -z "$image" ] && command -v cog-schema >/dev/null; then
  made=$(cog-schema "models/$model")
else
  if [ -z "$image" ]; then
    image=$model-schema
    (cd "models/$model" && cog build -t "$image" >&2)
  fi
  made=$(docker image inspect -f '{{index .Config.Labels "run.cog.openapi_schema"}}' "$image")
fi
python3 -c '
import json, sys
schema = json.load(sys.stdin)
schema["info"]["version"] = "dev"
print(json.dumps(schema, indent=4, ensure_ascii=False))
' <<<"$made"
