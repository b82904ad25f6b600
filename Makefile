# Everything a developer types. `make help` lists it.
PY := tests/.env/py/bin/python
.DEFAULT_GOAL := help
.PHONY: help install install-perf run certs release test lint unit deps programs kernels test-kernels integration \
	conformance load bench-env bench bench-quick bench-edge bench-proxy k8s-check image tune untune audit clean clean-env
# Where `make install` puts the program, and below which folder a packager wants it.
PREFIX ?= /usr/local
DESTDIR ?=

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

install: release ## the release binary to PREFIX/bin (/usr/local; DESTDIR for packagers)
	install -D -m 755 target/release/ringway $(DESTDIR)$(PREFIX)/bin/ringway

install-perf: install ## the same: the seed's uvloop, httptools and orjson have no counterpart, all speed is in the binary
	@echo "Nothing more to install. Kernel settings for a busy machine: make tune"

run: release ## build the release binary and start it with no configuration
	./target/release/ringway

certs: release ## a self-signed certificate and its key in certs/
	./target/release/ringway certs --out certs

release:
	cargo build --release --locked

test: lint unit release deps integration conformance ## everything; installs what the tests need under tests/

lint: ## formatting, clippy, the live page's script
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo fmt --manifest-path bench/load/Cargo.toml --check
	cargo clippy --locked --manifest-path bench/load/Cargo.toml --target-dir target/load --all-targets -- -D warnings
	node --check src/handler/builtin/ui/page.js

unit: tests/.env/py/.ok ## Rust tests: units, properties, fuzzing by seed, h11, the house's rules
	RINGWAY_TEST_PYTHON=$(abspath $(PY)) cargo test --locked
	cargo test --locked --manifest-path bench/load/Cargo.toml --target-dir target/load

deps: programs kernels tests/.env/py/.ok tests/.env/py1/.ok tests/.env/tls/.ok tests/node_modules/.ok

programs:
	@tests/install-debian-packages

kernels:
	@python3 tests/kernels/fetch.py

# Three Python environments: the two generations of the official SDK share a name, and sslyze pins an old cryptography.
tests/.env/%/.ok: tests/requirements-%.txt
	python3 -m venv tests/.env/$*
	tests/.env/$*/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

tests/node_modules/.ok: tests/package.json tests/package-lock.json
	cd tests && npm ci
	touch $@

integration: release load deps ## the release binary from outside: HTTP, MCP clients, faults, old kernels
	$(PY) -m pytest tests --ignore tests/test_conformance.py
	tests/node --test --test-reporter=spec tests/js/*.test.mjs

conformance: release deps ## the official MCP conformance runner, both revisions
	$(PY) -m pytest -s tests/test_conformance.py

test-kernels: release deps ## the release binary on Linux 5.10, 6.1 and 6.12 under qemu (about a minute)
	$(PY) -m pytest -s tests/test_kernels.py

load: ## the load generator of the benchmarks, ringway-bench
	cargo build --release --locked --manifest-path bench/load/Cargo.toml --target-dir target/load

# The servers that are compared with, each in its own environment.
bench-env: bench/.env/seed/.ok bench/.env/fastmcp/.ok bench/.env/mcp-proxy/.ok bench/.env/contextforge/.ok

bench/.env/%/.ok: bench/suite/requirements-%.txt
	python3 -m venv bench/.env/$*
	bench/.env/$*/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

bench: release load deps bench-env ## the seed's benchmark suite beside its own stack and other gateways (up to 40 minutes)
	$(PY) bench/suite/run.py

bench-quick: release deps ## Ringway beside nginx: CPU, latency, memory (about 5 minutes)
	$(PY) bench/quick/run.py

bench-edge: release deps ## the edge beside nginx: TLS, HTTP/2, compression, files, limits (10 minutes)
	$(PY) bench/edge/run.py

bench-proxy: release deps ## the proxy beside nginx and HAProxy: CPU, latency, slow upstreams, event streams
	$(PY) bench/proxy/run.py

k8s-check: deps ## render every overlay of k8s/ and check it against the Kubernetes schemas
	$(PY) -m pytest tests/test_kubernetes.py

image: ## the container image; needs docker or podman (CONTAINER=podman)
	$(or $(CONTAINER),docker) build -f Containerfile -t ringway:local .

tune: ## kernel settings for a busy machine: shows the difference; as root also sets it
	@if [ "$$(id -u)" = 0 ]; then python3 tuning/tune.py apply; \
	else python3 tuning/tune.py show || echo "as root, this sets them: sudo make tune"; fi

untune: ## write the old kernel settings back (as root)
	python3 tuning/tune.py undo

audit: ## licences, sources and bans of all dependencies, by cargo-deny (installs it once)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

clean: ## remove what cargo built; what was installed for the tests stays (make clean-env)
	cargo clean

clean-env: ## remove what the tests and benchmarks installed
	rm -rf tests/.env tests/node_modules bench/.env
