// SPDX-License-Identifier: Apache-2.0
//! What the original left in a directory for a feature that is not served yet: what will not happen, and how many messages wait for it.
//!
//! Only looks, at the start. Nothing of it is touched: the original finds it again as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use ferrocket_protocol::message::tags_code;
use ferrocket_protocol::{fastjson, topic_names};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Broker;
use crate::store::{Fs, GetMessage, MessageFilter};

/// As `PopAckConstants.REVIVE_GROUP`: its offset is the last check point that was seen to.
const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// The tag of a check point.
const CHECK_POINT_TAG: &str = "ck";
/// One slot of `timerwheel`: time in units of `timerPrecisionMs`, two positions, and how many messages it got.
const SLOT_BYTES: usize = 32;
/// One unit of a BatchConsumeQueue; the queue of a compacted topic has the same.
const BATCH_UNIT_BYTES: usize = 46;
/// Slots that are read together: `timerwheel` has 1,209,600 of them, 37 MiB.
const SLOTS_PER_READ: usize = 32_768;
/// Reads of one queue of the revive log; a broker that was stopped in order left a few check points.
const REVIVE_READS_MAX: usize = 10_000;
/// Topics that a sentence names.
const NAMED_MAX: usize = 5;

/// One feature that is missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved(String);

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything of the kind in the directory of this broker, which is open and does not run yet.
pub fn found(broker: &Broker, fs: &dyn Fs) -> Vec<Unserved> {
    let root = broker.store.config().store_path_root_dir.clone();
    [
        timed(broker, fs, &root),
        check_points(broker),
        static_topics(broker, fs, &root),
        batches(broker, fs, &root),
        compacted(broker, fs, &root),
    ]
    .into_iter()
    .flatten()
    .map(Unserved)
    .collect()
}

fn timed(broker: &Broker, fs: &dyn Fs, root: &Path) -> Option<String> {
    let queue = broker.store.min_offset(topic_names::TIMER_WHEEL, 0)..broker.store.max_offset(topic_names::TIMER_WHEEL, 0);
    let check = fs.read(&root.join("config/timercheck")).unwrap_or_default();
    let (read_millis, taken) = (long(&check, 0).unwrap_or(0), long(&check, 16).unwrap_or(0));
    // What is in the queue behind this offset is not in the wheel yet.
    let in_queue = (queue.end - taken.clamp(queue.start, queue.end.max(queue.start))).max(0) as u64;
    let in_wheel = wheel_path(fs, root).map_or(0, |path| {
        let precision = i64::from(broker.config.load().timer_precision_ms).max(1);
        in_wheel(fs, &path, |slot_time| slot_time.saturating_mul(precision) >= read_millis)
    });
    let waiting = in_queue + in_wheel;
    (waiting > 0).then(|| {
        format!(
            "{} in timerwheel and {}: timed messages are not served yet, so none is delivered while this broker runs",
            wait(waiting, "timed message", ""),
            topic_names::TIMER_WHEEL
        )
    })
}

/// How many of what wait.
fn wait(count: u64, what: &str, of_whom: &str) -> String {
    let (plural, verb) = if count == 1 { ("", "waits") } else { ("s", "wait") };
    format!("{count} {what}{plural}{of_whom} {verb}")
}

/// With `timerWheelSnapshotFlush` the newest of several, `timerwheel.POSITION`.
fn wheel_path(fs: &dyn Fs, root: &Path) -> Option<std::path::PathBuf> {
    let names = fs.read_dir(root).ok()?.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name);
    let position = |name: &str| match name.strip_prefix("timerwheel")? {
        "" => Some(-1),
        rest => rest.strip_prefix('.')?.parse::<i64>().ok(),
    };
    let newest = names.filter_map(|name| Some((position(&name)?, name))).max()?;
    Some(root.join(newest.1))
}

fn in_wheel(fs: &dyn Fs, path: &Path, is_to_come: impl Fn(i64) -> bool) -> u64 {
    let Ok(file) = fs.open_read_only(path) else { return 0 };
    let (mut bytes, mut at, mut waiting) = (vec![0; SLOTS_PER_READ * SLOT_BYTES], 0, 0);
    while let Ok(read) = file.read_at(&mut bytes, at)
        && read >= SLOT_BYTES
    {
        for slot in bytes[..read].chunks_exact(SLOT_BYTES) {
            let count = slot[24..28].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) as i32;
            if count > 0 && long(slot, 0).is_some_and(&is_to_come) {
                waiting += u64::from(count.unsigned_abs());
            }
        }
        at += read as u64;
    }
    waiting
}

struct CheckPoints;

impl MessageFilter for CheckPoints {
    fn matches_unit(&self, code: i64) -> bool {
        code == tags_code(CHECK_POINT_TAG)
    }
}

fn check_points(broker: &Broker) -> Option<String> {
    let queues = broker.store.queues().into_iter().filter(|(topic, _)| topic.starts_with(topic_names::REVIVE_LOG_PREFIX));
    let waiting: u64 = queues.map(|(topic, queue_id)| check_points_of(broker, &topic, queue_id)).sum();
    (waiting > 0).then(|| {
        let waiting = wait(waiting, "check point", " of POP consumers");
        format!("{waiting} in the revive log: POP is not served yet, so what those consumers took and did not acknowledge does not come again while this broker runs")
    })
}

