#!/bin/sh
# Prints the directory that holds the jars of the original's servers of one version; fetches them with Maven when missing.
# usage: scripts/oracle.sh 5.5.0|4.9.7
# The cache is $FERROCKET_ORACLE_CACHE, by default ~/.cache/ferrocket/oracle.
set -eu
version=${1:?usage: oracle.sh VERSION}
cache=${FERROCKET_ORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferrocket/oracle}/$version
if [ ! -f "$cache/complete" ]; then
  command -v mvn >/dev/null || { echo "oracle.sh: Maven is missing (Debian: apt-get install maven)" >&2; exit 1; }
  case $version in
    4.*) modules="namesrv broker tools" ;;
    *) modules="namesrv broker tools proxy controller" ;;
  esac
  rm -rf "$cache" && mkdir -p "$cache"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>oracle</groupId><artifactId>oracle</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
    for module in $modules; do
      echo "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>rocketmq-$module</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } > "$cache/pom.xml"
  mvn -q -B -f "$cache/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/lib" >&2
  touch "$cache/complete"
fi
echo "$cache/lib"
