#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docker-compose.sh ARGS...: `docker compose ARGS...`, also where the engine came without the compose plugin: then the plugin is
# built once from its published Go module (needs go) and kept in the user's cache.
set -eu
if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
VERSION=v2.40.3
config=${XDG_CACHE_HOME:-$HOME/.cache}/ferrocket/docker-compose-$VERSION
plugin=$config/cli-plugins/docker-compose
if [ ! -x "$plugin" ]; then
  command -v go >/dev/null || { echo "docker-compose: please install the compose plugin (docker-compose-plugin), or go to build it" >&2; exit 1; }
  echo "docker-compose: building compose $VERSION once (a few minutes)" >&2
  mkdir -p "$config/cli-plugins"
  exec 7>"$config/lock"
  flock 7
  if [ ! -x "$plugin" ]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/ferrocket-compose.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    source=$(go mod download -json "github.com/docker/compose/v2@$VERSION" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
    cp -r "$source" "$work/src"
    chmod -R u+w "$work/src"
    (cd "$work/src" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$plugin.new" ./cmd)
    mv "$plugin.new" "$plugin"
    rm -rf "$work"
  fi
fi
exec docker --config "$config" compose "$@"
