// SPDX-License-Identifier: Apache-2.0
//! A slave's tables follow its master's: topics, groups, what groups have consumed, how far delayed messages are delivered. In the original
//! SlaveSynchronize.
//!
//! The original copies once a minute, and everything anew each time, since its own version never is the master's. Here a table takes the
//! master's version with its entries, so that nothing is written while nothing changes, and a copy every 10 s costs next to nothing. How
//! far delayed messages and transactions are is taken over when the disk here has the log that it speaks of: otherwise a slave that
//! becomes master would take for delivered what it does not have. All of it is asked for on the master's port: the original asks for the
//! topics on the VIP port, two below, where another broker may listen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrocket_protocol::body::topic::TopicConfigAndMappingSerializeWrapper;
use ferrocket_protocol::body::{KvTable, MessageRequestModeSerializeWrapper, SubscriptionGroupWrapper, TopicConfig};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::fastjson::ReadError;
use ferrocket_protocol::header::admin::group::{GetAllSubscriptionGroupRequestHeader, GetAllSubscriptionGroupResponseHeader};
use ferrocket_protocol::header::admin::topic::{GetAllTopicConfigRequestHeader, GetAllTopicConfigResponseHeader};
use ferrocket_protocol::topic_names::{LMQ_PREFIX, SYSTEM_TRANS_GROUP, is_system};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, request_code};
use thiserror::Error;
use tracing::{info, warn};

use super::slave::SlaveTerm;
use crate::broker::consumer_offsets::Lacking;
use crate::broker::persist::PersistError;
use crate::broker::{Broker, WriteError};
use crate::remoting::{CallError, RemotingClient};
use crate::runtime::Seldom;
use crate::store::StoreError;

/// How often the master is asked where its log ends.
const TURN: Duration = Duration::from_secs(3);
/// How often the tables are copied. The original's minute is what a group would consume twice after a failover.
const COPY_NANOS: u64 = 10_000_000_000;
/// How long an answer may take: the original's times.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const PAGE_ANSWER_MAX: Duration = Duration::from_secs(30);
/// Entries of one page, as the original asks for them.
const PAGE_COUNT: i32 = 2_000;
/// So often a table may change while it is read page by page before the next turn tries again.
const RESTARTS_MAX: usize = 5;
/// Topics, or groups, that are taken over: a master whose pages do not end must not fill the memory here.
const ENTRIES_MAX: usize = 500_000;
/// The key of the answer to 28 that says where the master's log ends.
const LOG_END_KEY: &str = "commitLogMaxOffset";

/// Why something of the master's tables could not be taken over.
#[derive(Debug, Error)]
enum CopyError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    #[error("its answer does not say where its log ends")]
    NoLogEnd,
    #[error("its pages do not come to an end")]
    NoEnd,
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Persist(#[from] PersistError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("see the log")]
    Panicked,
}

/// How far the master was with delayed messages and transactions when its log ended at `log_end`.
#[derive(Clone)]
struct MasterProgress {
    log_end: i64,
    delay_offsets: Bytes,
    consumer_offsets: Bytes,
}

struct Copier {
    broker: Arc<Broker>,
    term: Arc<SlaveTerm>,
    client: RemotingClient,
    /// Waits for our log. At most one: what follows it speaks of a later end, to which a slave that is behind would never come.
    progress: Option<MasterProgress>,
    copied_nanos: Option<u64>,
    /// Topics that the master has no more, and where its log ended while it had none of that name.
    gone: BTreeMap<Arc<str>, i64>,
    /// What it has no offsets of, by its last answer.
    lacking: Lacking,
    /// What was said last of each thing that could not be copied.
    complaints: BTreeMap<&'static str, (String, Seldom)>,
}

pub(in crate::broker) fn start(broker: &Arc<Broker>, term: Arc<SlaveTerm>) {
    let mut copier = Copier {
        broker: Arc::clone(broker),
        client: RemotingClient::new(&broker.runtime),
        progress: None,
        copied_nanos: None,
        gone: BTreeMap::new(),
        lacking: Lacking::new(),
        complaints: BTreeMap::new(),
        term: Arc::clone(&term),
    };
    broker.runtime.spawn_essential("copy the master's tables", async move {
        term.over.or(copier.run()).await;
        copier.client.close_all("a slave no more").await;
    });
}

