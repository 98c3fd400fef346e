// SPDX-License-Identifier: Apache-2.0
//! The files of `conf/`: the annotated ones say what the declarations say, and every example starts, or is refused for the reason it gives.
//!
//! `FERROCKET_WRITE=1 cargo test --test conf_files` writes the annotated ones anew.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ferrocket::config::{self, Became, BrokerConfig, BrokerRole, Keys, NamesrvConfig};

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

#[expect(clippy::disallowed_methods, reason = "writes a file of the repository, not of a store")]
fn same_as_generated(name: &str, generated: &str) {
    let path = conf(name);
    if std::env::var_os("FERROCKET_WRITE").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written == generated, "conf/{name} is not what src/config declares: FERROCKET_WRITE=1 cargo test --test conf_files");
}

#[test]
fn the_annotated_broker_conf_is_generated() {
    let settings = [
        ("brokerClusterName", "DefaultCluster"),
        ("brokerName", "broker-a"),
        ("brokerId", "0"),
        ("deleteWhen", "04"),
        ("fileReservedTime", "48"),
        ("brokerRole", "ASYNC_MASTER"),
        ("flushDiskType", "ASYNC_FLUSH"),
    ];
    same_as_generated(
        "broker.conf",
        &config::annotated::<BrokerConfig>("A single master: ferrocket broker -c conf/broker.conf", &settings),
    );
}

#[test]
fn the_annotated_namesrv_conf_is_generated() {
    same_as_generated("namesrv.conf", &config::annotated::<NamesrvConfig>("A name server: ferrocket namesrv -c conf/namesrv.conf", &[]));
}

fn read(name: &str) -> Result<BrokerConfig, String> {
    let mut config = BrokerConfig::default();
    let report = config::read(&mut config, &std::fs::read(conf(name)).unwrap(), name).map_err(|error| error.to_string())?;
    assert!(report.given.iter().all(|given| !matches!(given.became, Became::Unknown(_))), "{name} has a key that nobody knows");
    Ok(config)
}

#[test]
fn the_examples_start() {
    let mut names = Vec::new();
    for name in ["broker.conf", "2m-noslave/broker-a.properties", "2m-noslave/broker-b.properties"] {
        names.push(read(name).unwrap().broker_name);
    }
    assert_eq!(names, ["broker-a", "broker-a", "broker-b"]);
    for kind in ["async", "sync"] {
        let brokers =
            ["broker-a", "broker-a-s", "broker-b", "broker-b-s"].map(|name| read(&format!("2m-2s-{kind}/{name}.properties")).unwrap());
        for pair in brokers.chunks(2) {
            let (master, slave) = (&pair[0], &pair[1]);
            assert_eq!((&slave.broker_name, &slave.broker_cluster_name), (&master.broker_name, &master.broker_cluster_name));
            assert_eq!((master.broker_id, slave.broker_id), (0, 1));
            assert_eq!(slave.broker_role, BrokerRole::Slave);
            assert_eq!(master.broker_role, if kind == "sync" { BrokerRole::SyncMaster } else { BrokerRole::AsyncMaster });
            assert_eq!(master.in_sync_replicas, if kind == "sync" { 2 } else { 1 });
            assert_eq!(slave.mapped_file_size_commit_log, master.mapped_file_size_commit_log);
        }
        // All four run on one machine as written: each has its ports and its directory.
        let ports: BTreeSet<i32> = brokers.iter().flat_map(|one| [one.listen_port - 2, one.listen_port, one.ha_listen_port]).collect();
        assert_eq!(ports.len(), 12, "2m-2s-{kind}: {ports:?}");
        let homes: BTreeSet<&str> = brokers.iter().map(|one| one.store_path_root_dir.as_str()).collect();
        assert_eq!(homes.len(), 4, "2m-2s-{kind}: {homes:?}");
    }
}

#[test]
fn the_annotated_files_name_every_key() {
    let listed = |name: &str, keys: &[config::Key]| {
        let text = std::fs::read_to_string(conf(name)).unwrap();
        for key in keys {
            let line = |line: &str| line.trim_start_matches(['#', ' ']).split('=').next() == Some(key.name);
            assert!(text.lines().any(line), "{name} does not name {}", key.name);
        }
    };
    listed("broker.conf", BrokerConfig::KEYS);
    listed("namesrv.conf", NamesrvConfig::KEYS);
}
