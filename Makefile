# Each target is one line, the same that CI calls.
.PHONY: check fmt lint unit test diff compat-oracle travel crash mixed
fmt:    ; cargo fmt --all --check
lint:   ; cargo clippy --workspace --all-targets --locked -- -D warnings
unit:   ; cargo test --locked
check: fmt lint unit
test: check
# The plain-socket programs: no Docker; a JVM only where the original itself must run.
diff:   ; cargo build --locked && cargo run -q --locked -p compat-tests --bin differential
compat-oracle: ; cargo run -q --locked -p compat-tests --bin differential -- --record --oracle-only
