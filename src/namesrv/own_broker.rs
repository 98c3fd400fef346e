// SPDX-License-Identifier: Apache-2.0
//! The broker of this process: it hands over its topics as they are, and its address depends on who asks.
//!
//! As long as the process lives it is there: it has no connection that could end, only a sign of life in each period.

use std::sync::Arc;

use ferrocket_protocol::body::topic::TopicConfig;
use ferrocket_protocol::data_version::DataVersion;

use super::live::OWN_BROKER;
use super::route_tables::{Departure, Part, Registration};
use super::{NameServer, kv_config, processor};
use crate::config::Advertised;

/// What the broker is told of its set and of its topics.
#[derive(Clone, Debug, Default)]
pub struct ToldOwn {
    pub ordered_topics: Vec<String>,
    pub master_addr: Option<String>,
    pub ha_server_addr: Option<String>,
}

/// What the broker says of itself.
#[derive(Clone, Debug)]
pub struct OwnBroker {
    pub cluster: String,
    pub name: String,
    pub id: i64,
    pub ha_server_addr: String,
    /// `enableSlaveActingMaster`.
    pub acting_master: bool,
    pub advertised: Advertised,
    pub data_version: DataVersion,
}

impl NameServer {
    /// Registers it with these topics beside those that it has; `anew` replaces what is held of them.
    pub fn take_own(&self, broker: &OwnBroker, topics: Vec<TopicConfig>, anew: bool) -> ToldOwn {
        self.set_own_broker(broker.advertised.clone());
        let registration = Registration {
            cluster: broker.cluster.clone(),
            addr: broker.advertised.registered().to_owned(),
            name: broker.name.clone(),
            id: broker.id,
            ha_server_addr: broker.ha_server_addr.clone(),
            acting_master: Some(broker.acting_master),
            data_version: broker.data_version.clone(),
            topics,
            connection: OWN_BROKER,
            part: if anew { Part::Anew } else { Part::Missing },
            ..Registration::default()
        };
        let registered = self.routes.register(registration, self.rules(), self.now_millis()).unwrap_or_default();
        processor::notify(self, registered.notice);
        let returns_ordered = self.config.load().return_order_topic_config_to_broker;
        let ordered = returns_ordered.then(|| self.kv.list(kv_config::ORDER_TOPIC_CONFIG)).flatten();
        let ordered_topics = ordered.map(|ordered| ordered.table.into_keys().collect()).unwrap_or_default();
        ToldOwn { ordered_topics, master_addr: registered.master_addr, ha_server_addr: registered.ha_server_addr }
    }

    /// The broker has these topics no longer.
    pub fn forget_own_topics(&self, name: &str, topics: &[Arc<str>]) {
        if !topics.is_empty() {
            self.routes.forget_topics(name, topics.iter().map(|topic| &**topic));
        }
    }

    /// The broker has been heard whole: `deleteTopicWithBrokerRegistration` then takes away what others said of it.
    pub fn keep_own_topics(&self, name: &str, is_its: &dyn Fn(&str) -> bool) {
        if self.rules().delete_topics_not_registered {
            self.routes.keep_topics(name, is_its);
        }
    }

    /// The broker leaves, or has left this address.
    pub fn leave_own(&self, cluster: &str, name: &str, id: i64, addr: &str) {
        let departure = Departure { cluster: cluster.to_owned(), addr: addr.to_owned(), name: name.to_owned(), id };
        processor::notify(self, self.routes.unregister(&[departure], self.rules()));
    }
}
