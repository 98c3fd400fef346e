// SPDX-License-Identifier: Apache-2.0
//! The master that is taken over: who it is, what stands in the way, and the changes of it, each of which can be taken back.
//!
//! The originals obey `brokerId`, `brokerRole` and `brokerPermission` at once when a command changes them: as another id a broker leaves
//! the master's place at its name servers, and with SLAVE its log takes nothing any more, not even a delayed message.

use std::collections::BTreeMap;

use ferrocket_protocol::body::topic::TopicConfigAndMappingSerializeWrapper;
use ferrocket_protocol::request_code;

use crate::admin::{Admin, AdminError};
use crate::config::{BROKER_ID, BROKER_NAME, Properties};
use crate::runtime::Runtime;

/// Of the keys that only a Ferrocket broker has.
const FERROCKET_KEY: &str = "memoryBudgetBytes";
/// What a broker has under way when one of them is not 0.
const UNDER_WAY: [&str; 3] = ["sendThreadPoolQueueSize", "EndTransactionQueueSize", "pageCacheLockTimeMills"];

pub struct OldMaster {
    pub admin: Admin,
    pub addr: String,
    /// Where it takes slaves, as it is reached from here.
    pub ha_addr: String,
    pub version: String,
    pub config: Properties,
    /// Another id than those that are taken.
    free_id: i64,
}

/// Where its log begins and ends at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub begin: i64,
    pub end: i64,
    /// Something may be appended yet by a request that was taken before.
    pub is_busy: bool,
}

impl OldMaster {
    pub async fn ask(runtime: &Runtime, addr: &str, name_servers: Option<&str>) -> Result<Self, String> {
        let admin = Admin::new(runtime);
        let unreached = |error: AdminError| format!("the old master at {addr} does not answer as a broker: {error}; correct --from");
        let config = admin.config(addr).await.map_err(unreached)?;
        let version = admin.figures(addr).await.map_err(unreached)?.remove("brokerVersionDesc").unwrap_or_default();
        let (host, port) =
            addr.rsplit_once(':').ok_or_else(|| format!("--from {addr} is wrong: it must be HOST:PORT, like 10.0.0.1:10911"))?;
        let port: u16 = port.parse().map_err(|_| format!("--from {addr} is wrong: it must be HOST:PORT, like 10.0.0.1:10911"))?;
        let ha_port = config.get("haListenPort").and_then(|text| text.parse().ok()).filter(|port| *port > 0).unwrap_or(port + 1);
        let mut old = Self { admin, addr: addr.to_owned(), ha_addr: format!("{host}:{ha_port}"), version, config, free_id: 1 };
        let name_servers = name_servers.map_or_else(|| old.key("namesrvAddr").to_owned(), str::to_owned);
        for name_server in name_servers.split(';').map(str::trim).filter(|addr| !addr.is_empty()) {
            let known = old.admin.brokers_of(name_server, old.key(BROKER_NAME)).await;
            let known = known.map_err(|error| format!("the name server {name_server} does not answer: {error}; correct --namesrv"))?;
            old.free_id = old.free_id.max(known.keys().max().map_or(1, |id| id + 1));
        }
        Ok(old)
    }

    pub fn key(&self, key: &str) -> &str {
        self.config.get(key).unwrap_or_default()
    }

    pub fn is_ferrocket(&self) -> bool {
        self.config.get(FERROCKET_KEY).is_some()
    }

    pub async fn log(&self) -> Result<Log, AdminError> {
        let figures = self.admin.figures(&self.addr).await?;
        let number = |key: &str| figures.get(key).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let is_busy = UNDER_WAY.iter().any(|key| number(key) != 0);
        Ok(Log { begin: number("commitLogMinOffset").max(0), end: number("commitLogMaxOffset"), is_busy })
    }

    /// What cannot be taken over, a sentence each.
    pub async fn obstacles(&self) -> Result<Vec<String>, AdminError> {
        let figures = self.admin.figures(&self.addr).await?;
        let mut found = Vec::new();
        if self.key("brokerRole") == "SLAVE" || self.key(BROKER_ID) != "0" {
            found.push(format!("{} is no master (brokerRole={}, brokerId={})", self.addr, self.key("brokerRole"), self.key(BROKER_ID)));
        }
        let groups = ["enableSlaveActingMaster", "duplicationEnable"];
        found.extend(
            groups
                .into_iter()
                .filter(|key| self.key(key) == "true")
                .map(|key| format!("it runs with {key}=true, and the others of its name would not follow it")),
        );
        let timed: i64 = ["timerCongestNum", "timerOffsetBehind"].iter().filter_map(|key| figures.get(*key)?.parse::<i64>().ok()).sum();
        if timed > 0 {
            found.push(format!("{timed} timed messages wait in it, which would not be delivered here; let it deliver them first"));
        }
        let topics: TopicConfigAndMappingSerializeWrapper = self.admin.table(&self.addr, request_code::GET_ALL_TOPIC_CONFIG).await?;
        if let Some(topic) = topics.topic_queue_mapping_detail_map.keys().next() {
            found.push(format!("it has static topics, like {topic}, which are not served yet"));
        }
        Ok(found)
    }

    /// Name servers are to know it as the master no more; it serves on.
    pub async fn leave_place(&self) -> Result<(), AdminError> {
        if self.is_ferrocket() {
            return self.admin.update_config(&self.addr, &[("namesrvAddr", "")]).await;
        }
        let id = self.free_id.to_string();
        // With its permission it registers at once, not within 30 s.
        self.admin.update_config(&self.addr, &[(BROKER_ID, &id), ("brokerPermission", self.key("brokerPermission"))]).await
    }

    /// Nothing is put into its log from now on but what a request that it has begun puts.
    pub async fn freeze(&self) -> Result<(), AdminError> {
        let id = self.free_id.to_string();
        self.admin.update_config(&self.addr, &[("brokerPermission", "4"), ("brokerRole", "SLAVE"), (BROKER_ID, &id)]).await
    }

    /// As it was when it was first asked.
    pub async fn restore(&self) -> Result<(), AdminError> {
        let keys: &[&str] = match self.is_ferrocket() {
            true => &["brokerRole", BROKER_ID, "brokerPermission", "namesrvAddr"],
            false => &["brokerRole", BROKER_ID, "brokerPermission"],
        };
        let changes: Vec<(&str, &str)> = keys.iter().map(|key| (*key, self.key(key))).collect();
        self.admin.update_config(&self.addr, &changes).await
    }

    /// What `restore` does, for a person whose terminal is all that is left.
    pub fn restore_by_hand(&self) -> String {
        let keys: BTreeMap<&str, &str> =
            ["brokerRole", BROKER_ID, "brokerPermission"].into_iter().map(|key| (key, self.key(key))).collect();
        let commands = keys.iter().map(|(key, value)| format!("mqadmin updateBrokerConfig -b {} -k {key} -v {value}", self.addr));
        commands.collect::<Vec<_>>().join("; ")
    }
}
