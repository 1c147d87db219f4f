#!/usr/bin/env bash
# Installs the Cog CLI on a CI machine, in the version that the Makefile names, and verifies its checksum.
set -euo pipefail
version=$(sed -n 's/^COG_VERSION := //p' Makefile)
file=cog_$(uname -s)_$(uname -m)
folder=$(mktemp -d)
cd "$folder"
base=https://github.com/replicate/cog/releases/download/v$version
curl --fail --silent --show-error --location --remote-name "$base/$file" --remote-name "$base/checksums.txt"
grep " $file\$" checksums.txt | sha256sum --check
sudo install -m 755 "$file" /usr/local/bin/cog
cog --version
