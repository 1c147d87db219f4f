#!/usr/bin/env bash
# Prints the pins of all models and of bulk jobs with the hashes of their files. Cog cannot check hashes; pip-audit reads them.
# Usage: tools/audit_lock.sh
set -euo pipefail
echo "# Made by \`make audit-lock\` from models/*/requirements.txt and requirements-cluster.txt, for \`make audit\`."
grep --no-filename '==' models/*/requirements.txt requirements-cluster.txt | sort -u |
  uv pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 --python-platform x86_64-unknown-linux-gnu -
