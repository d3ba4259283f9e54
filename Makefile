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
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fabric-job-operator

# Built once per version into the cache, as a debug build: 45 s instead of 2.5 minutes on two
# cores, and a check takes 4 s instead of 2.
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

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

# The operator as it is released, but for the clock; the campaign's own code beside it.
.PHONY: campaign
campaign: ## Run the fault campaign (minutes); PLAN=name replays one plan and shows its story
	cargo build --profile proof -p fabric-job-operator -p campaign \
		--features fabric-job-operator/test-clock --bins
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
