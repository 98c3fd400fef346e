// SPDX-License-Identifier: Apache-2.0
//! The original as a process to measure: its jars, its heap, its configuration.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use super::{BenchError, image};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Heap {
    /// 1 GB, G1
    Lean,
    /// The options of its own runbroker.sh: 8 GB, touched at the start
    Shipped,
}

impl Heap {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Lean => &["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxDirectMemorySize=1g"],
            Self::Shipped => &[
                "-Xms8g",
                "-Xmx8g",
                "-XX:+UseG1GC",
                "-XX:G1HeapRegionSize=16m",
                "-XX:G1ReservePercent=25",
                "-XX:InitiatingHeapOccupancyPercent=30",
                "-XX:SoftRefLRUPolicyMSPerMB=0",
                "-XX:-OmitStackTraceInFastThrow",
                "-XX:+AlwaysPreTouch",
                "-XX:MaxDirectMemorySize=15g",
                "-XX:-UseLargePages",
            ],
        }
    }

    /// What the machine must have left; with what the JVM needs beside its heap.
    fn bytes(self) -> u64 {
        match self {
            Self::Lean => 2 * GIB,
            Self::Shipped => 9 * GIB,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lean => "lean",
            Self::Shipped => "shipped",
        }
    }
}

/// One version with one heap.
#[derive(Debug, Clone)]
pub(super) struct Original {
    pub(super) name: String,
    lib: PathBuf,
    heap: Heap,
}

/// What every server runs with, so that none refuses: a refusal costs CPU that no message would show, and a oneway message is lost.
pub(super) const PATIENCE: &str = "waitTimeMillsInSendQueue=10000";

pub(super) const BROKER_JAR: &str = "rocketmq-broker-";
const GIB: u64 = 1024 * 1024 * 1024;

/// Of the broker's jar in a directory.
pub(super) fn version_in(lib: &Path) -> Option<String> {
    std::fs::read_dir(lib).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(BROKER_JAR)?.strip_suffix(".jar").map(str::to_owned)
    })
}

impl Original {
    /// `source` is a directory of its jars, as `scripts/oracle.sh` prints it, or an image that has them. Tells what this machine
    /// lacks to run it.
    pub(super) fn new(source: &str, heap: Heap, dir: &Path) -> Result<Self, BenchError> {
        let lib = if Path::new(source).is_dir() { PathBuf::from(source) } else { image::jars(source, dir)? };
        let version = version_in(&lib).ok_or_else(|| BenchError::Refusal(format!("{} holds no {BROKER_JAR}*.jar", lib.display())))?;
        let name = format!("{version} {}", heap.name());
        let available = available_bytes()?;
        if available < heap.bytes() {
            let gib = |bytes: u64| bytes as f64 / GIB as f64;
            let text = format!("{name} needs {:.0} GiB of memory, this machine has {:.1} left", gib(heap.bytes()), gib(available));
            return Err(BenchError::Refusal(text));
        }
        let java = Command::new("java").arg("-version").output();
        java.map_err(|error| BenchError::Refusal(format!("{name} needs a JVM, and java cannot be started: {error}")))?;
        Ok(Self { name, lib, heap })
    }

    /// Writes its configuration below `dir` and says how it is started.
    pub(super) fn command(&self, dir: &Path, addr: SocketAddr, settings: &[String]) -> Result<Vec<String>, BenchError> {
        let conf = dir.join("conf");
        let io = |error: std::io::Error| BenchError::Process { file: conf.clone(), error: error.to_string() };
        std::fs::create_dir_all(&conf).map_err(io)?;
        let home = dir.display();
        let broker = format!(
            "brokerClusterName=DefaultCluster\nbrokerName=measured\nbrokerIP1={ip}\nbrokerIP2={ip}\nlistenPort={port}\n\
             storePathRootDir={home}/store\nstorePathCommitLog={home}/store/commitlog\n{PATIENCE}\n{settings}\n",
            ip = addr.ip(),
            port = addr.port(),
            settings = settings.join("\n"),
        );
        let logback = format!(
            "<configuration><appender name=\"F\" class=\"ch.qos.logback.core.FileAppender\"><file>{home}/broker.log</file>\
             <encoder><pattern>%d %p %m%n</pattern></encoder></appender><root level=\"WARN\"><appender-ref ref=\"F\"/></root></configuration>\n"
        );
        // 4.9 reads logback_broker.xml, 5.x rmq.broker.logback.xml.
        for (name, text) in [("broker.conf", &broker), ("rmq.broker.logback.xml", &logback), ("logback_broker.xml", &logback)] {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(conf.join(name));
            file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(io)?;
        }
        let logback = conf.join("rmq.broker.logback.xml").display().to_string();
        let mut command = vec!["env".to_owned(), format!("ROCKETMQ_HOME={home}"), "java".to_owned(), "-server".to_owned()];
        command.extend(self.heap.options().iter().map(|option| (*option).to_owned()));
        command.extend([
            format!("-Duser.home={home}"),
            format!("-Dlogback.configurationFile={logback}"),
            format!("-Drmq.logback.configurationFile={logback}"),
            "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED".to_owned(),
            "--add-opens=java.base/java.nio=ALL-UNNAMED".to_owned(),
            "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", self.lib.display()),
            "org.apache.rocketmq.broker.BrokerStartup".to_owned(),
            "-c".to_owned(),
            conf.join("broker.conf").display().to_string(),
        ]);
        Ok(command)
    }
}

fn available_bytes() -> Result<u64, BenchError> {
    let file = Path::new("/proc/meminfo");
    let wrong = |error: String| BenchError::Process { file: file.to_owned(), error };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| wrong("no MemAvailable".to_owned()))
}
