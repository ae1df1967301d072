# Thin on purpose: what needs more than a line is a task of `cargo xtask`.
# ARGS is handed on: make run ARGS='--listen 127.0.0.1:9000', make test ARGS='places_an_order'

.DEFAULT_GOAL := help
.PHONY: help run test test-domain fmt lint bench clean-data

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The profile `quick` is optimised but leaves out the link-time optimisation of `release`, which
# alone makes a first build take several minutes longer. For production: cargo build --release
run: ## Build and start the server with its defaults (SQLite, data in ./bellwether-data)
	cargo run --profile quick --package bellwether -- serve $(ARGS)

test: ## Run every test, with throw-away PostgreSQL and Redis servers
	cargo xtask test $(ARGS)

test-domain: ## Run the tests of the rules alone: no servers, nothing to install
	cargo test --package bellwether-domain --package bellwether-usecases $(ARGS)

fmt: ## Format the code
	cargo fmt --all

lint: ## Check format, lints and the architecture
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask arch

bench: ## Measure orders/s on both stores, beside pgbench
	cargo xtask bench $(ARGS)

clean-data: ## Remove the data of `make run`
	rm -rf -- bellwether-data
