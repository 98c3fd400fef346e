#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docker-base.sh NAME...: makes each base image available. Pulls it; where nothing can be pulled, builds a stand-in from
# Debian's packages (and the host's own Go and Rust) under the same name, so that Dockerfiles are the same everywhere.
# The machine's own certificates go into the stand-in of debian:bookworm-slim, never into our Dockerfiles.
set -eu
STATE=${DOCKER_STATE:-/var/lib/ferrocket-docker}
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

have() { docker image inspect "$1" >/dev/null 2>&1; }

# The stand-in's Dockerfile comes on stdin, its context is the directory $2.
build() {
  cat >"$2/Dockerfile"
  proxies=
  for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    if printenv "$name" >/dev/null; then proxies="$proxies --build-arg $name"; fi
  done
  # shellcheck disable=SC2086
  DOCKER_BUILDKIT=0 docker build -q --force-rm $proxies -t "$1" "$2" >/dev/null
}

stand_in_debian() {
  command -v debootstrap >/dev/null || { apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap; }
  debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" >"$work/debootstrap.log" 2>&1 || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
  cp /usr/local/share/ca-certificates/*.crt "$work/root/usr/local/share/ca-certificates/" 2>/dev/null || :
  chroot "$work/root" update-ca-certificates >/dev/null 2>&1
  ( cd "$work/root" && rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* usr/share/doc usr/share/man/* usr/share/locale && mkdir -p usr/share/man/man1 ) # man1: the JRE's post-install script needs it
  cp /etc/apt/apt.conf.d/*proxy* "$work/root/etc/apt/apt.conf.d/" 2>/dev/null || :
  tar -C "$work/root" --numeric-owner --exclude='./dev/*' -c . | docker import --change 'CMD ["bash"]' --change 'LABEL ferrocket.stand-in=1' - debian:bookworm-slim >/dev/null
}

stand_in_apt() { # NAME PACKAGES...
  name=$1; shift; base debian:bookworm-slim; fresh
  build "$name" "$work" <<END
FROM debian:bookworm-slim
LABEL ferrocket.stand-in=1
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $* && rm -rf /var/lib/apt/lists/*
END
}

stand_in_go() {
  base debian:bookworm-slim; fresh
  tar -C "$(dirname "$(go env GOROOT)")" --transform "s,^$(basename "$(go env GOROOT)"),go," --exclude=go/test --exclude=go/doc --exclude=go/api -cf "$work/go.tar" "$(basename "$(go env GOROOT)")"
  build golang:1-bookworm "$work" <<END
FROM debian:bookworm-slim
LABEL ferrocket.stand-in=1
ADD go.tar /usr/local/
ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOTOOLCHAIN=local
WORKDIR /go
END
}

stand_in_rust() {
  base debian:bookworm-slim; fresh
  sysroot=$(rustc --print sysroot)
  tar -C "$sysroot" --exclude=lib/rustlib/src -cf "$work/rust.tar" bin lib
  build rust:1-bookworm "$work" <<END
FROM debian:bookworm-slim
LABEL ferrocket.stand-in=1
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ADD rust.tar /usr/local/
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
}

fresh() { [ -z "$work" ] || rm -rf "$work"; work=$(mktemp -d "${TMPDIR:-/tmp}/ferrocket-base.XXXXXX"); }

base() {
  have "$1" && return 0
  docker pull -q "$1" >/dev/null 2>&1 && return 0
  echo "docker-base: $1 cannot be pulled, building a stand-in" >&2
  fresh
  case $1 in
    debian:bookworm-slim) stand_in_debian ;;
    eclipse-temurin:17-jre) stand_in_apt "$1" openjdk-17-jre-headless ;;
    maven:3-eclipse-temurin-17) stand_in_apt "$1" openjdk-17-jdk-headless maven ;;
    golang:1-bookworm) stand_in_go ;;
    rust:1-bookworm) stand_in_rust ;;
    *) echo "docker-base: no stand-in is known for $1" >&2; exit 1 ;;
  esac
}

# Two runs at once must not build the same image twice.
mkdir -p "$STATE" 2>/dev/null || STATE=${TMPDIR:-/tmp}
exec 8>"$STATE/base.lock"
flock 8
for name in "$@"; do base "$name"; done
