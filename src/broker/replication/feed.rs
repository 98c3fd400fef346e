// SPDX-License-Identifier: Apache-2.0
//! One slave of this master: its reports are read and believed as far as they can be true, and what its log lacks is sent. Java's
//! DefaultHAConnection.
//!
//! A piece is sent from where it lies in memory, or else read on the pool first. While the slave is waited for nothing of the log is held,
//! and no more than one piece of it is kept: a slave that does not read costs its socket and that.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ferrocket_protocol::ha::{HA_HEADER_BYTES, HA_REPORT_BYTES, HaHeader, LOGS_DIFFER_REPORT, decode_report};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::flow::Flow;
use crate::config::ConfigCell;
use crate::runtime::{Runtime, SharedClock};
use crate::store::{LogRange, MessageStore};

/// Bytes of a slave that are read at once. Of many reports in them the last counts.
const REPORTS_READ_BYTES: usize = 512 * HA_REPORT_BYTES;

/// Why a slave is sent nothing more.
#[derive(Debug, Error)]
pub(super) enum FeedEnd {
    #[error("it has left")]
    Left,
    #[error("the connection broke: {0}")]
    Broke(#[from] io::Error),
    #[error("it has said nothing that makes sense for longer than haHousekeepingInterval")]
    Silent,
    #[error("it has taken nothing for longer than haHousekeepingInterval")]
    Deaf,
    #[error("it had not said where its log ends, and all places were taken")]
    Displaced,
    #[error("it ended inside of a report")]
    InsideReport,
    #[error("it reports that its log ends at {0}, which cannot be")]
    Negative(i64),
    #[error(
        "it says that its log differs from this one, and where: in its own log; it must begin anew with an empty store, or be the master"
    )]
    Differs,
    #[error(
        "it reports that its log ends at {report}, and ours ends at {end}: it has what this master lacks, and must begin anew with an empty store"
    )]
    Ahead { report: i64, end: i64 },
    #[error("it reports that its log ends at {report}, and was sent no more than up to {sent}")]
    Unsent { report: i64, sent: i64 },
    #[error("it reports that its log ends at {report}, and it had reported {before}")]
    Back { report: i64, before: i64 },
    #[error("the log at {0} was deleted while it was sent")]
    Deleted(i64),
    #[error("this broker is no master any more, or stops")]
    Stopped,
}

/// What is known of a slave while it is connected.
#[derive(Debug)]
pub(super) struct FedSlave {
    pub(super) addr: SocketAddr,
    /// As the store knows it: an address may come again before its last connection has ended.
    name: String,
    /// Where its log ends, as it said last; -1 before it has said so.
    reported: AtomicI64,
    /// Where the bytes end that were given to its socket; -1 before any could be.
    sent: AtomicI64,
    /// When its log last ended where ours did; or when it came.
    caught_up_nanos: AtomicU64,
    flow: Mutex<Flow>,
    /// Its place is given to another.
    pub(super) displaced: Notify,
}

impl FedSlave {
    pub(super) fn new(addr: SocketAddr, number: u64, now_nanos: u64) -> Self {
        Self {
            addr,
            name: format!("{addr} #{number}"),
            reported: AtomicI64::new(-1),
            sent: AtomicI64::new(-1),
            caught_up_nanos: AtomicU64::new(now_nanos),
            flow: Mutex::new(Flow::new(now_nanos)),
            displaced: Notify::new(),
        }
    }

    /// What it has said counts no longer, until it says it again.
    pub(super) fn doubt(&self, store: &MessageStore) {
        store.forget_replica(&self.name);
    }

    pub(super) fn reported(&self) -> i64 {
        self.reported.load(Ordering::Acquire)
    }

    pub(super) fn sent(&self) -> i64 {
        self.sent.load(Ordering::Acquire)
    }

    pub(super) fn bytes_in_second(&self, now_nanos: u64) -> u64 {
        self.flow.lock().bytes_in_second(now_nanos)
    }

    pub(super) fn caught_up_nanos(&self) -> u64 {
        self.caught_up_nanos.load(Ordering::Relaxed)
    }

