// SPDX-License-Identifier: Apache-2.0
//! A slave's log follows its master's: the original's DefaultHAClient. Finds the master, has itself sent the last records that it has and
//! compares them (`Overlap`), appends what follows, and begins again 5 s after whatever ended that.
//!
//! A log that is not as the master's, or does not end where the master goes on, is left as it is, and an operator is told what to do.
//! What the master's tables have is `metadata`'s.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use ferrocket_protocol::ha::{HA_HEADER_BYTES, HaHeader, LOGS_DIFFER_REPORT, encode_report};
use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::runtime::{Seldom, Shutdown};
use crate::store::{FlushDiskType, MessageStore, Overlap, RawAppendError};

/// Before the next attempt, as the original waits.
const RECONNECT: Duration = Duration::from_secs(5);
/// How long a connection may take, as in the original.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The body of one piece: the original's slave has no room for more than 4 MiB with the header.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024 - HA_HEADER_BYTES;
/// Read in one go. A slave that is behind is sent more than one append should keep in memory.
const READ_BYTES: usize = 512 * 1024;
/// What is kept of a record, or of a file's blank end, that is not whole yet. The original takes requests of 16 MiB, and a master with a
/// greater frame has it set by hand.
const BEGUN_BYTES_MAX: usize = 32 * 1024 * 1024;
/// With so many heartbeats after one another a master has nothing more: one may be under way before what was asked for.
const IDLE_HEARTBEATS: u32 = 2;
/// How long a master that was told that the logs differ may take to close the connection: closed here first, it might not read that.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// What a broker knows of its master, and how following it goes. Of a master nothing of it is used.
#[derive(Debug)]
pub struct Slave {
    told: watch::Sender<ToldMaster>,
    term: Mutex<Option<Arc<SlaveTerm>>>,
    link: Mutex<LinkFigures>,
    /// Where the master's log ends, as far as it has said; -1 before.
    master_end: AtomicI64,
    /// The log here is longer than the master's.
    is_ahead: AtomicBool,
    /// Where an empty log begins; -1: where the master chooses.
    begin: AtomicI64,
}

/// Where name servers say that the master is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ToldMaster {
    addr: Option<String>,
    ha_addr: Option<String>,
}

/// From becoming a slave to being one no more.
#[derive(Debug)]
pub(in crate::broker) struct SlaveTerm {
    pub(super) over: Shutdown,
    /// Held for each piece of work that changes the log or a table.
    working: Mutex<()>,
}

impl SlaveTerm {
    /// To be held while something of the master's is taken over; `None`: nothing of it may be any more.
    pub(super) fn work(&self) -> Option<MutexGuard<'_, ()>> {
        let working = self.working.lock();
        (!self.over.has_begun()).then_some(working)
    }
}

/// How the connection to the master's replication port stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFigures {
    pub is_connected: bool,
    pub last_read_millis: i64,
    pub last_write_millis: i64,
    /// Read in the last whole second.
    pub bytes_per_second: i64,
    second: i64,
    bytes_in_second: i64,
}

impl LinkFigures {
    fn count_read(&mut self, bytes: usize, now_millis: i64) {
        self.turn(now_millis);
        self.bytes_in_second += bytes as i64;
        self.last_read_millis = now_millis;
    }

    fn turn(&mut self, now_millis: i64) {
        let second = now_millis / 1_000;
        if second != self.second {
            self.bytes_per_second = if second == self.second + 1 { self.bytes_in_second } else { 0 };
            (self.second, self.bytes_in_second) = (second, 0);
        }
    }
}

