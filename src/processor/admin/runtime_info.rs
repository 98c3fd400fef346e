// SPDX-License-Identifier: Apache-2.0
//! GET_BROKER_RUNTIME_INFO (28): the figures as the original's keys and texts, and back.
//!
//! Tools parse these texts and fail on a key that is missing, so all of them are given, old spellings beside new ones. Knows figures,
//! and no service that they come from.

use std::collections::BTreeMap;

use ferrocket_protocol::version;

use crate::broker::figures::BrokerFigures;
use crate::config::BrokerConfig;
use crate::store::Rates;

type Field<T> = fn(&mut BrokerFigures) -> &mut T;

const COUNTS: [(&str, Field<u64>); 12] = [
    ("putMessageFailedTimes", |figures| &mut figures.store.put_failed_count),
    ("putMessageSizeTotal", |figures| &mut figures.store.put_bytes),
    ("putMessageEntireTimeMax", |figures| &mut figures.store.put_millis_max),
    ("getMessageEntireTimeMax", |figures| &mut figures.store.get_millis_max),
    ("pageCacheLockTimeMills", |figures| &mut figures.store.append_lock_millis),
    ("msgPutTotalYesterdayMorning", |figures| &mut figures.mornings.put_yesterday),
    ("msgPutTotalTodayMorning", |figures| &mut figures.mornings.put_today),
    ("msgPutTotalTodayNow", |figures| &mut figures.put_total),
    ("msgGetTotalYesterdayMorning", |figures| &mut figures.mornings.get_yesterday),
    ("msgGetTotalTodayMorning", |figures| &mut figures.mornings.get_today),
    ("msgGetTotalTodayNow", |figures| &mut figures.get_total),
    ("sendThreadPoolQueueSize", |figures| &mut figures.sends_in_flight),
];

const PLACES_AND_MOMENTS: [(&str, Field<i64>); 5] = [
    ("bootTimestamp", |figures| &mut figures.store.boot_millis),
    ("commitLogMinOffset", |figures| &mut figures.store.min_offset),
    ("commitLogMaxOffset", |figures| &mut figures.store.max_offset),
    ("dispatchBehindBytes", |figures| &mut figures.store.index_behind_bytes),
    ("earliestMessageTimeStamp", |figures| &mut figures.store.earliest_store_millis),
];

const RATES: [(&str, Field<Rates>); 6] = [
    ("putTps", |figures| &mut figures.store.puts),
    ("getFoundTps", |figures| &mut figures.store.gets_found),
    ("getMissTps", |figures| &mut figures.store.gets_missed),
    ("getTotalTps", |figures| &mut figures.store.gets),
    ("getTransferredTps", |figures| &mut figures.store.gets_transferred),
    // Tools of 4.9 read only this spelling.
    ("getTransferedTps", |figures| &mut figures.store.gets_transferred),
];

/// The buckets of putMessageDistributeTime.
const PUT_TIMES: [&str; 13] = [
    "[<=0ms]",
    "[0~10ms]",
    "[10~50ms]",
    "[50~100ms]",
    "[100~200ms]",
    "[200~500ms]",
    "[500ms~1s]",
    "[1~2s]",
    "[2~3s]",
    "[3~4s]",
    "[4~5s]",
    "[5~10s]",
    "[10s~]",
];

/// The same of every broker here: no timers, and nothing that the original buffers before the log or between it and its queues.
const FIXED: [(&str, &str); 9] = [
    ("brokerActive", "true"),
    ("dispatchMaxBuffer", "0"),
    ("EndTransactionQueueSize", "0"),
    ("timerReadBehind", "0"),
    ("timerOffsetBehind", "0"),
    ("timerCongestNum", "0"),
    ("timerEnqueueTps", "0.0"),
    ("timerDequeueTps", "0.0"),
    ("remainTransientStoreBufferNumbs", "2147483647"),
];

const BROKER_KEY: &str = "brokerVersionDesc";
/// Ours, while no message is taken: why. A broker that takes messages answers as the original does.
const UNWRITABLE_KEY: &str = "storeUnwritable";

/// Ours, of a slave: how much of the master's log it lacks.
const MISSING_KEY: &str = "masterLogMissingBytes";
/// Ours, one for each slave that is connected, with its address: how far it is behind.
const SLAVE_KEY: &str = "haSlave_";

