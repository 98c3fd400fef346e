// SPDX-License-Identifier: Apache-2.0
//! What the broker sends to its clients of its own accord: news of their group, and what an admin wants of them.
//!
//! Whoever asks for an answer waits on its own task, never on a connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::header::{CheckTransactionStateRequestHeader, NotifyConsumerIdsChangedRequestHeader, ResetOffsetRequestHeader};
use ferrocket_protocol::{ExtFields, RemotingCommand, Str, request_code};

use parking_lot::Mutex;

use super::consumers::Client;
use crate::config::BrokerConfig;
use crate::remoting::{CallError, Peer};
use crate::runtime::Runtime;

/// How long an admin's question may wait for the client; the original's 10 s.
const RELAY_MAX: Duration = Duration::from_secs(10);

/// Changes of one group that follow each other faster than this are told as one: each member asks for the whole list anyway, and
/// when thousands start together every one of them would be told of every other.
const NEWS_MOMENT: Duration = Duration::from_millis(100);

/// News of groups for their members: sent at once, or kept for the next turn (`realTimeNotifyConsumerChange=false`).
#[derive(Debug)]
pub struct GroupNews {
    runtime: Runtime,
    waiting: Mutex<BTreeMap<String, Vec<Arc<Peer>>>>,
    moments: Arc<Mutex<Moments>>,
}

/// Groups whose members were told less than a moment ago, and the members to tell at its end if there was another change.
type Moments = HashMap<Arc<str>, Option<Vec<Arc<Peer>>>>;

impl GroupNews {
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, waiting: Mutex::default(), moments: Arc::default() }
    }

    pub fn tell(&self, config: &BrokerConfig, group: &str, members: &[Arc<Peer>]) {
        if members.is_empty() || !config.notify_consumer_ids_changed_enable {
            return;
        }
        if config.real_time_notify_consumer_change {
            self.tell_now(group, members);
        } else {
            self.waiting.lock().insert(group.to_owned(), members.to_vec());
        }
    }

    /// One turn, each 15 s.
    pub fn tell_waiting(&self) {
        for (group, members) in std::mem::take(&mut *self.waiting.lock()) {
            notify_consumer_ids_changed(&group, &members);
        }
    }

    fn tell_now(&self, group: &str, members: &[Arc<Peer>]) {
        let group: Arc<str> = {
            let mut moments = self.moments.lock();
            if let Some(later) = moments.get_mut(group) {
                *later = Some(members.to_vec());
                return;
            }
            let group: Arc<str> = Arc::from(group);
            moments.insert(Arc::clone(&group), None);
            group
        };
        notify_consumer_ids_changed(&group, members);
        let (moments, clock, shutdown) = (Arc::clone(&self.moments), self.runtime.clock().clone(), self.runtime.shutdown().clone());
        self.runtime.spawn("group news", async move {
            while shutdown.or(clock.sleep(NEWS_MOMENT)).await.is_some() {
                let later = {
                    let mut moments = moments.lock();
                    let later = moments.get_mut(&group).and_then(Option::take);
                    if later.is_none() {
                        moments.remove(&group);
                    }
                    later
                };
                let Some(members) = later else { return };
                notify_consumer_ids_changed(&group, &members);
            }
        });
    }
}

/// NOTIFY_CONSUMER_IDS_CHANGED: the members look again who is there and share the queues anew.
fn notify_consumer_ids_changed(group: &str, members: &[Arc<Peer>]) {
    let header = NotifyConsumerIdsChangedRequestHeader { consumer_group: Str::copy_from(group) };
    let news = RemotingCommand::request_with(request_code::NOTIFY_CONSUMER_IDS_CHANGED, &header);
    for peer in members {
        peer.send(news.clone());
    }
}

/// RESET_CONSUMER_CLIENT_OFFSET: the client drops what it holds of the topic and goes on at these offsets.
pub fn reset_offset(members: &[Client], header: &ResetOffsetRequestHeader, body: &Bytes) {
    for member in members {
        let request = RemotingCommand::request_with(request_code::RESET_CONSUMER_CLIENT_OFFSET, header);
        member.peer.send(request.with_body(body.clone()));
    }
}

/// An admin's request for one client (GET_CONSUMER_RUNNING_INFO, CONSUME_MESSAGE_DIRECTLY), passed on as it came.
pub async fn relay(peer: &Peer, code: i32, ext_fields: ExtFields, body: Bytes) -> Result<RemotingCommand, CallError> {
    let mut request = RemotingCommand::request(code).with_body(body);
    request.ext_fields = ext_fields;
    peer.call(request, RELAY_MAX).await
}

/// CHECK_TRANSACTION_STATE: the producer answers with END_TRANSACTION.
pub fn check_transaction_state(peer: &Peer, header: &CheckTransactionStateRequestHeader, half_message: Bytes) {
    let request = RemotingCommand::request_with(request_code::CHECK_TRANSACTION_STATE, header);
    peer.send(request.with_body(half_message));
}
