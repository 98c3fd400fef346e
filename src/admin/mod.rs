// SPDX-License-Identifier: Apache-2.0
//! What an operator's tools ask of brokers and name servers. A client of the protocol: knows nothing of a broker in this process.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrocket_protocol::body::KvTable;
use ferrocket_protocol::body::route::ClusterInfo;
use ferrocket_protocol::fastjson::{self, ReadError};
use ferrocket_protocol::{RemotingCommand, request_code};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::config::{Properties, PropertiesError};
use crate::remoting::{CallError, RemotingClient};
use crate::runtime::Runtime;

/// How long an answer may take. A broker that is told its configuration registers before it answers, for up to 6 s in the original.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum AdminError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    #[error("its configuration cannot be read: {0}")]
    Configuration(#[from] PropertiesError),
}

pub struct Admin(RemotingClient);

impl Admin {
    pub fn new(runtime: &Runtime) -> Self {
        Self(RemotingClient::new(runtime))
    }

    pub async fn config(&self, broker: &str) -> Result<Properties, AdminError> {
        let answer = self.0.succeed(broker, RemotingCommand::request(request_code::GET_BROKER_CONFIG), ANSWER_MAX).await?;
        Ok(Properties::parse(&answer.body)?)
    }

    /// The values must need no escapes.
    pub async fn update_config(&self, broker: &str, changes: &[(&str, &str)]) -> Result<(), AdminError> {
        let body: String = changes.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let request = RemotingCommand::request(request_code::UPDATE_BROKER_CONFIG).with_body(body);
        self.0.succeed(broker, request, ANSWER_MAX).await?;
        Ok(())
    }

    /// The texts of GET_BROKER_RUNTIME_INFO.
    pub async fn figures(&self, broker: &str) -> Result<BTreeMap<String, String>, AdminError> {
        Ok(self.table::<KvTable>(broker, request_code::GET_BROKER_RUNTIME_INFO).await?.table.into_iter().collect())
    }

    /// The whole answer to a request without a header.
    pub async fn table<T: DeserializeOwned>(&self, addr: &str, code: i32) -> Result<T, AdminError> {
        let answer = self.0.succeed(addr, RemotingCommand::request(code), ANSWER_MAX).await?;
        Ok(fastjson::from_slice(&answer.body)?)
    }

    /// Who is registered under the name of a broker.
    pub async fn brokers_of(&self, name_server: &str, broker_name: &str) -> Result<BTreeMap<i64, String>, AdminError> {
        let mut cluster: ClusterInfo = self.table(name_server, request_code::GET_BROKER_CLUSTER_INFO).await?;
        let found = cluster.broker_addr_table.remove(broker_name);
        Ok(found.map(|data| data.broker_addrs.into_iter().collect()).unwrap_or_default())
    }
}
