// SPDX-License-Identifier: Apache-2.0
//! Values that cannot be obeyed safely: starting all the same would lose, duplicate or expose messages.

use super::{BrokerConfig, BrokerRole, NamesrvConfig};

const INDEX_HEADER_BYTES: i64 = 40;
const INDEX_SLOT_BYTES: i64 = 4;
const INDEX_UNIT_BYTES: i64 = 20;

/// The first such key and why it stops the start.
pub fn refuse_broker(config: &BrokerConfig) -> Option<(&'static str, String)> {
    let on = |key, is_on: bool, why: &str| is_on.then(|| (key, format!("{key}=true cannot be obeyed: {why}")));
    let open = "access control is not served yet, and a broker that ignored it would be open to everyone; remove the key to run without it";
    on("aclEnable", config.acl_enable, open)
        .or_else(|| on("authenticationEnabled", config.authentication_enabled, open))
        .or_else(|| on("authorizationEnabled", config.authorization_enabled, open))
        .or_else(|| {
            let id = config.broker_id;
            let why = format!("brokerId={id} cannot be obeyed with brokerRole=SLAVE: Slave's brokerId must be > 0");
            (config.broker_role == BrokerRole::Slave && id <= 0).then_some(("brokerId", why))
        })
        .or_else(|| {
            // The original runs such a broker as a second master with the id 0, which is nearly always a slave without its brokerRole.
            let id = config.broker_id;
            let why = format!("brokerId={id} cannot be obeyed: a master's is 0; set it so, or brokerRole=SLAVE if this is to be a slave");
            (config.broker_role != BrokerRole::Slave && id != 0).then_some(("brokerId", why))
        })
        .or_else(|| {
            let (port, listen_port) = (config.ha_listen_port, config.listen_port);
            let is_taken = port > 0 && (port == listen_port || port == listen_port - 2) && config.broker_role != BrokerRole::Slave;
            let why = format!("haListenPort={port} cannot be obeyed: with listenPort={listen_port} the broker itself takes that port");
            is_taken.then_some(("haListenPort", why))
        })
        .or_else(|| on("enableControllerMode", config.enable_controller_mode, "the controller mode is not served yet"))
        .or_else(|| on("enableDLegerCommitLog", config.enable_dleger_commit_log, "DLedger keeps messages in another format, which is not served"))
        .or_else(|| {
            let why = format!("storeType={} cannot be obeyed: only default is served, RocksDB ConsumeQueues are another format", config.store_type);
            (config.store_type != "default").then_some(("storeType", why))
        })
        .or_else(|| {
            let version = &config.config_manager_version;
            let why = format!("configManagerVersion={version} cannot be obeyed: only v1 is served, v2 keeps topics, groups and offsets in RocksDB");
            (version != "v1").then_some(("configManagerVersion", why))
        })
        .or_else(|| {
            let (slots, units) = (i64::from(config.max_hash_slot_num), i64::from(config.max_index_num));
            let bytes = INDEX_HEADER_BYTES + slots * INDEX_SLOT_BYTES + units * INDEX_UNIT_BYTES;
            let why = format!(
                "maxIndexNum={units} with maxHashSlotNum={slots} is wrong: an index file would have {bytes} bytes, and no more than {} can be mapped",
                i32::MAX
            );
            (bytes > i64::from(i32::MAX)).then_some(("maxIndexNum", why))
        })
}

/// A name server has nothing that it could not obey safely.
pub fn refuse_namesrv(_: &NamesrvConfig) -> Option<(&'static str, String)> {
    None
}

/// `tls.server.mode` is a system property of the original; here it may stand in the file or in the environment.
pub fn refuse_tls(mode: &str) -> Option<String> {
    let why = "tls.server.mode=enforcing cannot be obeyed: TLS is not served yet, and clients would be heard in the clear; remove it to run without";
    mode.trim().eq_ignore_ascii_case("enforcing").then(|| why.to_owned())
}

/// Why a value that only refuses others has no effect itself: the start says so instead of calling it honoured.
pub(super) fn effect_missing(key: &str, value: &str) -> Option<&'static str> {
    let value = value.trim();
    match key {
        // Every mode but these two is permissive, the default of the original: it hears both kinds of clients.
        "tls.server.mode" if !value.eq_ignore_ascii_case("disabled") => Some("TLS is not there yet: only clients in the clear are served"),
        _ => None,
    }
}
