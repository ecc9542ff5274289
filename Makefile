# The front door. What it needs: Rust (see rust-version in Cargo.toml), a C compiler and make.
# `make test` says what else it wants, and installs it when it is root on Debian or Ubuntu.

CARGO ?= cargo
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help demo test check setup setup-bench bench docs

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## Build and run the demo: a held action, a browser, a proof.
	$(CARGO) run -p countersign -- demo

test: setup ## Install what the tests need (or say what is missing) and run all of them.
	$(CARGO) build -p countersign
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace
else
	$(CARGO) test --workspace --lib --bins --tests
endif

check: ## Formatting, lints, the tree's own rules (licences too), spelling.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) run -q -p xtask -- tidy
	.ci/tool typos

setup: ## Install what the tests need, or say what is missing.
	@.ci/setup

setup-bench:
	@.ci/setup bench

bench: setup-bench ## Measure (release build; prints one JSON object per bench).
	$(CARGO) build --release -p countersign -p countersign-benches
	@for bench in benches/src/bin/*.rs; do \
	  $(CARGO) run -q --release -p countersign-benches --bin "$$(basename "$$bench" .rs)" || exit 1; \
	done

docs: ## Check links and samples of the documents; build the book where mdBook is installed.
	$(CARGO) build -q -p countersign
	$(CARGO) test -q -p xtask documents
	@if command -v mdbook >/dev/null; then mdbook build docs/book; \
	else echo "The book's sources are in docs/book/src. To build it, install mdBook: https://rust-lang.github.io/mdBook/"; fi
