// SPDX-License-Identifier: Apache-2.0
//! `config/transactionMetrics`: per topic, how many of its half messages are open, as the original counts and keeps it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::broker::persist::{ConfigFile, PersistError};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Table {
    data_version: DataVersion,
    transaction_count: BTreeMap<String, Metric>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metric {
    count: i64,
    /// When it last changed.
    time_stamp: i64,
}

#[derive(Debug)]
pub(super) struct Metrics {
    table: Mutex<Table>,
    changes: AtomicU64,
    written: Mutex<u64>,
    file: ConfigFile,
}

impl Metrics {
    /// What the file has, or nothing: figures for people, without which a broker does all its work.
    pub(super) fn load(file: ConfigFile, now_millis: i64) -> Self {
        let stored = file.load(fastjson::from_slice::<Table>).unwrap_or_else(|error| {
            warn!(%error, "open transactions are counted from zero");
            None
        });
        let table = stored.unwrap_or_else(|| Table { data_version: DataVersion::at(now_millis), ..Table::default() });
        Self { table: Mutex::new(table), changes: AtomicU64::new(0), written: Mutex::new(0), file }
    }

    pub(super) fn add(&self, topic: &str, change: i64, now_millis: i64) {
        let mut table = self.table.lock();
        table.data_version.next(now_millis);
        match table.transaction_count.get_mut(topic) {
            Some(metric) => *metric = Metric { count: metric.count + change, time_stamp: now_millis },
            None => {
                table.transaction_count.insert(topic.to_owned(), Metric { count: change, time_stamp: now_millis });
            }
        }
        drop(table);
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn count(&self, topic: &str) -> i64 {
        self.table.lock().transaction_count.get(topic).map_or(0, |metric| metric.count)
    }

    /// Writes the file unless it already holds every change. Blocks on the disk.
    pub(super) fn persist(&self) -> Result<(), PersistError> {
        let mut written = self.written.lock();
        let changes = self.changes.load(Ordering::Acquire);
        if *written == changes {
            return Ok(());
        }
        let bytes = fastjson::to_vec(&*self.table.lock());
        self.file.store(&bytes)?;
        *written = changes;
        Ok(())
    }
}
