#!/usr/bin/env bash
# Prints the folder of the kube-apiserver and etcd that the integration tests run.
# That is KUBEBUILDER_ASSETS if it is set. Otherwise both are built from the
# versions pinned in hack/kube/go.mod, once, into the user's cache: some
# minutes on two cores, nothing afterwards.
#
#   hack/kube.sh          builds what is missing, prints the folder
#   hack/kube.sh --where  prints the folder, builds nothing
set -euo pipefail
cd "$(dirname "$0")/kube"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
	if [ "${1:-}" != --where ]; then
		for program in kube-apiserver etcd; do
			[ -x "$KUBEBUILDER_ASSETS/$program" ] && continue
			echo "error: KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $program" >&2
			exit 1
		done
	fi
	echo "$KUBEBUILDER_ASSETS"
	exit 0
fi

# The version of a module: the line of its requirement, not that of its tool.
version() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' go.mod; }
kubernetes=$(version k8s.io/kubernetes)
etcd=$(version go.etcd.io/etcd/server/v3)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tierwall
folder=$cache/kube-$kubernetes-etcd-$etcd
if [ "${1:-}" = --where ] || [ -x "$folder/etcd" ]; then
	echo "$folder"
	exit 0
fi

# One build at a time: who comes second waits and finds the folder complete.
mkdir -p "$cache"
if command -v flock >/dev/null; then
	exec 9>"$folder.lock"
	flock 9
	if [ -x "$folder/etcd" ]; then
		echo "$folder"
		exit 0
	fi
fi

# A folder that was not finished is never found under the final name.
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "building kube-apiserver $kubernetes and etcd $etcd: some minutes, once" >&2

# The programs are for this machine, whatever the caller builds for, and the
# server must know its version: it decides which features are on.
export CGO_ENABLED=0 GOOS='' GOARCH='' GOWORK=off GOFLAGS="-buildvcs=false -trimpath"
minor=${kubernetes#v1.}
stamp="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	stamp+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
done
nice go build -ldflags "-s -w" -o "$work/etcd" go.etcd.io/etcd/server/v3 >&2
nice go build -ldflags "$stamp" -o "$work/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver >&2
chmod 755 "$work"

# Without flock another build may have been first; then its folder stays.
[ -x "$folder/etcd" ] || mv "$work" "$folder"
echo "$folder"
