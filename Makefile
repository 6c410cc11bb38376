# Tierwall's tasks. They need Go, nft, iptables and ipset for what programs a kernel, and gcc for the
# race detector of tests; every other tool is a pinned module.
#
# The code generator and the linter are modules of their own (hack/tools and
# hack/lint), so that their dependencies stay out of Tierwall's.

export CGO_ENABLED = 0

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS   := -s -w -X github.com/tierwall/tierwall/cmd.Version=$(VERSION)
BENCH     ?= .
BENCHTIME ?= 1s
FUZZTIME  ?= 10s
IMAGE     ?= ghcr.io/tierwall/tierwall:$(VERSION)

# Modules with tests: Tierwall itself, and test suites with dependencies of their own.
MODULES := . $(patsubst %/go.mod,%,$(wildcard test/*/go.mod test/*/*/go.mod))

CONTROLLER_GEN := bin/controller-gen
OPERATOR_VERIFY := bin/operator-verify
GOLANGCI_LINT  := bin/golangci-lint
# A file of counts that several runs of tests add to; see hack/testsum.
TOTALS ?=
# SERIAL=1 runs one package's tests at a time, while those of the next are built.
SERIAL ?=
TESTSUM := bin/testsum $(if $(TOTALS),-totals $(abspath $(TOTALS)))

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what there is to make.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/tierwall.
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/tierwall .

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Write deep copies and CRDs anew from api/v1alpha1, and from these the bundle.
	hack/generate.sh api/v1alpha1 config/crd/bases
	hack/bundle.sh bundle

.PHONY: ui
ui: ## Build the page anew from ui/, with Node 20.19 or later.
	@hack/need.sh node=nodejs npm=npm
	hack/ui.sh ui/dist

.PHONY: bundle
bundle: ## Write the bundle for OLM anew from config/.
	hack/bundle.sh bundle

.PHONY: image
image: ## Build the container image IMAGE for this machine's platform, with Docker or what answers to its name.
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: verify
verify: $(CONTROLLER_GEN) $(OPERATOR_VERIFY) ## Fail if generated files, formatting, vet or go.mod are not as they should be.
	@[ -z "$(CI)" ] || hack/need.sh node=nodejs npm=npm
	hack/verify.sh $(MODULES)

.PHONY: demo
demo: build ## Enforce the samples in this machine's kernel, in network namespaces, and show it.
	@hack/need.sh nft=nftables
	@bin/tierwall demo

# What the tests use beside Go: they program a real kernel, and open the page in a real browser.
.PHONY: need
need:
	@hack/need.sh nft=nftables iptables=iptables ipset=ipset gcc=gcc,libc6-dev chromium=chromium

# What has goroutines of its own runs with the race detector, which alone takes cgo. The
# backends run with it too, but for their worlds with packets, where the time is the kernel's.
RACE := ./controllers/...,./dataplane,./dataplane/base,./dataplane/conntrack,./dataplane/links,./dataplane/nflog,./dataplane/watch
BACKENDS := ./dataplane/nftables ./dataplane/iptables
comma := ,

# Built with all cores before tests run one package at a time.
.PHONY: race
race: need ## Run the tests of the backends with the race detector, and build with it what `make test` runs so.
	CGO_ENABLED=1 go build -race $(subst $(comma), ,$(RACE))
	CGO_ENABLED=1 go test -p 1 -race -skip '^TestPackets$$' $(BACKENDS)

.PHONY: test
test: need testsum ## Vet and run all tests of all modules, controllers and most of the data planes with the race detector; the last line counts them.
	@for m in $(MODULES); do (cd $$m && go vet -tags e2e ./...) || exit 1; done
	@assets=$$(hack/kube.sh) && KUBEBUILDER_ASSETS=$$assets $(TESTSUM) $(if $(SERIAL),-serial )-race $(RACE) $(MODULES)

# A sample of MUTANTS changes of one token, which SEED fixes, and the share that tests
# have to notice. The tests are built once; a mutant takes seconds if its package's tests catch
# it, and about two minutes otherwise. CI does not run it.
MUTANTS ?= 200
SEED    ?= 1
.PHONY: mutants
mutants: need ## Change one token of the core or the data plane at a time, and count the changes that no test fails on.
	@go run ./hack/mutants -n $(MUTANTS) -seed $(SEED) ./policy/... ./dataplane/... ./controllers/agent/...

.PHONY: fuzz
fuzz: testsum ## Run each fuzz target for FUZZTIME (10s).
	@$(TESTSUM) -fuzz $(FUZZTIME) $(MODULES)

