// SPDX-License-Identifier: Apache-2.0
//! The thread behind transactions: asks producers about halves that are due, gives up those that nobody decides about, and lets op
//! messages, snapshots and metrics reach the log and the disk when it is time.
//!
//! It sleeps until the earliest of these; no half is looked at before it is due.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::header::CheckTransactionStateRequestHeader;
use ferrocket_protocol::message::{MessageView, property};
use ferrocket_protocol::topic_names;
use tracing::{debug, info, warn};

use super::open_halves::OpenHalf;
use super::{RETRY_MILLIS, Transactions, half};
use crate::broker::{Broker, retry};

/// Halves looked at in a row, before op messages get their turn.
const TURN_COUNT_MAX: usize = 256;
/// A producer that has so much unread is not asked more: what it cannot take would end its connection.
const UNREAD_BYTES_MAX: usize = 1024 * 1024;
const MILLIS_PER_HOUR: i64 = 3_600_000;
/// Queues of TRANS_CHECK_MAX_TIME_TOPIC.
const GIVEN_UP_QUEUES: i32 = 1;

/// CHECK_TRANSACTION_STATE for some producer of a group.
#[derive(Debug)]
pub struct Question {
    pub group: String,
    pub header: CheckTransactionStateRequestHeader,
    pub body: Bytes,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was sent, or there is nobody to send it to; it counts, as in the original.
    Counts,
    /// The producer cannot take more just now.
    Later,
}

/// What one look at the halves that are due came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueCheck {
    pub given_up: usize,
    /// There may be more that are due.
    pub has_more: bool,
}

/// Starts to ask about what is open now, and later.
pub fn start(broker: &Arc<Broker>) -> io::Result<()> {
    broker.transactions.duty.begin(|| {
        let shutdown = broker.runtime.shutdown().clone();
        let working = Arc::clone(broker);
        broker.runtime.thread("transactions", move || {
            let transactions = Arc::clone(&working.transactions);
            while !shutdown.has_begun() {
                let next_millis = round(&working, &transactions);
                let nap_millis = next_millis.saturating_sub(transactions.clock.now_millis()).max(0);
                transactions.clock.park(&transactions.parker, Duration::from_millis(nap_millis as u64));
            }
        })
    })
}

/// When there is something to do again.
fn round(broker: &Arc<Broker>, transactions: &Transactions) -> i64 {
    let Some(_on_duty) = transactions.duty.hold() else {
        transactions.persist_when_flushed(&broker.consumer_offsets);
        return transactions.tables.lock().open.due.rest_until(transactions.clock.now_millis());
    };
    let turn = transactions.check_due(|question| ask(broker, &question));
    if turn.given_up > 0 {
        retry::own_topic(broker, topic_names::TRANS_CHECK_MAX_TIME.to_owned(), GIVEN_UP_QUEUES, 0, false);
    }
    transactions.keep_up(broker.store_host(), &broker.consumer_offsets)
}

/// Any producer of the group will do; without one the half waits for its next turn.
fn ask(broker: &Broker, question: &Question) -> Asked {
    let Some(channel) = broker.producers.available_channel(&question.group) else {
        debug!(group = question.group, "nobody is there to be asked about a transaction");
        return Asked::Counts;
    };
    if channel.unread_bytes() > UNREAD_BYTES_MAX {
        return Asked::Later;
    }
    channel.check_transaction(&question.header, question.body.clone());
    Asked::Counts
}

impl Transactions {
    /// Looks at halves that are due, some of them at a time.
    pub fn check_due(&self, mut ask: impl FnMut(Question) -> Asked) -> DueCheck {
        let mut turn = DueCheck::default();
        for _ in 0..TURN_COUNT_MAX {
            let now = self.clock.now_millis();
            let Some((queue_offset, open)) = self.tables.lock().open.next_due(now) else { return turn };
            if self.check(queue_offset, open, now, &mut ask) {
                turn.given_up += 1;
            }
        }
        turn.has_more = true;
        turn
    }

    /// True when the half was given up.
    fn check(&self, queue_offset: i64, open: OpenHalf, now_millis: i64, ask: &mut impl FnMut(Question) -> Asked) -> bool {
        let config = self.config.load();
        let again_millis = now_millis + config.transaction_check_interval.max(1);
        let record = match self.store.look_message(open.physical_offset) {
            Ok(record) => record,
            Err(error) => {
                warn!(queue_offset, %error, "a half message could not be read, trying again");
                self.set_moment(queue_offset, open.check_times, now_millis + RETRY_MILLIS);
                return false;
            }
        };
        let view = record.as_ref().and_then(|record| MessageView::decode(record).ok());
        let Some((record, view)) = record.as_ref().zip(view).filter(|(_, view)| half::is_half(view)) else {
            warn!(queue_offset, physical_offset = open.physical_offset, "an open half message is no longer in the log");
            self.forget(queue_offset);
            return false;
        };
        let kept_millis = self.store.config().file_reserved_time_hours as i64 * MILLIS_PER_HOUR;
        let is_spent = i64::from(open.check_times) >= i64::from(config.transaction_check_max);
        let is_old = now_millis.saturating_sub(view.born_timestamp) > kept_millis;
        // A client may have said how often it was asked.
        let check_times = open.check_times.saturating_add(1);
        let question = if is_spent || is_old { None } else { half::question(record, &view, check_times, &config.broker_name) };
        // A record that a power cut has torn may name no topic any more.
        let Some((header, body)) = question else {
            let given_up = self.give_up(record, &view, again_millis);
            if given_up {
                let topic = view.property(property::REAL_TOPIC);
                info!(queue_offset, topic, checks = open.check_times, "a half message that nobody decides about is given up");
            }
            return given_up;
        };
        let group = view.property(property::PGROUP).unwrap_or_default().to_owned();
        // Before it is asked: an answer may be quicker than we are.
        self.set_moment(queue_offset, check_times, again_millis);
        if ask(Question { group, header, body }) == Asked::Later {
            self.set_moment(queue_offset, open.check_times, now_millis + RETRY_MILLIS);
        }
        false
    }

    fn set_moment(&self, queue_offset: i64, check_times: u32, due_millis: i64) {
        self.tables.lock().open.set_moment(queue_offset, check_times, due_millis);
        self.snapshot.changed();
    }

    fn forget(&self, queue_offset: i64) {
        self.tables.lock().open.remove(queue_offset);
        self.snapshot.changed();
    }

    /// Writes what is due to be written; when there is something to do again.
    pub fn keep_up(&self, host: std::net::SocketAddr, consumer_offsets: &super::ConsumerOffsets) -> i64 {
        let again_millis = self.write_ops(host, false);
        self.persist_when_flushed(consumer_offsets);
        let config = self.config.load();
        let mut tables = self.tables.lock();
        let op_millis = again_millis.unwrap_or_else(|| tables.ops_due_millis(&config));
        tables.open.due.sleep_until(self.clock.now_millis(), op_millis)
    }
}
