# Needs Go (see go.mod), git and, for everything that runs containers, root.
# Long work is in Go programs under test/; these targets name it.

BIN     := $(CURDIR)/bin
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/wasmshim/containerd-shim-wasm/internal/version.Version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: build demo orders test unit fuzz gostd e2e lint bench clean help

build: ## build the programs into bin/, static
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o $(BIN)/ ./cmd/...

demo: build ## run a Wasm image on a private containerd and clean up
	go run ./test/demo -bin $(BIN)

orders: build ## run examples/orders with MariaDB until Ctrl-C; ORDERS="-language go" for the one in Go
	go run ./test/cmd/orders -bin $(BIN) $(ORDERS)

test: build ## run every test: lint, unit, fuzz targets and end to end
	go run ./test/suite -bin $(BIN) lint unit fuzz gostd e2e

unit: ## run the unit tests with the race detector
	go run ./test/suite unit

FUZZTIME ?= 3s
TARGETS  ?=
PARALLEL ?= 0
JOBS     ?= 1
fuzz: ## run the fuzz targets; FUZZTIME=30m, TARGETS=REGEXP, PARALLEL=N processes each, JOBS=N at a time
	go run ./test/suite -fuzztime $(FUZZTIME) -targets "$(TARGETS)" -parallel $(PARALLEL) -jobs $(JOBS) fuzz

gostd: build ## run Go's own tests of its standard library as guests; GOSTD_FULL=1 runs the long ones too
	go run ./test/suite -bin $(BIN) gostd

e2e: build ## run the tests on real daemons; E2E_DAEMONS=2.4,1.6 and E2E_RUN=REGEXP select
	go run ./test/suite -bin $(BIN) e2e

lint: ## check format, vet, staticcheck and shell scripts
	go run ./test/suite lint

bench: build ## measure against runc
	go run ./test/bench -bin $(BIN)

clean: ## remove bin/ and what killed tests left; the cache of test tools stays
	rm -rf $(BIN)
	go run ./test/cmd/sweep

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile
