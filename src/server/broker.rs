// SPDX-License-Identifier: Apache-2.0
//! The broker of this process: its directory, its ports, its boot line, and the order in which it stops.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tracing::{info, warn};

use super::files::Fs;
use super::machine::Machine;
use super::plan::BrokerPlan;
use super::stop::Stop;
use super::{Door, StartError, bind, check_bind, limits_of, no_address};
use crate::broker::registration::Neighbour;
use crate::broker::replication::master::copies;
use crate::broker::schedule::parse_levels;
use crate::broker::{Broker as Services, Location, OpenError, Parts, WriteError, unserved};
use crate::config::{AdvertiseRules, BrokerConfig, BrokerRole, ConfigCell, FlushDiskType, Report};
use crate::processor::BrokerHandler;
use crate::remoting::{Limits, Listener, RequestHandler};
use crate::runtime::Runtime;
use crate::store::{self, StoreConfig, StoreError};

/// The VIP port is so far below the port.
pub(super) const VIP_DISTANCE: u16 = 2;

pub(super) struct Broker {
    pub services: Arc<Services>,
    pub handler: Arc<BrokerHandler>,
    pub listeners: Vec<Listener>,
    /// Of a directory without messages, what was in it before.
    pub begins: Option<String>,
    config: Arc<ConfigCell>,
    report: Report,
    /// Its configuration.
    pub file: String,
}

impl Broker {
    /// Everything but the ports.
    pub(super) fn open(plan: BrokerPlan, fs: &Fs, machine: &Machine, runtime: &Runtime) -> Result<Self, StartError> {
        let (location, store_config) = read_plan(&plan, machine)?;
        let config = plan.config;
        if config.broker_role == BrokerRole::SyncMaster && config.in_sync_replicas <= 1 {
            warn!(
                "brokerRole=SYNC_MASTER with inSyncReplicas=1 answers a send before any slave has its message, as the original does: set inSyncReplicas=2 to have it wait for a slave"
            );
        }
        let root = PathBuf::from(&config.store_path_root_dir);
        refuse_other_formats(fs, &root)?;
        let is_new = config.store_path_commit_log.split(',').all(|dir| fs.is_empty_dir(Path::new(dir.trim())));
        let begins = is_new.then(|| match fs.is_empty_dir(&root.join("config")) {
            true => format!("the store in {} is empty: a new one begins", root.display()),
            false => format!("the store in {} has no messages; the tables in its config directory are read", root.display()),
        });
        let save = fs.saver(&plan.file.path);
        let file = plan.file.path.clone();
        let cell = Arc::new(ConfigCell::backed(config, plan.file.bytes, runtime.clock().now_millis(), save).checked(check));
        let parts = Parts {
            config: Arc::clone(&cell),
            store_config,
            fs: fs.shared(),
            clock: runtime.clock().clone(),
            runtime: runtime.clone(),
            location,
        };
        let services = Services::open(parts).map_err(|error| StartError::Sentence(open_sentence(&error, &root)))?;
        see_to_unserved(&services, fs, plan.refuse_unserved)?;
        let handler = Arc::new(BrokerHandler::new(Arc::clone(&services)));
        Ok(Self { services, handler, listeners: Vec::new(), begins, config: cell, report: plan.report, file })
    }

    /// Binds the port and the VIP port; who connects waits until they are served.
    pub(super) async fn bind(&self) -> Result<Vec<TcpListener>, StartError> {
        let config = self.config();
        let wanted = config.listen_port as u16;
        let door = |port, port_key| Door { bind_address: &config.bind_address, port, port_key, report: &self.report };
        let mut sockets = vec![bind(door(wanted, "listenPort")).await?];
        let port = sockets[0].local_addr().map_err(no_address)?.port();
        if let Some(vip_port) = port.checked_sub(VIP_DISTANCE).filter(|vip_port| *vip_port > 0) {
            match bind(door(vip_port, "listenPort (the VIP port is two below it)")).await {
                Ok(socket) => sockets.push(socket),
                // A port that was chosen by the machine says nothing about its neighbours.
                Err(error) if wanted == 0 => info!(%error, "no VIP port"),
                Err(error) => return Err(error),
            }
        }
        self.services.listening_on(port);
        Ok(sockets)
    }

