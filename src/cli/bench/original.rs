// SPDX-License-Identifier: Apache-2.0
//! The original as a process to measure: its jars, its heap, its configuration.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::BenchError;

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

const BROKER_JAR: &str = "rocketmq-broker-";

impl Original {
    /// `lib` holds the jars, as `scripts/oracle.sh` prints it; the version is read from the broker's jar.
    pub(super) fn new(lib: &Path, heap: Heap) -> Result<Self, BenchError> {
        let entries = std::fs::read_dir(lib).map_err(|error| BenchError::Process { file: lib.to_owned(), error: error.to_string() })?;
        let version = entries.flatten().find_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix(BROKER_JAR)?.strip_suffix(".jar").map(str::to_owned)
        });
        let version = version.ok_or_else(|| BenchError::Refusal(format!("{} holds no {BROKER_JAR}*.jar", lib.display())))?;
        Ok(Self { name: format!("{version} {}", heap.name()), lib: lib.to_owned(), heap })
    }

    /// Writes its configuration below `dir` and says how it is started. Its waitTimeMillsInSendQueue is raised, so that it refuses
    /// nothing: a refusal costs it CPU that no message would show.
    pub(super) fn command(&self, dir: &Path, addr: SocketAddr, flush: &str) -> Result<Vec<String>, BenchError> {
        let conf = dir.join("conf");
        let io = |error: std::io::Error| BenchError::Process { file: conf.clone(), error: error.to_string() };
        std::fs::create_dir_all(&conf).map_err(io)?;
        let home = dir.display();
        let broker = format!(
            "brokerClusterName=DefaultCluster\nbrokerName=measured\nbrokerId=0\nbrokerIP1={}\nlistenPort={}\n\
             storePathRootDir={home}/store\nstorePathCommitLog={home}/store/commitlog\nflushDiskType={flush}\nwaitTimeMillsInSendQueue=10000\n",
            addr.ip(),
            addr.port()
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
