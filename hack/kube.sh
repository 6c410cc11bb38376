#!/usr/bin/env bash
# Prints the folder of the Kubernetes programs that tests run, and builds those
# that are named and missing, from the versions pinned in hack/kube/go.mod (and
# containerd's and CoreDNS's, in hack/containerd and hack/coredns), once, into the
# user's cache.
#
#   hack/kube.sh                  kube-apiserver and etcd, all that test/integration needs
#   hack/kube.sh PROGRAM...       others: see the list below
#   hack/kube.sh --where          prints the folder, builds nothing
#
# On two cores: kube-apiserver 4 to 8 minutes, e2e.test 4, kube-controller-manager,
# containerd and coredns 2 to 3 each, the rest less than one each; nothing afterwards.
# KUBEBUILDER_ASSETS names a folder that has kube-apiserver and etcd already.
set -euo pipefail
cd "$(dirname "$0")/kube"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
	if [ "${1:-}" != --where ]; then
		for program in "${@:-kube-apiserver etcd}"; do
			for p in $program; do
				[ -x "$KUBEBUILDER_ASSETS/$p" ] && continue
				echo "error: KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $p" >&2
				exit 1
			done
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
if [ "${1:-}" = --where ]; then
	echo "$folder"
	exit 0
fi
[ $# -gt 0 ] || set -- kube-apiserver etcd

missing() {
	local p
	for p; do [ -x "$folder/$p" ] || echo "$p"; done
}
if [ -z "$(missing "$@")" ]; then
	echo "$folder"
	exit 0
fi

# One build at a time: who comes second waits and finds the programs there.
mkdir -p "$folder"
if command -v flock >/dev/null; then
	exec 9>"$folder.lock"
	flock 9
fi

# The programs are for this machine, whatever the caller builds for, and those of
# Kubernetes must know their version: it decides which features are on.
export CGO_ENABLED=0 GOOS='' GOARCH='' GOWORK=off GOFLAGS="-buildvcs=false -trimpath"
minor=${kubernetes#v1.}
stamp="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	stamp+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
done

# build PROGRAM FILE
build() {
	case $1 in
	kube-apiserver | kube-controller-manager | kube-scheduler | kube-proxy | kubelet | kubectl)
		nice go build -ldflags "$stamp" -o "$2" "k8s.io/kubernetes/cmd/$1" ;;
	etcd)
		nice go build -ldflags "-s -w" -o "$2" go.etcd.io/etcd/server/v3 ;;
	agnhost) # the server and client of pods in tests
		nice go build -ldflags "-s -w" -o "$2" k8s.io/kubernetes/test/images/agnhost ;;
	e2e.test) # the upstream suite
		nice go test -c -ldflags "$stamp" -o "$2" k8s.io/kubernetes/test/e2e ;;
	ginkgo) # runs it in several processes
		nice go build -ldflags "-s -w" -o "$2" github.com/onsi/ginkgo/v2/ginkgo ;;
	npa-conformance.test) # the suite of network-policy-api
		nice go test -c -ldflags "-s -w" -o "$2" sigs.k8s.io/network-policy-api/conformance ;;
	containerd | containerd-shim-runc-v2 | ctr)
		(cd ../containerd && nice go build -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$(version github.com/containerd/containerd/v2)" \
			-o "$2" "github.com/containerd/containerd/v2/cmd/$1") ;;
	coredns) # with the plugins of hack/coredns/main.go
		(cd ../coredns && nice go build -ldflags "-s -w" -o "$2" .) ;;
	*)
		echo "error: hack/kube.sh builds no $1" >&2
		return 1 ;;
	esac
}

# A program that was not finished is never found under its final name.
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
for program in $(missing "$@"); do
	echo "building $program $kubernetes: once" >&2
	build "$program" "$work/$program" >&2
	mv "$work/$program" "$folder/$program"
done
echo "$folder"
