// SPDX-License-Identifier: Apache-2.0
//! `small-memory`: a server in a control group of 128 MiB, 2,000 readers that ask for everything and never read, as many requests that
//! never end, and 64 senders beside them. The senders must go on, and the server must live. Says how the memory was limited: by a
//! control group made here, by systemd, or, where neither can be had, by the budget's key alone with an eye on what is resident.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::disallowed_methods, reason = "a test driver: real time, its own threads, plain files")]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use compat_tests::plain_client::{Outgoing, PlainClient, eventually};
use compat_tests::servers;
use compat_tests::wire::{Connection, Frame, Next};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const MIB: u64 = 1024 * 1024;
const LIMIT_BYTES: u64 = 128 * MIB;
const TOPIC: &str = "SmallMemory";
/// What readers ask for: more than the group's limit, so that the kernel has to take pages of the log back.
const FILL_MESSAGES: i32 = 6_000;
const FILL_BODY_BYTES: usize = 32 * 1024;
const SENT_BODY_BYTES: usize = 1024;
/// Pulls that each reader asks for at once.
const PULLS: i32 = 64;
/// Of a request that never ends: so much is announced and so much comes.
const ANNOUNCED_BYTES: u32 = 16 * 1024 * 1024 - 4;
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 2_000)]
    readers: usize,
    #[arg(long, default_value_t = 64)]
    senders: usize,
    /// Each of the three parts takes so long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Run the server without a budget to speak of, to see what it is for.
    #[arg(long)]
    without_budget: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => {
            println!("small-memory: all good");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("small-memory: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How the server's memory is limited.
enum Fence {
    /// A control group of our own; version 1 or 2.
    Group {
        dir: PathBuf,
        version: u8,
    },
    Systemd,
    /// The key alone.
    Budget,
}

impl Fence {
    fn make() -> Self {
        let name = format!("ferrocket-small-memory-{}", std::process::id());
        let roots: [(u8, &str, &str); 2] = [(1, "/sys/fs/cgroup/memory", "memory.limit_in_bytes"), (2, "/sys/fs/cgroup", "memory.max")];
        for (version, root, file) in roots {
            let dir = Path::new(root).join(&name);
            if fs::create_dir(&dir).is_ok() {
                if fs::write(dir.join(file), LIMIT_BYTES.to_string()).is_ok() {
                    // Swap would hide what is too much.
                    let _no_swap = fs::write(dir.join("memory.swap.max"), "0");
                    return Self::Group { dir, version };
                }
                let _removed = fs::remove_dir(&dir);
            }
        }
        let systemd = Command::new("systemd-run").args(["--scope", "--quiet", "-p", "MemoryMax=128M", "true"]).output();
        if systemd.is_ok_and(|output| output.status.success()) { Self::Systemd } else { Self::Budget }
    }

    fn describe(&self) -> String {
        match self {
            Self::Group { dir, version } => format!("control group v{version} {}, {} MiB", dir.display(), LIMIT_BYTES / MIB),
            Self::Systemd => format!("systemd-run --scope -p MemoryMax={}M", LIMIT_BYTES / MIB),
            Self::Budget => "no control group can be made here: only memoryBudgetBytes, and what is resident is watched".to_owned(),
        }
    }

    fn command(&self, binary: &Path) -> Command {
        match self {
            Self::Group { dir, .. } => {
                let mut command = Command::new("sh");
                command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(dir).arg(binary);
                command
            }
            Self::Systemd => {
                let mut command = Command::new("systemd-run");
                command.args(["--scope", "--quiet", "-p", &format!("MemoryMax={LIMIT_BYTES}")]).arg(binary);
                command
            }
            Self::Budget => Command::new(binary),
        }
    }

    fn number(&self, file_v1: &str, file_v2: &str, field: Option<&str>) -> Option<u64> {
        let Self::Group { dir, version } = self else { return None };
        let text = fs::read_to_string(dir.join(if *version == 1 { file_v1 } else { file_v2 })).ok()?;
        match field {
            None => text.trim().parse().ok(),
            Some(field) => text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok()),
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        if let Self::Group { dir, .. } = self {
            // The last process may still be leaving it.
            for _ in 0..50 {
                if fs::remove_dir(&*dir).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

struct Server {
    child: Child,
    addr: SocketAddr,
    log: PathBuf,
    watched: Arc<Watched>,
}

/// The most that was ever seen, in bytes.
#[derive(Default)]
struct Watched {
    over: AtomicBool,
    resident: AtomicU64,
    own: AtomicU64,
}

impl Server {
    fn start(fence: &Fence, home: &Path, options: &Options) -> Result<Self> {
        let port = servers::free_port()?;
        let log = home.join("server.out");
        let output = File::create(&log)?;
        let mut command = fence.command(&servers::ferrocket_binary()?);
        command.arg("--data").arg(home.join("data"));
        let mut set = |setting: String| {
            command.args(["--set", &setting]);
        };
        set(format!("listenPort={port}"));
        set("bindAddress=127.0.0.1".to_owned());
        set("waitTimeMillsInSendQueue=10000".to_owned());
        if options.without_budget {
            set(format!("memoryBudgetBytes={}", 1_u64 << 40));
        } else if matches!(fence, Fence::Budget) {
            set(format!("memoryBudgetBytes={}", LIMIT_BYTES / 4));
        }
        let namesrv = servers::free_port()?;
        command.args(["--namesrv-port", &namesrv.to_string(), "--log", "info"]).env("HOME", home).env_remove("NAMESRV_ADDR");
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn().context("start ferrocket")?;
        let mut server = Self { child, addr: servers::loopback(port), log, watched: Arc::default() };
        eventually("the server answers", Duration::from_secs(30), || {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", server.said(""));
            }
            Ok(PlainClient::open(server.addr).and_then(|mut client| client.create_topic(TOPIC, 80)).ok())
        })?;
        server.watch();
        Ok(server)
    }

    /// The lines of its log with this text.
    fn said(&self, text: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).map(|line| format!("{line}\n")).collect()
    }

    fn watch(&self) {
        let (watched, pid) = (Arc::clone(&self.watched), self.child.id());
        std::thread::spawn(move || {
            while !watched.over.load(Ordering::Relaxed) {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let kib = |name: &str| {
                    let line = status.lines().find_map(|line| line.strip_prefix(name));
                    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
                };
                watched.resident.fetch_max(kib("VmRSS:") * 1024, Ordering::Relaxed);
                watched.own.fetch_max(kib("RssAnon:") * 1024, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watched.over.store(true, Ordering::Relaxed);
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// What senders reach in so many seconds.
struct Sent {
    per_second: f64,
    median: Duration,
    p99: Duration,
    slowest: Duration,
}

impl Sent {
    fn print(&self, when: &str) {
        println!(
            "small-memory: {when}: {:.0} sends/s, median {:?}, p99 {:?}, slowest {:?}",
            self.per_second, self.median, self.p99, self.slowest
        );
    }
}

/// Each sender sends one message after the other; every error is one too many.
fn send(senders: &mut [Connection], seconds: u64) -> Result<Sent> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let body = vec![b's'; SENT_BODY_BYTES];
    let threads: Vec<Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let sending: Vec<_> = senders
            .iter_mut()
            .enumerate()
            .map(|(number, connection)| {
                let request = Outgoing::new(TOPIC, 1 + number as i32, body.clone()).request();
                scope.spawn(move || {
                    let mut took = Vec::new();
                    while Instant::now() < until {
                        let began = Instant::now();
                        let answer = connection.call(&request, Duration::from_secs(15))?;
                        ensure!(answer.code == 0, "a send was answered {}: {:?}", answer.code, answer.remark);
                        took.push(began.elapsed());
                    }
                    Ok(took)
                })
            })
            .collect();
        sending.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect()
    });
    let mut took = Vec::new();
    for thread in threads {
        took.extend(thread?);
    }
    took.sort_unstable();
    ensure!(!took.is_empty(), "nothing was sent");
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    Ok(Sent { per_second: took.len() as f64 / seconds as f64, median: at(0.5), p99: at(0.99), slowest: at(1.0) })
}

fn fill(addr: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(addr)?;
    let request = Outgoing::new(TOPIC, 0, vec![b'f'; FILL_BODY_BYTES]).request();
    for _ in 0..FILL_MESSAGES / 20 {
        let opaques = (0..20).map(|_| connection.send(&request)).collect::<Result<Vec<_>>>()?;
        for opaque in opaques {
            match connection.answer(opaque, Duration::from_secs(15))? {
                Next::Frame(answer) if answer.code == 0 => {}
                other => bail!("filling: {other:?}"),
            }
        }
    }
    Ok(())
}

/// A connection whose own kernel takes little for it, so that the server's side has it.
async fn connect_small(addr: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    Ok(socket.connect(addr).await?)
}

/// Sends these bytes as far as they are taken in a moment, and never reads.
async fn press(addr: SocketAddr, count: usize, bytes: impl Fn(usize) -> Vec<u8>) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = connect_small(addr).await.with_context(|| format!("connection {number}"))?;
        // One that is closed meanwhile has given way.
        let _taken = tokio::time::timeout(Duration::from_millis(2), stream.write_all(&bytes(number))).await;
        streams.push(stream);
    }
    Ok(streams)
}

fn pulls(reader: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for pull in 0..PULLS {
        // All over the log: what is asked for is on the disk as often as in memory.
        let offset = (reader as i32 * 97 + pull * 409) % (FILL_MESSAGES - 32);
        let request = Frame::request(11)
            .with("consumerGroup", "SmallMemoryReaders")
            .with("topic", TOPIC)
            .with("queueId", 0)
            .with("queueOffset", offset)
            .with("maxMsgNums", 32)
            .with("sysFlag", 4)
            .with("commitOffset", 0)
            .with("suspendTimeoutMillis", 0)
            .with("subscription", "*")
            .with("subVersion", 0);
        out.extend(Frame { opaque: pull, ..request }.encode());
    }
    out
}

fn piece(_: usize) -> Vec<u8> {
    let mut out = ANNOUNCED_BYTES.to_be_bytes().to_vec();
    out.resize(PIECE_BYTES, 0);
    out
}

fn run(options: &Options) -> Result<()> {
    let home = servers::scratch("small-memory")?;
    let fence = Fence::make();
    println!("small-memory: {}", fence.describe());
    let mut server = Server::start(&fence, &home, options)?;
    print!("small-memory: {}", server.said("memory for connections"));
    fill(server.addr)?;
    let mut senders = (0..options.senders).map(|_| Connection::open(server.addr)).collect::<Result<Vec<_>>>()?;
    let alone = send(&mut senders, options.seconds)?;
    alone.print("senders alone");

    let threads = tokio::runtime::Runtime::new()?;
    let readers = threads.block_on(press(server.addr, options.readers, pulls))?;
    let beside = send(&mut senders, options.seconds)?;
    beside.print(&format!("beside {} readers that never read", options.readers));
    let unending = threads.block_on(press(server.addr, options.readers, piece))?;
    let last = send(&mut senders, options.seconds)?;
    last.print(&format!("beside them and {} requests that never end", options.readers));

    let status = server.child.try_wait()?;
    let of = |watched: &AtomicU64| watched.load(Ordering::Relaxed) / MIB;
    println!(
        "small-memory: resident {} MiB at most, of it the server's own {} MiB; the group's most {:?} MiB, at its limit {:?} times, killed {:?}",
        of(&server.watched.resident),
        of(&server.watched.own),
        fence.number("memory.max_usage_in_bytes", "memory.peak", None).map(|bytes| bytes / MIB),
        fence.number("memory.failcnt", "memory.events", matches!(&fence, Fence::Group { version: 2, .. }).then_some("max ")),
        fence.number("memory.oom_control", "memory.events", Some("oom_kill ")),
    );
    let closed = server.said("out of memory for connections").lines().count();
    let refused = server.said("no memory for one more").lines().count();
    println!("small-memory: {closed} connections gave way, {refused} lines about refused ones");
    print!("{}", server.said("little memory").lines().next().map(|line| format!("small-memory: {line}\n")).unwrap_or_default());
    drop((readers, unending));
    ensure!(status.is_none(), "the server ended with {status:?}:\n{}", server.said(""));
    let killed = fence.number("memory.oom_control", "memory.events", Some("oom_kill "));
    ensure!(killed.unwrap_or(0) == 0, "the kernel killed {killed:?} times");
    ensure!(of(&server.watched.own) <= LIMIT_BYTES / MIB, "more was its own than the limit");
    for sent in [&beside, &last] {
        ensure!(sent.per_second > alone.per_second / 4.0, "{:.0} sends/s beside {:.0} alone", sent.per_second, alone.per_second);
        ensure!(sent.p99 < Duration::from_secs(1), "p99 {:?}", sent.p99);
    }
    drop(server);
    fs::remove_dir_all(&home)?;
    Ok(())
}
