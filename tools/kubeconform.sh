#!/usr/bin/env bash
# Builds kubeconform and kustomize with Go, and the schemas for `make check-deploy`, in a folder. All of it is pinned.
# kubeconform would download schemas at every run. Instead, those of Kubernetes are from a package on the Python package
# index, and those of KEDA and KubeRay are made from their releases by the script that comes with kubeconform.
# Usage: tools/kubeconform.sh FOLDER PYTHON
set -euo pipefail
kubeconform=v0.8.0
kustomize=v5.8.2
keda=v2.21.0
kuberay=v1.6.1
package=kubernetes-validate==1.37.0
versions=(1.32.0 1.37.0) # of Kubernetes: the oldest and the newest

mkdir -p "$1"
folder=$(cd "$1" && pwd) python=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$folder"
released() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }
GOBIN=$folder go install "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform"
GOBIN=$folder go install "sigs.k8s.io/kustomize/kustomize/v5@$kustomize"

rm -rf schemas
mkdir schemas
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
uv pip install --quiet --no-deps --target "$unpacked" "$package"
for version in "${versions[@]}"; do
  mv "$unpacked/kubernetes_validate/kubernetes-json-schema/v$version-local-strict" "schemas/$version"
  # They refer to a web site that does not have them, in place of the folder.
  sed -i.bak 's#/api/_definitions.json#_definitions.json#; s/"[$]id":/"comment":/' "schemas/$version"/*.json
  rm "schemas/$version"/*.bak
done

script=$(released "github.com/yannh/kubeconform@$kubeconform")/scripts/openapi2jsonschema.py
scaled=$(released "github.com/kedacore/keda/v2@$keda")/config/crd/bases/keda.sh_scaledobjects.yaml
job=$(released "github.com/ray-project/kuberay/ray-operator@$kuberay")/config/crd/bases/ray.io_rayjobs.yaml
cd schemas
FILENAME_FORMAT='{kind}-{fullgroup}-{version}' "$python" "$script" "$scaled" "$job"
