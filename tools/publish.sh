#!/usr/bin/env bash
# Pushes the built image of a model, as it was checked, and prints its name with the digest: REGISTRY/MODEL@sha256:….
# Its tag is sha-<12 digits of the commit>; tools/name_version.sh gives it the version. r8.im numbers versions itself, and
# there the push is the release. `cog push` would build the image again.
# Usage: tools/publish.sh MODEL IMAGE
set -euo pipefail
model=$1 image=$2
case $image in
  r8.im/*) pushed=$image ;;
  *) pushed=$image:sha-$(git rev-parse --short=12 HEAD) ;;
esac
docker tag "$model" "$pushed"
docker push "$pushed" >&2
docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$pushed" | grep -m 1 -F "$image@"
