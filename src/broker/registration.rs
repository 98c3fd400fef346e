// SPDX-License-Identifier: Apache-2.0
//! Keeps the name servers told: which topics this broker has, where it is, that it lives, and that it leaves.
//!
//! One task per name server, so that a slow or dead one delays no other. Each tells its changes one after the other, always
//! from the newest table: a name server can never keep an older table than the one it was told last. The name server of this
//! process is handed the table as it is, without a frame between.

mod message;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ferrocket_protocol::body::{KvTable, TopicConfig};
use ferrocket_protocol::data_version::DataVersion;
use ferrocket_protocol::header::route::{QueryDataVersionResponseHeader, RegisterBrokerResponseHeader};
use ferrocket_protocol::{RemotingCommand, Str, fastjson, version};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use crate::broker::topics::Topic;
use crate::remoting::{CallError, RemotingClient};
use crate::runtime::{Runtime, Shutdown};

use self::message::Part;
pub use self::message::{BODY_BYTES_MAX, BrokerSnapshot, Form, Identity};

/// First pause after a name server could not be told; doubled up to the registration period.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// How long the original's broker waits for a name server at its shutdown; an orderly stop has 5 s in all.
const UNREGISTER_MAX: Duration = Duration::from_secs(1);

/// Topics of the largest table that is sent whole for each change: about 200 KiB. Above it a change goes alone, by 217, as with
/// `enableSingleTopicRegister`.
const WHOLE_TOPICS_MAX: usize = 1_000;

/// Changed topics that go by 217, one after the other: above it one whole table is less work.
const SINGLES_MAX: usize = 100;

/// How long a name server may take for one topic; it then counts as one that does not know 217, as those of 4.x, which answer
/// nothing. Its connection is kept: a name server drops the broker with it.
const SINGLE_MAX: Duration = Duration::from_secs(1);

/// Since this version a name server may know 217.
const SINGLES_SINCE: i32 = version::V5_0_0;

/// Topics that are handed over at once within the process: routes wait less than a millisecond.
const HANDED_TOPICS_MAX: usize = 1_000;

/// Encoding so many topics takes a millisecond: more is no work for a reactor.
const ENCODED_HERE_MAX: usize = 1_000;

/// The smallest part: a name server takes a first registration with a single topic for a mistake.
const PART_TOPICS_MIN: usize = 2;

/// Where the table comes from, and where the answers of name servers go to.
pub trait RegistrationSource: Send + Sync + 'static {
    fn snapshot(&self) -> BrokerSnapshot;
    fn learn(&self, learned: Learned);
}

/// What a name server answers to a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Topics that are to be ordered.
    pub ordered: Vec<String>,
    /// Where a slave's master is, and where it replicates, when the name server has it.
    pub master_addr: Option<String>,
    pub ha_server_addr: Option<String>,
}

/// The name server of this process.
pub trait Neighbour: Send + Sync + 'static {
    /// Registers the broker with these topics, beside those that it has. `anew` replaces what is held of them; otherwise only what
    /// is missing is added.
    fn take(&self, snapshot: &BrokerSnapshot, topics: Vec<TopicConfig>, anew: bool) -> Learned;
    /// The broker has these topics no longer.
    fn forget_topics(&self, at: &Identity, topics: &[Arc<str>]);
    /// The broker was told whole: it has the topics of which `is_ours` is true, and no others.
    fn was_whole(&self, at: &Identity, is_ours: &dyn Fn(&str) -> bool);
    /// The broker leaves, or is no longer at this address.
    fn leave(&self, at: &Identity);
}

pub struct Registration(Arc<Shared>);

struct Shared {
    name_servers: Mutex<Vec<Arc<NameServer>>>,
    /// The name server of this process, by the address that it has in `namesrvAddr`.
    neighbour: OnceLock<(String, Arc<dyn Neighbour>)>,
    /// Announcements so far.
    announced: AtomicU64,
    source: Arc<dyn RegistrationSource>,
    client: RemotingClient,
    runtime: Runtime,
    /// The broker leaves: nothing is told any more, lest it come back. Begins with the runtime's stop at the latest.
    leaving: Shutdown,
    period: Duration,
    mapping_version: DataVersion,
}

struct NameServer {
    addr: String,
    changed: Notify,
    /// The announcement up to which this name server was told, or could not be.
    done: watch::Sender<u64>,
    /// The last attempt to tell it was taken.
    reached: AtomicBool,
    /// It is told nothing any more.
    leaving: Shutdown,
}

