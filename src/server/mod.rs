// SPDX-License-Identifier: Apache-2.0
//! Puts the parts together: opens, binds, starts in order, waits for a signal, stops in the reverse order.

mod broker;
mod dispatch;
mod files;
pub mod health;
mod machine;
mod memory;
mod namesrv;
pub mod plan;
mod screen;
mod stop;
mod takeover;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

pub use files::Fs;
pub use machine::Machine;
pub(crate) use machine::raise_open_files;
pub use plan::{ConfigFile, Plan, Wanted};
pub use screen::Screen;

use crate::config::{BROKER_NAME, Report, Unreadable};
use crate::remoting::{Budget, ConnectionLimit, Limits, Listener};
use crate::runtime::{Runtime, SystemClock};
use crate::takeover::old_master::OldMaster;
use crate::takeover::{Story, Wish};
use dispatch::Dispatch;
use memory::Memory;
use stop::Stop;

/// How long requests that were read are waited for; the rest of the stop's time is for the disk.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// And of that, how long a slave may take to say that it has a message. One that has left would be waited for longer than a stop takes.
const SLAVES_PATIENCE: Duration = Duration::from_millis(300);

/// Tasks that a reactor runs before it looks for what has arrived meanwhile. tokio's 61 are 4 ms when each reads 16 sends.
const TASKS_PER_LOOK: u32 = 4;

/// Why a server did not start: one sentence, with the remedy.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Sentence(String),
    #[error(transparent)]
    Configuration(#[from] Unreadable),
}

impl StartError {
    /// Begins the sentence with the place of what is wrong, as in "broker.conf, line 3: ".
    fn at(self, place: &str) -> Self {
        Self::Sentence(format!("{place}{self}"))
    }
}

/// Runs what was planned until SIGTERM or SIGINT. `say` prints the lines that people and tools wait for.
pub fn run(plan: Plan, screen: Screen, say: &dyn Fn(&str)) -> Result<(), StartError> {
    run_with(plan, None, screen, say)
}

/// As `run`, of a broker that takes over from another one first.
pub fn take_over(plan: Plan, wish: Wish, screen: Screen, say: &dyn Fn(&str)) -> Result<(), StartError> {
    run_with(plan, Some(wish), screen, say)
}