/// Why the master's log is followed no longer. The text is for an operator.
#[derive(Debug, Error)]
enum LinkEnd {
    #[error("no connection: {0}")]
    NoConnection(io::Error),
    #[error("no connection within {CONNECT_MAX:?}")]
    ConnectTimeout,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the master closed the connection")]
    Closed,
    #[error("nothing came from it for {0:?} (haHousekeepingInterval)")]
    Silent(Duration),
    #[error("it takes no reports")]
    Deaf,
    #[error("it announces a piece of {0} bytes, which no master sends: haMasterAddress must be the replication port of a broker")]
    Length(i32),
    #[error(
        "the master goes on at {offset}, and the log here ends at {end}: the two differ, and no replication can mend that; stop this broker, \
         move its store away and start it with an empty one"
    )]
    Elsewhere { offset: i64, end: i64 },
    #[error(
        "the log here is not the master's: the two differ at {0}, before the end of the log here, and no replication can mend that; stop this \
         broker, move its store away and start it with an empty one"
    )]
    Differs(i64),
    #[error("the last records of the log here could not be read to compare them: {0}")]
    Unreadable(io::Error),
    #[error(
        "the master has nothing where the log here is to be compared with its: either it has deleted that, or its log is shorter; if this stays, \
         stop this broker, move its store away and start it with an empty one, or let it be the master"
    )]
    NothingThere,
    #[error(
        "the log here is longer than the master's, which would write other messages in the same places: stop this broker, move its store \
         away and start it with an empty one; or let it be the master"
    )]
    Ahead,
    #[error("a record or the blank end of a file has more than {BEGUN_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}; what the master sent is not taken")]
    Append(#[from] RawAppendError),
    #[error("what the master sent could not be appended: see the log")]
    Panicked,
}

impl Default for Slave {
    fn default() -> Self {
        Self {
            told: watch::Sender::default(),
            term: Mutex::default(),
            link: Mutex::default(),
            master_end: AtomicI64::new(-1),
            is_ahead: AtomicBool::new(false),
            begin: AtomicI64::new(-1),
        }
    }
}

impl Slave {
    /// What a name server says: one that knows no master says nothing.
    pub fn learn_master(&self, addr: Option<String>, ha_addr: Option<String>) {
        self.told.send_if_modified(|told| {
            let mut is_news = false;
            for (known, learned) in [(&mut told.addr, addr), (&mut told.ha_addr, ha_addr)] {
                if learned.is_some() && *known != learned {
                    *known = learned;
                    is_news = true;
                }
            }
            is_news
        });
    }

    /// Of a master no more is known than where it replicates, if that; the rest name servers will say.
    pub(super) fn know_only(&self, ha_addr: Option<String>) {
        self.told.send_replace(ToldMaster { addr: None, ha_addr });
    }

    /// An empty log begins at this place, where a file of the master's does. Without it a master sends an empty slave its last file alone.
    pub fn begin_at(&self, offset: i64) {
        self.begin.store(offset, Ordering::Release);
    }

    /// Its tables are asked for now.
    pub fn copy_tables(&self) {
        self.told.send_modify(|_| ());
    }

    /// Changes when a name server says something new.
    pub(super) fn master_news(&self) -> watch::Receiver<ToldMaster> {
        self.told.subscribe()
    }

    /// Where the master takes requests, when a name server has said so.
    pub(super) fn master_addr(&self) -> Option<String> {
        self.told.borrow().addr.clone()
    }

    /// Where the master's replication port is: `haMasterAddress`, else what name servers say. The original forgets the key.
    pub fn ha_addr(&self, config: &BrokerConfig) -> Option<String> {
        let key = Some(config.ha_master_address.clone()).filter(|key| !key.is_empty());
        key.or_else(|| self.told.borrow().ha_addr.clone())
    }

    /// Whether the master is there to be followed.
    pub fn is_connected(&self) -> bool {
        self.link.lock().is_connected
    }

    pub fn figures(&self, now_millis: i64) -> LinkFigures {
        let mut link = self.link.lock();
        link.turn(now_millis);
        link.clone()
    }

    /// How much of the master's log is missing here, as far as the master has said where it ends.
    pub fn behind_bytes(&self, end: i64) -> Option<i64> {
        let master_end = self.master_end.load(Ordering::Relaxed);
        (master_end >= 0).then(|| (master_end - end).max(0))
    }

    /// The master's log ends at `master_end`; it was asked when the one here ended at `end`.
    pub(super) fn note_master_end(&self, master_end: i64, end: i64) {
        self.master_end.store(master_end, Ordering::Relaxed);
        self.is_ahead.store(end > master_end, Ordering::Release);
    }

    /// When it returns nothing of a master's is under way, and none follows. Waits for the append that is, which may wait for the disk.
    pub(in crate::broker) fn stop(&self) {
        let term = self.term.lock().take();
        if let Some(term) = term {
            term.over.begin();
            drop(term.working.lock());
        }
    }
}

