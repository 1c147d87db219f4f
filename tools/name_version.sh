#!/usr/bin/env bash
# Gives a pushed image the tag X.Y.Z, and prints REGISTRY/MODEL:X.Y.Z. Fails if another image has it: a published version
# never changes. Does nothing on r8.im, which numbers versions itself.
# Usage: tools/name_version.sh REGISTRY/MODEL@sha256:… X.Y.Z
set -euo pipefail
by_digest=$1 version=$2
image=${by_digest%@*}
named=$image:$version
is_it() { docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$named" | grep -qxF "$by_digest"; }

case $by_digest in
  r8.im/*) exit 0 ;;
  *@sha256:*) ;;
  *)
    echo "$by_digest has no digest: it is what \`make publish\` prints, REGISTRY/MODEL@sha256:…." >&2
    exit 2
    ;;
esac
# `docker manifest inspect` says of a registry without TLS that it has nothing.
if said=$(docker pull --quiet "$named" 2>&1); then
  if ! is_it; then
    echo "$named is published already, and is not $by_digest: take the next version." >&2
    exit 1
  fi
elif ! grep -qE 'not found|manifest unknown' <<<"$said"; then
  echo "$said" >&2
  exit 1
fi
docker pull --quiet "$by_digest" >&2
docker tag "$by_digest" "$named"
docker push --quiet "$named" >&2
if ! is_it; then
  echo "$named was pushed, but is not $by_digest: remove it from the registry." >&2
  exit 1
fi
echo "$named"