fn run_with(plan: Plan, wish: Option<Wish>, screen: Screen, say: &dyn Fn(&str)) -> Result<(), StartError> {
    let memory = Memory::of(&plan);
    info!(bytes = memory.budget_bytes, source = memory.source, "memory for connections");
    let connections = ConnectionLimit::new(raise_open_files());
    let limits = Limits { connections, budget: Budget::new(memory.budget_bytes), ..Limits::default() };
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let threads = threads.enable_all().thread_name("server").max_blocking_threads(memory.pool_threads).build();
    let threads = threads.map_err(|error| StartError::Sentence(format!("the machine gives no threads: {error}")))?;
    let outcome = threads.block_on(serve(plan, wish, limits, screen, say));
    threads.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(mut plan: Plan, wish: Option<Wish>, limits: Limits, screen: Screen, say: &dyn Fn(&str)) -> Result<(), StartError> {
    let no_signals = |error: std::io::Error| StartError::Sentence(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let runtime = Runtime::current(SystemClock::shared());
    runtime.start_reactors(TASKS_PER_LOOK).map_err(|error| StartError::Sentence(format!("the machine gives no threads: {error}")))?;
    let fs = Fs::machine();

    for line in plan.differences.iter().filter(|_| screen.is_verbose) {
        say(&format!("differs from the original: {line}"));
    }
    let machine = Machine::read();
    let mut running = Running { limits, screen, ..Running::default() };
    if let (Some(wish), Some(broker)) = (wish, &mut plan.broker) {
        let name_servers = std::mem::take(&mut broker.config.namesrv_addr);
        let old = OldMaster::ask(&runtime, &wish.from, Some(&name_servers)).await.map_err(StartError::Sentence)?;
        takeover::begin(&old, broker, &fs).await?;
        running.story = Some(Story::new(old, wish, name_servers));
    }
    let started = tokio::select! {
        started = running.start(plan, &fs, &machine, &runtime, say) => started.map(|()| None),
        signal = signalled() => Ok(Some(signal)),
    };
    let refused = match started {
        Err(refused) => Some(refused),
        Ok(Some(signal)) => {
            info!(signal, "stopping before the start is complete");
            None
        }
        Ok(None) => {
            let signal = signalled().await;
            info!(signal, "stopping");
            None
        }
    };
    if let (Some(story), Some(broker)) = (&mut running.story, &running.broker) {
        tokio::select! {
            () = story.restore(&broker.services, say) => {}
            signal = signalled() => info!(signal, "clients are not passed on any more"),
        }
    }
    let mut stop = Stop::begin(runtime.clock());
    // What was opened before a failure is closed in order too.
    running.stop(&mut stop).await;
    if running.is_opening {
        // A recovery takes as long as it takes. Leaving it is what SIGKILL does, and it begins anew at the next start.
        info!("stopped while the store was being opened");
    } else if stop.is_complete() && !runtime.stop(stop.left()).await {
        stop.did_not_end("the end of tasks and threads");
    }
    match (refused, stop.outcome()) {
        (None, Ok(())) => {
            info!("stopped");
            Ok(())
        }
        (None, incomplete) => incomplete,
        (Some(refused), stopped) => {
            if let Err(incomplete) = stopped {
                error!(%incomplete, "after a start that failed");
            }
            Err(refused)
        }
    }
}

/// The servers of this process.
#[derive(Default)]
struct Running {
    namesrv: Option<namesrv::Namesrv>,
    broker: Option<broker::Broker>,
    /// The broker takes over from another one.
    story: Option<Story>,
    /// Of all ports together.
    limits: Limits,
    screen: Screen,
    /// The broker's store is being recovered, on a thread that nothing ends.
    is_opening: bool,
}

impl Running {
    /// Opens everything before anything listens; the name server goes first, so that the broker can register with it.
    async fn start(&mut self, plan: Plan, fs: &Fs, machine: &Machine, runtime: &Runtime, say: &dyn Fn(&str)) -> Result<(), StartError> {
        if let Some(plan) = plan.namesrv {
            self.namesrv = Some(namesrv::Namesrv::open(plan, fs, runtime, self.screen, say)?);
        }
        let registers_here = plan.broker.as_ref().is_some_and(|broker| broker.registers_here);
        if let Some(plan) = plan.broker {
            let (report, file) = (plan.report.clone(), plan.file.path.clone());
            self.is_opening = true;
            // Recovery blocks for as long as the log is long; a signal is heard meanwhile.
            let opening = {
                let (fs, machine, runtime) = (fs.clone(), machine.clone(), runtime.clone());
                move || broker::Broker::open(plan, &fs, &machine, &runtime)
            };
            let opened = runtime.spawn_blocking("open the broker", opening).join().await;
            self.is_opening = false;
            let broker = opened.unwrap_or_else(|| Err(StartError::Sentence("the broker cannot be opened: see the log".to_owned())))?;
            // Only now is every value known to be good.
            say_report(&report, &file, self.screen, say);
            // On a terminal the line of the data says enough.
            if let Some(line) = broker.begins.as_ref().filter(|_| !self.screen.is_terminal || self.screen.is_verbose) {
                say(line);
            }
            self.broker = Some(broker);
        }
        match (&mut self.namesrv, &mut self.broker) {
            (Some(namesrv), Some(broker)) => {
                let both = Arc::new(Dispatch { namesrv: Arc::clone(&namesrv.server), broker: Arc::clone(&broker.handler) });
                let port = namesrv.listen(Arc::clone(&both), &self.limits, runtime).await?;
                let own_address = namesrv.own_address(port);
                if registers_here {
                    broker.register_with(&own_address);
                }
                let sockets = broker.bind().await?;
                broker.serve(sockets, both, &self.limits, runtime)?;
                namesrv.server.set_own_broker(broker.services.address().advertised.clone());
                broker.start(Some((own_address, Arc::new(namesrv::Beside(Arc::clone(&namesrv.server)))))).await?;
                say(&namesrv.boot_line(port));
                say(&broker.boot_line());
            }
            (Some(namesrv), None) => {
                let port = namesrv.listen(Arc::clone(&namesrv.server), &self.limits, runtime).await?;
                say(&namesrv.boot_line(port));
            }
            (None, Some(broker)) => {
                if let Some(story) = &mut self.story {
                    takeover::take_over(broker, story, &self.limits, runtime, say).await?;
                } else {
                    let sockets = broker.bind().await?;
                    broker.serve(sockets, Arc::clone(&broker.handler), &self.limits, runtime)?;
                    broker.start(None).await?;
                }
                say(&broker.boot_line());
            }
            (None, None) => {}
        }
        if let Some(line) = self.broker.as_ref().and_then(broker::Broker::unreached_line) {
            say(&line);
        }
        if self.screen.is_terminal {
            let address = machine.address.to_string();
            screen::lines(self.namesrv.as_ref(), self.broker.as_ref(), &address).iter().for_each(|line| say(line));
        }
        Ok(())
    }

    /// The broker leaves the name servers; nothing more is taken, what was read is answered; everything is written down.
    async fn stop(&self, stop: &mut Stop) {
        if let Some(broker) = &self.broker {
            stop.step("leaving the name servers", broker.services.unregister()).await;
            broker.services.hold.stop();
        }
        let listeners: Vec<&Listener> = self
            .namesrv
            .iter()
            .filter_map(|namesrv| namesrv.listener.as_ref())
            .chain(self.broker.iter().flat_map(|broker| &broker.listeners))
            .collect();
        drain(&listeners, self.broker.as_ref(), stop).await;
        if let Some(broker) = &self.broker {
            broker.close(stop).await;
        }
    }
}

/// All listeners at the same time.
async fn drain(listeners: &[&Listener], broker: Option<&broker::Broker>, stop: &mut Stop) {
    listeners.iter().for_each(|listener| listener.stop_accepting());
    listeners.iter().for_each(|listener| listener.stop_reading());
    let kept_for_the_disk = stop.left().saturating_sub(DRAIN_MAX);
    if let Some(broker) = broker {
        for listener in listeners {
            if !listener.drain(SLAVES_PATIENCE).await {
                broker.services.store.stop_waiting_for_slaves();
            }
        }
    }
    let mut answered = true;
    for listener in listeners {
        // While one is waited for the others drain too.
        answered &= listener.drain(stop.left().saturating_sub(kept_for_the_disk)).await;
    }
    if !answered {
        stop.did_not_end("answering what is in flight");
    }
    listeners.iter().for_each(|listener| listener.close_all("the server stops"));
}

/// What in a file is probably not meant so, a sentence each.
fn doubts(report: &Report) -> Vec<String> {
    report.misspelt().chain(report.repeated.iter().cloned()).collect()
}

/// What a start of this plan would refuse or warn of, as far as it can be known without opening anything.
pub fn look_through(plan: &Plan) -> Result<Vec<String>, StartError> {
    let mut said = Vec::new();
    if let Some(broker) = &plan.broker {
        broker::read_plan(broker, &Machine::read())?;
        check_bind(&broker.config.bind_address).map_err(|error| error.at(&broker.report.place("bindAddress")))?;
        said.extend(doubts(&broker.report));
    }
    if let Some(namesrv) = &plan.namesrv {
        check_bind(&namesrv.config.bind_address).map_err(|error| error.at(&namesrv.report.place("bindAddress")))?;
        said.extend(doubts(&namesrv.report));
    }
    Ok(said)
}

/// What a takeover would do: who the old master is, and what stands in the way. Changes nothing.
pub async fn check_takeover(old: &OldMaster, plan: &Plan, say: &dyn Fn(&str)) -> Result<(), StartError> {
    let Some(broker) = &plan.broker else { return Ok(()) };
    say(&format!(
        "takes over {} of cluster {} from {} ({}, {}), into {}",
        old.key(BROKER_NAME),
        old.key("brokerClusterName"),
        old.addr,
        old.version,
        old.key("brokerRole"),
        broker.config.store_path_root_dir
    ));
    say_report(&broker.report, &broker.file.path, Screen { is_terminal: true, is_verbose: false }, say);
    let obstacles = takeover::obstacles(old, broker, &Fs::machine()).await?;
    match obstacles.is_empty() {
        true => Ok(()),
        false => Err(StartError::Sentence(format!("this cannot be taken over: {}", obstacles.join("; ")))),
    }
}

/// The table of a file's keys.
fn say_report(report: &Report, file: &str, screen: Screen, say: &dyn Fn(&str)) {
    doubts(report).iter().for_each(|doubt| warn!("{doubt}"));
    // A person who wants no more sees what has no effect.
    let report = if screen.is_terminal && !screen.is_verbose { report.without_honoured() } else { report.clone() };
    if !report.given.is_empty() {
        say(&format!("configuration of {file}:\n{report}"));
    }
}

fn bind_host(bind_address: &str) -> Result<IpAddr, StartError> {
    let wrong = |_| StartError::Sentence(format!("bindAddress={bind_address} is wrong: it must be an IP address of this machine"));
    bind_address.parse().map_err(wrong)
}

/// Does this machine have the address? Asked before a command changes it.
fn check_bind(bind_address: &str) -> Result<(), StartError> {
    check_bind_port(bind_address, 0)
}

fn check_bind_port(bind_address: &str, port: u16) -> Result<(), StartError> {
    let addr = SocketAddr::new(bind_host(bind_address)?, port);
    std::net::TcpListener::bind(addr).map(drop).map_err(|error| cannot_listen(addr, &error, "listenPort", &Report::default()))
}

/// Where a server listens, and what an operator would change if it cannot.
struct Door<'a> {
    bind_address: &'a str,
    port: u16,
    port_key: &'a str,
    report: &'a Report,
}

/// Binds, or says in one sentence why not and what to do.
async fn bind(door: Door<'_>) -> Result<TcpListener, StartError> {
    let addr = SocketAddr::new(bind_host(door.bind_address)?, door.port);
    if addr.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        // As in Java, 0.0.0.0 is every address of the machine: one socket for IPv6 takes IPv4 too.
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), addr.port());
        match TcpListener::bind(both).await {
            // A machine without IPv6, or one that keeps the two apart.
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => info!(%error, "no IPv6"),
            bound => return bound.map_err(|error| cannot_listen(addr, &error, door.port_key, door.report)),
        }
    }
    TcpListener::bind(addr).await.map_err(|error| cannot_listen(addr, &error, door.port_key, door.report))
}

