// SPDX-License-Identifier: Apache-2.0
//! Starts and stops the servers under test as plain processes on loopback: the original (any version that `scripts/oracle.sh`
//! can fetch) and Ferrocket, from the same configuration files. Knows nothing of what is asked of them.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wire::{Connection, Frame};

/// A JVM on a busy machine takes up to 25 s to start.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// An orderly stop of a 5.x broker takes up to 17 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Whose server it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Make {
    Java(&'static str),
    Ferrocket,
}

impl Make {
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Java(version) => format!("java-{version}"),
            Self::Ferrocket => "ferrocket".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    NameServer,
    Broker,
}

/// One running process. Dropped without a stop, it is killed.
pub struct Server {
    pub addr: SocketAddr,
    make: Make,
    role: Role,
    child: Child,
    output: PathBuf,
}

/// What a broker is started with; the rest comes from `lines`.
pub struct BrokerSettings<'a> {
    pub name: &'a str,
    pub port: u16,
    pub namesrv: Option<String>,
    pub lines: &'a [String],
}

#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The root of the repository, found from this crate's manifest.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The binary under test: `$FERROCKET`, or what the last build left, whatever its profile.
pub fn ferrocket_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FERROCKET") {
        return Ok(PathBuf::from(path));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    ["release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join("ferrocket"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .context("no ferrocket binary: run `cargo build --release`, or name one in $FERROCKET")
}

/// True when the original can run here.
#[must_use]
pub fn has_java() -> bool {
    Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The original's jars, as a class path.
pub fn oracle_classpath(version: &str) -> Result<String> {
    let script = repository().join("scripts/oracle.sh");
    let output = Command::new(&script).arg(version).stderr(Stdio::inherit()).output().with_context(|| format!("run {script:?}"))?;
    if !output.status.success() {
        bail!("{script:?} could not provide the jars of {version}");
    }
    Ok(format!("{}/*", String::from_utf8(output.stdout)?.trim()))
}

static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

/// A port below the ephemeral range with its neighbours free: a broker uses `port`, `port - 2` and `port + 1` (HA).
pub fn free_port() -> Result<u16> {
    // Each process starts elsewhere, so that two runs at once seldom meet.
    let start = std::process::id().wrapping_mul(40);
    for _ in 0..500 {
        let step = NEXT_PORT.fetch_add(4, Ordering::Relaxed);
        let port = 12_000 + (start.wrapping_add(step) % 19_000) as u16;
        if [port, port - 2, port + 1].iter().all(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()) {
            return Ok(port);
        }
    }
    bail!("no free port between 12000 and 31000")
}

pub fn start_namesrv(make: &Make, home: &Path, port: u16, lines: &[String]) -> Result<Server> {
    prepare_home(home)?;
    let config = home.join("conf/namesrv.conf");
    let mut text = format!("listenPort={port}\nbindAddress=127.0.0.1\n");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    fs::write(&config, text)?;
    start(make, Role::NameServer, home, &config, port)
}

pub fn start_broker(make: &Make, home: &Path, settings: &BrokerSettings<'_>) -> Result<Server> {
    prepare_home(home)?;
    let store = home.join("store");
    let mut text = format!(
        "brokerClusterName=DefaultCluster\nbrokerName={}\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={}\nhaListenPort={}\n\
         storePathRootDir={}\nstorePathCommitLog={}\nwaitTimeMillsInSendQueue=10000\n",
        settings.name,
        settings.port,
        settings.port + 1,
        store.display(),
        store.join("commitlog").display(),
    );
    if *make != Make::Java("4.9.7") {
        text.push_str("bindAddress=127.0.0.1\n");
    }
    if let Some(namesrv) = &settings.namesrv {
        text.push_str(&format!("namesrvAddr={namesrv}\n"));
    }
    if !settings.lines.iter().any(|line| line.starts_with("mappedFileSizeCommitLog")) {
        text.push_str("mappedFileSizeCommitLog=16777216\n");
    }
    for line in settings.lines {
        text.push_str(line);
        text.push('\n');
    }
    let config = home.join("conf/broker.conf");
    fs::write(&config, text)?;
    start(make, Role::Broker, home, &config, settings.port)
}

fn prepare_home(home: &Path) -> Result<()> {
    fs::create_dir_all(home.join("conf"))?;
    fs::create_dir_all(home.join("home"))?;
    for name in ["namesrv", "broker", "tools"] {
        // 4.9.x does not start without these.
        let log = home.join(format!("home/{name}.log"));
        let text = format!(
            "<configuration><appender name=\"F\" class=\"ch.qos.logback.core.FileAppender\"><file>{}</file><encoder><pattern>%d %p %t - %m%n\
             </pattern></encoder></appender><root level=\"WARN\"><appender-ref ref=\"F\"/></root></configuration>",
            log.display()
        );
        fs::write(home.join(format!("conf/logback_{name}.xml")), text)?;
    }
    Ok(())
}

fn start(make: &Make, role: Role, home: &Path, config: &Path, port: u16) -> Result<Server> {
    let output = home.join(if role == Role::Broker { "broker.out" } else { "namesrv.out" });
    let log = File::create(&output)?;
    let mut command = match make {
        Make::Java(version) => {
            let mut command = Command::new("java");
            command
                .args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=512m"])
                .arg(format!("-Duser.home={}", home.join("home").display()))
                .args(["--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED"])
                .arg("--add-opens=java.base/sun.nio.ch=ALL-UNNAMED")
                .args(["-cp", &oracle_classpath(version)?])
                .arg(match role {
                    Role::NameServer => "org.apache.rocketmq.namesrv.NamesrvStartup",
                    Role::Broker => "org.apache.rocketmq.broker.BrokerStartup",
                });
            command
        }
        Make::Ferrocket => {
            let mut command = Command::new(ferrocket_binary()?);
            command.arg(if role == Role::Broker { "broker" } else { "namesrv" });
            command
        }
    };
    let child = command
        .arg("-c")
        .arg(config)
        .env("ROCKETMQ_HOME", home)
        .env("HOME", home.join("home"))
        .env_remove("NAMESRV_ADDR")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {} as {role:?}", make.name()))?;
    let mut server = Server { addr: loopback(port), make: make.clone(), role, child, output };
    server.wait_ready()?;
    Ok(server)
}

impl Server {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.addr)
    }

    /// Ready means: it answers a request of its own role.
    fn wait_ready(&mut self) -> Result<()> {
        let probe = Frame::request(if self.role == Role::Broker { 28 } else { 106 });
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} at its start:\n{}", self.make.name(), self.tail());
            }
            if let Ok(mut connection) = self.connect()
                && connection.call(&probe, Duration::from_secs(5)).is_ok()
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {READY_TIMEOUT:?}:\n{}", self.make.name(), self.tail());
            }
            std::thread::sleep(Duration::from_millis(if self.make == Make::Ferrocket { 2 } else { 50 }));
        }
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        if !status.success() {
            bail!("could not send SIGTERM to {}: {}", self.pid(), self.tail());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} still runs {STOP_TIMEOUT:?} after SIGTERM", self.make.name())
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            let _ended = self.child.wait();
        }
    }
}

/// A directory under the target directory, emptied first.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let base = std::env::var_os("FERROCKET_SCRATCH").map_or_else(|| repository().join("target/scratch"), PathBuf::from);
    let path = base.join(format!("{name}-{}", std::process::id()));
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    Ok(path)
}
