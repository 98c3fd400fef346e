// SPDX-License-Identifier: Apache-2.0
//! Why a key is accepted without effect: one sentence per reason.

pub(super) const ALWAYS: &str = "it is always so";
pub(super) const AUTH: &str = "access control is not there yet";
pub(super) const COLD_DATA: &str = "reads of cold data run beside the others and need no brake";
pub(super) const COMPACTION: &str = "compacted topics are not there yet";
pub(super) const CONFIG_PATH: &str = "the file is the one given by -c";
pub(super) const CONTAINER: &str = "the broker container is not there yet";
pub(super) const DEAD: &str = "the original does not read it either";
pub(super) const ESCAPE: &str =
    "a slave that acts for its master sends nothing to another one yet: delayed messages and open transactions wait for the master";
pub(super) const FALL_BEHIND: &str = "a group that falls behind is not stopped";
pub(super) const FIXED_EXPIRY: &str = "the original's default is kept";
pub(super) const INDEX: &str = "messageIndexEnable decides about the index";
pub(super) const LITE: &str = "lite topics and queues of queues (LMQ) are not there yet";
pub(super) const LOGGING: &str = "one log, by level: see RUST_LOG";
pub(super) const LOOKUP: &str = "name servers are given by address; looking them up is not there yet";
pub(super) const METRICS: &str = "exporting metrics is not there yet";
pub(super) const NETTY: &str = "sockets and buffers are managed differently, with fixed limits";
pub(super) const NO_SETTER: &str = "the original cannot be told it in a file either";
pub(super) const OLD_SPELLING: &str = "the spelling up to 4.5.1; the original ignores it since, use mappedFileSize...";
pub(super) const POOLS: &str = "requests run where they arrive; there are no thread pools and queues to size";
pub(super) const POP: &str = "POP consumption is not there yet";
pub(super) const PROXY: &str = "the proxy is not there yet";
pub(super) const QUEUE_SYNC: &str = "the log rebuilds ConsumeQueues; they are synced every flushConsumeQueueThoroughInterval";
pub(super) const RATE: &str = "deletions need no pacing";
pub(super) const RECALL: &str = "recalling delayed messages is not there yet";
pub(super) const RECOVERY: &str = "recovery reads the log once, with its checks";
pub(super) const REPLICATION: &str = "replication and the controller are not there yet";
pub(super) const ROCKSDB: &str = "there is no RocksDB here";
pub(super) const SCHEDULE: &str = "delayed messages are delivered level by level, in order";
pub(super) const SQL_BITMAP: &str = "SQL92 filters are not there yet";
pub(super) const STATIC_SUBSCRIPTION: &str = "subscriptions come with heartbeats and pulls only";
pub(super) const STATS: &str = "statistics are always kept, and cost little";
pub(super) const TIMER: &str = "timed messages are not there yet; the 18 delay levels are";
pub(super) const TUNING: &str = "it tunes a mechanism of the original that is not needed here";
