#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs all tests: what CI runs. Needs Rust; installs what else is missing where it may (root on Debian or Ubuntu), or says what it is.
#   scripts/test.sh          everything
#   scripts/test.sh check    only what needs no containers
set -eu
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || { echo "test: please install Rust first: https://rustup.rs" >&2; exit 1; }
missing=
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
command -v make >/dev/null || missing="$missing make"
command -v flock >/dev/null || missing="$missing util-linux"
if [ "${1:-test}" != check ]; then # The original's own servers run on the host in the mixed and travelling tests.
  { command -v java >/dev/null && command -v javac >/dev/null; } || missing="$missing openjdk-17-jdk-headless"
  command -v mvn >/dev/null || missing="$missing maven"
  command -v valgrind >/dev/null || missing="$missing valgrind" # Counts the hot path's instructions.
fi
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
  else
    echo "test: please install:$missing" >&2
    exit 1
  fi
fi
exec make "${1:-test}"