/// What one name server holds of us.
struct NameServerView {
    topics: HashMap<Arc<str>, Arc<Topic>>,
    is_complete: bool,
    /// The connection it was told over: a new one may lead to a name server that began anew.
    connection: u64,
    /// What all its permissions were cut down to.
    broker_permission: i32,
    /// As what it knows us. Outlives everything else, until another address was told and this one taken back.
    identity: Option<Identity>,
    /// Topics that fitted into one frame.
    part_topics: usize,
    /// Nothing says yet that it does not know 217, or cannot read what is compressed.
    knows_singles: bool,
    reads_compressed: bool,
}

impl Default for NameServerView {
    fn default() -> Self {
        Self {
            topics: HashMap::new(),
            is_complete: false,
            connection: 0,
            broker_permission: 0,
            identity: None,
            part_topics: usize::MAX,
            knows_singles: true,
            reads_compressed: true,
        }
    }
}

/// What a name server does not hold yet.
#[derive(Default)]
struct Untold {
    /// It holds nothing of us, or all of it otherwise.
    is_all: bool,
    changed: Vec<Arc<Topic>>,
    gone: Vec<Arc<str>>,
}

impl NameServerView {
    /// It knows nothing of our topics, or may not.
    fn forget(&mut self) {
        self.topics.clear();
        self.is_complete = false;
    }

    fn news(&self, snapshot: &BrokerSnapshot) -> Untold {
        let is_as_told = self.broker_permission == snapshot.broker_permission && self.identity.as_ref() == Some(&snapshot.identity);
        let mut news = Untold { is_all: !self.is_complete || !is_as_told, ..Untold::default() };
        let mut known = 0;
        for topic in &snapshot.topics {
            match self.topics.get(topic.topic_name.as_str()) {
                Some(held) => {
                    known += 1;
                    if !Arc::ptr_eq(held, topic) {
                        news.changed.push(Arc::clone(topic));
                    }
                }
                None => news.changed.push(Arc::clone(topic)),
            }
        }
        if known < self.topics.len() {
            let names: HashSet<&str> = snapshot.topics.iter().map(|topic| topic.topic_name.as_str()).collect();
            news.gone = self.topics.keys().filter(|name| !names.contains(&***name)).cloned().collect();
        }
        news
    }

    fn hold(&mut self, topics: &[Arc<Topic>]) {
        self.topics.extend(topics.iter().map(|topic| (Arc::from(topic.topic_name.as_str()), Arc::clone(topic))));
    }

    /// The whole was told, and so everything else is held no longer.
    fn hold_whole(&mut self, snapshot: &BrokerSnapshot, news: &Untold) {
        self.hold(if news.is_all { &snapshot.topics } else { &news.changed });
        news.gone.iter().for_each(|name| drop(self.topics.remove(name)));
        self.is_complete = true;
        self.broker_permission = snapshot.broker_permission;
    }

    /// Remembers as what it knows us now; gives what it is to forget.
    fn known_as(&mut self, identity: &Identity) -> Option<Identity> {
        let before = self.identity.replace(identity.clone());
        before.filter(|before| before.broker_addr != identity.broker_addr).map(Identity::replaced)
    }
}