    /// Whether its log may end there, of a master's log that ends at `end`.
    fn believe(&self, report: i64, end: i64) -> Result<(), FeedEnd> {
        let (before, sent) = (self.reported(), self.sent());
        match report {
            LOGS_DIFFER_REPORT => Err(FeedEnd::Differs),
            ..0 => Err(FeedEnd::Negative(report)),
            _ if report < before => Err(FeedEnd::Back { report, before }),
            _ if before < 0 && report > end => Err(FeedEnd::Ahead { report, end }),
            // The first report says where to begin, and may come twice before anything is sent.
            _ if before >= 0 && report > sent.max(before) => Err(FeedEnd::Unsent { report, sent: sent.max(before) }),
            _ => Ok(()),
        }
    }
}

/// A slave's connection, with what its task needs.
pub(super) struct Feed {
    pub(super) slave: Arc<FedSlave>,
    pub(super) stream: TcpStream,
    pub(super) store: Arc<MessageStore>,
    pub(super) config: Arc<ConfigCell>,
    pub(super) runtime: Runtime,
    /// A command has changed the configuration.
    pub(super) reconfigured: Arc<Notify>,
    pub(super) reported_first: Notify,
    /// Called when it has said for the first time where its log ends.
    pub(super) on_first_report: Box<dyn Fn() + Send + Sync>,
}

impl Feed {
    /// Until either end has had enough.
    pub(super) async fn run(&self) -> FeedEnd {
        let Err(ended) = tokio::select! {
            ended = self.read_reports() => ended,
            ended = self.send_log() => ended,
            () = self.slave.displaced.notified() => return FeedEnd::Displaced,
        };
        ended
    }

    fn clock(&self) -> &SharedClock {
        self.runtime.clock()
    }

    /// Returns at this moment, or earlier when the configuration has changed since `changed` was made.
    async fn until(&self, moment_nanos: u64, changed: tokio::sync::futures::Notified<'_>) {
        let left = Duration::from_nanos(moment_nanos.saturating_sub(self.clock().nanos()));
        tokio::select! {
            () = self.clock().sleep(left) => {}
            () = changed => {}
        }
    }