/// Begins to follow the master's log, which nothing else may be put into from now on.
pub(in crate::broker) fn start(broker: &Arc<Broker>) -> Arc<SlaveTerm> {
    broker.store.set_copy(true);
    let term = Arc::new(SlaveTerm { over: broker.runtime.shutdown().child(), working: Mutex::new(()) });
    *broker.slave.term.lock() = Some(Arc::clone(&term));
    let (broker, following) = (Arc::clone(broker), Arc::clone(&term));
    broker.runtime.clone().spawn_essential("follow the master's log", async move {
        let over = following.over.clone();
        over.or(follow(&broker, &following)).await;
        broker.slave.link.lock().is_connected = false;
    });
    term
}

async fn follow(broker: &Arc<Broker>, term: &Arc<SlaveTerm>) {
    let mut told = broker.slave.told.subscribe();
    let (mut said, seldom) = (String::new(), Seldom::default());
    // A master of which the first file is the one that the log here ends in has nothing of the file before, and stays silent about it.
    let mut in_last_file = false;
    loop {
        let addr = broker.slave.ha_addr(&broker.config.load());
        let why = match &addr {
            Some(addr) => {
                let ended = follow_at(broker, term, addr, in_last_file).await;
                in_last_file = matches!(ended, LinkEnd::NothingThere);
                ended.to_string()
            }
            // At a start the first answer of a name server is under way.
            None if said.is_empty() => String::new(),
            None => "no name server knows of one yet, and haMasterAddress is not set".to_owned(),
        };
        broker.slave.link.lock().is_connected = false;
        // What stays as it is needs no line every 5 s.
        if why.is_empty() {
            said = "none is known yet".to_owned();
        } else if why != said || seldom.is_due(broker.clock.nanos()) {
            warn!(master = addr, why, "the master's log is not followed; trying again every {RECONNECT:?}");
            said = why;
        }
        let moved = async {
            // The sender lives in the broker.
            while told.changed().await.is_ok() && broker.slave.ha_addr(&broker.config.load()) == addr {}
        };
        tokio::select! {
            () = broker.clock.sleep(RECONNECT) => {}
            () = moved => {}
        }
    }
}

async fn follow_at(broker: &Arc<Broker>, term: &Arc<SlaveTerm>, addr: &str, in_last_file: bool) -> LinkEnd {
    let connected = tokio::select! {
        connected = TcpStream::connect(addr) => connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)),
        () = broker.clock.sleep(CONNECT_MAX) => return LinkEnd::ConnectTimeout,
    };
    let link = match connected {
        Ok(stream) => Link::new(broker, term, stream, in_last_file).await,
        Err(error) => return LinkEnd::NoConnection(error),
    };
    let link = match link {
        Ok(link) => link,
        Err(ended) => return ended,
    };
    broker.slave.link.lock().is_connected = true;
    info!(master = addr, from = link.reported, end = broker.store.max_phy_offset(), "follows the master's log");
    link.run().await
}

/// One connection to the master's replication port.
struct Link<'a> {
    broker: &'a Arc<Broker>,
    term: &'a Arc<SlaveTerm>,
    stream: TcpStream,
    /// Read, and not looked at yet.
    inbox: BytesMut,
    /// Bytes of the present piece that have not come yet.
    body_left: usize,
    /// The master's log from `at` on that has come and is not in ours: mostly the beginning of a record.
    begun: Vec<u8>,
    /// What the log here has from `at` on, until the master's was found to be the same.
    overlap: Option<Overlap>,
    /// Heartbeats since the last piece.
    heartbeats: u32,
    /// `None`: the log here is empty, and begins where the master's first piece does.
    at: Option<i64>,
    reported: i64,
    read_nanos: u64,
    written_nanos: u64,
}

