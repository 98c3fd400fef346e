#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [SECONDS]: runs every fuzz target for that long (60). Needs a nightly toolchain and cargo-fuzz beside the pinned one;
# says so and passes where they are missing.
set -eu
seconds=${1:-60}
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then echo "SKIPPED fuzz: no nightly toolchain (rustup toolchain install nightly)"; exit 0; fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then echo "SKIPPED fuzz: no cargo-fuzz (cargo install cargo-fuzz --locked)"; exit 0; fi
found=$(mktemp -d); trap 'rm -rf "$found"' EXIT
for target in fuzz/fuzz_targets/*.rs; do
  name=$(basename "$target" .rs); mkdir "$found/$name"
  echo "fuzz $name, $seconds s"
  # What it finds on the way goes to a directory of its own: the corpora in the repository stay small.
  cargo +nightly fuzz run "$name" "$found/$name" "fuzz/corpus/$name" -- -max_total_time="$seconds" -max_len=4096 -timeout=10 >"$found/$name.log" 2>&1 ||
    { tail -40 "$found/$name.log"; exit 1; }
  tail -1 "$found/$name.log"
done
