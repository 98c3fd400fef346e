# Each target is one line, the same that CI calls.
.PHONY: check fmt lint unit test
fmt:    ; cargo fmt --all --check
lint:   ; cargo clippy --workspace --all-targets --locked -- -D warnings
unit:   ; cargo test --locked
check: fmt lint unit
test: check