    /// Requests go to `handler`, which may serve more than the broker's own.
    pub(super) fn serve<H: RequestHandler>(
        &mut self,
        sockets: Vec<TcpListener>,
        handler: Arc<H>,
        limits: &Limits,
        runtime: &Runtime,
    ) -> Result<(), StartError> {
        let limits = limits_of(limits, self.config.load().server_channel_max_idle_time_seconds);
        for socket in sockets {
            let listener = Listener::serve(socket, Arc::clone(&handler), limits.clone(), runtime).map_err(no_address)?;
            self.listeners.push(listener);
        }
        Ok(())
    }

    /// Starts what runs beside the requests and registers with the name servers. Returns when they were told, or a second later.
    pub(super) async fn start(&self, neighbour: Option<(String, Arc<dyn Neighbour>)>) -> Result<(), StartError> {
        let cannot = |error: std::io::Error| StartError::Sentence(format!("the broker cannot start: {error}"));
        self.services.start(neighbour).map_err(cannot)?;
        let (told, heard) = tokio::sync::oneshot::channel();
        // Nobody listens any more only if this start was given up.
        self.services.announce_then(move |_| {
            let _ = told.send(());
        });
        if heard.await.is_err() {
            warn!("the name servers could not be told in time");
        }
        let services = Arc::clone(&self.services);
        let (broker_role, acting) = (services.started_with.broker_role, services.started_with.enable_slave_acting_master);
        self.config.on_change(Box::new(move |config| {
            // Which slaves a send waits for depends on the role, and that of a command holds after the next start.
            let mut config = config.clone();
            (config.broker_role, config.enable_slave_acting_master) = (broker_role, acting);
            match store_config(&config) {
                Ok(config) => services.store.reconfigure(config),
                Err(error) => warn!(%error, "the store keeps its configuration"),
            }
        }));
        Ok(())
    }

    /// The name server of this process, once its port is known.
    pub(super) fn register_with(&self, name_server: &str) {
        self.config.assume(|config| name_server.clone_into(&mut config.namesrv_addr));
    }

    pub(super) fn name(&self) -> String {
        self.config.load().broker_name.clone()
    }

    pub(super) fn config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.config.load())
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.listeners.first().map(|listener| listener.local_addr().port())
    }

    /// The address that name servers of other processes have.
    pub(super) fn registered(&self) -> String {
        self.services.address().advertised.registered().to_owned()
    }

    /// The one address that every client is told, when an operator has set it.
    pub(super) fn told_to_everyone(&self) -> Option<String> {
        self.config.load().is_given("brokerIP1").then(|| self.registered())
    }

    /// What follows the boot line when no name server, or not each that it names, knows of this broker.
    pub(super) fn unreached_line(&self) -> Option<String> {
        if self.config.load().namesrv_addr.is_empty() {
            let remedy = "name one with -n, NAMESRV_ADDR or namesrvAddr";
            return Some(format!("registered with no name server: clients do not find this broker; {remedy}"));
        }
        let unreached = self.services.unreached_name_servers();
        (!unreached.is_empty()).then(|| {
            format!("not reached yet, and tried again: the name server {}; clients do not find this broker there", unreached.join(", "))
        })
    }

    pub(super) fn boot_line(&self) -> String {
        let config = self.config.load();
        let address = self.services.address();
        let mut line = format!("The broker[{}, {}] boot success. serializeType=JSON", config.broker_name, address.advertised.registered());
        if !config.namesrv_addr.is_empty() {
            line.push_str(&format!(" and name server is {}", config.namesrv_addr));
        }
        line
    }

    /// Once no request runs any more: the store is closed and the tables are written, neither waiting for the other.
    pub(super) async fn close(&self, stop: &mut Stop) {
        const CLOSING: &str = "closing the store";
        let run = |name, work: fn(&Services) -> Result<(), WriteError>| {
            let services = Arc::clone(&self.services);
            (name, self.services.runtime.spawn_blocking(name, move || work(&services)))
        };
        for (name, step) in [run(CLOSING, Services::close_store), run("writing the tables", Services::persist_tables)] {
            let ended = stop.step(name, step.join()).await;
            // A disk that does not answer is not asked.
            if name == CLOSING && (ended.is_none() || self.services.store.next_start_recovers()) {
                stop.leaves_recovery();
            }
            match ended {
                Some(Some(Ok(()))) | None => {}
                Some(Some(Err(error))) => stop.failed(name, error),
                Some(None) => stop.failed(name, "see the log"),
            }
        }
    }
}