impl Copier {
    async fn run(&mut self) {
        let mut told = self.broker.slave.master_news();
        loop {
            told.mark_unchanged();
            let own = self.broker.address().advertised.registered().to_owned();
            if let Some(master) = self.broker.slave.master_addr().filter(|master| *master != own) {
                self.turn(&master).await;
            }
            tokio::select! {
                () = self.broker.clock.sleep(TURN) => {}
                // The sender lives in the broker.
                _ = told.changed() => self.copied_nanos = None,
            }
        }
    }

    async fn turn(&mut self, master: &str) {
        let now = self.broker.clock.nanos();
        let is_due = self.copied_nanos.is_none_or(|copied| now - copied >= COPY_NANOS);
        // Asked for before the log's end, so that what they speak of lies before it.
        let tables = if is_due { Some(self.read_progress(master).await) } else { None };
        // What the log here has by now the master's had before it answers.
        let own_end = self.broker.store.max_phy_offset();
        let log_end = self.log_end(master).await;
        let log_end = self.heard("where its log ends", log_end);
        if let Some(log_end) = log_end {
            self.broker.slave.note_master_end(log_end, own_end);
        }
        // The tables of a master that has less than its slave are not worth those here.
        let log_end = log_end.filter(|log_end| own_end <= *log_end);
        if let (Some(log_end), Some((delay_offsets, consumer_offsets))) = (log_end, tables) {
            self.copy(master, log_end, delay_offsets, consumer_offsets).await;
            if self.copied_nanos.replace(now).is_none() {
                info!(master, "the master's tables were copied, and are every 10 s");
            }
        }
        let taken = self.take_progress().await;
        self.heard("delayed messages and transactions", taken);
        let forgotten = self.forget_topics().await;
        self.heard("topics that are gone", forgotten);
    }

    async fn read_progress(&self, master: &str) -> (Result<Bytes, CopyError>, Result<Bytes, CopyError>) {
        let delay_offsets = self.ask(master, request_code::GET_ALL_DELAY_OFFSET).await;
        (delay_offsets, self.ask(master, request_code::GET_ALL_CONSUMER_OFFSET).await)
    }

    async fn copy(
        &mut self,
        master: &str,
        log_end: i64,
        delay_offsets: Result<Bytes, CopyError>,
        consumer_offsets: Result<Bytes, CopyError>,
    ) {
        let delay_offsets = self.heard("how far delayed messages are", delay_offsets);
        let consumer_offsets = self.heard("what groups have consumed", consumer_offsets);
        if let (Some(delay_offsets), Some(consumer_offsets), None) = (delay_offsets, &consumer_offsets, &self.progress) {
            self.progress = Some(MasterProgress { log_end, delay_offsets, consumer_offsets: consumer_offsets.clone() });
        }
        // Topics first, as in the original: offsets and groups are of topics.
        let topics = self.copy_topics(master, log_end).await;
        self.heard("topics", topics);
        if let Some(offsets) = consumer_offsets {
            let mut lacking = std::mem::take(&mut self.lacking);
            let taken = self.apply(move |broker| {
                take_offsets(broker, &offsets, |group| group != SYSTEM_TRANS_GROUP, &mut lacking)?;
                Ok(lacking)
            });
            let taken = taken.await;
            self.lacking = self.heard("what groups have consumed", taken).flatten().unwrap_or_default();
        }
        let groups = self.copy_groups(master).await;
        self.heard("groups", groups);
        let modes = self.copy_request_modes(master).await;
        self.heard("how groups are served", modes);
    }

    /// What went well. The rest is said when it is new, and once a minute.
    fn heard<T>(&mut self, what: &'static str, outcome: Result<T, CopyError>) -> Option<T> {
        let (said, seldom) = self.complaints.entry(what).or_default();
        match outcome {
            Ok(value) => {
                said.clear();
                Some(value)
            }
            Err(error) => {
                let why = error.to_string();
                if *said != why || seldom.is_due(self.broker.clock.nanos()) {
                    warn!(what, why, "not copied from the master; trying again");
                    *said = why;
                }
                None
            }
        }
    }