impl<'a> Link<'a> {
    async fn new(broker: &'a Arc<Broker>, term: &'a Arc<SlaveTerm>, stream: TcpStream, in_last_file: bool) -> Result<Self, LinkEnd> {
        let store = Arc::clone(&broker.store);
        let look = move || {
            if syncs(&store) {
                // What is reported counts as being on the disk.
                store.flush_log();
            }
            store.overlap(if in_last_file { store.last_file_start() } else { 0 })
        };
        let looked = broker.runtime.spawn_blocking("read a slave's last records", look).join().await;
        let overlap = looked.ok_or(LinkEnd::Panicked)?.map_err(LinkEnd::Unreadable)?;
        let end = overlap.as_ref().map_or(broker.store.max_phy_offset(), Overlap::start);
        let now = broker.clock.nanos();
        let (at, begun) = match broker.slave.begin.load(Ordering::Acquire) {
            _ if end > 0 => (Some(end), Vec::new()),
            // A report of 0 asks for the last file, and one of 1 for all that follows the first byte: the highest of a record's length, which
            // is 0 in each that is shorter than 16 MiB. With another one it is no record, and nothing is appended.
            0 => (Some(0), vec![0]),
            begin => ((begin > 0).then_some(begin), Vec::new()),
        };
        let reported = at.map_or(0, |at| at + begun.len() as i64);
        Ok(Self {
            broker,
            term,
            stream,
            inbox: BytesMut::new(),
            body_left: 0,
            begun,
            overlap,
            heartbeats: 0,
            at,
            reported,
            read_nanos: now,
            written_nanos: now,
        })
    }

    async fn run(mut self) -> LinkEnd {
        let Err(ended) = self.exchange().await;
        if matches!(ended, LinkEnd::Differs(_) | LinkEnd::Ahead) {
            let clock = &self.broker.clock;
            // The master's operator is told, too, if that can still be; ours is in any case.
            tokio::select! {
                _ = self.say_that_logs_differ() => {}
                () = clock.sleep(FAREWELL_MAX) => {}
            }
        }
        ended
    }

    async fn say_that_logs_differ(&mut self) -> io::Result<()> {
        self.stream.write_all(&encode_report(LOGS_DIFFER_REPORT)).await?;
        self.stream.shutdown().await?;
        while self.stream.read_buf(&mut self.inbox).await? > 0 {
            self.inbox.clear();
        }
        Ok(())
    }

    async fn exchange(&mut self) -> Result<Infallible, LinkEnd> {
        // The original's slave says nothing for the first 5 s; its master waits for it.
        self.report(self.reported).await?;
        let mut due = self.broker.clock.sleep(self.next_due()?);
        loop {
            self.inbox.reserve(READ_BYTES);
            tokio::select! {
                read = self.stream.read_buf(&mut self.inbox) => {
                    let bytes = read?;
                    if bytes == 0 {
                        return Err(LinkEnd::Closed);
                    }
                    self.read_nanos = self.broker.clock.nanos();
                    self.broker.slave.link.lock().count_read(bytes, self.broker.clock.now_millis());
                    self.take_pieces()?;
                    self.append().await?;
                    self.report_growth().await?;
                }
                () = &mut due => {
                    if self.since(self.written_nanos) >= self.interval(|config| config.ha_send_heartbeat_interval) {
                        self.report(self.reported).await?;
                    }
                    due = self.broker.clock.sleep(self.next_due()?);
                }
            }
        }
    }

    /// What has been read: headers are checked, and the bytes behind them compared, or gathered.
    fn take_pieces(&mut self) -> Result<(), LinkEnd> {
        loop {
            let bytes = self.body_left.min(self.inbox.len());
            self.begun.extend_from_slice(&self.inbox[..bytes]);
            self.inbox.advance(bytes);
            self.body_left -= bytes;
            self.compare()?;
            if self.body_left > 0 {
                return Ok(());
            }
            let Some(header) = self.inbox.first_chunk().copied().map(HaHeader::decode) else { return Ok(()) };
            self.body_left = self.checked(header)?;
            self.inbox.advance(HA_HEADER_BYTES);
        }
    }

    /// How many bytes follow the header.
    fn checked(&mut self, header: HaHeader) -> Result<usize, LinkEnd> {
        let HaHeader { physical_offset: offset, body_bytes } = header;
        let length = usize::try_from(body_bytes).ok().filter(|bytes| *bytes <= BODY_BYTES_MAX).ok_or(LinkEnd::Length(body_bytes))?;
        match self.at.map(|at| at.saturating_add(self.begun.len() as i64)) {
            Some(end) if end != offset => return Err(LinkEnd::Elsewhere { offset, end }),
            Some(_) => {}
            None if length > 0 => self.at = Some(offset),
            None => {}
        }
        if self.broker.slave.is_ahead.load(Ordering::Acquire) {
            return Err(LinkEnd::Ahead);
        }
        self.heartbeats = if length > 0 { 0 } else { self.heartbeats + 1 };
        match &self.overlap {
            Some(overlap) if self.heartbeats >= IDLE_HEARTBEATS => {
                Err(if self.at == Some(overlap.start()) { LinkEnd::NothingThere } else { LinkEnd::Ahead })
            }
            _ => Ok(length),
        }
    }

