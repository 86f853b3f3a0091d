# Needs Go (see go.mod), git and, for everything that runs containers, root.
# Long work is in Go programs under test/; these targets name it.

BIN     := $(CURDIR)/bin
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/wasmshim/containerd-shim-wasm/internal/version.Version=$(VERSION)

# containerd's generated API brings gRPC and HTTP with it unless this tag is set;
# the shim speaks ttrpc alone.
SHIM_TAGS := no_grpc

.DEFAULT_GOAL := help
.PHONY: build image demo orders test unit fuzz gostd chart e2e e2e-kubelet e2e-kind scale client-suite e2e-vm faults compile-storm churn lint bench bench-full bench-compare clean help

build: ## build the programs into bin/, static
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -tags $(SHIM_TAGS) -o $(BIN)/ ./cmd/containerd-shim-wasm-v1
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/ $(filter-out %/containerd-shim-wasm-v1/,$(wildcard ./cmd/*/))

IMAGE ?= localhost/wasm-node-installer:dev
image: build ## build the node installer's image as bin/wasm-node-installer.tar; IMAGE=NAME, PUSH=1 pushes it
	go run -ldflags "$(LDFLAGS)" ./deploy/image -bin $(BIN) -tag $(IMAGE) $(if $(PUSH),-push)

demo: build ## run a Wasm image on a private containerd and clean up
	go run ./test/demo -bin $(BIN)

orders: build ## run examples/orders with MariaDB until Ctrl-C; ORDERS="-language go" for the one in Go
	go build -o $(BIN).test/ ./test/cmd/orders # go run would call Ctrl-C an error
	$(BIN).test/orders -bin $(BIN) $(ORDERS)

test: build ## run every test: lint, unit, fuzz targets, the chart, end to end, on Kubernetes and on kind
	go run ./test/suite -bin $(BIN) lint unit fuzz gostd chart e2e kubelet kind

unit: ## run the unit tests with the race detector
	go run ./test/suite unit

FUZZTIME ?= 3s
TARGETS  ?=
PARALLEL ?= 0
JOBS     ?= 1
fuzz: ## run the fuzz targets; FUZZTIME=30m, TARGETS=REGEXP, PARALLEL=N processes each, JOBS=N at a time
	go run ./test/suite -fuzztime $(FUZZTIME) -targets "$(TARGETS)" -parallel $(PARALLEL) -jobs $(JOBS) fuzz

chart: ## lint and render the Helm chart
	go run ./test/suite chart

gostd: build ## run Go's own tests of its standard library as guests; GOSTD_FULL=1 runs the long ones too
	go run ./test/suite -bin $(BIN) gostd

e2e: build ## run the tests on real daemons; E2E_DAEMONS=2.4,1.6 and E2E_RUN=REGEXP select, E2E_STREAM=full for 1 GiB
	go run ./test/suite -bin $(BIN) e2e

faults: build ## break everything at every moment, on every containerd (an hour)
	E2E_FAULTS=full E2E_RUN='^TestFault' go run ./test/suite -bin $(BIN) e2e

STORM ?= 30m
compile-storm: build ## compile hostile modules; STORM=30m, COMPILE_STORM_SEED=N repeats a storm
	COMPILE_STORM=$(STORM) E2E_BIN=$(BIN) nice -n 10 go test -count=1 -v -timeout 0 -run '^TestHostileModulesHarmNothing$$' ./test/compile

churn: build ## run 5,000 containers and more; E2E_CHURN=N and E2E_DAEMONS select
	E2E_CHURN=$${E2E_CHURN:-5000} E2E_DAEMONS=$${E2E_DAEMONS:-2.4} E2E_RUN='^TestMany|^TestFifty' go run ./test/suite -bin $(BIN) e2e

e2e-kubelet: build ## run the promises to a cluster's users on a real Kubernetes of one node; E2E_RUN=REGEXP selects
	go run ./test/suite -bin $(BIN) kubelet

e2e-kind: build ## install the shim on a kind cluster with helm, use it and remove it, as users do
	go run ./test/suite -bin $(BIN) kind

scale: build ## run CLUSTER_PODS (200) Wasm Pods on one kubelet, and as many of runc beside them
	CLUSTER_PODS=$${CLUSTER_PODS:-200} E2E_RUN='^TestManyPods' go run ./test/suite -bin $(BIN) kubelet

e2e-vm: build ## run the tests of limits in a virtual machine with cgroup v2 alone
	go run ./test/suite -bin $(BIN) vm

client-suite: build ## run containerd's own client tests with runc and with the shim, side by side
	go run ./test/suite -bin $(BIN) client-suite

lint: ## check format, vet, staticcheck and shell scripts
	go run ./test/suite lint

bench: build ## measure against native programs in runc, three minutes; BENCH="-full", "-run calls -rounds 50", "-out DIR"
	go run ./test/bench -bin $(BIN) $(BENCH)

bench-full: build ## the same in thirty minutes; BENCH=-doc writes the result into docs/performance.md and the baseline
	go run ./test/bench -bin $(BIN) -full $(BENCH)

bench-compare: build ## measure and compare with test/bench/baseline.json; BENCH="-from FILE" compares an earlier run
	go run ./test/bench -bin $(BIN) -compare test/bench/baseline.json $(BENCH)

clean: ## remove bin/ and what killed tests left; the cache of test tools stays
	rm -rf $(BIN) $(BIN).test
	go run ./test/cmd/sweep

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile
