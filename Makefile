# Each target is one line, the same that CI calls. `scripts/test.sh` calls `make test` and installs what is missing.
.PHONY: compat check fmt lint unit deny test diff compat-oracle travel crash mixed fuzz
fmt:    ; cargo fmt --all --check
lint:   ; cargo clippy --workspace --all-targets --locked -- -D warnings
unit:   ; cargo test --locked --workspace
deny:   ; @if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check licenses bans sources; else echo "deny: SKIPPED, cargo-deny is not installed (cargo install cargo-deny --locked)"; fi
check: fmt lint unit deny
test: check
# The plain-socket programs: no Docker; a JVM only where the original itself must run.
diff:   ; cargo build --locked && cargo run -q --locked -p compat-tests --bin differential
compat-oracle: ; cargo run -q --locked -p compat-tests --bin differential -- --record --oracle-only && cargo run -q --locked -p compat-tests -- --server oracle --fresh
# Official clients and tools in containers: changed scenarios on the original, all on Ferrocket.
compat: ; cargo run -q --locked -p compat-tests -- --server both
travel: ; cargo build --locked --release && cargo run -q --locked -p compat-tests --bin travel
crash:  ; cargo build --locked --release && cargo run -q --locked -p compat-tests --bin crash
mixed:  ; cargo build --locked --release && cargo run -q --locked -p compat-tests --bin mixed
# Each decoder for a minute; skipped aloud without a nightly toolchain and cargo-fuzz.
fuzz:   ; scripts/fuzz.sh
