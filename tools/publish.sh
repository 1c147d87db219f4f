#!/usr/bin/env bash
# Pushes the image of a model, and prints its name with the digest: REGISTRY/MODEL@sha256:….
# The tags are X.Y.Z and sha-<12 digits of the commit>. r8.im needs `cog push` and names versions itself.
# Usage: tools/publish.sh MODEL IMAGE VERSION
set -euo pipefail
model=$1 image=$2 version=$3
case $image in
  r8.im/*)
    (cd "models/$model" && cog push "$image" >&2)
    pushed=$image
    ;;
  *)
    pushed=$image:$version
    for name in "$pushed" "$image:sha-$(git rev-parse --short=12 HEAD)"; do
      docker tag "$model" "$name"
      docker push "$name" >&2
    done
    ;;
esac
docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$pushed" | grep -m 1 -F "$image@"
