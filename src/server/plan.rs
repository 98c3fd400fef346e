// SPDX-License-Identifier: Apache-2.0
//! From file, environment and flags to what will run: which servers, with which configuration, from which directories.
//!
//! Nothing is opened or bound here, so every rule of the start can be tested as a function.

use crate::config::{self, AdvertiseRules, BrokerConfig, ConfigValue, Keys, NamesrvConfig, Report, Unreadable};
use crate::server::machine::Machine;

/// The configuration file as it was read.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// The flags of `ferrocket` and `ferrocket broker`.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub file: Option<ConfigFile>,
    pub namesrv_addr: Option<String>,
    pub data_dir: Option<String>,
    pub namesrv_port: Option<u16>,
    /// `key=value` from the command line.
    pub settings: Vec<String>,
}

/// What will run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub broker: Option<BrokerPlan>,
    pub namesrv: Option<NamesrvPlan>,
    /// How this start differs from the original's defaults, one line each.
    pub differences: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct BrokerPlan {
    pub config: BrokerConfig,
    pub rules: AdvertiseRules,
    pub report: Report,
    /// Where a change by command is written, and what stands there now.
    pub file: ConfigFile,
    /// Registers with the name server of this process, whose port is only known once it listens.
    pub registers_here: bool,
}

#[derive(Clone, Debug)]
pub struct NamesrvPlan {
    pub config: NamesrvConfig,
    pub rules: AdvertiseRules,
    pub report: Report,
    pub file: ConfigFile,
}

/// `ferrocket`: a broker, and a name server unless another one is named.
pub fn all_in_one(wanted: Wanted, kept: Option<ConfigFile>, machine: &Machine) -> Result<Plan, Unreadable> {
    let mut broker = broker_plan(&wanted, kept, machine, Some("./ferrocket-data"))?;
    let elsewhere = !broker.config.namesrv_addr.is_empty();
    let mut differences = Vec::new();
    let root = broker.config.store_path_root_dir.clone();
    if !broker.config.is_given("storePathRootDir") {
        differences.push(format!("storePathRootDir={root} (original: {}/store)", machine.home));
    }
    if wanted.file.is_none() {
        differences.push(format!(
            "changes by command are kept in {} and read again at the next start (original: not read again)",
            broker.file.path
        ));
    }
    let namesrv = if elsewhere && wanted.namesrv_port.is_none() {
        None
    } else {
        let mut plan = namesrv_plan(wanted.file.as_ref(), &[], machine)?;
        plan.report = Report::default();
        plan.config.listen_port = i32::from(wanted.namesrv_port.unwrap_or(9876));
        if !plan.config.is_given("kvConfigPath") {
            plan.config.kv_config_path = format!("{root}/namesrv/kvConfig.json");
            differences.push(format!("kvConfigPath={} (original: {}/namesrv/kvConfig.json)", plan.config.kv_config_path, machine.home));
        }
        // Changes of the name server's keys are kept apart: broker.conf is the broker's.
        if !plan.config.is_given("configStorePath") {
            plan.config.config_store_path = format!("{root}/namesrv/namesrv.properties");
        }
        plan.file = ConfigFile { path: plan.config.config_store_path.clone(), bytes: Vec::new() };
        if !elsewhere {
            broker.registers_here = true;
            differences.push(
                "a name server runs in this process and the broker registers with it (original: mqnamesrv is a process of its own)"
                    .to_owned(),
            );
        }
        Some(plan)
    };
    Ok(Plan { broker: Some(broker), namesrv, differences })
}

/// `ferrocket broker`: as `mqbroker`.
pub fn broker(wanted: Wanted, machine: &Machine) -> Result<Plan, Unreadable> {
    Ok(Plan { broker: Some(broker_plan(&wanted, None, machine, None)?), namesrv: None, differences: Vec::new() })
}

/// `ferrocket namesrv`: as `mqnamesrv`.
pub fn namesrv(file: Option<&ConfigFile>, settings: &[String], machine: &Machine) -> Result<Plan, Unreadable> {
    Ok(Plan { broker: None, namesrv: Some(namesrv_plan(file, settings, machine)?), differences: Vec::new() })
}

