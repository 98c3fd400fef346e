// SPDX-License-Identifier: Apache-2.0
//! `bench catch-up`: a slave that was stopped early on, and lacks what its master was sent since, is started again; from the first
//! byte that it has more to the last. Beside it, what one connection of this machine carries into a file when nothing else is done with
//! the bytes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::control::Control;
use super::meter::Window;
use super::pair::{follow, log_end};
use super::report::Report;
use super::send::{Load, prove};
use super::server::{START_MAX, Server};
use super::{BenchError, CommonArgs, ask};
use crate::runtime::{Runtime, SharedClock};

#[derive(Debug, Args)]
pub(in crate::cli) struct CatchUpArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Where the slave will answer
    #[arg(long, value_name = "HOST:PORT")]
    replica: SocketAddr,
    /// So many messages of 1 KB are sent while it is away; the master must not wait for it
    #[arg(long, default_value_t = 3_500_000)]
    messages: u64,
    /// Where the bare copy writes its file, which is removed: the disk of the slave's store
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    copy_to: PathBuf,
    /// What the slave prints goes there
    #[arg(long, value_name = "FILE")]
    server_log: Option<PathBuf>,
    /// The command that starts the slave, which is run twice
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The slave's end is looked at as often; it is what a rate is exact to.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What of the bare copy is written and read in one go.
const COPY_PIECE_BYTES: usize = 512 * 1024;
const COPY_NAME: &str = "ferrocket-bench-copy";
const MB: f64 = 1e6;

pub(super) async fn run(args: &CatchUpArgs, runtime: &Runtime) -> Result<(), BenchError> {
    let (common, clock) = (&args.common, runtime.clock());
    let start = || Server::start(&args.command, args.server_log.as_deref());
    let away = start()?;
    follow(common.addr, args.replica, runtime).await?;
    let at_stop = log_end(&Control::new(args.replica, runtime)).await?;
    away.stop(clock).await?;

    let names = [common.topic.clone()];
    let filling = CommonArgs { connections: 16, ..common.clone() };
    ask::create_topics(&filling, &names).await?;
    let before = ask::max_offsets(&filling, &names).await?;
    let acknowledged = Load::filling(&filling, args.messages, 1).run("fill", &filling, runtime).await?.1;
    prove(clock, &filling, &names, &before, acknowledged).await?;
    let master = Control::new(common.addr, runtime);
    let wanted = log_end(&master).await?;
    let bare = {
        // As much as the slave lacks.
        let pieces = ((wanted - at_stop) as usize).div_ceil(COPY_PIECE_BYTES);
        let (clock, file) = (clock.clone(), args.copy_to.join(COPY_NAME));
        runtime.spawn_blocking("copy", move || bare_copy(&clock, &file, pieces)).join().await.ok_or(BenchError::Worker)?
    };
    let bare = bare.map_err(|error| BenchError::Io { what: "copy over loopback", error })?;
    rustix::fs::sync();

    let slave = start()?;
    let control = Control::new(args.replica, runtime);
    let began = first_end(&control, clock).await?;
    let mut servers = common.server_pids.clone();
    servers.push(slave.id());
    let window = Window::open(&servers, common.count_syscalls)?;
    let (first, first_nanos) = grown(&control, began, clock).await?;
    let mut end = first;
    while end < wanted {
        end = grown(&control, end, clock).await?.0;
    }
    let seconds = (clock.nanos() - first_nanos) as f64 / 1e9;
    let carried = (wanted - first) as f64;
    let messages = (acknowledged as f64 * carried / (wanted - began) as f64) as u64;
    let mut report = Report::new("catch-up", common);
    report.cost = window.close(acknowledged, seconds, common.threads)?;
    prove(clock, &CommonArgs { addr: args.replica, ..common.clone() }, &names, &before, acknowledged).await?;
    report.body_bytes = 1024;
    report.took(messages, seconds);
    report.figure("behind_megabytes", (wanted - began) as f64 / MB);
    report.figure("catch_up_megabytes_per_second", carried / MB / seconds.max(1e-9));
    report.figure("bare_copy_megabytes_per_second", bare / MB);
    report.figure("of_bare_copy_percent", carried * 100.0 / seconds.max(1e-9) / bare);
    report.print(common.json)
}

/// The slave's end, as soon as it says so.
async fn first_end(control: &Control, clock: &SharedClock) -> Result<i64, BenchError> {
    let began = clock.nanos();
    loop {
        match log_end(control).await {
            Err(error) if clock.nanos() - began > START_MAX.as_nanos() as u64 => return Err(error),
            Err(_) => clock.sleep(LOOK_EVERY).await,
            Ok(end) => return Ok(end),
        }
    }
}

/// The next end behind `end`, and when it was seen.
async fn grown(control: &Control, end: i64, clock: &SharedClock) -> Result<(i64, u64), BenchError> {
    let began = clock.nanos();
    loop {
        let now = log_end(control).await?;
        if now > end {
            return Ok((now, clock.nanos()));
        }
        if clock.nanos() - began > START_MAX.as_nanos() as u64 {
            return Err(BenchError::NotProven(format!("the slave's log stands at {end}")));
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

/// Bytes a second of one connection to this machine itself, whose other end writes them into a new file.
fn bare_copy(clock: &SharedClock, path: &Path, pieces: usize) -> std::io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut out = TcpStream::connect(listener.local_addr()?)?;
    let (mut incoming, _) = listener.accept()?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let began = clock.nanos();
    let copied = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut piece = vec![0; COPY_PIECE_BYTES];
            (0..pieces).try_for_each(|_| {
                incoming.read_exact(&mut piece)?;
                file.write_all(&piece)
            })
        });
        let piece = vec![1; COPY_PIECE_BYTES];
        let written = (0..pieces).try_for_each(|_| out.write_all(&piece));
        // Else the reader would wait for the rest.
        drop(out);
        let read = reader.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        read.and(written)
    });
    let nanos = clock.nanos() - began;
    #[expect(clippy::disallowed_methods, reason = "the meter's own file")]
    std::fs::remove_file(path)?;
    copied.map(|()| (pieces * COPY_PIECE_BYTES) as f64 * 1e9 / nanos.max(1) as f64)
}
