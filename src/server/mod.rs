// SPDX-License-Identifier: Apache-2.0
//! Puts the parts together: opens, binds, starts in order, waits for a signal, stops in the reverse order.

mod broker;
mod dispatch;
mod files;
pub mod health;
mod machine;
mod namesrv;
pub mod plan;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
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
use dispatch::Dispatch;

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
    let machine = Machine::read();
    let mut running = Running::default();
    if let Err(error) = running.start(plan, &fs, &machine, &runtime, say).await {
        // What was opened before the failure is closed in order too.
        running.stop().await?;
        runtime.stop(STOP_MAX).await;
        return Err(error);
    }
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal, "stopping");
    running.stop().await?;
    if !runtime.stop(STOP_MAX).await {
        return Err(StartError::Sentence("not everything ended in time".to_owned()));
    }
    info!("stopped");
    Ok(())
}

/// The servers of this process.
#[derive(Default)]
struct Running {
    namesrv: Option<namesrv::Namesrv>,
    broker: Option<broker::Broker>,
}

impl Running {
    /// Opens everything before anything listens; the name server goes first, so that the broker can register with it.
    async fn start(&mut self, plan: Plan, fs: &Fs, machine: &Machine, runtime: &Runtime, say: &dyn Fn(&str)) -> Result<(), StartError> {
        if let Some(plan) = plan.namesrv {
            self.namesrv = Some(namesrv::Namesrv::open(plan, fs, runtime, say)?);
        }
        let registers_here = plan.broker.as_ref().is_some_and(|broker| broker.registers_here);
        if let Some(plan) = plan.broker {
            self.broker = Some(broker::Broker::open(plan, fs, machine, runtime, say)?);
        }
        match (&mut self.namesrv, &mut self.broker) {
            (Some(namesrv), Some(broker)) => {
                let both = Arc::new(Dispatch { namesrv: Arc::clone(&namesrv.server), broker: Arc::clone(&broker.handler) });
                let port = namesrv.listen(Arc::clone(&both), runtime).await?;
                if registers_here {
                    broker.register_with(&namesrv.own_address(port));
                }
                broker.listen(both, runtime).await?;
                namesrv.server.set_own_broker(broker.services.address().advertised.clone());
                broker.start().await?;
                say(&namesrv.boot_line(port));
                say(&broker.boot_line());
            }
            (Some(namesrv), None) => {
                let port = namesrv.listen(Arc::clone(&namesrv.server), runtime).await?;
                say(&namesrv.boot_line(port));
            }
            (None, Some(broker)) => {
                broker.listen(Arc::clone(&broker.handler), runtime).await?;
                broker.start().await?;
                say(&broker.boot_line());
            }
            (None, None) => {}
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), StartError> {
        let stopped = match &self.broker {
            Some(broker) => broker.stop().await,
            None => Ok(()),
        };
        if let Some(namesrv) = &self.namesrv {
            namesrv.stop_accepting();
        }
        stopped
    }
}

/// The table of a file's keys.
fn say_report(report: &Report, file: &str, say: &dyn Fn(&str)) {
    if !report.given.is_empty() {
        say(&format!("configuration of {file}:\n{report}"));
    }
}

fn bind_host(bind_address: &str) -> Result<IpAddr, StartError> {
    let wrong = |_| StartError::Sentence(format!("bindAddress={bind_address} is wrong: it must be an IP address of this machine"));
    bind_address.parse().map_err(wrong)
}

/// Binds, or says in one sentence why not and what to do.
async fn listen<H: RequestHandler + ?Sized>(
    bind_address: &str,
    port: u16,
    port_key: &str,
    idle_seconds: i32,
    handler: Arc<H>,
    runtime: &Runtime,
) -> Result<Listener, StartError> {
    let addr = SocketAddr::new(bind_host(bind_address)?, port);
    // As in the original, 0 or less: however idle, no connection is closed for it.
    let idle = u64::try_from(idle_seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let default = Limits::default();
    // The sweep is what makes idleness precise.
    let idle_sweep = idle.map_or(default.idle_sweep, |idle| default.idle_sweep.min(idle / 4).max(Duration::from_millis(100)));
    let limits = Limits { idle, idle_sweep, ..default };
    Listener::bind(addr, handler, limits, runtime).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("another process listens there; stop it, or choose another port with {port_key}"),
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; correct bindAddress".to_owned(),
            std::io::ErrorKind::PermissionDenied => format!("the port is reserved; choose one above 1023 with {port_key}"),
            _ => error.to_string(),
        };
        StartError::Sentence(format!("cannot listen on {addr}: {remedy}"))
    })
}