impl Registration {
    /// Begins to register with every name server of `name_servers` ("host:port"); `neighbour` is the one of this process, when it is
    /// among them.
    pub fn start(
        name_servers: &[String],
        neighbour: Option<(String, Arc<dyn Neighbour>)>,
        source: Arc<dyn RegistrationSource>,
        period: Duration,
        runtime: &Runtime,
    ) -> Arc<Self> {
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            name_servers: Mutex::default(),
            neighbour: neighbour.map_or_else(OnceLock::new, OnceLock::from),
            announced: AtomicU64::new(1),
            source,
            client: RemotingClient::watching(runtime, {
                let this = this.clone();
                // A name server whose connection is lost has forgotten us: it is told again at once.
                move |_| this.upgrade().iter().for_each(|shared| shared.wake_all())
            }),
            runtime: runtime.clone(),
            leaving: runtime.shutdown().child(),
            // As the original clamps it.
            period: period.clamp(Duration::from_secs(10), Duration::from_secs(60)),
            mapping_version: DataVersion::at(runtime.clock().now_millis()),
        });
        let registration = Arc::new(Self(shared));
        registration.register_with(name_servers);
        registration
    }

    /// From now on these name servers, and no others: one that is no longer among them is left.
    pub fn register_with(&self, name_servers: &[String]) {
        let shared = &self.0;
        let mut left = Vec::new();
        let mut new = Vec::new();
        {
            let mut now = shared.name_servers.lock();
            now.retain(|name_server| {
                let stays = name_servers.contains(&name_server.addr);
                if !stays {
                    left.push(Arc::clone(name_server));
                }
                stays
            });
            for addr in name_servers {
                if now.iter().all(|known| known.addr != *addr) {
                    let name_server = Arc::new(NameServer {
                        addr: addr.clone(),
                        changed: Notify::new(),
                        done: watch::Sender::new(0),
                        reached: AtomicBool::new(false),
                        leaving: shared.leaving.child(),
                    });
                    new.push(Arc::clone(&name_server));
                    now.push(name_server);
                }
            }
        }
        for name_server in new {
            shared.runtime.spawn_essential("register with a name server", Arc::clone(shared).registration_loop(name_server));
        }
        for name_server in left {
            name_server.leaving.begin();
            let shared = Arc::clone(shared);
            shared.runtime.clone().spawn("unregister", async move {
                shared.leave(&name_server.addr).await;
                shared.client.close(&name_server.addr, "the broker is not to register there any more").await;
            });
        }
    }

    /// Resolves when every name server was told of the table as it is now, or could not be reached.
    pub async fn announce(&self) {
        let mine = self.0.announced.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.wake_all();
        for name_server in self.0.all() {
            let mut done = name_server.done.subscribe();
            // The sender lives in `name_server`.
            let _ = done.wait_for(|done| *done >= mine).await;
        }
    }

    /// A sign of life to every name server, for which nobody waits: BROKER_HEARTBEAT, or the question that those of 4.x know, too.
    pub fn send_heartbeats(&self, known_to_4: bool, timeout: Duration) {
        if self.0.leaving.has_begun() {
            return;
        }
        let snapshot = self.0.source.snapshot();
        let heartbeat = if known_to_4 { message::version_query(&snapshot) } else { message::heartbeat(&snapshot) };
        for name_server in self.0.all() {
            let (client, heartbeat) = (self.0.client.clone(), heartbeat.clone());
            self.0.runtime.spawn("heartbeat", async move {
                // Its registration says what there is to say, and tries again.
                if let Err(error) = client.invoke_oneway(&name_server.addr, heartbeat, timeout).await {
                    debug!(name_server = name_server.addr, %error, "no heartbeat");
                }
            });
        }
    }

    /// Those that could not be told the last time.
    pub fn unreached(&self) -> Vec<String> {
        let all = self.0.all().into_iter();
        all.filter(|name_server| !name_server.reached.load(Ordering::Acquire)).map(|name_server| name_server.addr.clone()).collect()
    }

    /// Leaves every name server, all at the same time. Nothing is announced after it.
    pub async fn unregister(&self) {
        self.0.leaving.begin();
        let leaving: Vec<_> = self
            .0
            .all()
            .into_iter()
            .map(|name_server| {
                let shared = Arc::clone(&self.0);
                self.0.runtime.spawn("unregister", async move { shared.leave(&name_server.addr).await })
            })
            .collect();
        for task in leaving {
            task.join().await;
        }
        self.0.client.close_all("the broker stops").await;
    }
}

impl Shared {
    fn all(&self) -> Vec<Arc<NameServer>> {
        self.name_servers.lock().clone()
    }

    fn wake_all(&self) {
        self.name_servers.lock().iter().for_each(|name_server| name_server.changed.notify_one());
    }

    fn neighbour(&self, addr: &str) -> Option<&Arc<dyn Neighbour>> {
        self.neighbour.get().filter(|(own, _)| own == addr).map(|(_, neighbour)| neighbour)
    }

    async fn leave(&self, addr: &str) {
        let identity = self.source.snapshot().identity;
        if let Some(neighbour) = self.neighbour(addr) {
            neighbour.leave(&identity);
            info!(name_server = addr, "unregistered");
            return;
        }
        match self.client.succeed(addr, message::departure(&identity), UNREGISTER_MAX).await {
            Ok(_) => info!(name_server = addr, "unregistered"),
            Err(error) => warn!(name_server = addr, %error, "could not unregister"),
        }
    }