/// The table of the answer.
pub(super) fn table(mut figures: BrokerFigures, config: &BrokerConfig) -> BTreeMap<String, String> {
    let mut table: BTreeMap<String, String> = FIXED.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let mut set = |key: &str, value: String| table.insert(key.to_owned(), value);
    for (key, field) in COUNTS {
        set(key, field(&mut figures).to_string());
    }
    for (key, field) in PLACES_AND_MOMENTS {
        set(key, field(&mut figures).to_string());
    }
    for (key, field) in RATES {
        set(key, field(&mut figures).map(java_double).join(" "));
    }
    set("brokerVersion", version::CURRENT.to_string());
    set(BROKER_KEY, version::CURRENT_NAME.to_owned());
    set("startAcceptSendRequestTimeStamp", config.start_accept_send_request_time_stamp.to_string());

    let store = &figures.store;
    let up = store.up_seconds;
    set("runtime", format!("[ {} days, {} hours, {} minutes, {} seconds ]", up / 86_400, up / 3_600 % 24, up / 60 % 60, up % 60));
    let put_count = store.put_count.max(1);
    set("putMessageTimesTotal", put_count.to_string());
    set("putMessageAverageSize", java_double(store.put_bytes as f64 / put_count as f64));
    set(
        "putMessageDistributeTime",
        PUT_TIMES.iter().zip(store.put_counts_by_time).map(|(name, count)| format!("{name}:{count} ")).collect(),
    );
    set("putLatency99", format!("{:.2}", store.put_millis_99));
    set("putLatency999", format!("{:.2}", store.put_millis_999));
    for (dir, used) in &store.commit_log_disks {
        set(&format!("commitLogDiskRatio_{}", dir.display()), java_double(*used));
    }
    set("commitLogDiskRatio", java_double(store.commit_log_disks.iter().map(|(_, used)| *used).fold(f64::MAX, f64::min)));
    set("consumeQueueDiskRatio", java_double(store.consume_queue_disk_used));
    set("remainHowManyDataToFlush", human_bytes((store.max_offset - store.flushed_offset).max(0) as u64));
    if let Some(disk) = store.disk {
        set("commitLogDirCapacity", format!("Total : {}, Free : {}.", human_bytes(disk.total), human_bytes(disk.free)));
    }
    for progress in &figures.delay_levels {
        let key = format!("scheduleMessageOffset_{}", progress.level);
        set(&key, format!("{},{}", progress.delivered_offset, progress.max_offset));
    }
    if let Some(bytes) = figures.missing_bytes {
        set(MISSING_KEY, bytes.to_string());
    }
    for slave in &figures.slaves {
        set(&format!("{SLAVE_KEY}{}", slave.addr), format!("{} bytes, {} ms behind", slave.behind_bytes, slave.behind_millis));
    }
    if let Some(why) = &store.unwritable_why {
        set(UNWRITABLE_KEY, why.clone().into_owned());
    }

    // Nothing queues here, so every pool of the original is empty; its capacity is the configured one.
    let pools = [
        ("send", config.send_thread_pool_queue_capacity),
        ("pull", config.pull_thread_pool_queue_capacity),
        ("litePull", config.lite_pull_thread_pool_queue_capacity),
        ("query", config.query_thread_pool_queue_capacity),
        ("ack", config.ack_thread_pool_queue_capacity),
    ];
    for (pool, capacity) in pools {
        if pool != "send" {
            set(&format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
        }
        set(&format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
        set(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    set("EndTransactionThreadPoolQueueCapacity", config.end_transaction_pool_queue_capacity.to_string());
    table
}

/// What a broker's answer says, as far as its texts are numbers and say why no message is taken. `None`: no broker has answered so.
pub fn figures(table: &BTreeMap<String, String>) -> Option<BrokerFigures> {
    fn read<T: std::str::FromStr>(table: &BTreeMap<String, String>, key: &str, field: &mut T) {
        // Brokers of other releases leave some out.
        if let Some(value) = table.get(key).and_then(|text| text.parse().ok()) {
            *field = value;
        }
    }
    table.contains_key(BROKER_KEY).then(|| {
        let mut figures = BrokerFigures::default();
        COUNTS.iter().for_each(|(key, field)| read(table, key, field(&mut figures)));
        PLACES_AND_MOMENTS.iter().for_each(|(key, field)| read(table, key, field(&mut figures)));
        figures.missing_bytes = table.get(MISSING_KEY).and_then(|text| text.parse().ok());
        figures.store.unwritable_why = table.get(UNWRITABLE_KEY).map(|why| why.clone().into());
        figures
    })
}

/// Java's Double.toString for the ratios and rates that travel as text.
fn java_double(value: f64) -> String {
    if value == value.trunc() { format!("{value:.1}") } else { value.to_string() }
}

/// `1.5 KiB`, as the original's MixAll#humanReadableByteCount.
fn human_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog2() / 10) as usize;
    let unit = ["K", "M", "G", "T", "P", "E"][exponent - 1];
    format!("{:.1} {unit}iB", bytes as f64 / 1024f64.powi(exponent as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::schedule::LevelProgress;

    /// Printed by the original.
    #[test]
    fn bytes_are_written_for_people() {
        assert_eq!([0, 1_536, 1_234_567_890_123].map(human_bytes), ["0 B", "1.5 KiB", "1.1 TiB"]);
    }

    /// Each number under its own key, and under no other.
    #[test]
    fn what_is_written_is_read_and_no_key_is_taken_for_another() {
        let mut written = BrokerFigures::default();
        for (number, (_, field)) in (11..).zip(COUNTS) {
            *field(&mut written) = number;
        }
        for (number, (_, field)) in (101..).zip(PLACES_AND_MOMENTS) {
            *field(&mut written) = number;
        }
        written.store.unwritable_why = Some("its disk is full".into());
        written.missing_bytes = Some(1_001);
        let mut table = table(written.clone(), &BrokerConfig::default());
        assert_eq!(figures(&table), Some(written));
        assert!(table.remove(BROKER_KEY).is_some());
        assert_eq!(figures(&table), None, "something else answers");
    }

    #[test]
    fn rates_times_and_disks_are_the_originals_texts() {
        let mut figures = BrokerFigures::default();
        for (number, (_, field)) in (1_i32..).zip(RATES) {
            *field(&mut figures) = [f64::from(number), 0.25, 0.0];
        }
        let store = &mut figures.store;
        (store.up_seconds, store.put_count, store.put_bytes) = (2 * 86_400 + 3 * 3_600 + 4 * 60 + 5, 4, 10);
        (store.put_millis_99, store.put_millis_999, store.flushed_offset, store.max_offset) = (1.048_576, 2.0, 100, 1_636);
        store.put_counts_by_time = std::array::from_fn(|at| at as u64);
        store.commit_log_disks = vec![("/a".into(), 0.5), ("/b".into(), 0.25)];
        store.consume_queue_disk_used = -1.0;
        figures.delay_levels = vec![LevelProgress { level: 3, delivered_offset: 5, max_offset: 7 }];
        let table = table(figures, &BrokerConfig::default());
        let texts = [
            ("putTps", "1.0 0.25 0.0"),
            ("getFoundTps", "2.0 0.25 0.0"),
            ("getMissTps", "3.0 0.25 0.0"),
            ("getTotalTps", "4.0 0.25 0.0"),
            ("getTransferredTps", "6.0 0.25 0.0"),
            ("getTransferedTps", "6.0 0.25 0.0"),
            ("runtime", "[ 2 days, 3 hours, 4 minutes, 5 seconds ]"),
            ("putMessageTimesTotal", "4"),
            ("putMessageAverageSize", "2.5"),
            ("putLatency99", "1.05"),
            ("putLatency999", "2.00"),
            ("remainHowManyDataToFlush", "1.5 KiB"),
            ("commitLogDiskRatio_/a", "0.5"),
            ("commitLogDiskRatio_/b", "0.25"),
            ("commitLogDiskRatio", "0.25"),
            ("consumeQueueDiskRatio", "-1.0"),
            ("scheduleMessageOffset_3", "5,7"),
            (
                "putMessageDistributeTime",
                "[<=0ms]:0 [0~10ms]:1 [10~50ms]:2 [50~100ms]:3 [100~200ms]:4 [200~500ms]:5 [500ms~1s]:6 [1~2s]:7 [2~3s]:8 [3~4s]:9 \
                 [4~5s]:10 [5~10s]:11 [10s~]:12 ",
            ),
        ];
        for (key, text) in texts {
            assert_eq!(table[key], text, "{key}");
        }
    }
}
