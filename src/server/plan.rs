// SPDX-License-Identifier: Apache-2.0
//! From file, environment and flags to what will run: which servers, with which configuration, from which directories.
//!
//! Nothing is opened or bound here, so every rule of the start can be tested as a function.

use crate::config::{self, AdvertiseRules, BrokerConfig, Keys, NamesrvConfig, Report, Unreadable};
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
    pub refuse_unserved: bool,
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
    /// A directory that waits for what is not served is not opened.
    pub refuse_unserved: bool,
}

#[derive(Clone, Debug)]
pub struct NamesrvPlan {
    pub config: NamesrvConfig,
    pub rules: AdvertiseRules,
    pub report: Report,
    pub file: ConfigFile,
    /// It runs in the process of a broker, which decides where both listen.
    pub beside_broker: bool,
}

impl NamesrvPlan {
    /// Obeys the changes that commands made at an earlier run of an all-in-one. Where it listens and what it writes is the process's.
    pub fn obey_kept(&mut self, kept: ConfigFile) -> Result<(), Unreadable> {
        let planned = self.config.clone();
        config::read(&mut self.config, &kept.bytes, &kept.path)?;
        self.config.listen_port = planned.listen_port;
        self.config.bind_address = planned.bind_address;
        self.config.kv_config_path = planned.kv_config_path;
        self.config.config_store_path = planned.config_store_path;
        self.rules = rules(&self.config.advertise)?;
        self.file = kept;
        Ok(())
    }
}

