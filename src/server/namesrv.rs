// SPDX-License-Identifier: Apache-2.0
//! The name server of this process: its files, its port, its boot line.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ferrocket_protocol::body::TopicConfig;

use super::files::Fs;
use super::plan::NamesrvPlan;
use super::{Door, Screen, StartError, bind, check_bind, limits_of, no_address, say_report};
use crate::broker::registration::{BrokerSnapshot, Identity, Learned, Neighbour};
use crate::config::{NamesrvConfig, NamesrvConfigCell, Report};
use crate::namesrv::{KvConfig, NameServer, OwnBroker};
use crate::remoting::{Limits, Listener, RequestHandler};
use crate::runtime::Runtime;

pub(super) struct Namesrv {
    pub server: Arc<NameServer>,
    pub listener: Option<Listener>,
    pub bind_address: String,
    wanted_port: u16,
    idle_seconds: i32,
    report: Report,
}

impl Namesrv {
    /// Everything but the port.
    pub(super) fn open(plan: NamesrvPlan, fs: &Fs, runtime: &Runtime, screen: Screen, say: &dyn Fn(&str)) -> Result<Self, StartError> {
        let (bind_address, wanted_port) = (plan.config.bind_address.clone(), plan.config.listen_port as u16);
        let idle_seconds = plan.config.server_channel_max_idle_time_seconds;
        let kv_path = plan.config.kv_config_path.clone();
        let kv_text = fs.read_table(&kv_path)?;
        let kv = KvConfig::load(kv_text.as_deref(), fs.saver(&kv_path))
            .map_err(|why| StartError::Sentence(format!("{kv_path} cannot be read: {why}; repair it, or move it away to begin without")))?;
        say_report(&plan.report, &plan.file.path, screen, say);
        let save = fs.saver(&plan.file.path);
        let check = if plan.beside_broker { check_beside_broker } else { check };
        let config = NamesrvConfigCell::backed(plan.config, plan.file.bytes, runtime.clock().now_millis(), save).checked(check);
        let server = NameServer::new(Arc::new(config), kv, plan.rules, runtime);
        Ok(Self { server, listener: None, bind_address, wanted_port, idle_seconds, report: plan.report })
    }

    /// Binds the port; requests go to `handler`, which may serve more than the name server's own.
    pub(super) async fn listen<H: RequestHandler>(
        &mut self,
        handler: Arc<H>,
        limits: &Limits,
        runtime: &Runtime,
    ) -> Result<u16, StartError> {
        let door = Door {
            bind_address: &self.bind_address,
            port: self.wanted_port,
            port_key: "listenPort (all in one: --namesrv-port)",
            report: &self.report,
        };
        let socket = bind(door).await?;
        let listener = Listener::serve(socket, handler, limits_of(limits, self.idle_seconds), runtime).map_err(no_address)?;
        let port = listener.local_addr().port();
        self.listener = Some(listener);
        self.server.start();
        Ok(port)
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.listener.as_ref().map(|listener| listener.local_addr().port())
    }

    pub(super) fn boot_line(&self, port: u16) -> String {
        format!("The Name Server boot success. serializeType=JSON, address {}:{port}", self.bind_address)
    }

    /// How a broker of this process, and whoever reads its configuration, calls it.
    pub(super) fn own_address(&self, port: u16) -> String {
        match self.bind_address.parse::<IpAddr>() {
            Ok(host) if !host.is_unspecified() => SocketAddr::new(host, port).to_string(),
            _ => format!("127.0.0.1:{port}"),
        }
    }
}

/// The sentence with which the next start would refuse these values.
fn check(now: &NamesrvConfig, config: &NamesrvConfig) -> Result<(), String> {
    if config.bind_address == now.bind_address { Ok(()) } else { check_bind(&config.bind_address).map_err(|error| error.to_string()) }
}

/// As `check`, where the broker's keys decide for both: no start would obey these.
fn check_beside_broker(now: &NamesrvConfig, config: &NamesrvConfig) -> Result<(), String> {
    let moved = [
        ("listenPort", config.listen_port != now.listen_port, "--namesrv-port"),
        ("bindAddress", config.bind_address != now.bind_address, "bindAddress of the broker"),
        ("memoryBudgetBytes", config.memory_budget_bytes != now.memory_budget_bytes, "memoryBudgetBytes of the broker"),
    ];
    let refused = moved.into_iter().find(|(_, is_changed, _)| *is_changed);
    refused.map_or(Ok(()), |(key, _, decides)| {
        Err(format!("{key} cannot be changed here: this name server runs in the process of a broker, and {decides} decides"))
    })
}

/// The name server as the broker of this process knows it.
pub(super) struct Beside(pub Arc<NameServer>);

impl Neighbour for Beside {
    fn take(&self, snapshot: &BrokerSnapshot, topics: Vec<TopicConfig>, anew: bool) -> Learned {
        let at = &snapshot.identity;
        let broker = OwnBroker {
            cluster: at.cluster_name.clone(),
            name: at.broker_name.clone(),
            id: at.broker_id,
            ha_server_addr: at.ha_server_addr.clone(),
            acting_master: snapshot.acting_not_active_millis.is_some(),
            advertised: snapshot.advertised.clone(),
            data_version: snapshot.data_version.clone(),
        };
        let told = self.0.take_own(&broker, topics, anew);
        Learned { ordered: told.ordered_topics, master_addr: told.master_addr, ha_server_addr: told.ha_server_addr }
    }

    fn forget_topics(&self, at: &Identity, topics: &[Arc<str>]) {
        self.0.forget_own_topics(&at.broker_name, topics);
    }

    fn was_whole(&self, at: &Identity, is_ours: &dyn Fn(&str) -> bool) {
        self.0.keep_own_topics(&at.broker_name, is_ours);
    }

    fn leave(&self, at: &Identity) {
        self.0.leave_own(&at.cluster_name, &at.broker_name, at.broker_id, &at.broker_addr);
    }
}