fn check_points_of(broker: &Broker, topic: &str, queue_id: i32) -> u64 {
    let done = broker.consumer_offsets.committed(REVIVE_GROUP, topic, queue_id).unwrap_or(-1);
    let mut offset = (done + 1).max(broker.store.min_offset(topic, queue_id));
    let mut waiting = 0;
    for _ in 0..REVIVE_READS_MAX {
        if offset >= broker.store.max_offset(topic, queue_id) {
            break;
        }
        let request = GetMessage { group: REVIVE_GROUP, topic, queue_id, offset, max_count: 1_000, max_bytes: 1 << 20 };
        let Some(found) = broker.store.get_message_blocking(&request, &CheckPoints) else { break };
        waiting += found.message_count.max(0) as u64;
        if found.next_begin_offset <= offset {
            break;
        }
        offset = found.next_begin_offset;
    }
    waiting
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mappings {
    topic_queue_mapping_info_map: BTreeMap<String, IgnoredAny>,
}

fn static_topics(broker: &Broker, fs: &dyn Fs, root: &Path) -> Option<String> {
    let bytes = fs.read(&root.join("config/topicQueueMapping.json")).ok()?;
    let Ok(mappings) = fastjson::from_slice::<Mappings>(&bytes) else {
        return Some(
            "config/topicQueueMapping.json cannot be understood: static topics are not served yet, and it is left as it is".to_owned(),
        );
    };
    let topics: BTreeSet<String> = mappings.topic_queue_mapping_info_map.into_keys().collect();
    let count = |(topic, queue_id): (std::sync::Arc<str>, i32)| {
        let waiting = broker.store.max_offset(&topic, queue_id) - broker.store.min_offset(&topic, queue_id);
        if topics.contains(&*topic) { waiting.max(0) as u64 } else { 0 }
    };
    let waiting: u64 = broker.store.queues().into_iter().map(count).sum();
    (!topics.is_empty()).then(|| {
        format!("static topics are not served yet: the mapping of {} is not obeyed, and what lies in their queues (messages: {waiting}) is served as that of plain topics", named(&topics))
    })
}

fn batches(broker: &Broker, fs: &dyn Fs, root: &Path) -> Option<String> {
    let dir = root.join("batchconsumequeue");
    let topics = topics_with(broker, fs, "queue.type", "BatchCQ", &dir);
    // How many messages a unit stands for.
    let waiting = units(fs, &dir, |unit| u64::from(u16::from_be_bytes([unit[36], unit[37]])).max(1));
    (!topics.is_empty()).then(|| {
        format!("topics with queue.type=BatchCQ are not served yet: what lies in {} (messages: {waiting}) is not delivered, and nothing is taken, while this broker runs", named(&topics))
    })
}

fn compacted(broker: &Broker, fs: &dyn Fs, root: &Path) -> Option<String> {
    let dir = root.join("compaction/compactionCq");
    let topics = topics_with(broker, fs, "cleanup.policy", "COMPACTION", &dir);
    let waiting = units(fs, &dir, |_| 1);
    (!topics.is_empty()).then(|| {
        format!("topics with cleanup.policy=COMPACTION are not served yet: there is no compaction of {} while this broker runs, and what lies in the compaction logs (messages: {waiting}) is not read", named(&topics))
    })
}

/// Those whose attribute says so, and those that have a directory.
fn topics_with(broker: &Broker, fs: &dyn Fs, attribute: &str, value: &str, dir: &Path) -> BTreeSet<String> {
    let (_, topics) = broker.topics.shared_snapshot();
    let by_attribute = topics.iter().filter(|topic| topic.attribute(attribute) == Some(value)).map(|topic| topic.topic_name.to_string());
    let by_directory = fs.read_dir(dir).unwrap_or_default().into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name);
    by_attribute.chain(by_directory).collect()
}

/// Over every unit in the files of `DIR/TOPIC/QUEUE/`; the rest of a file is zero.
fn units(fs: &dyn Fs, dir: &Path, count: impl Fn(&[u8]) -> u64) -> u64 {
    let below = |dir: &Path| fs.read_dir(dir).unwrap_or_default().into_iter().map(|entry| dir.join(entry.name)).collect::<Vec<_>>();
    let files = below(dir).into_iter().flat_map(|topic| below(&topic)).flat_map(|queue| below(&queue));
    let in_file = |path: std::path::PathBuf| {
        let bytes = fs.read(&path).unwrap_or_default();
        let units = bytes.chunks_exact(BATCH_UNIT_BYTES).take_while(|unit| unit[8..12] != [0; 4]);
        units.map(&count).sum::<u64>()
    };
    files.map(in_file).sum()
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes)
}

fn named(topics: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = topics.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = format!("{} more", topics.len().saturating_sub(NAMED_MAX));
    if topics.len() > NAMED_MAX {
        names.push(&more);
    }
    names.join(", ")
}
