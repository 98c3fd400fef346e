// SPDX-License-Identifier: Apache-2.0
//! News of groups for their members: who is there has changed. Sent at once, a moment later, or with the next turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::client_channel::ClientChannel;
use crate::config::BrokerConfig;
use crate::runtime::Runtime;

/// Changes of one group that follow each other faster than this are told as one: each member asks for the whole list anyway, and
/// when thousands start together every one of them would be told of every other.
const NEWS_MOMENT: Duration = Duration::from_millis(100);

/// News of groups for their members: sent at once, or kept for the next turn (`realTimeNotifyConsumerChange=false`).
#[derive(Debug)]
pub struct GroupNews {
    runtime: Runtime,
    waiting: Mutex<BTreeMap<String, Vec<Arc<dyn ClientChannel>>>>,
    moments: Arc<Mutex<Moments>>,
}

/// Groups whose members were told less than a moment ago, and the members to tell at its end if there was another change.
type Moments = HashMap<Arc<str>, Option<Vec<Arc<dyn ClientChannel>>>>;

impl GroupNews {
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, waiting: Mutex::default(), moments: Arc::default() }
    }

    pub fn tell(&self, config: &BrokerConfig, group: &str, members: &[Arc<dyn ClientChannel>]) {
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
            notify(&group, &members);
        }
    }

    fn tell_now(&self, group: &str, members: &[Arc<dyn ClientChannel>]) {
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
        notify(&group, members);
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
                notify(&group, &members);
            }
        });
    }
}

fn notify(group: &str, members: &[Arc<dyn ClientChannel>]) {
    for member in members {
        member.consumer_ids_changed(group);
    }
}
