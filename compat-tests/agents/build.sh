#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh java|go OUT: compiles the agents and collects the jars of every client, tool and server version.
# Runs on a host that has the tools, or in a builder image (maven:3-eclipse-temurin-17, golang:1-bookworm).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$2

jars() { # PROFILE VERSION
  mkdir -p "$out/$1-$2"
  [ -f "$out/$1-$2/lib/.complete" ] && return 0
  mvn -q -B -f "$here/java/pom.xml" -P "$1" "-Drocketmq.version=$2" dependency:copy-dependencies "-DoutputDirectory=$out/$1-$2/lib" </dev/null
  : >"$out/$1-$2/lib/.complete"
}

classes() { # PROFILE VERSION SOURCE-FOLDERS...
  dir=$out/$1-$2; shift 2
  folders=; for folder in "$@"; do folders="$folders $here/java/$folder"; done
  rm -rf "$dir/classes"; mkdir -p "$dir/classes"
  # shellcheck disable=SC2046,SC2086
  javac -nowarn -XDignore.symbol.file -encoding UTF-8 -d "$dir/classes" -cp "$dir/lib/*" $(find $folders -name '*.java') 2>"$dir/javac.log" || { cat "$dir/javac.log" >&2; exit 1; }
}

case $1 in
  java)
    for v in 4.5.2 4.9.8 5.5.0; do jars client $v; done
    for v in 4.9.7 5.5.0; do jars server $v; done
    classes client 4.5.2 common v4
    classes client 4.9.8 common v4 since46
    classes client 5.5.0 common v5 since46
    classes server 4.9.7 common v4 since46 tools
    classes server 5.5.0 common v5 since46 tools tools5
    ;;
  go)
    cd "$here/go"
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/agent" .
    ;;
esac
