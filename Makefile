# make help lists what there is. Everything needs Go and nothing else: the tools
# are Go modules, pinned in .ci/tools/go.mod and built into bin.

GO       ?= go
# How long `make fuzz` gives each target, and how often `make bench` measures.
FUZZTIME ?= 10s
COUNT    ?= 10
BENCH    ?= .
PKG      ?= ./...

tools := bin/golangci-lint bin/govulncheck bin/buf bin/benchstat

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Compile everything
	$(GO) build ./...

.PHONY: test
test: ## Run the tests
	$(GO) test $(PKG)

.PHONY: race
# One P for each test binary: with more, timers of a testing/synctest bubble that two
# goroutines run at once share one context of the race detector, which then crashes
# (golang/go#78156). It finds races by order, not by luck: it needs no second P.
race: ## Run the tests under the race detector
	$(GO) test -race -cpu 1 $(PKG)

.PHONY: lint
lint: bin/golangci-lint ## Vet, lint, and check the format
	$(GO) vet $(PKG)
	bin/golangci-lint run $(PKG)

.PHONY: format
format: bin/golangci-lint ## Format Go code with gofumpt
	bin/golangci-lint fmt

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each
	GO="$(GO)" .ci/fuzz $(FUZZTIME)

.PHONY: proto
proto: bin/buf ## Lint protobuf and generate its code
	bin/buf lint
	bin/buf generate
	bin/buf generate --template buf.gen.admin.yaml

.PHONY: bench
bench: bin/benchstat ## Run benchmarks BENCH of PKG, COUNT times each, and sum them up
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 2h $(PKG) > bin/bench.txt || (cat bin/bench.txt; exit 1)
	bin/benchstat bin/bench.txt

.PHONY: bench-check
bench-check: ## Measure the main figures, and fail outside of bench/budgets.json
	$(GO) run ./bench check --quick

.PHONY: cover
cover: ## Show how much of each package its tests reach
	$(GO) test -coverprofile=coverage.out $(PKG)
	$(GO) tool cover -func=coverage.out | tail -n 1

# grpcnotrace leaves out golang.org/x/net/trace, whose templates keep the linker
# from dropping dead code: the binary is two fifths smaller.
.PHONY: dist
dist: ## Build xdsserver as it is released, into bin
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags '-s -w' -o bin/xdsserver ./xdsserver

.PHONY: vuln
vuln: bin/govulncheck ## Look for known vulnerabilities in what is linked
	bin/govulncheck ./...

.PHONY: ci
ci: ## Do what the continuous integration does
	.ci/run

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf bin coverage.out

$(tools) &: .ci/tools/go.mod .ci/tools/go.sum
	GOBIN="$(CURDIR)/bin" $(GO) -C .ci/tools install tool
	@touch $(tools)

# The agent that tests run. It is a tool under a licence of its own (BUSL): nothing
# links it.
bin/consul: .ci/consul/go.mod .ci/consul/go.sum
	@mkdir -p bin
	$(GO) -C .ci/consul build -o "$(CURDIR)/bin/consul" github.com/hashicorp/consul
	@touch $@
