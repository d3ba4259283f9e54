# Everything a contributor types. `make` alone lists it.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Arguments for demo, run, simulator and campaign, e.g. make run ARGS="--concurrency 4"
ARGS ?=
# A plan of the campaign, or a part of its name.
PLAN ?=
# Where `make simulator` listens, and where `make run` looks for Fabric and Entra.
SIMULATOR ?= 127.0.0.1:8099

# Waits are divided in test builds only; the flag names the package because only it has the feature.
TEST_BUILD := --workspace --features fabric-job-operator/test-clock
# The proofs run optimised code with its assertions on. All of them name the same packages and build
# the simulation, whose libraries have the most features: so these are built once for all three.
PROOF := --profile proof --features fabric-job-operator/test-clock \
	-p fabric-job-operator -p model -p campaign --test simulation
BUILD_PROOFS := cargo build $(PROOF) --bins
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fabric-job-operator

# Built once per version into the cache, as a debug build: 45 s instead of 2.5 minutes on two
# cores, and a check takes 4 s instead of 2.
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
MUTANTS_VERSION := 27.1.0
MUTANTS := $(CACHE)/cargo-mutants-$(MUTANTS_VERSION)/bin/cargo-mutants

# How long each fuzz target runs.
SECONDS ?= 60
# What cargo-fuzz passes to the compiler, but for the sanitizer, which safe code has no use for:
# so the ordinary toolchain does, and nothing has to be installed.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | \
		while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

# The whole workspace at once, as the tests build it: what the one has built serves the other.
.PHONY: demo
demo: ## Show one cancellation from kubectl apply to Cancelled; KEEP=1 keeps it running
	cargo build --workspace --bins
	@KEEP="$(KEEP)" $(TARGET_DIR)/debug/demo $(ARGS)

# The control plane's programs are built between the two, where it can be watched, and not inside a
# test that seems to hang. Without them the tests that need them are skipped, or fail if
# REQUIRE_CONTROL_PLANE=1.
.PHONY: test
test: ## Run every test, on a real etcd and kube-apiserver (built the first time: minutes)
	cargo test $(TEST_BUILD) --no-run
	$(TARGET_DIR)/debug/control-plane-tools || [[ "$${REQUIRE_CONTROL_PLANE:-}" != 1 ]]
	cargo test $(TEST_BUILD)
	cargo test --test cli # without the feature: what is released knows no other clock

# Each seed is a run of the whole operator under drawn faults, on virtual time.
# SEEDS, DAYS (runs of a day) and FROM (the first seed) choose others; TWICE, how many are run in two
# processes that must take the same course.
.PHONY: simulate
simulate: ## Run 10,000 seeds of the simulation (4 minutes); SEED=n replays one and prints its trace
	SIMULATE_SEED="$(SEED)" SIMULATE_SEEDS="$(or $(SEEDS),10000)" SIMULATE_DAYS="$(or $(DAYS),20)" \
	SIMULATE_FROM="$(FROM)" SIMULATE_TWICE="$(TWICE)" cargo test --quiet $(PROOF)

.PHONY: lint
lint: $(DENY) ## Check format, lints, the build without test features, and the dependencies
	cargo fmt --all --check
	cargo clippy $(TEST_BUILD) --all-targets -- -D warnings
	cargo check --workspace
	$(DENY) --locked --workspace check bans licenses sources

# A tool, not a part of this build: it gets a build folder of its own, which cargo removes.
$(DENY):
	env -u CARGO_TARGET_DIR cargo install --locked --debug cargo-deny@$(DENY_VERSION) \
		--root $(CACHE)/cargo-deny-$(DENY_VERSION)

# Small bounds are what CI explores (BOUNDS=small, up to a minute); ARGS="'protocol'" does those alone.
.PHONY: model
model: ## Explore the models of protocol, election and gate (minutes; BOUNDS=small: 1 minute)
	$(BUILD_PROOFS)
	$(TARGET_DIR)/proof/model $(if $(filter small,$(BOUNDS)),,--large) $(ARGS)

