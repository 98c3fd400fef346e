// SPDX-License-Identifier: Apache-2.0
//! News of groups for their members: who is there has changed. Sent at once, a moment later, or with the next turn. Who the members are
//! is asked when the news are sent: a change by itself costs nothing by their number.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::consumers::Consumers;
use crate::config::BrokerConfig;
use crate::runtime::Runtime;

/// Changes of one group that follow each other faster than this are told as one: each member asks for the whole list anyway, and
/// when thousands start together every one of them would be told of every other.
const NEWS_MOMENT: Duration = Duration::from_millis(100);
/// While changes go on each moment is twice as long as the last, up to this: the members of a group that starts for a minute would else
/// all ask ten times a second.
const NEWS_MOMENT_MAX: Duration = Duration::from_millis(1_600);

/// News of groups for their members: sent at once, or kept for the next turn (`realTimeNotifyConsumerChange=false`).
#[derive(Debug)]
pub struct GroupNews {
    runtime: Runtime,
    consumers: Arc<Consumers>,
    waiting: Mutex<BTreeSet<String>>,
    moments: Arc<Mutex<Moments>>,
}

/// Groups whose members were told less than a moment ago, and whether there was another change since.
type Moments = HashMap<Arc<str>, bool>;

impl GroupNews {
    pub fn new(runtime: Runtime, consumers: Arc<Consumers>) -> Self {
        Self { runtime, consumers, waiting: Mutex::default(), moments: Arc::default() }
    }

    pub fn tell(&self, config: &BrokerConfig, group: &str) {
        if !config.notify_consumer_ids_changed_enable {
            return;
        }
        if config.real_time_notify_consumer_change {
            self.tell_now(group);
        } else {
            self.waiting.lock().insert(group.to_owned());
        }
    }

    /// One turn, each 15 s.
    pub fn tell_waiting(&self) {
        for group in std::mem::take(&mut *self.waiting.lock()) {
            notify(&self.consumers, &group);
        }
    }

    fn tell_now(&self, group: &str) {
        let group: Arc<str> = {
            let mut moments = self.moments.lock();
            if let Some(again) = moments.get_mut(group) {
                *again = true;
                return;
            }
            let group: Arc<str> = Arc::from(group);
            moments.insert(Arc::clone(&group), false);
            group
        };
        notify(&self.consumers, &group);
        let (moments, consumers) = (Arc::clone(&self.moments), Arc::clone(&self.consumers));
        let (clock, shutdown) = (self.runtime.clock().clone(), self.runtime.shutdown().clone());
        self.runtime.spawn("group news", async move {
            let mut moment = NEWS_MOMENT;
            while shutdown.or(clock.sleep(moment)).await.is_some() {
                {
                    let mut moments = moments.lock();
                    if !moments.get_mut(&group).is_some_and(std::mem::take) {
                        moments.remove(&group);
                        return;
                    }
                }
                notify(&consumers, &group);
                moment = NEWS_MOMENT_MAX.min(2 * moment);
            }
        });
    }
}

fn notify(consumers: &Consumers, group: &str) {
    for member in consumers.who_hears(group) {
        member.consumer_ids_changed(group);
    }
}
