# The front door. What it needs: Rust (see rust-version in Cargo.toml), a C compiler, libclang and make. What is missing
# beside Rust, compiler and make is said, and installed when this runs as root on Debian or Ubuntu.

CARGO ?= cargo
# How often `make soak` kills the gateway.
SOAK_RUNS ?= 200
FUZZ_SECONDS ?= 60
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

# Asked only when a recipe runs, after `setup` may have installed one.
WITH_BROWSER = CHROME="$$(.ci/setup browser)" CHROMEDRIVER="$$(.ci/setup driver)"

.DEFAULT_GOAL := help
.PHONY: help demo test check setup setup-build setup-bench bench soak fuzz docs

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: setup-build ## Build and run the demo: a held action, a browser, a proof.
	$(CARGO) run -p countersign -- demo

test: setup ## Install what the tests need (or say what is missing) and run all of them.
	$(CARGO) build -p countersign
ifeq ($(NEXTEST),yes)
	$(WITH_BROWSER) $(CARGO) nextest run --workspace
else
	$(WITH_BROWSER) $(CARGO) test --workspace --lib --bins --tests
endif

check: setup-build ## Formatting, lints, the tree's own rules (licences too), spelling.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) run -q -p xtask -- tidy
	.ci/tool typos

setup: ## Install what the tests need, or say what is missing.
	@.ci/setup
	@.ci/drivers

setup-build:
	@.ci/setup build

setup-bench:
	@.ci/setup bench

bench: setup-bench ## Measure on a release build: one JSON object for each bench, then the table.
	$(CARGO) build --release -p countersign -p countersign-benches
	@# Run as they were built: asked for alone, cargo would build them again with other features.
	@for bench in benches/src/bin/*.rs; do \
	  "$${CARGO_TARGET_DIR:-target}/release/$$(basename "$$bench" .rs)" || exit 1; \
	done

soak: setup-build ## Kill the gateway at random moments, SOAK_RUNS times, and look at what is left; stream 1 GiB through it.
	$(CARGO) build -p countersign
	COUNTERSIGN_SOAK_RUNS=$(SOAK_RUNS) $(CARGO) test -p countersign-e2e --test kill -- --nocapture
	COUNTERSIGN_RESULT_MIB=1024 $(CARGO) test -p countersign-pep-sql --test wire streams_with_bounded_memory

fuzz: setup-build ## Look for what breaks the reading of SQL, of its wire and of MCP (nightly Rust, cargo-fuzz), FUZZ_SECONDS each.
	cd fuzz && $(CARGO) +nightly fuzz run classify -- -max_total_time=$(FUZZ_SECONDS)
	cd fuzz && $(CARGO) +nightly fuzz run frame -- -max_total_time=$(FUZZ_SECONDS)
	cd fuzz && $(CARGO) +nightly fuzz run mcp -- -max_total_time=$(FUZZ_SECONDS)

docs: setup-build ## Check links and samples of the documents; build the book where mdBook is installed.
	$(CARGO) build -q -p countersign
	$(CARGO) test -q -p xtask documents
	@if command -v mdbook >/dev/null; then mdbook build docs/book; \
	else echo "The book's sources are in docs/book/src. To build it, install mdBook: https://rust-lang.github.io/mdBook/"; fi
