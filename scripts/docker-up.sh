#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts a Docker engine if none answers, installing it first where it is missing (needs root and Debian or Ubuntu then).
# Idempotent. The engine's data (the whole image cache), log and pid live in $DOCKER_STATE.
set -eu
STATE=${DOCKER_STATE:-/var/lib/ferrocket-docker}
answers() { docker version >/dev/null 2>&1; }
answers && exit 0

if [ "$(id -u)" != 0 ]; then
  echo "docker-up: no Docker engine answers; start one (or run this as root, and it is installed and started)" >&2
  exit 1
fi
missing=
command -v dockerd >/dev/null && command -v docker >/dev/null || missing="docker.io"
command -v iptables >/dev/null || missing="$missing iptables"
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || { echo "docker-up: please install Docker ($missing)" >&2; exit 1; }
  apt-get update -q
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

DOCKER_HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}
export DOCKER_HOST
mkdir -p "$STATE"
exec 9>"$STATE/lock"
flock 9
answers && exit 0
pid=$(cat "$STATE/docker.pid" 2>/dev/null || :)
# A killed engine leaves pid files whose processes may be zombies: those have no /proc/PID/exe. The stale containerd
# pid file below exec/ would make the next start wait a minute and fail.
if [ -z "$pid" ] || ! readlink "/proc/$pid/exe" >/dev/null 2>&1; then
  # What a killed engine had mounted there is still mounted.
  awk -v under="$STATE/exec/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mounted; do umount -l "$mounted" || :; done
  rm -rf "$STATE/docker.pid" "$STATE/exec"
fi
# 9>&-: the engine must not inherit the lock.
setsid dockerd --data-root "$STATE/data" --exec-root "$STATE/exec" --pidfile "$STATE/docker.pid" -H "$DOCKER_HOST" \
  >"$STATE/log" 2>&1 </dev/null 9>&- &
i=0
until answers; do
  i=$((i + 1))
  [ "$i" -lt 150 ] || { tail -20 "$STATE/log" >&2; echo "docker-up: the engine does not answer, see $STATE/log" >&2; exit 1; }
  sleep 0.2
done