    async fn ask(&self, addr: &str, code: i32) -> Result<Bytes, CopyError> {
        Ok(self.client.succeed(addr, RemotingCommand::request(code), ANSWER_MAX).await?.body)
    }

    async fn log_end(&self, master: &str) -> Result<i64, CopyError> {
        let figures: KvTable = fastjson::from_slice(&self.ask(master, request_code::GET_BROKER_RUNTIME_INFO).await?)?;
        figures.table.get(LOG_END_KEY).and_then(|text| text.parse().ok()).ok_or(CopyError::NoLogEnd)
    }

    async fn copy_topics(&mut self, master: &str, log_end: i64) -> Result<(), CopyError> {
        let mut pages = Pages::<TopicConfig>::default();
        loop {
            let header = GetAllTopicConfigRequestHeader {
                topic_seq: Some(pages.table.len() as i32),
                data_version: Some(pages.version_text()),
                max_topic_num: Some(PAGE_COUNT),
            };
            let request = RemotingCommand::request_with(request_code::GET_ALL_TOPIC_CONFIG, &header);
            let answer = self.client.succeed(master, request, PAGE_ANSWER_MAX).await?;
            let total = answer.header::<GetAllTopicConfigResponseHeader>().map_or(0, |header| header.total_topic_num);
            let page: TopicConfigAndMappingSerializeWrapper = fastjson::from_slice(&answer.body)?;
            if pages.are_whole(page.data_version, page.topic_config_table, total)? {
                break;
            }
        }
        let Pages { version, table, .. } = pages;
        let taken = self.apply(move |broker| {
            let is_news = broker.topics.take_over(version.unwrap_or_default(), table);
            // What could not be written is again with the next turn.
            broker.topics.persist()?;
            // By its queues: a start knows no more of what was gone before.
            let mut gone = broker.store.topics();
            gone.retain(|topic| !broker.topics.contains(topic) && !is_system(topic) && !topic.starts_with(LMQ_PREFIX));
            Ok((is_news, gone))
        });
        if let Some((is_news, gone)) = taken.await? {
            let known = std::mem::take(&mut self.gone);
            let since = |topic: &Arc<str>| known.get(topic).copied().unwrap_or(log_end);
            self.gone = gone.into_iter().map(|topic| (Arc::clone(&topic), since(&topic))).collect();
            if is_news {
                self.broker.announce();
            }
        }
        Ok(())
    }

    async fn copy_groups(&mut self, master: &str) -> Result<(), CopyError> {
        let mut pages = Pages::default();
        let mut forbidden = BTreeMap::new();
        loop {
            let header = GetAllSubscriptionGroupRequestHeader {
                group_seq: Some(pages.table.len() as i32),
                data_version: Some(pages.version_text()),
                max_group_num: Some(PAGE_COUNT),
            };
            let request = RemotingCommand::request_with(request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &header);
            let answer = self.client.succeed(master, request, PAGE_ANSWER_MAX).await?;
            let total = answer.header::<GetAllSubscriptionGroupResponseHeader>().map_or(0, |header| header.total_group_num);
            let page: SubscriptionGroupWrapper = fastjson::from_slice(&answer.body)?;
            forbidden.extend(page.forbidden_table);
            if pages.are_whole(page.data_version, page.subscription_group_table, total)? {
                break;
            }
        }
        let (data_version, subscription_group_table) = (pages.version.unwrap_or_default(), pages.table);
        let taken = SubscriptionGroupWrapper { data_version, forbidden_table: forbidden, subscription_group_table };
        self.apply(move |broker| {
            broker.groups.take_over(taken);
            Ok(broker.groups.persist()?)
        })
        .await?;
        Ok(())
    }

