#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# oracle.sh VERSION: the original's name server and broker in one container, with the settings of /conf/broker.conf.
# TERM stops both in order; everything they keep is below /data.
set -euf
version=$1
export ROCKETMQ_HOME=/opt/oracle-home
mkdir -p /data/home /data/store
# A restart keeps what updateBrokerConfig wrote there.
[ -f /data/broker.conf ] || { echo namesrvAddr=127.0.0.1:9876; cat /conf/broker.conf; echo; echo storePathRootDir=/data/store; echo storePathCommitLog=/data/store/commitlog; } >/data/broker.conf
common="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Duser.home=/data/home --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED -cp /opt/server-$version/lib/*"
# shellcheck disable=SC2086
java -Xms64m -Xmx128m $common org.apache.rocketmq.namesrv.NamesrvStartup &
namesrv=$!
# shellcheck disable=SC2086
java -Xms256m -Xmx512m -XX:MaxDirectMemorySize=512m $common org.apache.rocketmq.broker.BrokerStartup -c /data/broker.conf &
broker=$!
stop() {
  kill -TERM $broker; while kill -0 $broker 2>/dev/null; do wait $broker || :; done
  kill -TERM $namesrv; while kill -0 $namesrv 2>/dev/null; do wait $namesrv || :; done
  exit 0
}
trap stop TERM INT
wait $broker || code=$?
echo "the broker ended with ${code:-0}" >&2
kill -TERM $namesrv 2>/dev/null || :
exit "${code:-1}"