/// Those of one server's port.
fn limits_of(limits: &Limits, idle_seconds: i32) -> Limits {
    // As in the original, 0 or less: however idle, no connection is closed for it.
    let idle = u64::try_from(idle_seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    // The sweep is what makes idleness precise.
    let idle_sweep = idle.map_or(limits.idle_sweep, |idle| limits.idle_sweep.min(idle / 4).max(Duration::from_millis(100)));
    Limits { idle, idle_sweep, ..limits.clone() }
}

fn no_address(error: std::io::Error) -> StartError {
    StartError::Sentence(format!("a port that was bound has no address: {error}"))
}

fn cannot_listen(addr: SocketAddr, error: &std::io::Error, port_key: &str, report: &Report) -> StartError {
    let (key, remedy) = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            ("listenPort", format!("another process listens there; stop it, or choose another port with {port_key}"))
        }
        std::io::ErrorKind::AddrNotAvailable => ("bindAddress", "this machine has no such address; correct bindAddress".to_owned()),
        std::io::ErrorKind::PermissionDenied => ("listenPort", format!("the port is reserved; choose one above 1023 with {port_key}")),
        _ => ("bindAddress", error.to_string()),
    };
    StartError::Sentence(format!("cannot listen on {addr}: {remedy}")).at(&report.place(key))
}

