#!/bin/bash
# Measures Ferrocket beside the original in one run: readiness, idle memory, binary size (part "ready"); server CPU per message,
# throughput and latency of sends, the servers taking turns in the order A B B A (part "send").
# usage: scripts/measure.sh [ready|send|all]     One JSON line per run goes to benches/results/, the table to BENCHMARKS.md.
# ORACLE_VERSION (5.5.0), JAVA_HEAP (1g), SECONDS_PER_RUN (10), WARMUP_OURS (2), WARMUP_JAVA (20), MEASURE_DIR (a fresh directory in /tmp)
set -eu
cd "$(dirname "$0")/.."
part=${1:-all}
version=${ORACLE_VERSION:-5.5.0}
heap=${JAVA_HEAP:-1g}
seconds=${SECONDS_PER_RUN:-10}
dir=${MEASURE_DIR:-$(mktemp -d /tmp/ferrocket-measure.XXXXXX)}
binary=${FERROCKET_BINARY:-target/release/ferrocket}
[ -x "$binary" ] || cargo build --release --locked --bin ferrocket
command -v java >/dev/null || { echo "measure.sh: java is missing (Debian: apt-get install default-jdk-headless)" >&2; exit 1; }
lib=${ORACLE_LIB:-$(scripts/oracle.sh "$version")}
port=${MEASURE_PORT:-23911}
stamp=$(date +%Y%m%d-%H%M%S)
results=benches/results/$stamp.jsonl
mkdir -p "$dir" benches/results
: > "$results"

# The original in a lean heap (the shipped one takes 8 GB before the first message), and without its refusals of sends that
# waited 200 ms, which cost it CPU that no message would show.
java_command() {
  mkdir -p "$dir/java/conf" "$dir/java/home"
  printf '%s\n' brokerClusterName=DefaultCluster brokerName=measured brokerId=0 brokerIP1=127.0.0.1 "listenPort=$port" \
    "storePathRootDir=$dir/java/store" "storePathCommitLog=$dir/java/store/commitlog" flushDiskType=ASYNC_FLUSH waitTimeMillsInSendQueue=10000 > "$dir/java/conf/broker.conf"
  cat > "$dir/java/conf/rmq.broker.logback.xml" <<X
<configuration><appender name="F" class="ch.qos.logback.core.FileAppender"><file>$dir/java/broker.log</file><encoder><pattern>%d %p %m%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="F"/></root></configuration>
X
  echo "env ROCKETMQ_HOME=$dir/java java -server -Xms$heap -Xmx$heap -XX:+UseG1GC -XX:MaxDirectMemorySize=1g -Duser.home=$dir/java/home \
-Dlogback.configurationFile=$dir/java/conf/rmq.broker.logback.xml -Drmq.logback.configurationFile=$dir/java/conf/rmq.broker.logback.xml \
--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
-cp $lib/* org.apache.rocketmq.broker.BrokerStartup -c $dir/java/conf/broker.conf"
}
our_command() { echo "$binary --data $dir/ours --namesrv-port 0 --log warn --set listenPort=$port --set flushDiskType=ASYNC_FLUSH"; }
command_of() { if [ "$1" = java ]; then java_command; else our_command; fi; }

fresh() { rm -rf "$dir/java" "$dir/ours"; sync; }

ready() {
  for server in ours java java ours; do
    fresh
    set -f; command=$(command_of $server)
    # shellcheck disable=SC2086
    "$binary" bench start --addr 127.0.0.1:$port --idle-seconds "${IDLE_SECONDS:-10}" --label $server -- $command | tee -a "$results"
    set +f
  done
  printf '{"workload":"binary","label":"ours","bytes":%s}\n' "$(stat -c %s "$binary")" | tee -a "$results"
  printf '{"workload":"binary","label":"java","bytes":%s}\n' "$(du -sbL "$lib" | cut -f1)" | tee -a "$results"
}

send() {
  for server in ours java java ours; do
    fresh
    set -f; command=$(command_of $server)
    # shellcheck disable=SC2086
    $command > "$dir/server.out" 2>&1 & pid=$!
    set +f
    trap 'kill $pid 2>/dev/null || true' EXIT
    warmup=${WARMUP_OURS:-2}; [ $server = java ] && warmup=${WARMUP_JAVA:-20}
    for try in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && break; sleep 0.2; done
    sleep 2
    # Once at full breadth, so that Java has compiled what it will.
    "$binary" bench send --addr 127.0.0.1:$port --connections 64 --depth 16 --seconds "$warmup" > "$dir/warmup.out"
    for shape in "1 1" "64 1" "64 16"; do
      set -- $shape
      "$binary" bench send --addr 127.0.0.1:$port --connections "$1" --depth "$2" --seconds "$seconds" --warmup-seconds 1 \
        --server-pid $pid --label $server --json | tee -a "$results"
    done
    kill $pid; wait $pid || true
    trap - EXIT
  done
}

[ "$part" = send ] || ready
[ "$part" = ready ] || send
fresh
rmdir "$dir" 2>/dev/null || true
python3 scripts/measure-table.py "$results" "$version" "$heap"
