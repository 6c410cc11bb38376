#!/usr/bin/env bash
# Generates from the types in api/v1alpha1: deep copies into the first folder,
# CustomResourceDefinitions into the second. `make generate` calls it on the
# folders of the repository, hack/verify.sh on empty ones.
set -euo pipefail
deepcopies=$1 definitions=$2
cd "$(dirname "$0")/.."

bin/controller-gen object crd:allowDangerousTypes=true,generateEmbeddedObjectMeta=false \
	paths=./api/v1alpha1 output:object:dir="$deepcopies" output:crd:dir="$definitions"

# The generator makes a CRD of every type with object metadata. PolicyTest and
# DNSAnswers are file formats: no API server holds them.
rm "$definitions/tierwall.io_policytests.yaml" "$definitions/tierwall.io_dnsanswers.yaml"
