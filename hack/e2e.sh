#!/usr/bin/env bash
# Runs what needs real clusters, one cluster after the other, and brings each down
# again, whatever happens on it:
#
#   hack/e2e.sh short    the specs of test/cluster/e2e that CI runs, on one cluster,
#                        and a dozen and a half of the upstream suites' on another
#   hack/e2e.sh          all of them on each cluster of the table below; then, on a
#                        new cluster, the upstream suites and the latencies, which
#                        write their pages in docs
#
# What failed is said at the end, and the exit status is 0 only if nothing has.
# KEEP=folder takes the logs of the specs (default: bin/e2e), and TOTALS names the
# file of counts for CI's closing line.
set -uo pipefail
cd "$(dirname "$0")/.."

logs=${KEEP:-bin/e2e}
mkdir -p "$logs"
failed=()

# count PASSED FAILED
count() {
	[ -z "${TOTALS:-}" ] || bin/testsum -totals "$TOTALS" -add "$1,$2" >/dev/null || true
}

# specs NAME [GINKGO-FLAG...]: with the options of the cluster in the environment
specs() {
	local name=$1 start=$SECONDS
	shift
	echo "== specs: $name"
	if "$logs/e2e.test" -test.timeout 90m -ginkgo.no-color -ginkgo.v "$@" >"$logs/$name.log" 2>&1; then
		grep -h -E '^Ran |^SUCCESS' "$logs/$name.log"
	else
		failed+=("specs: $name")
		sed -n '/^Summarizing/,$p' "$logs/$name.log"
		echo "all of it is in $logs/$name.log"
	fi
	count $(sed -n 's/.*-- \([0-9]*\) Passed | \([0-9]*\) Failed.*/\1 \2/p' "$logs/$name.log" | grep . || echo 0 1)
	echo "== specs: $name took $((SECONDS - start)) s"
}

step() {
	local start=$SECONDS
	echo "== $*"
	"$@" || failed+=("$*")
	echo "== $* took $((SECONDS - start)) s"
}

# suites FLAGS: the upstream suites on the new cluster
suites() {
	step make --no-print-directory e2e-suites CLUSTER="$cluster" SUITES="$1" > >(tee "$logs/suites.log") 2>&1
	wait $!
	local passed total
	while read -r passed total; do
		count "$passed" $((total - passed))
	done < <(sed -n 's/^[PF]A[SI][SL] [^:]*: \([0-9]*\) of \([0-9]*\) in .*/\1 \2/p' "$logs/suites.log" | grep . || echo 0 1)
}

hack/kube.sh kube-apiserver etcd kubelet kubectl kube-scheduler kube-proxy kube-controller-manager agnhost \
	containerd containerd-shim-runc-v2 ctr coredns >/dev/null || exit
hack/need.sh nft=nftables iptables=iptables ipset=ipset conntrack=conntrack containerd=containerd runc=runc \
	bash-static=bash-static busybox=busybox-static || exit
go test -c -tags e2e -o "$logs/e2e.test" ./test/cluster/e2e || exit
logs=$(cd "$logs" && pwd)

# new_cluster makes one in the folder $cluster, which goes away at the end.
new_cluster() {
	cluster=$(mktemp -d /tmp/tierwall-e2e-XXXXXX)
	trap 'make --no-print-directory cluster-down CLUSTER="$cluster"; rm -rf "$cluster"' EXIT
	rmdir "$cluster"
	step make --no-print-directory cluster-up CLUSTER="$cluster"
}

# The program looks for Tierwall's module upwards from where it runs.
if [ "${1:-}" = short ]; then
	specs short -ginkgo.label-filter=short
	new_cluster
	suites "-install -short"
else
	# Both pod networks, both modes of kube-proxy, one family and two, both runtimes,
	# and both data planes.
	while read -r pods proxy dual runtime dataplane; do
		NODES=3 PODNET=$pods PROXY=$proxy DUAL=$dual RUNTIME=$runtime DATAPLANE=$dataplane PAGE=$PWD/docs/conformance.md \
			specs "$pods-$proxy-dual-$dual-$runtime-$dataplane" </dev/null
	done <<-'TABLE'
		routed nftables true  containerd2 Auto
		bridge iptables true  containerd2 Auto
		routed iptables false containerd1 Auto
		bridge nftables false containerd1 Auto
		routed iptables true  containerd2 IPTables
	TABLE
	new_cluster
	suites "-install -page docs/conformance.md"
	step make --no-print-directory e2e-latency CLUSTER="$cluster"
	step go run ./test/cluster/startup/cmd/startup --dir "$cluster" --pods 200
fi

[ ${#failed[@]} -eq 0 ] || printf 'FAILED: %s\n' "${failed[@]}"
[ ${#failed[@]} -eq 0 ]
