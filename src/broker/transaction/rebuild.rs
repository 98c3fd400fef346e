// SPDX-License-Identifier: Apache-2.0
//! The open halves at a start: from the snapshot and what the log has behind it, or from what a broker of the original left.
//!
//! A half that was committed is known by its op message or, when the broker was killed before that was written, by the committed
//! message itself, which names the half's place in the log. A broker of the original stores a copy of a half with each question and
//! leaves the older one behind without a word; when it was killed its mark in the queue may be older than that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use ferrocket_protocol::message::{MessageView, properties, property, sys_flag};
use ferrocket_protocol::topic_names;
use tracing::{info, warn};

use super::open_halves::{OpenHalf, OpenHalves};
use super::{half, op, snapshot};
use crate::runtime::SharedClock;
use crate::store::{MessageStore, StoreError};

/// What the files say.
pub(super) struct RebuildInput<'a> {
    pub(super) snapshot: Option<&'a [u8]>,
    /// The original's mark in the half queue: what lies before it has ended, was given up or was stored again behind it, if it is right.
    pub(super) committed_half: Option<i64>,
    pub(super) transaction_timeout_millis: i64,
}

/// The open halves, and the offsets of halves that live on in a copy: an op message should say so to a broker of the original.
pub(super) fn open_halves(
    store: &MessageStore,
    left: &RebuildInput<'_>,
    clock: &SharedClock,
) -> Result<(OpenHalves, Vec<i64>), StoreError> {
    let queue = store.queue_offsets(topic_names::TRANS_HALF, 0)?;
    let first = left.committed_half.unwrap_or(0).clamp(queue.start, queue.end.max(queue.start));
    // What the snapshot has as open is so, whatever the mark says: there the log tells what the original has made of it.
    let (position, begins_at, mut open) = match left.snapshot.and_then(snapshot::decode) {
        Some((mark, open)) if store.holds(&mark)? => (mark.position, queue.start, open),
        _ => {
            let mut open = OpenHalves::default();
            open.know_from(first);
            let unit = if first == queue.end { None } else { store.consume_queue_unit(topic_names::TRANS_HALF, 0, first)? };
            let position = match unit {
                Some(unit) => unit.physical_offset,
                None if first == queue.end => store.max_phy_offset(),
                None => store.min_phy_offset(),
            };
            (position, first, open)
        }
    };
    let mut copies = Copies::default();
    // No half was prepared since and none was open: whatever the log has behind the position, nothing is.
    if !(open.is_empty() && open.next() == queue.end) {
        let began = clock.nanos();
        let position = position.max(store.min_phy_offset());
        let mut applied = Ok(());
        let end = store.read_forward(position, |view| {
            applied = apply(store, &mut open, &mut copies, view, left.transaction_timeout_millis);
            if applied.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        applied?;
        if end < store.max_phy_offset() {
            warn!(at = end, "the log cannot be read here: open transactions behind it are taken from their queues");
            read_queues(store, &mut open, &mut copies, end, left.transaction_timeout_millis)?;
            open.know_from(queue.end);
        }
        let millis = Duration::from_nanos(clock.nanos() - began).as_millis() as u64;
        info!(position, end, open = open.len(), millis, "open transactions recovered");
    }
    open.remove_below(begins_at);
    open.saw(queue.end);
    copies.left_behind.retain(|offset| *offset >= begins_at);
    Ok((open, copies.left_behind))
}

/// The half messages and op messages from `behind` on, by their queues: the log has damage there.
fn read_queues(
    store: &MessageStore,
    open: &mut OpenHalves,
    copies: &mut Copies,
    behind: i64,
    timeout_millis: i64,
) -> Result<(), StoreError> {
    for topic in [topic_names::TRANS_HALF, topic_names::TRANS_OP_HALF] {
        let queue = store.queue_offsets(topic, 0)?;
        for offset in queue.start.max(0)..queue.end {
            let unit = store.consume_queue_unit(topic, 0, offset)?.filter(|unit| unit.physical_offset >= behind);
            let Some(unit) = unit else { continue };
            let record = store.look_message(unit.physical_offset)?;
            let Some(view) = record.as_ref().and_then(|record| MessageView::decode(record).ok()) else { continue };
            if view.topic == topic {
                apply(store, open, copies, &view, timeout_millis)?;
            }
        }
    }
    Ok(())
}

/// Which half is a copy of which.
#[derive(Default)]
struct Copies {
    /// Queue offsets by what a copy keeps of its half. `None` until the log shows a copy: only the original makes them.
    newest: Option<HashMap<Likeness, i64>>,
    /// Queue offsets of open halves that have been copied.
    left_behind: Vec<i64>,
}

#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    unique_key: Vec<u8>,
    born_timestamp: i64,
    born_host: SocketAddr,
}

impl Likeness {
    fn of(view: &MessageView<'_>) -> Option<Self> {
        let unique_key = properties::find(view.properties, property::UNIQ_KEY)?.to_vec();
        Some(Self { unique_key, born_timestamp: view.born_timestamp, born_host: view.born_host })
    }
}

impl Copies {
    /// Takes the half out of which this one is a copy.
    fn follow(&mut self, store: &MessageStore, open: &mut OpenHalves, view: &MessageView<'_>) -> Result<(), StoreError> {
        let marks = [property::TRANSACTION_CHECK_TIMES, property::TRAN_PREPARED_QUEUE_OFFSET];
        let is_copy = marks.into_iter().any(|name| properties::find(view.properties, name).is_some());
        if self.newest.is_none() && !is_copy {
            return Ok(());
        }
        let newest = match &mut self.newest {
            Some(newest) => newest,
            None => self.newest.insert(likenesses(store, open)?),
        };
        let Some(likeness) = Likeness::of(view) else { return Ok(()) };
        let older = newest.insert(likeness, view.queue_offset).filter(|older| is_copy && *older < view.queue_offset);
        if let Some(older) = older
            && open.remove(older).is_some()
        {
            self.left_behind.push(older);
        }
        Ok(())
    }
}

/// Of all open halves.
fn likenesses(store: &MessageStore, open: &OpenHalves) -> Result<HashMap<Likeness, i64>, StoreError> {
    let mut likenesses = HashMap::new();
    for (queue_offset, half) in open.iter() {
        let record = store.look_message(half.physical_offset)?;
        let likeness = record.and_then(|record| Likeness::of(&MessageView::decode(&record).ok()?));
        likenesses.extend(likeness.map(|likeness| (likeness, queue_offset)));
    }
    Ok(likenesses)
}

fn apply(
    store: &MessageStore,
    open: &mut OpenHalves,
    copies: &mut Copies,
    view: &MessageView<'_>,
    timeout_millis: i64,
) -> Result<(), StoreError> {
    if half::is_half(view) {
        copies.follow(store, open, view)?;
        let check_times = half::check_times(view);
        let due_millis = view.store_timestamp.saturating_add(half::immunity_millis(view.properties, timeout_millis));
        open.insert(view.queue_offset, OpenHalf { physical_offset: view.physical_offset, check_times, due_millis });
    } else if view.topic == topic_names::TRANS_OP_HALF {
        op::ended(view).for_each(|queue_offset| {
            open.remove(queue_offset);
        });
    } else if sys_flag::transaction_type(view.sys_flag) == sys_flag::TRANSACTION_COMMIT && !open.is_empty() {
        // Messages that were delayed or retried keep the flag, but no longer name a half: position 0, and rarely its key.
        let record = store.look_message(view.prepared_transaction_offset)?;
        let Some(prepared) = record.as_ref().and_then(|record| MessageView::decode(record).ok()) else { return Ok(()) };
        let unique_key = |view: &MessageView<'_>| properties::find(view.properties, property::UNIQ_KEY).map(<[u8]>::to_vec);
        if half::is_half(&prepared) && unique_key(&prepared) == unique_key(view) {
            open.take(prepared.queue_offset, prepared.physical_offset);
        }
    }
    Ok(())
}
