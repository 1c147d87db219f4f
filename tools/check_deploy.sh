#!/usr/bin/env bash
# Checks the manifests of deploy/ as they are applied: with kustomize, then against schemas that allow no unknown field.
# Usage: tools/check_deploy.sh FOLDER, made by tools/kubeconform.sh
set -euo pipefail
folder=$1
for version in "$folder"/schemas/*/; do
  for manifests in deploy/*/; do
    echo "Kubernetes $(basename "$version"), $manifests"
    { cat deploy/namespace.yaml && echo --- && "$folder/kustomize" build "$manifests"; } |
      "$folder/kubeconform" -strict -summary \
        -schema-location "$version{{.ResourceKind}}{{.KindSuffix}}.json" \
        -schema-location "$folder/schemas/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
  done
done
