#!/usr/bin/env bash
# Builds the page from ui/ into a folder: hack/ui.sh FOLDER. It needs Node 20.19 or later;
# what the lock file names comes from the npm registry. Packages' own scripts are not run.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/../ui"
npm ci --ignore-scripts --no-audit --no-fund --silent
npm run --silent build -- --outDir "$out" --emptyOutDir --logLevel warn
