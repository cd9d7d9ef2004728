# Two commands matter: `make run` and `make test`. The rest are their parts.
CARGO  ?= $(shell command -v cargo || echo $(HOME)/.cargo/bin/cargo)
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export CARGO_TARGET_DIR := $(TARGET)
export ETCD_BIN_DIR := $(TARGET)/release
export REFERENCE_ETCD_DIR ?= $(TARGET)/reference

.PHONY: run build test lint doc bench deny packages test-packages

## Builds optimised binaries and runs one member in the foreground on 127.0.0.1:2379.
run: build
	exec $(TARGET)/release/etcd

# The examples draw the tests' dependencies in, and with them the same choice of features: without
# them RocksDB would be compiled once more for the tests. The same holds for `doc`.
build: packages
	$(CARGO) build --locked --release --workspace --bins --examples

## Everything that guards the project: style, lints, unit, integration and fault tests, docs.
test: test-packages lint build
	$(CARGO) test --locked --release --workspace --no-fail-fast
	$(MAKE) doc

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --release --workspace --all-targets -- -D warnings

doc: packages
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --release --workspace --no-deps \
		--lib --bins --examples

## Ours beside the distribution's etcd and a bare tonic server, interleaved.
bench: test-packages build
	$(TARGET)/release/etcd-bench compare --ours $(TARGET)/release/etcd \
		--reference $(REFERENCE_ETCD_DIR)/etcd
	$(TARGET)/release/etcd-bench backup --ours $(TARGET)/release \
		--reference $(REFERENCE_ETCD_DIR)

## Licences, bans and sources of every dependency (needs `cargo install cargo-deny`).
deny:
	$(CARGO) deny check bans licenses sources

packages:
	@scripts/packages.sh build

test-packages:
	@scripts/packages.sh test
	@scripts/reference.sh $(REFERENCE_ETCD_DIR)
