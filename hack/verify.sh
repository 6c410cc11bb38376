#!/usr/bin/env bash
# Checks what must hold of every commit: generated files are those that `make
# generate` writes, Go files are formatted, vet is content, each go.mod is tidy.
# Arguments are the folders of the modules. All checks run; any may fail.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0

fail() {
	echo "verify: $*" >&2
	status=1
}

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir "$fresh/api" "$fresh/crd"
hack/generate.sh "$fresh/api" "$fresh/crd"
diff -u api/v1alpha1/zz_generated.deepcopy.go "$fresh/api/zz_generated.deepcopy.go" ||
	fail "deep copies are out of date: run make generate"
diff -ru config/crd/bases "$fresh/crd" ||
	fail "CRDs are out of date: run make generate"

hack/bundle.sh "$fresh/bundle"
diff -ru bundle "$fresh/bundle" ||
	fail "the bundle is out of date: run make bundle"
# It says what is wrong in its log; its exit status is 0 all the same.
bin/operator-verify manifests bundle 2>&1 | tee "$fresh/operator-verify" || true
! grep -q 'level=\(error\|fatal\)' "$fresh/operator-verify" ||
	fail "the bundle is not as OLM wants it"

# The page is what its sources build to, wherever it can be built.
old=$(node -p 'process.versions.node.split(".").map(Number)' 2>/dev/null |
	tr -d '[] ' | awk -F, '{ print ($1 < 20 || $1 == 20 && $2 < 19) }')
if [ "$old" = 0 ] && command -v npm >/dev/null; then
	hack/ui.sh "$fresh/ui" && diff -r ui/dist "$fresh/ui" >&2 ||
		fail "the built page is out of date: run make ui"
elif [ -n "${CI:-}" ]; then
	fail "the built page cannot be checked without Node 20.19 and npm"
else
	echo "verify: NOT CHECKED: the built page, for there is no Node 20.19 with npm" >&2
fi

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || fail "not formatted, run gofmt -w on: $unformatted"

for module in "$@" hack/tools hack/lint hack/kube hack/containerd hack/coredns; do
	(cd "$module" && go mod tidy -diff) || fail "$module/go.mod is not tidy: run go mod tidy there"
done
for module in "$@"; do
	(cd "$module" && go vet ./...) || fail "go vet of $module"
done

exit $status
