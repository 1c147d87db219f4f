#!/usr/bin/env bash
# Prints a model's schema as Cog generates it: `cog-schema` where it is on PATH, else the label of an image
# that `cog build` makes, or of the image named. Cog's own version is left out of it: it says "dev" in
# the one and its release in the other.
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