fn broker_plan(wanted: &Wanted, kept: Option<ConfigFile>, machine: &Machine, data_dir: Option<&str>) -> Result<BrokerPlan, Unreadable> {
    let mut config = BrokerConfig::default();
    let mut report = Report::default();
    refuse_tls_of_environment(machine)?;
    // The kept changes of an all-in-one stand in for a file.
    let file = wanted.file.clone().or(kept);
    if let Some(file) = &file {
        report = config::read(&mut config, &file.bytes, &file.path)?;
    }
    set_all(&mut config, &wanted.settings)?;
    if let Some(addr) = &wanted.namesrv_addr {
        set(&mut config, "namesrvAddr", addr, "-n")?;
    }
    if let Some(dir) = &wanted.data_dir {
        set(&mut config, "storePathRootDir", dir, "--data")?;
    }
    let refusal = config.refusal();
    if let Some((_, why)) = refusal {
        return Err(Unreadable::Refused { place: String::new(), why });
    }
    let or = |value: &mut String, default: &dyn Fn() -> String| {
        if value.is_empty() {
            *value = default();
        }
    };
    or(&mut config.namesrv_addr, &|| machine.namesrv_addr.clone().unwrap_or_default());
    or(&mut config.rocketmq_home, &|| machine.rocketmq_home.clone().unwrap_or_default());
    or(&mut config.broker_name, &|| machine.host_name.clone());
    or(&mut config.broker_ip1, &|| bracketed(machine));
    or(&mut config.broker_ip2, &|| bracketed(machine));
    let root = data_dir.map_or_else(|| format!("{}/store", machine.home.trim_end_matches('/')), str::to_owned);
    or(&mut config.store_path_root_dir, &|| root.clone());
    let root = config.store_path_root_dir.clone();
    or(&mut config.store_path_commit_log, &|| format!("{root}/commitlog"));
    or(&mut config.store_path_epoch_file, &|| format!("{root}/epochFileCheckpoint"));
    or(&mut config.store_path_broker_identity, &|| format!("{root}/brokerIdentity"));
    check_namesrv_addr(&config.namesrv_addr)?;
    check_port("listenPort", config.listen_port)?;
    let rules = rules(&config.advertise)?;
    let file = file.unwrap_or_else(|| {
        let path = match data_dir {
            Some(_) => kept_changes_path(&root),
            // Where the original writes when no -c was given; it does not read it at the next start, and neither do we.
            None => format!("{}/store/config/broker.properties", machine.home.trim_end_matches('/')),
        };
        ConfigFile { path, bytes: Vec::new() }
    });
    Ok(BrokerPlan { config, rules, report, file, registers_here: false })
}

/// Where an all-in-one without a file keeps the changes that commands made.
pub fn kept_changes_path(root: &str) -> String {
    format!("{root}/config/broker.properties")
}

/// The store's directory as far as flags alone decide it: the kept changes are found there.
pub fn root_of(wanted: &Wanted) -> &str {
    let setting = wanted.settings.iter().rev().find_map(|setting| setting.strip_prefix("storePathRootDir="));
    wanted.data_dir.as_deref().or(setting).unwrap_or("./ferrocket-data")
}

fn namesrv_plan(file: Option<&ConfigFile>, settings: &[String], machine: &Machine) -> Result<NamesrvPlan, Unreadable> {
    let mut config = NamesrvConfig::default();
    let mut report = Report::default();
    refuse_tls_of_environment(machine)?;
    if let Some(file) = file {
        report = config::read(&mut config, &file.bytes, &file.path)?;
        config.config_store_path.clone_from(&file.path);
    }
    set_all(&mut config, settings)?;
    let home = machine.home.trim_end_matches('/');
    if config.rocketmq_home.is_empty() {
        config.rocketmq_home = machine.rocketmq_home.clone().unwrap_or_default();
    }
    if config.kv_config_path.is_empty() {
        config.kv_config_path = format!("{home}/namesrv/kvConfig.json");
    }
    if config.config_store_path.is_empty() {
        config.config_store_path = format!("{home}/namesrv/namesrv.properties");
    }
    check_port("listenPort", config.listen_port)?;
    let rules = rules(&config.advertise)?;
    let file = file.cloned().unwrap_or_else(|| ConfigFile { path: config.config_store_path.clone(), bytes: Vec::new() });
    Ok(NamesrvPlan { config, rules, report, file })
}