    /// What has come of the part that the log here has, too. What follows it is left.
    fn compare(&mut self) -> Result<(), LinkEnd> {
        let (Some(overlap), Some(at)) = (&self.overlap, self.at) else { return Ok(()) };
        let both = self.begun.len().min((overlap.end() - at) as usize);
        if let Some(offset) = overlap.difference(at, &self.begun[..both]) {
            return Err(LinkEnd::Differs(offset));
        }
        let at = at + both as i64;
        if at == overlap.end() {
            self.overlap = None;
        }
        self.begun.drain(..both);
        self.at = Some(at);
        Ok(())
    }

    /// Whole records go into the log, where that may wait for the disk.
    async fn append(&mut self) -> Result<(), LinkEnd> {
        let Some(at) = self.at.filter(|_| !self.begun.is_empty()) else { return Ok(()) };
        let begun = std::mem::take(&mut self.begun);
        let (store, term) = (Arc::clone(&self.broker.store), Arc::clone(self.term));
        let append = move || {
            let _working = term.work()?;
            let appended = store.append_raw(at, &begun);
            if syncs(&store) {
                store.flush_log();
            }
            Some((appended, begun))
        };
        match self.broker.runtime.spawn_blocking("append to a slave's log", append).join().await {
            Some(Some((appended, mut begun))) => {
                let end = appended?;
                begun.drain(..(end - at) as usize);
                (self.at, self.begun) = (Some(end), begun);
            }
            // It is a slave no more, and this ends soon.
            Some(None) => return Ok(()),
            None => return Err(LinkEnd::Panicked),
        }
        let came = self.at.map_or(0, |at| at.saturating_add(self.begun.len() as i64));
        self.broker.slave.master_end.fetch_max(came, Ordering::Relaxed);
        if self.begun.len() > BEGUN_BYTES_MAX { Err(LinkEnd::TooLong) } else { Ok(()) }
    }

    /// With SYNC_FLUSH the master hears of what the disk has, so that what it takes for acknowledged is on both; the original's slave tells
    /// what is in its log.
    async fn report_growth(&mut self) -> Result<(), LinkEnd> {
        if self.overlap.is_some() {
            return Ok(());
        }
        let store = &self.broker.store;
        let end = if syncs(store) { store.flushed_offset().min(store.max_phy_offset()) } else { store.max_phy_offset() };
        if end > self.reported { self.report(end).await } else { Ok(()) }
    }

    async fn report(&mut self, end: i64) -> Result<(), LinkEnd> {
        let report = encode_report(end);
        let written = match self.stream.try_write(&report) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        if written < report.len() {
            let patience = self.interval(|config| config.ha_housekeeping_interval);
            tokio::select! {
                rest = self.stream.write_all(&report[written..]) => rest?,
                () = self.broker.clock.sleep(patience) => return Err(LinkEnd::Deaf),
            }
        }
        self.reported = end;
        self.written_nanos = self.broker.clock.nanos();
        self.broker.slave.link.lock().last_write_millis = self.broker.clock.now_millis();
        Ok(())
    }

    /// The time until a report is due, or the master has been silent for too long.
    fn next_due(&self) -> Result<Duration, LinkEnd> {
        let housekeeping = self.interval(|config| config.ha_housekeeping_interval);
        let silent = self.since(self.read_nanos);
        if silent >= housekeeping {
            return Err(LinkEnd::Silent(housekeeping));
        }
        let heartbeat = self.interval(|config| config.ha_send_heartbeat_interval).saturating_sub(self.since(self.written_nanos));
        Ok((housekeeping - silent).min(heartbeat))
    }

    /// An interval of 0 would have no end of reports.
    fn interval(&self, key: impl FnOnce(&BrokerConfig) -> i32) -> Duration {
        Duration::from_millis(key(&self.broker.config.load()).max(1) as u64)
    }

    fn since(&self, nanos: u64) -> Duration {
        Duration::from_nanos(self.broker.clock.nanos().saturating_sub(nanos))
    }
}

fn syncs(store: &MessageStore) -> bool {
    store.config().flush_disk_type == FlushDiskType::Sync
}