/// `ferrocket`: a broker, and a name server unless another one is named.
pub fn all_in_one(wanted: Wanted, kept: Option<ConfigFile>, machine: &Machine) -> Result<Plan, Unreadable> {
    let mut broker = broker_plan(&wanted, kept, machine, Some("./ferrocket-data"))?;
    let elsewhere = !broker.config.namesrv_addr.is_empty();
    let mut differences = Vec::new();
    let root = broker.config.store_path_root_dir.clone();
    if !broker.config.is_given("storePathRootDir") {
        differences.push(format!("storePathRootDir={root} (original: $HOME/store)"));
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
        let mut plan = namesrv_plan(wanted.file.as_ref(), &[], machine, true)?;
        // The file is the broker's, whose table names its keys; this port is not that of the file.
        plan.report = broker.report.only_place_of("bindAddress");
        plan.config.listen_port = i32::from(wanted.namesrv_port.unwrap_or(9876));
        // One process, one address: `--set` says it of the broker.
        plan.config.bind_address.clone_from(&broker.config.bind_address);
        if !plan.config.is_given("kvConfigPath") || plan.config.kv_config_path.is_empty() {
            plan.config.kv_config_path = format!("{root}/namesrv/kvConfig.json");
            differences.push(format!("kvConfigPath={} (original: $HOME/namesrv/kvConfig.json)", plan.config.kv_config_path));
        }
        // Changes of the name server's keys are kept apart: broker.conf is the broker's.
        if !plan.config.is_given("configStorePath") || plan.config.config_store_path.is_empty() {
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
    Ok(Plan { broker: None, namesrv: Some(namesrv_plan(file, settings, machine, false)?), differences: Vec::new() })
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
    set_all(&mut config, &mut report, &wanted.settings)?;
    if let Some(addr) = &wanted.namesrv_addr {
        config::set(&mut config, &mut report, "namesrvAddr", addr, "command line, -n: ".to_owned())?;
    } else if let Some(addr) = machine.namesrv_addr.as_ref().filter(|_| config.namesrv_addr.is_empty()) {
        config::set(&mut config, &mut report, "namesrvAddr", addr, "environment, NAMESRV_ADDR: ".to_owned())?;
    }
    if let Some(dir) = &wanted.data_dir {
        config::set(&mut config, &mut report, "storePathRootDir", dir, "command line, --data: ".to_owned())?;
    }
    report.refuse(&config)?;
    if config.is_given("storePathRootDir") && config.store_path_root_dir.is_empty() {
        let why = format!("storePathRootDir is empty: name a directory, or leave it out for {}", data_dir.unwrap_or("$HOME/store"));
        return Err(Unreadable::Refused { place: report.place("storePathRootDir"), why });
    }
    let or = |value: &mut String, default: &dyn Fn() -> String| {
        if value.is_empty() {
            *value = default();
        }
    };
    or(&mut config.rocketmq_home, &|| machine.rocketmq_home.clone().unwrap_or_default());
    or(&mut config.broker_name, &|| machine.host_name.clone());
    or(&mut config.broker_ip1, &|| bracketed(machine));
    or(&mut config.broker_ip2, &|| bracketed(machine));
    // The port that the machine chooses has its neighbour then.
    if config.ha_listen_port <= 0 && config.listen_port > 0 {
        config.ha_listen_port = config.listen_port + 1;
    }
    if config.store_path_root_dir.is_empty() {
        config.store_path_root_dir = match data_dir {
            Some(dir) => dir.to_owned(),
            None => below_home(machine, "store", "name the store's directory with --data or storePathRootDir")?,
        };
    }
    let root = config.store_path_root_dir.clone();
    or(&mut config.store_path_commit_log, &|| format!("{root}/commitlog"));
    or(&mut config.store_path_epoch_file, &|| format!("{root}/epochFileCheckpoint"));
    or(&mut config.store_path_broker_identity, &|| format!("{root}/brokerIdentity"));
    let rules = rules(&config.advertise)?;
    let file = file.unwrap_or_else(|| {
        // Below the home directory the original writes when no -c was given; it does not read it at the next start, and neither do we.
        let home = machine.home.as_ref().filter(|_| data_dir.is_none());
        let path = home.map_or_else(|| kept_changes_path(&root), |home| kept_changes_path(&below(home, "store")));
        ConfigFile { path, bytes: Vec::new() }
    });
    Ok(BrokerPlan { config, rules, report, file, registers_here: false, refuse_unserved: wanted.refuse_unserved })
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

fn namesrv_plan(file: Option<&ConfigFile>, settings: &[String], machine: &Machine, beside_broker: bool) -> Result<NamesrvPlan, Unreadable> {
    let mut config = NamesrvConfig::default();
    let mut report = Report::default();
    refuse_tls_of_environment(machine)?;
    if let Some(file) = file {
        report = config::read(&mut config, &file.bytes, &file.path)?;
        config.config_store_path.clone_from(&file.path);
    }
    set_all(&mut config, &mut report, settings)?;
    if config.rocketmq_home.is_empty() {
        config.rocketmq_home = machine.rocketmq_home.clone().unwrap_or_default();
    }
    // An all-in-one has a place for them.
    let remedy = "name the files with kvConfigPath and configStorePath";
    if config.kv_config_path.is_empty() && !beside_broker {
        config.kv_config_path = below_home(machine, "namesrv/kvConfig.json", remedy)?;
    }
    if config.config_store_path.is_empty() && !beside_broker {
        config.config_store_path = below_home(machine, "namesrv/namesrv.properties", remedy)?;
    }
    let rules = rules(&config.advertise)?;
    // Without -c the original writes there and begins without it at the next start, and so do we.
    let file = file.cloned().unwrap_or_else(|| ConfigFile { path: config.config_store_path.clone(), bytes: Vec::new() });
    Ok(NamesrvPlan { config, rules, report, file, beside_broker })
}

fn refuse_tls_of_environment(machine: &Machine) -> Result<(), Unreadable> {
    let why = machine.tls_server_mode.as_deref().and_then(config::refuse_tls);
    why.map_or(Ok(()), |why| Err(Unreadable::Refused { place: "environment: ".to_owned(), why }))
}

fn set_all<K: Keys>(config: &mut K, report: &mut Report, settings: &[String]) -> Result<(), Unreadable> {
    let refused = |why: String| Unreadable::Refused { place: "command line: ".to_owned(), why };
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or_else(|| refused(format!("--set {setting} is wrong: it must be KEY=VALUE")))?;
        let key = key.trim();
        config::set_by_hand(config, report, key, value, "command line, --set: ")?;
    }
    Ok(())
}

/// Where the original keeps what no key places: below `user.home`.
fn below_home(machine: &Machine, path: &str, remedy: &str) -> Result<String, Unreadable> {
    let why = || format!("HOME is not set, and /etc/passwd has no home directory of this user: set it, or {remedy}");
    let home = machine.home.as_ref().ok_or_else(|| Unreadable::Refused { place: String::new(), why: why() })?;
    Ok(below(home, path))
}

fn below(home: &str, path: &str) -> String {
    format!("{}/{path}", home.trim_end_matches('/'))
}

/// An IPv6 address is written in brackets where a port follows.
fn bracketed(machine: &Machine) -> String {
    if machine.address.is_ipv6() { format!("[{}]", machine.address) } else { machine.address.to_string() }
}

fn rules(text: &str) -> Result<AdvertiseRules, Unreadable> {
    AdvertiseRules::parse(text).map_err(|why| Unreadable::Refused { place: "advertise: ".to_owned(), why })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn machine() -> Machine {
        Machine {
            host_name: "host-7".to_owned(),
            address: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
            home: Some("/home/op".to_owned()),
            namesrv_addr: None,
            rocketmq_home: None,
            tls_server_mode: None,
        }
    }

    fn file(text: &str) -> Option<ConfigFile> {
        Some(ConfigFile { path: "broker.conf".to_owned(), bytes: text.as_bytes().to_vec() })
    }

    fn with(text: &str) -> Wanted {
        Wanted { file: file(text), ..Wanted::default() }
    }

    fn broker_of(wanted: Wanted) -> BrokerConfig {
        broker(wanted, &machine()).unwrap().broker.unwrap().config
    }

    fn refused(text: &str) -> String {
        broker(with(text), &machine()).unwrap_err().to_string()
    }

    /// BrokerStartup.java, MessageStoreConfig.java: an operator who swaps the binary finds his messages.
    #[test]
    fn an_unset_key_of_a_broker_is_the_originals() {
        let config = broker_of(Wanted::default());
        assert_eq!((config.broker_name.as_str(), config.broker_ip1.as_str(), config.listen_port), ("host-7", "10.1.2.3", 10911));
        assert_eq!(config.store_path_root_dir, "/home/op/store");
        assert_eq!(config.store_path_commit_log, "/home/op/store/commitlog");
        assert!(!config.is_given("brokerIP1"));
        let config = broker_of(with("storePathRootDir=/data\n"));
        assert_eq!(config.store_path_commit_log, "/data/commitlog");
        let plan = namesrv(None, &[], &machine()).unwrap().namesrv.unwrap();
        assert_eq!((plan.config.kv_config_path.as_str(), plan.config.listen_port), ("/home/op/namesrv/kvConfig.json", 9876));
        assert_eq!(plan.file.path, "/home/op/namesrv/namesrv.properties");
    }

    #[test]
    fn a_directory_is_never_one_that_nobody_named() {
        let place = |wanted, place: &str| {
            let says = broker(wanted, &machine()).unwrap_err().to_string();
            assert_eq!(says, format!("{place}: storePathRootDir is empty: name a directory, or leave it out for $HOME/store"));
        };
        place(Wanted { data_dir: Some(String::new()), ..Wanted::default() }, "command line, --data");
        place(Wanted { settings: vec!["storePathRootDir= ".into()], ..Wanted::default() }, "command line, --set");
        place(with("brokerName=b\nstorePathRootDir=\n"), "broker.conf, line 2");
        let empty = Wanted { data_dir: Some(String::new()), ..Wanted::default() };
        assert!(all_in_one(empty, None, &machine()).unwrap_err().to_string().ends_with("leave it out for ./ferrocket-data"));

        let homeless = Machine { home: None, ..machine() };
        let says = "HOME is not set, and /etc/passwd has no home directory of this user: set it, or name the ";
        assert!(broker(Wanted::default(), &homeless).unwrap_err().to_string().starts_with(says));
        assert!(namesrv(None, &[], &homeless).unwrap_err().to_string().starts_with(says));
        assert!(all_in_one(Wanted::default(), None, &homeless).is_ok());
        let placed = broker(Wanted { data_dir: Some("/d".into()), ..Wanted::default() }, &homeless).unwrap().broker.unwrap();
        assert_eq!(placed.file.path, "/d/config/broker.properties");
        let placed = ["kvConfigPath=/k", "configStorePath=/c"].map(str::to_owned);
        assert!(namesrv(None, &placed, &homeless).is_ok());
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_environment() {
        let from_environment = Machine { namesrv_addr: Some("env:1".into()), ..machine() };
        let addr = |wanted| broker(wanted, &from_environment).unwrap().broker.unwrap().config.namesrv_addr;
        assert_eq!(addr(Wanted::default()), "env:1");
        assert_eq!(addr(with("namesrvAddr=file:1")), "file:1");
        assert_eq!(addr(Wanted { namesrv_addr: Some("flag:1".into()), ..with("namesrvAddr=file:1") }), "flag:1");
        let set = Wanted { settings: vec!["listenPort=20911".into(), "brokerName=b".into()], ..with("brokerName=a\nlistenPort=1") };
        let config = broker_of(set);
        assert_eq!((config.broker_name.as_str(), config.listen_port), ("b", 20911));
    }

    #[test]
    fn all_in_one_brings_its_name_server_and_says_how_it_differs() {
        let plan = all_in_one(Wanted::default(), None, &machine()).unwrap();
        let (broker, namesrv) = (plan.broker.unwrap(), plan.namesrv.unwrap());
        assert_eq!(broker.config.store_path_root_dir, "./ferrocket-data");
        assert_eq!(broker.file.path, "./ferrocket-data/config/broker.properties");
        assert!(broker.registers_here);
        assert_eq!((namesrv.config.listen_port, namesrv.config.kv_config_path.as_str()), (9876, "./ferrocket-data/namesrv/kvConfig.json"));
        assert_eq!(plan.differences.len(), 4, "{:?}", plan.differences);
        let named = Wanted { data_dir: Some("/d".into()), namesrv_port: Some(0), ..with("brokerName=b\nlistenPort=0") };
        let plan = all_in_one(named, None, &machine()).unwrap();
        assert_eq!(plan.broker.unwrap().config.store_path_root_dir, "/d");
        assert_eq!(plan.namesrv.unwrap().config.listen_port, 0);
    }

    #[test]
    fn all_in_one_with_another_name_server_starts_none_unless_a_port_is_given() {
        let elsewhere = |namesrv_port| Wanted { namesrv_addr: Some("ns:9876".into()), namesrv_port, ..Wanted::default() };
        let plan = all_in_one(elsewhere(None), None, &machine()).unwrap();
        assert!(plan.namesrv.is_none());
        assert!(!plan.broker.unwrap().registers_here);
        let plan = all_in_one(elsewhere(Some(9999)), None, &machine()).unwrap();
        assert_eq!(plan.namesrv.unwrap().config.listen_port, 9999);
        assert!(!plan.broker.unwrap().registers_here);
        let from_environment = Machine { namesrv_addr: Some("env:1".into()), ..machine() };
        assert!(all_in_one(Wanted::default(), None, &from_environment).unwrap().namesrv.is_none());
        assert!(all_in_one(with("namesrvAddr=file:1"), None, &machine()).unwrap().namesrv.is_none());
    }

    #[test]
    fn changes_by_command_are_read_again_by_an_all_in_one_without_a_file() {
        let kept = Some(ConfigFile { path: "./ferrocket-data/config/broker.properties".into(), bytes: b"maxMessageSize=70\n".to_vec() });
        let plan = all_in_one(Wanted::default(), kept, &machine()).unwrap().broker.unwrap();
        assert_eq!(plan.config.max_message_size, 70);
        assert_eq!(plan.file.bytes, b"maxMessageSize=70\n");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_file_and_line() {
        assert_eq!(
            refused("# c\nbrokerName=a\nfileReservedTime = 4h\n"),
            "broker.conf, line 3: fileReservedTime=4h is wrong: it must be a whole number from 0 to 2147483647"
        );
        assert_eq!(refused("a=\\u00"), "broker.conf, line 1: \\u00 is not \\u followed by four hexadecimal digits");
        assert!(refused("flushDiskType=SYNC").contains("it must be SYNC_FLUSH or ASYNC_FLUSH"));
        for wrong in ["70000", "-1", "abc"] {
            let says = refused(&format!("listenPort={wrong}"));
            assert_eq!(says, format!("broker.conf, line 1: listenPort={wrong} is wrong: it must be a port: 0 to 65535"));
        }
        assert_eq!(
            refused("\ndeleteWhen=25"),
            "broker.conf, line 2: deleteWhen=25 is wrong: it must be hours from 00 to 23 with semicolons between, like 04 or 04;16"
        );
        assert!(refused("memoryBudgetBytes=1024").contains("it must be 0, or a whole number of bytes from 16777216 on"));
        assert!(refused("namesrvAddr=nowhere").contains("it must be like 127.0.0.1:9876;192.168.0.1:9876"));
        assert!(
            refused("brokerName=b\nmappedFileSizeCommitLog=0").starts_with("broker.conf, line 2: mappedFileSizeCommitLog=0 is wrong: ")
        );
        assert!(refused("bindAddress=here").ends_with("bindAddress=here is wrong: it must be an IP address of this machine, like 0.0.0.0"));
        assert!(refused("advertise=x").starts_with("broker.conf, line 1: advertise=x is wrong: "));
        let commas = "a:9876,b:9876".to_owned();
        let from_environment = Machine { namesrv_addr: Some(commas.clone()), ..machine() };
        let from_flag = Wanted { namesrv_addr: Some(commas), ..Wanted::default() };
        for (wanted, machine, place) in
            [(from_flag, machine(), "command line, -n"), (Wanted::default(), from_environment, "environment, NAMESRV_ADDR")]
        {
            let says = broker(wanted, &machine).unwrap_err().to_string();
            let must = "it must be like 127.0.0.1:9876;192.168.0.1:9876, with semicolons between the addresses";
            assert_eq!(says, format!("{place}: namesrvAddr=a:9876,b:9876 is wrong: {must}"));
        }
        let set =
            |setting: &str| broker(Wanted { settings: vec![setting.into()], ..Wanted::default() }, &machine()).unwrap_err().to_string();
        assert_eq!(set("nobody=1"), "command line, --set: there is no key nobody to set");
        assert_eq!(set("lisenPort=1"), "command line, --set: there is no key lisenPort to set; did you mean listenPort?");
        let why = "command line, --set: tls.server.mode=enforcing cannot be obeyed: TLS is not served yet";
        assert!(set("tls.server.mode=enforcing").starts_with(why), "as in a file");
        assert_eq!(
            set("tls.server.mode=permissive"),
            "command line, --set: tls.server.mode has no effect: TLS is not there yet: only clients in the clear are served; leave it out"
        );
        assert_eq!(
            set("grpcServerPort=8081"),
            "command line, --set: grpcServerPort has no effect: it belongs to the proxy, which is not there yet; leave it out"
        );
        broker(Wanted { settings: vec!["tls.server.mode=disabled".into()], ..Wanted::default() }, &machine()).unwrap();
        assert_eq!(set("traceOn=yes"), "command line, --set: traceOn=yes is wrong: it must be true or false");
    }

    /// Values that would lose, duplicate or expose messages.
    #[test]
    fn what_cannot_be_obeyed_safely_refuses_the_start() {
        for text in [
            "aclEnable=true",
            "authenticationEnabled=true",
            "authorizationEnabled=true",
            "tls.server.mode=enforcing",
            "brokerRole=SLAVE\nbrokerId=0",
            "haListenPort=10911",
            "brokerId=1",
            "enableControllerMode=true",
            "enableDLegerCommitLog=true",
            "storeType=defaultRocksDB",
            "configManagerVersion=v2",
        ] {
            let line = text.lines().count();
            let why = refused(text);
            assert!(why.starts_with(&format!("broker.conf, line {line}: ")) && why.contains("cannot be obeyed"), "{text}: {why}");
        }
        let enforcing = Machine { tls_server_mode: Some("enforcing".into()), ..machine() };
        assert!(broker(Wanted::default(), &enforcing).unwrap_err().to_string().starts_with("environment: tls.server.mode=enforcing"));
        let set = Wanted { settings: vec!["brokerId=1".into()], ..Wanted::default() };
        assert!(broker(set, &machine()).unwrap_err().to_string().starts_with("command line, --set: brokerId=1 cannot be obeyed"));
        // These are said, and run.
        for text in [
            "brokerRole=SLAVE\nbrokerId=2",
            "brokerRole=SYNC_MASTER\ninSyncReplicas=2",
            "inSyncReplicas=2",
            "tls.server.mode=permissive",
            "aclEnable=false",
            "nobody=1",
            "enableLmq=true",
        ] {
            assert!(broker(with(text), &machine()).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_table_tells_what_becomes_of_each_key() {
        let text = "brokerName=a\nsendMessageThreadPoolNums=4\nnobody=1\ncontrollerStorePath=/x\nmapedFileSizeCommitLog=1\ngrpcServerPort=8081\nflushDiskTyp=1\ntls.server.mode=permissive\n";
        let plan = broker(with(text), &machine()).unwrap().broker.unwrap();
        let expected = "  honoured:\n    brokerName=a\n  accepted without effect:\n\
            \x20   sendMessageThreadPoolNums=4    (requests run where they arrive; there are no thread pools and queues to size)\n\
            \x20   controllerStorePath=/x    (it belongs to the controller, which is not there yet)\n\
            \x20   mapedFileSizeCommitLog=1    (the spelling up to 4.5.1; the original ignores it since, use mappedFileSize...)\n\
            \x20   grpcServerPort=8081    (it belongs to the proxy, which is not there yet)\n\
            \x20   tls.server.mode=permissive    (TLS is not there yet: only clients in the clear are served)\n\
            \x20 unknown, ignored:\n    nobody=1\n    flushDiskTyp=1    (did you mean flushDiskType?)";
        assert_eq!(plan.report.to_string(), expected);
        let misspelt: Vec<_> = plan.report.misspelt().collect();
        assert_eq!(misspelt, ["broker.conf, line 7: flushDiskTyp is no key of this server and has no effect: did you mean flushDiskType?"]);
        assert!(!plan.report.without_honoured().to_string().contains("brokerName"));
    }

    #[test]
    fn the_table_tells_which_value_holds_and_where_it_comes_from() {
        let wanted = Wanted {
            settings: vec!["brokerName=b".into(), "listenPort=1".into(), "listenPort=10911".into()],
            data_dir: Some("/d".into()),
            namesrv_addr: Some("h:2".into()),
            ..with("brokerName=a\nstorePathRootDir=/f\nlistenPort=10911\nnamesrvAddr=h:1\nfileReservedTime=48\n")
        };
        let report = broker(wanted, &machine()).unwrap().broker.unwrap().report;
        let overruled = "  overruled:\n    brokerName=a    (b holds: command line, --set)\n\
            \x20   storePathRootDir=/f    (/d holds: command line, --data)\n    namesrvAddr=h:1    (h:2 holds: command line, -n)";
        assert_eq!(report.to_string(), format!("  honoured:\n    listenPort=10911\n    fileReservedTime=48\n{overruled}"));
        // Who is told only what has no effect is told that too.
        assert_eq!(report.without_honoured().to_string(), overruled);
    }

    /// The port, the address and the paths of an all-in-one are not those of the file, whatever a hand or a command wrote there.
    #[test]
    fn kept_changes_of_the_name_server_are_obeyed_but_for_its_place() {
        let mut plan = all_in_one(Wanted::default(), None, &machine()).unwrap().namesrv.unwrap();
        let before = plan.config.clone();
        let text = "enableTopicList=false\nlistenPort=1\nbindAddress=10.0.0.1\nkvConfigPath=/x\nconfigStorePath=/y\n";
        plan.obey_kept(ConfigFile { path: plan.file.path.clone(), bytes: text.into() }).unwrap();
        assert!(!plan.config.enable_topic_list);
        assert_eq!((plan.file.path.as_str(), plan.file.bytes.as_slice()), (before.config_store_path.as_str(), text.as_bytes()));
        let place = |config: &NamesrvConfig| {
            (config.listen_port, config.bind_address.clone(), config.kv_config_path.clone(), config.config_store_path.clone())
        };
        assert_eq!(place(&plan.config), place(&before));
        let wrong = ConfigFile { path: "kept".to_owned(), bytes: b"listenPort=x".to_vec() };
        assert!(plan.obey_kept(wrong).unwrap_err().to_string().starts_with("kept, line 1: listenPort=x is wrong"));
    }

    #[test]
    fn printed_keys_are_all_or_the_important_ones() {
        let config = broker_of(with("brokerName=a"));
        let (all, important) = (config::printed(&config, false), config::printed(&config, true));
        assert!(all.contains("\nlongPollingEnable=true\n") && all.contains("\nbrokerName=a\n"));
        assert!(important.contains("brokerName=a\n") && !important.contains("longPollingEnable"));
    }
}
