.PHONY: run test
run:
	cargo build --release
	./target/release/ringway
test:
	cargo test
