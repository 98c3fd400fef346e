#!/usr/bin/env python3
# Turns one run of scripts/measure.sh into the table of BENCHMARKS.md. usage: measure-table.py RESULTS.jsonl VERSION HEAP
import json
import os
import platform
import re
import sys

results, version, heap = sys.argv[1:4]
rows = [json.loads(line) for line in open(results)]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def both(workload, pick, **want):
    found = {}
    for label in ("ours", "java"):
        values = [pick(row) for row in rows if row["workload"] == workload and row["label"] == label and all(row[k] == v for k, v in want.items())]
        if values:
            found[label] = values
    return found


def line(name, found, form, better):
    if len(found) < 2:
        return None
    ours, java = found["ours"], found["java"]
    ratio = mean(java) / mean(ours) if better == "less" else mean(ours) / mean(java)
    spread = lambda values: form(mean(values)) + (f" ({form(min(values))} to {form(max(values))})" if len(values) > 1 else "")
    return f"| {name} | {spread(ours)} | {spread(java)} | {ratio:.1f} x |"


lines = []
lines.append(line("ready: process start to first acknowledged send, ms", both("start", lambda r: r["ready_millis"]), lambda v: f"{v:.0f}", "less"))
lines.append(line("CPU until ready, s", both("start", lambda r: max(r["cpu_seconds_until_ready"], 0.01)), lambda v: f"{v:.2f}", "less"))
lines.append(line("idle anonymous memory (RssAnon), MiB", both("start", lambda r: r["idle_anonymous_mib"]), lambda v: f"{v:.1f}", "less"))
lines.append(line("binary (the original: its jars, without the JVM), MB", both("binary", lambda r: r["bytes"]), lambda v: f"{v / 1e6:.1f}", "less"))
for connections, depth in ((1, 1), (64, 1), (64, 16)):
    want = {"connections": connections, "depth": depth}
    name = f"send 1 KiB, {connections} x {depth}"
    lines.append(line(f"{name}: **server CPU, s per million messages**", both("send", lambda r: r["server"]["cpu_seconds_per_million_messages"], **want), lambda v: f"{v:.2f}", "less"))
    lines.append(line(f"{name}: messages per second", both("send", lambda r: r["messages_per_second"], **want), lambda v: f"{v:,.0f}", "more"))
    lines.append(line(f"{name}: latency p50 / µs", both("send", lambda r: r["latency_micros"]["p50"], **want), lambda v: f"{v:,.0f}", "less"))
    lines.append(line(f"{name}: latency p99 / µs", both("send", lambda r: r["latency_micros"]["p99"], **want), lambda v: f"{v:,.0f}", "less"))
    lines.append(line(f"{name}: context switches per message", both("send", lambda r: r["server"]["context_switches_per_message"], **want), lambda v: f"{v:.2f}", "less"))

cpu = next((m.group(1) for m in (re.match(r"model name\s*:\s*(.*)", text) for text in open("/proc/cpuinfo")) if m), platform.machine())
load = os.getloadavg()
table = "\n".join(
    [
        f"Ours against the original {version} ({heap} G1 heap), in the order A B B A; mean (least to most). {os.cpu_count()} x {cpu}, "
        f"Linux {platform.release()}, load average at the end {load[0]:.1f}. Raw lines: `{results}`.",
        "",
        "| workload | ours | the original | better by |",
        "|---|---:|---:|---:|",
    ]
    + [text for text in lines if text]
)
print(table)
begin, end = "<!-- measured by scripts/measure.sh: begin -->", "<!-- measured by scripts/measure.sh: end -->"
page = open("BENCHMARKS.md").read()
head, rest = page.split(begin)
_, tail = rest.split(end)
open("BENCHMARKS.md", "w").write(f"{head}{begin}\n{table}\n{end}{tail}")
