# Everything a developer types. `make help` lists it.
PY := tests/.env/py/bin/python
.DEFAULT_GOAL := help
.PHONY: help run certs release test lint unit deps programs integration conformance bench-quick bench-edge k8s-check image tune untune audit clean-env

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

run: release ## build the release binary and start it with no configuration
	./target/release/ringway

certs: release ## a self-signed certificate and its key in certs/
	./target/release/ringway certs --out certs

release:
	cargo build --release --locked

test: lint unit release deps integration conformance ## everything; installs what the tests need under tests/

lint: ## formatting and clippy
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

unit: tests/.env/py/.ok ## Rust tests: units, properties, fuzzing by seed, h11, the house's rules
	RINGWAY_TEST_PYTHON=$(abspath $(PY)) cargo test --locked

deps: programs tests/.env/py/.ok tests/.env/py1/.ok tests/.env/tls/.ok tests/node_modules/.ok

programs:
	@tests/install-debian-packages

# Three Python environments: the two generations of the official SDK share a name, and sslyze pins an old cryptography.
tests/.env/%/.ok: tests/requirements-%.txt
	python3 -m venv tests/.env/$*
	tests/.env/$*/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

tests/node_modules/.ok: tests/package.json tests/package-lock.json
	cd tests && npm ci
	touch $@

integration: release deps ## the release binary from outside: HTTP, MCP clients, faults
	$(PY) -m pytest tests --ignore tests/test_conformance.py
	tests/node --test --test-reporter=spec tests/js/*.test.mjs

conformance: release deps ## the official MCP conformance runner, both revisions
	$(PY) -m pytest -s tests/test_conformance.py

bench-quick: release deps ## Ringway beside nginx: CPU, latency, memory (about 5 minutes)
	$(PY) bench/quick/run.py

bench-edge: release deps ## the edge beside nginx: TLS, HTTP/2, compression, files, limits (10 minutes)
	$(PY) bench/edge/run.py

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

clean-env: ## remove what `make test` installed
	rm -rf tests/.env tests/node_modules