/// What the original left for features that are not served: one warning each, or no start.
fn see_to_unserved(services: &Services, fs: &Fs, refuse: bool) -> Result<(), StartError> {
    let found = unserved::found(services, fs.shared().as_ref());
    if !refuse {
        found.iter().for_each(|unserved| warn!("{unserved}"));
        return Ok(());
    }
    if found.is_empty() {
        return Ok(());
    }
    // It was opened in order, and is left so.
    services.stop().map_err(|error| StartError::Sentence(format!("the store cannot be closed: {error}")))?;
    let all: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(StartError::Sentence(format!("--refuse-unserved: {}; let the original finish them, or start without the flag", all.join("; "))))
}

/// What the keys say together: refused before anything is opened.
pub(super) fn read_plan(plan: &BrokerPlan, machine: &Machine) -> Result<(Location, StoreConfig), StartError> {
    let location = location(&plan.config, plan.rules.clone(), machine).map_err(|error| error.at(&plan.report.place("brokerIP1")))?;
    let store_config = store_config(&plan.config).map_err(|error| error.at(&plan.report.place("messageDelayLevel")))?;
    Ok((location, store_config))
}

fn location(config: &BrokerConfig, rules: AdvertiseRules, machine: &Machine) -> Result<Location, StartError> {
    let ip = resolve(&config.broker_ip1)?;
    let ip = if config.is_given("brokerIP1") { ip } else { machine.address };
    Ok(Location { host: config.broker_ip1.clone(), ip, is_set: config.is_given("brokerIP1"), rules, port: config.listen_port as u16 })
}

fn resolve(host: &str) -> Result<IpAddr, StartError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let resolved = bare.parse().ok().or_else(|| (bare, 0).to_socket_addrs().ok()?.next().map(|found| found.ip()));
    resolved.ok_or_else(|| StartError::Sentence(format!("brokerIP1={host} is wrong: it must be an address, or a name that has one")))
}

/// The sentence with which the next start would refuse these values. Asks the machine and its name service, so it may block.
fn check(now: &BrokerConfig, config: &BrokerConfig) -> Result<(), String> {
    let check_all = || {
        store_config(config)?;
        // What is not changed was good at the start: a name service that fails now is no reason to refuse another key.
        if config.broker_ip1 != now.broker_ip1 {
            resolve(&config.broker_ip1)?;
        }
        if config.listen_port == 0 && now.listen_port != 0 {
            let why = "listenPort=0 is wrong: it leaves the choice to a start, and clients could not be told it while this one runs";
            return Err(StartError::Sentence(why.to_owned()));
        }
        if config.bind_address != now.bind_address {
            check_bind(&config.bind_address)?;
        }
        Ok::<(), StartError>(())
    };
    check_all().map_err(|error| error.to_string())
}