#[cfg(test)]
mod session_story;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;
    use ferrocket_protocol::message::MessageInner;

    use super::*;
    use crate::store::{Crash, Fs as _, MemoryFs, Operation};

    const TOPIC: &str = "TBW102";

    fn plan() -> Plan {
        let settings =
            ["storePathRootDir=/store", "listenPort=0", "bindAddress=127.0.0.1", "mappedFileSizeCommitLog=1048576", "maxIndexNum=1000"];
        let wanted = Wanted { settings: settings.map(str::to_owned).to_vec(), ..Wanted::default() };
        let machine = Machine {
            host_name: "b".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            home: None,
            namesrv_addr: None,
            rocketmq_home: None,
            tls_server_mode: None,
        };
        plan::broker(wanted, &machine).unwrap()
    }

    async fn started(fs: &MemoryFs, runtime: &Runtime) -> Running {
        let mut running = Running::default();
        running.start(plan(), &Fs::of(fs.shared()), &Machine::read(), runtime, &|_| ()).await.unwrap();
        running
    }

    fn store(running: &Running) -> &crate::store::MessageStore {
        &running.broker.as_ref().unwrap().services.store
    }

    fn message() -> MessageInner {
        let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_911));
        MessageInner {
            topic: TOPIC.into(),
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: Bytes::from_static(b"on its way to a slow disk"),
            properties: Bytes::new(),
            tags_code: 0,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_that_fails_after_the_store_was_closed_promises_no_recovery() {
        for (cannot, recovers) in [("/store/config/topics.json", false), ("/store/checkpoint", true)] {
            let fs = MemoryFs::new();
            let runtime = Runtime::current(SystemClock::shared());
            let running = started(&fs, &runtime).await;
            running.broker.as_ref().unwrap().services.topics.step_version();
            let mut stop = Stop::within(Duration::from_secs(60), runtime.clock());
            fs.fail(Operation::Write, cannot, std::io::ErrorKind::StorageFull, usize::MAX);
            running.stop(&mut stop).await;
            let said = stop.outcome().unwrap_err().to_string();
            assert_eq!(fs.exists(std::path::Path::new("/store/abort")), recovers, "{said}");
            assert_eq!(said.starts_with("the stop is not complete, the next start recovers ("), recovers, "{said}");
            assert!(runtime.stop(Duration::from_secs(10)).await);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_hangs_is_named_in_time_and_the_next_start_recovers() {
        let fs = MemoryFs::new();
        let runtime = Runtime::current(SystemClock::shared());
        let running = started(&fs, &runtime).await;
        // The first one makes the log's file, which is synced at once.
        assert!(store(&running).put_message(&message()).status.is_stored());
        fs.hang_syncs("/commitlog/");
        assert!(store(&running).put_message(&message()).status.is_stored());
        let topics = std::path::Path::new("/store/config/topics.json");
        let services = &running.broker.as_ref().unwrap().services;
        services.topics.step_version();
        let version = services.topics.data_version();

        let time = Duration::from_millis(1_500);
        let began = runtime.clock().nanos();
        let mut stop = Stop::within(time, runtime.clock());
        running.stop(&mut stop).await;
        let took = Duration::from_nanos(runtime.clock().nanos() - began);
        // The process would end here. The thread in the sync goes on, lest this one never ends.
        let left = fs.crashed(Crash::Killed);
        fs.heal();
        assert!(runtime.stop(Duration::from_secs(10)).await);
        assert!(took >= time && took < time * 10, "{took:?}: as long as it may take, and no longer");
        let said = stop.outcome().unwrap_err().to_string();
        assert_eq!(said, "the stop is not complete, the next start recovers (closing the store: not done in time)");
        let written = String::from_utf8(left.shared().read(topics).unwrap()).unwrap();
        assert!(written.contains(&format!("\"counter\":{}", version.counter)), "the tables do not wait for the log: {written}");
        assert!(left.shared().exists(std::path::Path::new("/store/abort")), "the directory counts as not stopped in order");

        let runtime = Runtime::current(SystemClock::shared());
        let running = started(&left, &runtime).await;
        assert_eq!(store(&running).max_offset(TOPIC, 0), 2, "nothing is lost");
        let mut stop = Stop::begin(runtime.clock());
        running.stop(&mut stop).await;
        stop.outcome().unwrap();
        assert!(!left.shared().exists(std::path::Path::new("/store/abort")));
        assert!(runtime.stop(Duration::from_secs(10)).await);
    }
}