# Mutants live in a copy of the rooms that decide and of those below them, without the test bench
# that the package's own tests build on: so each costs seconds and not a quarter of a minute. The
# laws and the long windows take a minute each time, so they judge only what the other tests let
# live. ARGS="-F 'pace.rs.*window'" does the mutants whose line matches, ARGS="--shard 0/8" an eighth.
JUDGED := $(TARGET_DIR)/mutants
JUDGES := cancellation:: election:: fabric::
.PHONY: mutants
mutants: export PATH := $(dir $(MUTANTS)):$(PATH)
mutants: $(MUTANTS) ## Break what decides, line by line, and see the unit tests notice (40 minutes)
	rm -rf $(JUDGED)/tree
	mkdir -p $(JUDGED)/tree
	cp -R .cargo Cargo.lock clippy.toml src $(JUDGED)/tree
	cd $(JUDGED)/tree/src && rm -r main.rs api* cli* controller*
	sed -i -E '/^pub mod (api|cli|controller);/d' $(JUDGED)/tree/src/lib.rs
	sed -e '/^members = /,/^]/d' -e '/^default-members/d' -e '/{ path = "tests/d' \
		-e '/^\[\[test]]/,/^$$/d' Cargo.toml >$(JUDGED)/tree/Cargo.toml
	env -u CARGO_TARGET_DIR cargo mutants --dir $(JUDGED)/tree --gitignore false \
		--output $(JUDGED) --jobs 2 $(ARGS) \
		-- -- $(JUDGES) --skip laws --skip windows || (($$? == 2 || $$? == 3))
	env -u CARGO_TARGET_DIR cargo mutants --dir $(JUDGED)/tree --gitignore false \
		--output $(JUDGED) --jobs 2 --iterate \
		$(ARGS) -- -- $(JUDGES)

$(MUTANTS):
	env -u CARGO_TARGET_DIR cargo install --locked --debug cargo-mutants@$(MUTANTS_VERSION) \
		--root $(CACHE)/cargo-mutants-$(MUTANTS_VERSION)

# What is new and interesting is kept below target/fuzz-found, where the next run begins; what breaks a
# law is written there, too, and belongs into tests/fuzz/corpus once it is mended. The target is
# named so that the flags do not reach build scripts.
.PHONY: fuzz
fuzz: ## Try random input on every parser and the core (8 targets, SECONDS=60 for each)
	@host="$$(rustc -vV | sed -n 's/^host: //p')"; \
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build -p fuzz --features libfuzzer --bins --profile fuzz \
		--target "$$host"; \
	findings=0; \
	for program in tests/fuzz/targets/*.rs; do \
		name="$$(basename "$$program" .rs)"; kept="$(TARGET_DIR)/fuzz-found/$$name"; \
		mkdir -p "$$kept/inputs"; \
		if "$(TARGET_DIR)/$$host/fuzz/fuzz_$$name" "$$kept/inputs" "tests/fuzz/corpus/$$name" \
			-max_total_time=$(SECONDS) -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
			-artifact_prefix="$$kept/" >"$$kept/log" 2>&1; \
		then result='0 findings'; else result="A FINDING: $$kept/log"; findings=1; fi; \
		count="$$(sed -n 's/^stat::number_of_executed_units: *//p' "$$kept/log")"; \
		printf '%-14s %10s executions  %s\n' "$$name" "$${count:-?}" "$$result"; \
	done; \
	exit $$findings

# The operator as it is released, but for the clock; the campaign's own code beside it.
.PHONY: campaign
campaign: ## Run the fault campaign (10 minutes); PLAN=name replays one plan and shows its story
	$(BUILD_PROOFS)
	$(TARGET_DIR)/proof/campaign $(TARGET_DIR)/proof/fabric-job-operator --plan "$(PLAN)" $(ARGS)

.PHONY: figures
figures: ## Print size, memory and latency of a release build (minutes; absolute, not a test)
	cargo build --release
	cargo run -p bench --bin figures -- $(TARGET_DIR)/release/fabric-job-operator

.PHONY: crds
crds: ## Write crds/ anew from the Rust types
	mkdir -p crds
	cargo run -- crd > crds/.new
	mv crds/.new crds/fabricjobcancellations.yaml

.PHONY: run
run: ## Run the operator from source, current kubeconfig context, against make simulator
	FABRIC_ENDPOINT="$${FABRIC_ENDPOINT:-http://$(SIMULATOR)}" \
	AZURE_AUTHORITY_HOST="$${AZURE_AUTHORITY_HOST:-http://$(SIMULATOR)}" \
	FABRIC_ALLOW_LOOPBACK_HTTP="$${FABRIC_ALLOW_LOOPBACK_HTTP:-true}" \
	cargo run -- run $(ARGS)

.PHONY: simulator
simulator: ## Run a simulated Fabric and Entra with one running job; prints what it created
	cargo run -p fabric-simulator -- --listen $(SIMULATOR) $(ARGS)
