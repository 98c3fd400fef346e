# Each target is one line, the same that CI calls. `scripts/test.sh` calls `make test` and installs what is missing.
.PHONY: test check containers fmt lint unit deny release diff travel crash mixed replication replication-kills replication-oracle takeover compat quickstart compat-oracle fuzz bench bench-quick bench-replication counters counters-write torture-races small-memory
test: check counters torture-races diff travel crash mixed replication containers
check: fmt lint unit deny
containers: compat quickstart
fmt:    ; cargo fmt --all --check
lint:   ; cargo clippy --workspace --all-targets --locked -- -D warnings
unit:   ; cargo test --locked --workspace
deny:   ; @if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check licenses bans sources; else echo "deny: SKIPPED, cargo-deny is not installed (cargo install cargo-deny --locked)"; fi
release: ; cargo build --locked --release
# Instructions, allocations and system calls per message against benches/counters.json; `counters-write` keeps a change that is meant.
counters: ; cargo bench -q --locked --bench counters
counters-write: ; cargo bench -q --locked --bench counters -- --write
# The orders in which threads may meet: a model of the programme's own files, and two reactors with real sockets. TORTURE_SECONDS=1800
# for a long run.
torture-races: ; cargo run -q --locked -p races -- --seconds $${TORTURE_SECONDS:-60}
# The plain-socket programs: no Docker; a JVM only where the original itself must run.
diff:   ; cargo build --locked && cargo run -q --locked -p compat-tests --bin differential
travel: release ; cargo run -q --locked -p compat-tests --bin travel
crash:  release ; cargo run -q --locked -p compat-tests --bin crash
# 200,000 topics start, are routed and listed, in one process with the name server and apart.
many-topics: ; FERROCKET_TOPICS=200000 cargo test --locked --test routes -- more_topics_than_a_frame_holds
mixed:  release ; cargo run -q --locked -p compat-tests --bin mixed
# Masters and slaves of either make, in every pairing of which one end is ours. Needs a JDK and Maven. `replication-kills`: 20 kills of a
# master under load, however long they take; `replication-oracle`: the original's own pairs, asked anew.
replication: release ; cargo run -q --locked -p compat-tests --bin replication
replication-kills: release ; cargo run -q --locked -p compat-tests --bin replication -- --kills $${KILLS:-20}
replication-oracle: ; cargo run -q --locked -p compat-tests --bin replication -- --oracle
# Masters of the original hand over to Ferrocket under the load of their own clients. Needs a JDK and Maven; 5 minutes.
takeover: release ; cargo run -q --locked -p compat-tests --bin takeover
# 128 MiB for the server, thousands of clients that never read or never end, and 64 senders. Needs root for a control group of its own;
# says what it used instead.
small-memory: release ; cargo run -q --locked -p compat-tests --bin small_memory
# Official clients and tools in containers: changed scenarios on the original, all on Ferrocket.
compat: ; cargo run -q --locked -p compat-tests --bin compat-tests -- --server both
# The README's snippets under docker compose, on the host and in a second container.
quickstart: ; cargo run -q --locked -p compat-tests --bin quickstart
# Everything that is kept of the original, asked anew.
compat-oracle: ; cargo run -q --locked -p compat-tests --bin differential -- --record --oracle-only && cargo run -q --locked -p compat-tests --bin compat-tests -- --server oracle --fresh && $(MAKE) replication-oracle tolerance
# What the original's JSON parsers make of odd headers and bodies (needs java and mvn); protocol/tests/tolerance.rs compares.
tolerance: ; java -cp "$$(scripts/oracle.sh 5.5.0)/*" compat-tests/tolerance/Tolerance.java compat-tests/tolerance/inputs.txt protocol/tests/fixtures/tolerance.tsv
# Each fuzz target (the decoders, and a broker asked with hostile names) for a minute; skipped aloud without a nightly toolchain and cargo-fuzz.
fuzz:   ; scripts/fuzz.sh
# Beside the original, into BENCHMARKS.md. Both need a JDK and Maven. quick: the short list against the original's leanest, starts on 1 GB,
# under ten minutes.
BENCH = target/release/ferrocket bench compare --dir $${BENCH_DIR:-/tmp/ferrocket-bench} --page BENCHMARKS.md
bench-quick: release ; $(BENCH) --quick --seconds 3 --warmup-java-seconds 6 --fill-messages 800000 --retry-minutes 6 --java "$$(scripts/oracle.sh $${ORACLE_VERSION:-4.9.7})"
bench-replication: release ; $(BENCH) --only W17,W17-lag,W17-catch-up --java "$$(scripts/oracle.sh 4.9.7)" --java "$$(scripts/oracle.sh 5.5.0)"
bench:  release ; $(BENCH) --heaps lean,shipped --java "$$(scripts/oracle.sh 4.9.7)" --java "$$(scripts/oracle.sh 5.5.0)"