    async fn read_reports(&self) -> Result<std::convert::Infallible, FeedEnd> {
        let mut buffer = [0; REPORTS_READ_BYTES];
        // Of a report that has not come whole.
        let mut kept = 0;
        let mut heard_nanos = self.clock().nanos();
        loop {
            let changed = self.reconfigured.notified();
            let silent_nanos = heard_nanos + nanos(self.config.load().ha_housekeeping_interval);
            if self.clock().nanos() >= silent_nanos {
                return Err(FeedEnd::Silent);
            }
            tokio::select! {
                ready = self.stream.readable() => ready?,
                () = self.until(silent_nanos, changed) => continue,
            }
            match self.stream.try_read(&mut buffer[kept..]) {
                Ok(0) => return Err(if kept == 0 { FeedEnd::Left } else { FeedEnd::InsideReport }),
                Ok(read) => kept += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let (reports, rest) = buffer[..kept].as_chunks::<HA_REPORT_BYTES>();
            let rest = rest.len();
            if let Some(last) = reports.last() {
                // Bytes that make no report are no sign of life.
                heard_nanos = self.clock().nanos();
                self.hear(decode_report(*last), heard_nanos)?;
            }
            buffer.copy_within(kept - rest..kept, 0);
            kept = rest;
        }
    }

    /// Those who waited for the slave are told: all whose messages lie before its end, at once.
    fn hear(&self, report: i64, now_nanos: u64) -> Result<(), FeedEnd> {
        let end = self.store.max_phy_offset();
        self.slave.believe(report, end)?;
        if report == end {
            self.slave.caught_up_nanos.store(now_nanos, Ordering::Relaxed);
        }
        if self.slave.reported.swap(report, Ordering::AcqRel) < 0 {
            (self.on_first_report)();
            self.reported_first.notify_one();
        }
        self.store.acknowledge(&self.slave.name, report);
        Ok(())
    }

    async fn send_log(&self) -> Result<std::convert::Infallible, FeedEnd> {
        // The first heartbeat counts from here, as in Java.
        let mut sent_nanos = self.clock().nanos();
        self.reported_first.notified().await;
        // An empty slave gets the last file only: Java's masters keep to it, and Java's slaves begin where a file does.
        let first = self.slave.reported();
        let mut next = if first == 0 { self.store.last_file_start() } else { first };
        self.slave.sent.store(next, Ordering::Release);
        info!(slave = %self.slave.addr, reported = first, from = next, "a slave is sent the log");
        let follower = self.store.follow();
        let mut is_told_missing = false;
        loop {
            let changed = self.reconfigured.notified();
            let (batch_bytes, heartbeat_nanos, limit) = {
                let config = self.config.load();
                let limit = config.ha_flow_control_enable.then_some(config.max_ha_transfer_byte_in_second as u64);
                (config.ha_transfer_batch_size as usize, nanos(config.ha_send_heartbeat_interval), limit)
            };
            let now = self.clock().nanos();
            if now >= sent_nanos + heartbeat_nanos {
                self.send(next, 0).await?;
                sent_nanos = self.clock().nanos();
                continue;
            }
            let allowed = limit.map_or(Ok(u64::MAX), |limit| self.slave.flow.lock().may_send(limit, now));
            let batch_bytes = match allowed {
                Ok(allowed) => batch_bytes.min(usize::try_from(allowed).unwrap_or(usize::MAX)),
                Err(again_nanos) => {
                    self.until(again_nanos.min(sent_nanos + heartbeat_nanos), changed).await;
                    continue;
                }
            };
            // Only its length is kept.
            let len = self.store.log_range(next, batch_bytes).map(|range| range.len());
            if let Some(len) = len {
                self.send(next, len).await?;
                next += len as i64;
                sent_nanos = self.clock().nanos();
                continue;
            }
            // It is where the log ends; or before its first file, and then it gets heartbeats alone, as in Java.
            let is_missing = next < self.store.min_phy_offset();
            if is_missing && !std::mem::replace(&mut is_told_missing, true) {
                warn!(slave = %self.slave.addr, at = next, begins = self.store.min_phy_offset(), "the log has no longer what this slave lacks: unless it comes back with a later end, it must begin anew with an empty store");
            }
            tokio::select! {
                () = follower.grown_beyond(next), if !is_missing => {}
                () = self.until(sent_nanos + heartbeat_nanos, changed) => {}
            }
        }
    }

    /// A header and the `len` bytes of the log that it speaks of; without any it is a heartbeat.
    async fn send(&self, offset: i64, len: usize) -> Result<(), FeedEnd> {
        let header = HaHeader { physical_offset: offset, body_bytes: len as i32 }.encode();
        // Of the rest, once it was not in memory.
        let mut read: Option<(usize, Vec<u8>)> = None;
        let mut done = 0;
        let mut taken_nanos = self.clock().nanos();
        while done < HA_HEADER_BYTES + len {
            let changed = self.reconfigured.notified();
            let deaf_nanos = taken_nanos + nanos(self.config.load().ha_housekeeping_interval);
            tokio::select! {
                ready = self.stream.writable() => ready?,
                () = self.until(deaf_nanos, changed) => {
                    if self.clock().nanos() >= deaf_nanos {
                        return Err(FeedEnd::Deaf);
                    }
                    continue;
                }
            }
            let before = done;
            let head = &header[done.min(HA_HEADER_BYTES)..];
            let at = done.saturating_sub(HA_HEADER_BYTES);
            let write = |body: &[u8]| self.stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(body)]);
            let written = if let Some((from, bytes)) = &read {
                write(&bytes[at - from..])
            } else if len == 0 {
                write(&[])
            } else {
                let place = offset + at as i64;
                let range = self.store.log_range(place, len - at).ok_or(FeedEnd::Deleted(place))?;
                match range.in_memory() {
                    Some(bytes) => write(bytes),
                    None => {
                        read = Some((at, self.read(range).await?));
                        continue;
                    }
                }
            };
            match written {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            taken_nanos = self.clock().nanos();
            let body_end = offset + done.saturating_sub(HA_HEADER_BYTES) as i64;
            self.slave.sent.store(body_end, Ordering::Release);
            self.slave.flow.lock().add(done - before, taken_nanos);
        }
        Ok(())
    }

    async fn read(&self, range: LogRange) -> Result<Vec<u8>, FeedEnd> {
        let read = self.runtime.spawn_blocking("reading the log for a slave", move || range.read());
        // Without an answer it panicked, which is in the log.
        Ok(read.join().await.unwrap_or_else(|| Err(io::ErrorKind::Other.into()))?)
    }
}

fn nanos(millis: i32) -> u64 {
    millis.max(0) as u64 * 1_000_000
}
