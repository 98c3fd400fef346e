// SPDX-License-Identifier: Apache-2.0
//! Puts the parts together: opens, binds, starts in order, waits for a signal, stops in the reverse order.

mod dispatch;
mod files;
pub mod health;
mod machine;
mod namesrv;
pub mod plan;

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

pub use files::Fs;
pub use machine::Machine;
pub use plan::{ConfigFile, Plan, Wanted};

use crate::config::{Report, Unreadable};
use crate::remoting::{Limits, Listener, RequestHandler};
use crate::runtime::{Runtime, SystemClock};

/// From the signal to the end of the process.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Why a server did not start: one sentence, with the remedy.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Sentence(String),
    #[error(transparent)]
    Configuration(#[from] Unreadable),
}

/// Runs what was planned until SIGTERM or SIGINT. `say` prints the lines that people and tools wait for.
pub fn run(plan: Plan, say: &dyn Fn(&str)) -> Result<(), StartError> {
    machine::raise_open_files();
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("reactor").build();
    let threads = threads.map_err(|error| StartError::Sentence(format!("the machine gives no threads: {error}")))?;
    let outcome = threads.block_on(serve(plan, say));
    threads.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(plan: Plan, say: &dyn Fn(&str)) -> Result<(), StartError> {
    let no_signals = |error: std::io::Error| StartError::Sentence(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let runtime = Runtime::current(SystemClock::shared());
    let fs = Fs::machine();

    for line in &plan.differences {
        say(&format!("differs from the original: {line}"));
    }
    let namesrv = match plan.namesrv {
        Some(plan) => Some(namesrv::Namesrv::start(plan, &fs, &runtime, say).await?),
        None => None,
    };
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal, "stopping");
    if let Some(namesrv) = &namesrv {
        namesrv.stop_accepting();
    }
    if !runtime.stop(STOP_MAX).await {
        return Err(StartError::Sentence("not everything ended in time".to_owned()));
    }
    info!("stopped");
    Ok(())
}

/// The table of a file's keys.
fn say_report(report: &Report, file: &str, say: &dyn Fn(&str)) {
    if !report.given.is_empty() {
        say(&format!("configuration of {file}:\n{report}"));
    }
}

/// Binds, or says in one sentence why not and what to do.
async fn listen<H: RequestHandler + ?Sized>(
    bind_address: &str,
    port: u16,
    port_key: &str,
    handler: std::sync::Arc<H>,
    runtime: &Runtime,
) -> Result<Listener, StartError> {
    let host = bind_address
        .parse()
        .map_err(|_| StartError::Sentence(format!("bindAddress={bind_address} is wrong: it must be an IP address of this machine")))?;
    let addr = SocketAddr::new(host, port);
    Listener::bind(addr, handler, Limits::default(), runtime).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("another process listens there; stop it, or choose another port with {port_key}"),
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; correct bindAddress".to_owned(),
            std::io::ErrorKind::PermissionDenied => format!("the port is reserved; choose one above 1023 with {port_key}"),
            _ => error.to_string(),
        };
        StartError::Sentence(format!("cannot listen on {addr}: {remedy}"))
    })
}