/// The store's part of the configuration.
fn store_config(config: &BrokerConfig) -> Result<StoreConfig, StartError> {
    // `config` has seen to the ranges; a number outside of one is the nearest inside.
    let positive = |value: i32| value.max(1) as usize;
    let count = |value: i32| value.max(0) as u32;
    let millis = |value: i32| value.max(0) as u64;
    // The original keeps these inside a range instead of refusing others.
    let ratio = |value: i32, least: i32, most: i32| value.clamp(least, most) as u32;
    let dirs = |list: &str| list.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect::<Vec<_>>();
    Ok(StoreConfig {
        store_path_root_dir: PathBuf::from(&config.store_path_root_dir),
        store_path_commit_log: dirs(&config.store_path_commit_log),
        read_only_commit_log_store_paths: dirs(&config.read_only_commit_log_store_paths),
        mapped_file_size_commit_log: positive(config.mapped_file_size_commit_log),
        mapped_file_size_consume_queue: positive(config.mapped_file_size_consume_queue),
        max_hash_slot_num: positive(config.max_hash_slot_num) as u32,
        max_index_num: positive(config.max_index_num) as u32,
        message_index_enable: config.message_index_enable,
        flush_disk_type: match config.flush_disk_type {
            FlushDiskType::AsyncFlush => store::FlushDiskType::Async,
            FlushDiskType::SyncFlush => store::FlushDiskType::Sync,
        },
        check_crc_on_recover: config.check_crc_on_recover,
        max_message_size: positive(config.max_message_size),
        flush_interval_commit_log: millis(config.flush_interval_commit_log),
        flush_commit_log_least_pages: count(config.flush_commit_log_least_pages),
        flush_commit_log_thorough_interval: millis(config.flush_commit_log_thorough_interval),
        flush_consume_queue_thorough_interval: millis(config.flush_consume_queue_thorough_interval),
        sync_flush_timeout: millis(config.sync_flush_timeout),
        delete_when: config.delete_when.clone(),
        file_reserved_time_hours: millis(config.file_reserved_time),
        delete_file_batch_max: positive(config.delete_file_batch_max),
        clean_resource_interval: millis(config.clean_resource_interval),
        clean_file_forcibly_enable: config.clean_file_forcibly_enable,
        disk_max_used_space_ratio: ratio(config.disk_max_used_space_ratio, 10, 95),
        disk_space_warning_level_ratio: ratio(config.disk_space_warning_level_ratio, 35, 90),
        disk_space_clean_forcibly_ratio: ratio(config.disk_space_clean_forcibly_ratio, 30, 85),
        max_transfer_bytes_on_message_in_memory: positive(config.max_transfer_bytes_on_message_in_memory),
        max_transfer_count_on_message_in_memory: positive(config.max_transfer_count_on_message_in_memory),
        max_transfer_bytes_on_message_in_disk: positive(config.max_transfer_bytes_on_message_in_disk),
        max_transfer_count_on_message_in_disk: positive(config.max_transfer_count_on_message_in_disk),
        access_message_in_memory_max_ratio: count(config.access_message_in_memory_max_ratio),
        max_filter_message_size: positive(config.max_filter_message_size),
        max_msgs_num_batch: positive(config.max_msgs_num_batch),
        copies: copies(config),
        os_page_cache_busy_timeout_millis: config.os_page_cache_busy_time_out_mills.max(0) as u64,
        delay_level_millis: parse_levels(&config.message_delay_level)
            .map_err(|error| StartError::Sentence(format!("messageDelayLevel={} is wrong: {error}", config.message_delay_level)))?,
    })
}

/// Directories that a broker with RocksDB left: their messages and tables would seem to be lost.
fn refuse_other_formats(fs: &Fs, root: &Path) -> Result<(), StartError> {
    let found = |dir: &Path, why: &str| {
        let is_rocks = fs.is_rocksdb(dir);
        is_rocks.then(|| StartError::Sentence(format!("{} holds {why}, which are not served; give this broker another storePathRootDir, or bring the original back to files first", dir.display())))
    };
    let config = root.join("config");
    found(&config.join("rdb"), "topics, groups and offsets in RocksDB (configManagerVersion=v2)")
        .or_else(|| found(&config.join("topics"), "topics in RocksDB (storeType=defaultRocksDB)"))
        .map_or(Ok(()), Err)
}