.PHONY: bench
bench: ## Run the benchmarks that match BENCH, for BENCHTIME each (1s), and end in the data plane's table.
	@assets=$$(hack/kube.sh) && KUBEBUILDER_ASSETS=$$assets go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 30m $$(go list ./... | grep -v '/test/bench$$')
	@$(MAKE) --no-print-directory bench-dataplane

# The page is written by a run of all of them only.
.PHONY: bench-corpus
bench-corpus: ## Measure a tenant's changes beside adversaries' largest objects (test/adversaries); TIERWALL_WORLD names a part of some, TIERWALL_BUDGETS the mode of budgets.
	@assets=$$(hack/kube.sh) && KUBEBUILDER_ASSETS=$$assets go test ./test/integration/corpus -run '^$$' -bench Corpus -benchtime 1x -timeout 60m

.PHONY: bench-dataplane
bench-dataplane: ## Run the benchmarks of the data plane that match BENCH; all of them write docs/benchmarks.md.
	@go test -c -o bin/bench.test ./test/bench
	$(if $(filter .,$(BENCH)),TIERWALL_REPORT=$(CURDIR)/docs/benchmarks.md )bin/bench.test -test.run '^$$' -test.bench '$(BENCH)' -test.benchtime 1x -test.timeout 30m

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters of .golangci.yml.
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(abspath $(GOLANGCI_LINT)) run ./...) || status=1; done; exit $$status

# Its database has to be reached: .github/workflows/vulnerabilities.yml runs it.
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: vulnerabilities
vulnerabilities: ## Look for known vulnerabilities in what the program calls.
	go run $(GOVULNCHECK) ./...

# The test cluster: a real Kubernetes on this machine; see test/cluster/README.md.
CLUSTER ?= /tmp/tierwall-cluster
NODES   ?= 3
DUAL    ?= false
PODNET  ?= routed
PROXY   ?= nftables
RUNTIME ?= containerd2
DATAPLANE ?= Auto

.PHONY: testcluster
testcluster:
	@go build -o bin/testcluster ./test/cluster/cmd/testcluster

.PHONY: cluster-up
cluster-up: testcluster ## Make a Kubernetes cluster of NODES in folder CLUSTER; DUAL=true, PODNET=bridge, PROXY=iptables, RUNTIME=containerd1.
	@bin/testcluster --dir $(CLUSTER) up --nodes $(NODES) --dual-stack=$(DUAL) --pod-network $(PODNET) --proxy-mode $(PROXY) --runtime $(RUNTIME)

.PHONY: cluster-install
cluster-install: testcluster ## Build Tierwall and install it on the cluster of folder CLUSTER, as users do; DATAPLANE=IPTables.
	@bin/testcluster --dir $(CLUSTER) install --dataplane "$(DATAPLANE)"

.PHONY: cluster-down
cluster-down: testcluster ## Take the cluster of folder CLUSTER down.
	@bin/testcluster --dir $(CLUSTER) down

.PHONY: e2e
e2e: ## Run all that needs real clusters: the project's specs on several, the upstream suites, latencies. Hours.
	hack/e2e.sh

.PHONY: e2e-short
e2e-short: ## Run the project's specs labelled short, and the short run of the upstream suites, on a cluster each.
	hack/e2e.sh short

# Arguments of the upstream suites' runner: -short, -suites netpol, -baseline (without -install).
SUITES ?= -install -page docs/conformance.md

.PHONY: e2e-suites
e2e-suites: ## Run the upstream suites on the cluster of folder CLUSTER, as SUITES says (install, run all, write docs/conformance.md).
	@go build -o bin/suites ./test/cluster/suites/cmd/suites
	@bin/suites -cluster $(CLUSTER) $(SUITES)

.PHONY: e2e-latency
e2e-latency: ## Install Tierwall on the cluster of folder CLUSTER and measure how long policies take to the wire (write docs/performance.md).
	go run ./test/cluster/latency/cmd/latency -cluster $(CLUSTER) -install -page docs/performance.md

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin dist

# Built and not run with `go run`, which would speak after the closing line.
.PHONY: testsum
testsum:
	@go build -o bin/testsum ./hack/testsum

$(CONTROLLER_GEN): hack/tools/go.mod hack/tools/go.sum
	cd hack/tools && go build -o ../../$@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(OPERATOR_VERIFY): hack/operatorverify/go.mod hack/operatorverify/go.sum
	cd hack/operatorverify && go build -o ../../$@ github.com/operator-framework/api/cmd/operator-verify

$(GOLANGCI_LINT): hack/lint/go.mod hack/lint/go.sum
	@echo "building golangci-lint: a minute or two, once"
	cd hack/lint && go build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