    /// Whether groups pull or pop: nothing here goes by it yet, a master of the original that takes this store over does.
    async fn copy_request_modes(&mut self, master: &str) -> Result<(), CopyError> {
        let modes: MessageRequestModeSerializeWrapper = match self.ask(master, request_code::GET_ALL_MESSAGE_REQUEST_MODE).await {
            Ok(body) => fastjson::from_slice(&body)?,
            // One that has none.
            Err(CopyError::Call(error)) if error.is_unserved() => return Ok(()),
            Err(error) => return Err(error),
        };
        self.apply(move |broker| {
            let file = &broker.request_modes_file;
            let held = file.load(fastjson::from_slice::<MessageRequestModeSerializeWrapper>)?;
            if held.unwrap_or_default() != modes {
                file.store(&fastjson::to_pretty(&modes))?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn take_progress(&mut self) -> Result<(), CopyError> {
        let flushed = self.broker.store.flushed_offset();
        let Some(MasterProgress { delay_offsets, consumer_offsets, .. }) = self.progress.take_if(|progress| progress.log_end <= flushed)
        else {
            return Ok(());
        };
        self.apply(move |broker| {
            if broker.schedule.take_over(&delay_offsets)? {
                broker.schedule.persist()?;
            }
            take_offsets(broker, &consumer_offsets, |group| group == SYSTEM_TRANS_GROUP, &mut Lacking::new())
        })
        .await?;
        Ok(())
    }

    /// A topic that is made anew on the master begins with queue offset 0: what its queues had before must be gone here, too.
    async fn forget_topics(&mut self) -> Result<(), CopyError> {
        let end = self.broker.store.max_phy_offset();
        let ready: Vec<(Arc<str>, i64)> = self.gone.extract_if(.., |_, log_end| *log_end <= end).collect();
        if ready.is_empty() {
            return Ok(());
        }
        self.apply(move |broker| {
            for (topic, log_end) in ready {
                // Else it was made since, for the first time or anew.
                if last_end(broker, &topic)? <= log_end {
                    broker.delete_one_topic(&topic)?;
                    info!(%topic, "the master has the topic no more: its queues are gone here, too");
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Runs where it may wait for the disk; `None` when this is a slave no more.
    async fn apply<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> Result<T, CopyError> + Send + 'static,
    ) -> Result<Option<T>, CopyError> {
        let (broker, term) = (Arc::clone(&self.broker), Arc::clone(&self.term));
        let run = move || {
            let _working = term.work()?;
            Some(work(&broker))
        };
        let outcome = self.broker.runtime.spawn_blocking("take over the master's tables", run).join().await;
        outcome.ok_or(CopyError::Panicked)?.transpose()
    }
}

/// A table that comes page by page.
struct Pages<T> {
    version: Option<DataVersion>,
    table: BTreeMap<String, T>,
    restarts: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { version: None, table: BTreeMap::new(), restarts: 0 }
    }
}

impl<T> Pages<T> {
    /// Of the pages so far, as the next request says it.
    fn version_text(&self) -> Str {
        self.version.as_ref().map(fastjson::to_string).unwrap_or_default().into()
    }

    /// Takes one page; whether it was the last. `total`: entries in all; 0 of a master that knows no pages and sends everything.
    fn are_whole(&mut self, version: DataVersion, page: BTreeMap<String, T>, total: i32) -> Result<bool, CopyError> {
        if self.version.as_ref().is_some_and(|known| *known != version) {
            // The master begins anew, too: this is its first page.
            self.table.clear();
            self.restarts += 1;
            if self.restarts > RESTARTS_MAX {
                return Err(CopyError::NoEnd);
            }
        }
        self.version = Some(version);
        let before = self.table.len();
        self.table.extend(page);
        if self.table.len() > ENTRIES_MAX {
            return Err(CopyError::NoEnd);
        }
        if total <= 0 || self.table.len() >= total as usize {
            return Ok(true);
        }
        if self.table.len() == before { Err(CopyError::NoEnd) } else { Ok(false) }
    }
}

fn take_offsets(broker: &Broker, table: &[u8], is_wanted: impl Fn(&str) -> bool, lacking: &mut Lacking) -> Result<(), CopyError> {
    broker.consumer_offsets.take_over(table, is_wanted, lacking)?;
    Ok(broker.consumer_offsets.persist()?)
}

/// Where in the log the last message of the topic ends; 0 without one.
fn last_end(broker: &Broker, topic: &str) -> Result<i64, StoreError> {
    let mut last = 0;
    for queue_id in broker.store.queue_ids(topic) {
        let offset = broker.store.queue_offsets(topic, queue_id)?.end - 1;
        if let Some(unit) = broker.store.consume_queue_unit(topic, queue_id, offset)? {
            last = last.max(unit.physical_offset + i64::from(unit.size));
        }
    }
    Ok(last)
}