fn open_sentence(error: &OpenError, root: &Path) -> String {
    use std::io::ErrorKind;
    let root = root.display();
    let (what, remedy) = match io_error(error).map(std::io::Error::kind) {
        Some(ErrorKind::PermissionDenied) => ("cannot be written", "give this user the directory, or another storePathRootDir"),
        Some(ErrorKind::StorageFull) => ("has no room", "make room, or give this broker another storePathRootDir"),
        // mkdir says "exists" of a file, and "not a directory" of something below one.
        Some(ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => (
            "cannot be opened",
            "a file lies where a directory must be: give this broker another directory with --data or storePathRootDir",
        ),
        Some(_) => ("cannot be opened", "mend what is named, or give this broker another storePathRootDir"),
        // Its own sentence says what to do.
        None => return format!("the store in {root} cannot be opened: {error}"),
    };
    format!("the store in {root} {what}: {error}; {remedy}")
}

fn io_error(error: &OpenError) -> Option<&std::io::Error> {
    use crate::broker::persist::PersistError;
    use crate::broker::schedule::ScheduleError;
    match error {
        OpenError::Store(StoreError::Io { source, .. })
        | OpenError::Persist(PersistError::Io { source, .. })
        | OpenError::Schedule(ScheduleError::Persist(PersistError::Io { source, .. })) => Some(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Keys, read};

    fn of(text: &str) -> Result<StoreConfig, String> {
        let mut config = BrokerConfig::default();
        read(&mut config, text.as_bytes(), "broker.conf").unwrap();
        config.store_path_root_dir = "/s".to_owned();
        store_config(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_of_the_keys_are_the_stores_own() {
        let ours = format!("{:?}", of("").unwrap());
        assert_eq!(ours, format!("{:?}", StoreConfig::at("/s")));
    }

    #[test]
    fn every_key_of_the_store_reaches_it() {
        let text = "storePathCommitLog=/a,/b\nreadOnlyCommitLogStorePaths=/c\nmappedFileSizeCommitLog=1024\nmappedFileSizeConsumeQueue=200\n\
            maxHashSlotNum=3\nmaxIndexNum=4\nmessageIndexEnable=false\nflushDiskType=SYNC_FLUSH\nflushIntervalCommitLog=5\nsyncFlushTimeout=6\n\
            fileReservedTime=7\ndeleteWhen=08\ndiskMaxUsedSpaceRatio=99\nmaxMessageSize=100\nmessageDelayLevel=1s 2m";
        let config = of(text).unwrap();
        assert_eq!(config.store_path_commit_log, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.read_only_commit_log_store_paths, [PathBuf::from("/c")]);
        assert_eq!((config.mapped_file_size_commit_log, config.mapped_file_size_consume_queue), (1024, 200));
        assert_eq!((config.max_hash_slot_num, config.max_index_num, config.message_index_enable), (3, 4, false));
        assert_eq!(
            (config.flush_disk_type, config.flush_interval_commit_log, config.sync_flush_timeout),
            (store::FlushDiskType::Sync, 5, 6)
        );
        assert_eq!((config.file_reserved_time_hours, config.delete_when.as_str(), config.disk_max_used_space_ratio), (7, "08", 95));
        assert_eq!((config.max_message_size, config.delay_level_millis.as_slice()), (100, &[1_000, 120_000][..]));
    }

    #[test]
    fn a_delay_level_that_cannot_be_is_a_sentence() {
        assert!(of("messageDelayLevel=1x").unwrap_err().starts_with("messageDelayLevel=1x is wrong: "));
        assert_eq!(BrokerConfig::default().get("maxHashSlotNum").as_deref(), Some("5000000"));
    }
}
