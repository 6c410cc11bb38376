#!/usr/bin/env bash
# Writes the bundle for the Operator Lifecycle Manager into a folder, from config/.
# `make bundle` calls it on bundle/, hack/verify.sh on an empty folder.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# A file that is not written any more must not stay.
rm -rf "$out/manifests" "$out/metadata" "$out/tests" "$out/bundle.Dockerfile"
(cd hack/kustomize && go tool kustomize build ../../config/default) | go run ./hack/bundle -out "$out"