fn refuse_tls_of_environment(machine: &Machine) -> Result<(), Unreadable> {
    let why = machine.tls_server_mode.as_deref().and_then(config::refuse_tls);
    why.map_or(Ok(()), |why| Err(Unreadable::Refused { place: "environment: ".to_owned(), why }))
}

fn set_all<K: Keys>(config: &mut K, settings: &[String]) -> Result<(), Unreadable> {
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or_else(|| Unreadable::Refused {
            place: "command line: ".to_owned(),
            why: format!("--set {setting} is wrong: it must be KEY=VALUE"),
        })?;
        if !set(config, key.trim(), value, "--set")? {
            return Err(Unreadable::Refused { place: "command line: ".to_owned(), why: format!("there is no key {key} to set") });
        }
    }
    Ok(())
}

fn set<K: Keys>(config: &mut K, key: &str, value: &str, flag: &str) -> Result<bool, Unreadable> {
    config.set(key, value).map_err(|kind| Unreadable::Refused {
        place: "command line: ".to_owned(),
        why: format!("{flag} {key}={value} is wrong: it must be {kind}"),
    })
}

/// An IPv6 address is written in brackets where a port follows.
fn bracketed(machine: &Machine) -> String {
    if machine.address.is_ipv6() { format!("[{}]", machine.address) } else { machine.address.to_string() }
}

fn check_namesrv_addr(addrs: &str) -> Result<(), Unreadable> {
    let is_addr = |addr: &str| addr.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if addrs.split(';').filter(|addr| !addr.trim().is_empty()).all(is_addr) {
        return Ok(());
    }
    let why = format!("the name server address {addrs} is wrong: it must be like 127.0.0.1:9876;192.168.0.1:9876");
    Err(Unreadable::Refused { place: String::new(), why })
}

fn check_port(key: &str, port: i32) -> Result<(), Unreadable> {
    let why = format!("{key}={port} is wrong: a port is 0 to 65535");
    u16::try_from(port).map(|_| ()).map_err(|_| Unreadable::Refused { place: String::new(), why })
}

fn rules(text: &str) -> Result<AdvertiseRules, Unreadable> {
    AdvertiseRules::parse(text).map_err(|why| Unreadable::Refused { place: "advertise: ".to_owned(), why })
}

/// `-p` and `-m`: keys with their values, as the original logs them.
pub fn printed<K: Keys>(config: &K, important_only: bool) -> String {
    const IMPORTANT: &[&str] = &[
        "namesrvAddr",
        "brokerIP1",
        "brokerIP2",
        "brokerName",
        "brokerClusterName",
        "brokerId",
        "autoCreateTopicEnable",
        "autoCreateSubscriptionGroup",
        "msgTraceTopicName",
        "traceTopicEnable",
        "rejectTransactionMessage",
        "fetchNamesrvAddrByAddressServer",
        "fetchNameSrvAddrByDnsLookup",
        "transactionTimeOut",
        "transactionCheckMax",
        "transactionCheckInterval",
        "aclEnable",
        "storePathRootDir",
        "storePathCommitLog",
        "deleteWhen",
        "fileReservedTime",
        "flushIntervalCommitLog",
        "brokerRole",
        "flushDiskType",
        "haListenPort",
        "brokerPermission",
        "defaultTopicQueueNums",
    ];
    let keys = K::KEYS.iter().filter(|key| !important_only || IMPORTANT.contains(&key.name));
    keys.map(|key| format!("{}={}\n", key.name, config.get(key.name).unwrap_or_default())).collect()
}

/// Which flush mode, in the words of the files.
pub fn flush_words(config: &BrokerConfig) -> String {
    config.flush_disk_type.print()
}