    async fn registration_loop(self: Arc<Self>, name_server: Arc<NameServer>) {
        let addr = &name_server.addr;
        let mut held = NameServerView::default();
        let mut failures = 0;
        let mut periodic = false;
        while !name_server.leaving.has_begun() {
            let announced = self.announced.load(Ordering::Acquire);
            let Some(result) = name_server.leaving.or(self.tell(addr, &mut held, periodic)).await else { break };
            name_server.reached.store(result.is_ok(), Ordering::Release);
            name_server.done.send_replace(announced);
            let pause = match result {
                Ok(()) => {
                    failures = 0;
                    self.period
                }
                Err(error) => {
                    // Once per failure, not once per attempt.
                    if failures == 0 {
                        warn!(name_server = addr, %error, "could not register; trying again");
                    }
                    held.forget();
                    failures += 1;
                    self.period.min(RETRY_FIRST * 2u32.saturating_pow(failures - 1))
                }
            };
            let Some(by_time) = name_server.leaving.or(self.pause(&name_server, pause, failures > 0)).await else { break };
            periodic = by_time;
        }
        // Nobody waits for what will not be told.
        name_server.done.send_replace(u64::MAX);
    }

    /// True when the pause went by, false when something changed before. While a name server cannot be reached a change does
    /// not cut the pause short: it only hears that it could not be told.
    async fn pause(&self, name_server: &NameServer, pause: Duration, unreachable: bool) -> bool {
        let mut sleep = self.runtime.clock().sleep(pause);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                () = name_server.changed.notified() => {
                    if !unreachable {
                        return false;
                    }
                    name_server.done.send_replace(self.announced.load(Ordering::Acquire));
                }
            }
        }
    }

    /// Tells what this name server does not hold yet; everything when `periodic` or when it holds nothing of us.
    async fn tell(&self, addr: &str, held: &mut NameServerView, periodic: bool) -> Result<(), CallError> {
        if let Some(neighbour) = self.neighbour(addr) {
            self.hand_over(neighbour, held, periodic).await;
            return Ok(());
        }
        let connection = self.client.peer(addr, self.source.snapshot().timeout).await?.id();
        let snapshot = Arc::new(self.source.snapshot());
        if held.connection != connection {
            held.forget();
            held.connection = connection;
            // Another name server may listen there now.
            (held.knows_singles, held.reads_compressed) = (true, true);
        }
        let news = held.news(&snapshot);
        let is_news = news.is_all || !news.changed.is_empty() || !news.gone.is_empty();
        if periodic {
            // What is there says nothing of where the master is now: a slave registers in each period.
            let asks_first = !is_news && !snapshot.force && !snapshot.identity.is_slave();
            if asks_first && !self.is_changed(addr, &snapshot).await? {
                return Ok(());
            }
        } else if !is_news || self.told_singly(addr, held, &snapshot, &news).await? {
            return Ok(());
        }
        self.tell_whole(addr, held, &snapshot, is_news).await?;
        if news.is_all {
            info!(name_server = addr, broker_addr = snapshot.identity.broker_addr, topics = snapshot.topics.len(), "registered");
        }
        held.hold_whole(&snapshot, &news);
        if let Some(before) = held.known_as(&snapshot.identity) {
            self.client.succeed(addr, message::departure(&before), snapshot.timeout).await?;
            info!(name_server = addr, broker_addr = before.broker_addr, "the old address is unregistered");
        }
        Ok(())
    }

    /// Changed topics one by one, where that is wanted, less work than the whole, and understood: then true. A registration with only
    /// the changed ones, as the original sends it, has a name server with `deleteTopicWithBrokerRegistration` delete all others.
    async fn told_singly(
        &self,
        addr: &str,
        held: &mut NameServerView,
        snapshot: &BrokerSnapshot,
        news: &Untold,
    ) -> Result<bool, CallError> {
        let is_wanted = snapshot.form.single_topics || snapshot.topics.len() > WHOLE_TOPICS_MAX;
        let can_be = !news.is_all && news.gone.is_empty() && news.changed.len() <= SINGLES_MAX;
        if !is_wanted || !can_be || !held.knows_singles {
            return Ok(false);
        }
        for topic in &news.changed {
            match self.client.succeed_if_known(addr, message::single_topic(snapshot, topic), SINGLE_MAX).await {
                Ok(_) => held.hold(std::slice::from_ref(topic)),
                Err(error) if error.is_unserved() => {
                    info!(name_server = addr, "it does not know 217: changed topics go with the whole table");
                    held.knows_singles = false;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The whole table: in one frame, or in parts where that is wanted or one does not hold it.
    async fn tell_whole(&self, addr: &str, held: &mut NameServerView, snapshot: &Arc<BrokerSnapshot>, anew: bool) -> Result<(), CallError> {
        let wanted = snapshot.form.part_topics.unwrap_or(usize::MAX).max(PART_TOPICS_MIN);
        loop {
            let size = wanted.min(held.part_topics).min(snapshot.topics.len().max(1));
            let compressed = snapshot.form.compressed && held.reads_compressed;
            let of = snapshot.topics.len().div_ceil(size).max(1);
            let mut is_too_large = false;
            for at in 0..of {
                let Some(request) = self.registration(snapshot, size, Part { at, of, anew, compressed }).await else {
                    is_too_large = true;
                    break;
                };
                match self.client.succeed(addr, request, snapshot.timeout).await {
                    Ok(response) => {
                        held.knows_singles &= response.version >= SINGLES_SINCE;
                        self.learn(&response);
                    }
                    Err(CallError::Refused { code, remark }) if compressed => {
                        warn!(name_server = addr, code, remark, "a compressed registration is refused; it goes as it is");
                        held.reads_compressed = false;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if is_too_large && size > PART_TOPICS_MIN {
                held.part_topics = (size / 2).max(PART_TOPICS_MIN);
                info!(
                    name_server = addr,
                    topics = snapshot.topics.len(),
                    of = held.part_topics,
                    "no frame holds the table: it goes in parts"
                );
            } else if is_too_large {
                return Err(CallError::TooLarge { limit: BODY_BYTES_MAX });
            } else if compressed == (snapshot.form.compressed && held.reads_compressed) {
                return Ok(());
            }
        }
    }

    /// The topics of one part; `None` when no frame holds them.
    async fn registration(&self, snapshot: &Arc<BrokerSnapshot>, size: usize, part: Part) -> Option<RemotingCommand> {
        let (snapshot, mapping_version) = (Arc::clone(snapshot), self.mapping_version.clone());
        let encode = move || {
            let end = snapshot.topics.len().min((part.at + 1) * size);
            message::registration(&snapshot, &snapshot.topics[part.at * size..end], part, &mapping_version)
        };
        if size <= ENCODED_HERE_MAX {
            return encode();
        }
        self.runtime.spawn_blocking("encode a registration", encode).join().await.flatten()
    }

    async fn is_changed(&self, addr: &str, snapshot: &BrokerSnapshot) -> Result<bool, CallError> {
        let response = self.client.succeed(addr, message::version_query(snapshot), snapshot.timeout).await?;
        let header: QueryDataVersionResponseHeader = response.header().unwrap_or_default();
        Ok(header.changed)
    }

    /// As `tell`, to the name server of this process.
    async fn hand_over(&self, neighbour: &Arc<dyn Neighbour>, held: &mut NameServerView, periodic: bool) {
        let snapshot = self.source.snapshot();
        let news = held.news(&snapshot);
        neighbour.forget_topics(&snapshot.identity, &news.gone);
        let mut learned = Learned::default();
        let (topics, anew) = match (news.is_all, periodic) {
            (true, _) => (&snapshot.topics, true),
            (false, true) => (&snapshot.topics, false),
            (false, false) => (&news.changed, true),
        };
        if periodic && !news.is_all && !news.changed.is_empty() {
            learned = neighbour.take(&snapshot, news.changed.iter().map(|topic| snapshot.config_of(topic)).collect(), true);
        }
        for some in topics.chunks(HANDED_TOPICS_MAX) {
            learned = neighbour.take(&snapshot, some.iter().map(|topic| snapshot.config_of(topic)).collect(), anew);
            tokio::task::yield_now().await;
        }
        let is_first = !held.is_complete;
        held.hold_whole(&snapshot, &news);
        if let Some(before) = held.known_as(&snapshot.identity) {
            neighbour.leave(&before);
        }
        if news.is_all || periodic {
            neighbour.was_whole(&snapshot.identity, &|name| held.topics.contains_key(name));
        }
        if is_first {
            info!(topics = snapshot.topics.len(), "registered with the name server of this process");
        }
        self.source.learn(learned);
    }

    fn learn(&self, response: &RemotingCommand) {
        let header: RegisterBrokerResponseHeader = response.header().unwrap_or_default();
        let text = |addr: Option<Str>| addr.map(|addr| addr.to_string()).filter(|addr| !addr.is_empty());
        let mut learned =
            Learned { master_addr: text(header.master_addr), ha_server_addr: text(header.ha_server_addr), ..Learned::default() };
        if !response.body.is_empty() {
            match fastjson::from_slice::<KvTable>(&response.body) {
                Ok(ordered) => learned.ordered = ordered.table.into_keys().collect(),
                Err(error) => warn!(%error, "the name server's ordered topics are unreadable"),
            }
        }
        self.source.learn(learned);
    }
}
