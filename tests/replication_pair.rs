// SPDX-License-Identifier: Apache-2.0
//! A slave and a master of ours, and the name server between them: tables that follow, what a slave serves, who takes over.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferrocket::broker::Broker;
use ferrocket::broker::role::Role;
use ferrocket::config::{AdvertiseRules, BrokerConfig, BrokerRole, NamesrvConfig, NamesrvConfigCell};
use ferrocket::namesrv::{KvConfig, NameServer};
use ferrocket::remoting::{Limits, Listener};
use ferrocket::runtime::{ManualClock, Runtime};
use ferrocket::store::{Crash, FlushDiskType, MemoryFs, MessageStore};
use ferrocket_protocol::body::KvTable;
use ferrocket_protocol::body::ha::HaRuntimeInfo;
use ferrocket_protocol::body::route::TopicRouteData;
use ferrocket_protocol::body::topic::TopicConfigSerializeWrapper;
use ferrocket_protocol::header::{
    ConsumerSendMsgBackRequestHeader, EndTransactionRequestHeader, GetRouteInfoRequestHeader, PullMessageResponseHeader,
    ResetOffsetRequestHeader,
};
use ferrocket_protocol::{RemotingCommand, fastjson, request_code, response_code};
use support::log::{FILE_BYTES, fill, log_bytes, log_bytes_at, node};
use support::plain_master::{PlainMaster, SlaveLink, as_slave_of, end_of, frames};
use support::{Client, PATIENCE, Setup, TestBroker, send_request};
use tokio::io::AsyncWriteExt;

/// A master that serves its tables, and the port on which its log is sent by hand; both brokers go by one clock.
struct Pair {
    master: TestBroker,
    master_fs: MemoryFs,
    slave: TestBroker,
    slave_fs: MemoryFs,
    port: PlainMaster,
    clock: ManualClock,
}

impl Pair {
    async fn start(change_slave: impl FnOnce(&mut BrokerConfig)) -> Self {
        let (master_fs, port) = (MemoryFs::new(), PlainMaster::bind().await);
        let (setup, clock) = Setup::new().on(&master_fs).with_small_files().manual_clock();
        let master = setup.start().await;
        let slave_fs = MemoryFs::new();
        let setup = Setup::new().on(&slave_fs).with_small_files().with_clock(&clock);
        // The clock moves in leaps, and nobody sends heartbeats.
        let patient = |config: &mut BrokerConfig| config.ha_housekeeping_interval = i32::MAX;
        let slave = setup.config(as_slave_of(port.addr)).config(patient).config(change_slave).start().await;
        Self { master, master_fs, slave, slave_fs, port, clock }
    }

    /// The slave hears where its master is, and copies its tables.
    async fn introduce(&self) {
        self.slave.broker.slave.learn_master(Some(self.master.addr.to_string()), None);
        self.slave.wait_until(|slave| slave.topics.data_version() == self.master.broker.topics.data_version()).await;
    }

    /// Time goes by until the slave is as the story needs it.
    async fn comes_to(&self, is_so: impl Fn(&Broker) -> bool) {
        let began = std::time::Instant::now();
        while !is_so(&self.slave.broker) {
            assert!(began.elapsed() < PATIENCE, "the slave never came to be as the story needs it");
            self.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the slave has not of the master's log.
    fn missing(&self) -> (i64, Vec<u8>) {
        let start = end_of(&self.slave);
        (start, log_bytes_at(&self.master_fs, self.master.folder(), &self.master.broker.store)[start as usize..].to_vec())
    }

    async fn send_missing(&self, link: &mut SlaveLink) {
        let (start, bytes) = self.missing();
        link.write_all(&frames(start, &bytes, &[4_000])).await;
        link.reports_up_to(start + bytes.len() as i64).await;
    }

    async fn stop(self) {
        self.slave.stop().await;
        self.master.stop().await;
    }
}

/// SlaveSynchronize: topics, groups, offsets; what does not change writes nothing.
#[tokio::test]
async fn the_tables_of_a_slave_follow_its_masters() {
    let pair = Pair::start(|_| ()).await;
    let (master, slave) = (&pair.master.broker, &pair.slave.broker);
    let mut link = pair.port.accept().await;
    link.report().await;
    // More than one page.
    for number in 0..2_500 {
        pair.master.create_topic(&format!("T{number}"), 3);
    }
    let mut client = pair.master.connect().await;
    client.consume("G", "c@1", &[("T1", "*")]).await;
    client.send_many("T1", 1, 5).await;
    client.commit("G", "T1", 1, 4).await;
    pair.introduce().await;
    pair.send_missing(&mut link).await;
    assert_eq!(slave.topics.snapshot(), master.topics.snapshot());
    pair.comes_to(|slave| slave.consumer_offsets.committed("G", "T1", 1) == Some(4) && slave.groups.contains("G")).await;
    pair.comes_to(|slave| slave.groups.data_version() == master.groups.data_version()).await;
    assert_eq!(slave.groups.encode().body, master.groups.encode().body);
    assert_eq!(slave.slave.behind_bytes(end_of(&pair.slave)), Some(0));

    let changes = || (slave.topics.changes(), slave.groups.changes());
    let before = changes();
    for _ in 0..4 {
        pair.slave.advance(&pair.clock, Duration::from_secs(10)).await;
    }
    assert_eq!(changes(), before, "nothing has changed there, and nothing here");

    // What is gone there is gone here, with its messages: the topic may begin anew.
    master.delete_topic("T1").unwrap();
    master.groups.delete("G");
    pair.comes_to(|slave| !slave.topics.contains("T1") && !slave.groups.contains("G")).await;
    pair.comes_to(|slave| slave.store.queue_ids("T1").is_empty()).await;
    pair.master.create_topic("T1", 3);
    client.send_many("T1", 1, 2).await;
    pair.send_missing(&mut link).await;
    assert_eq!(slave.store.max_offset("T1", 1), 2);
    pair.comes_to(|slave| slave.topics.contains("T1")).await;
    drop((client, link));

    // The files are as the tables are.
    let (fs, path) = (pair.slave.fs.clone(), pair.slave.folder().join("config/topics.json"));
    let written = || fastjson::from_slice::<TopicConfigSerializeWrapper>(&fs.read(&path).unwrap()).unwrap();
    pair.comes_to(|slave| written() == slave.topics.snapshot()).await;
    pair.stop().await;
}

/// Within one copy of the tables, of which a slave sees nothing: the log begins the queue anew. Whether the slave is killed before, between
/// the two lives, or after.
#[tokio::test]
async fn a_topic_that_is_made_anew_begins_anew_on_the_slave() {
    for killed_after in [0, 1, 2] {
        let mut pair = Pair::start(|_| ()).await;
        let mut link = pair.port.accept().await;
        link.report().await;
        pair.master.create_topic("T", 3);
        let mut client = pair.master.connect().await;
        client.consume("G", "c@1", &[("T", "*")]).await;
        client.send_many("T", 2, 1).await;
        client.send_many("T", 1, 2).await;
        client.send_many("T", 0, 3).await;
        client.commit("G", "T", 0, 3).await;
        pair.introduce().await;
        pair.send_missing(&mut link).await;
        pair.comes_to(|slave| slave.consumer_offsets.committed("G", "T", 0) == Some(3)).await;

        pair.master.broker.delete_topic("T").unwrap();
        pair.master.create_topic("T", 3);
        // The first message of each in the same piece as the last of the first life's queue.
        client.send_many("T", 2, 2).await;
        client.send_many("T", 0, 2).await;
        let bytes = log_bytes_at(&pair.master_fs, pair.master.folder(), &pair.master.broker.store);
        let mut next = end_of(&pair.slave);
        for step in 0..3 {
            if step == killed_after {
                let image = pair.slave_fs.crashed(Crash::Killed);
                drop(link);
                let setup = Setup::new().on(&image).with_small_files().with_clock(&pair.clock).in_folder_of(&pair.slave);
                let patient = |config: &mut BrokerConfig| config.ha_housekeeping_interval = i32::MAX;
                let slave = setup.config(as_slave_of(pair.port.addr)).config(patient).start().await;
                std::mem::replace(&mut pair.slave, slave).stop().await;
                pair.slave_fs = image;
                link = pair.port.accept_again(&pair.clock).await;
                next = link.resume(&pair.slave, &bytes).await;
                pair.slave.broker.slave.learn_master(Some(pair.master.addr.to_string()), None);
            }
            let end = bytes.len() - (bytes.len() - next as usize) * (2 - step) / 3;
            link.write_all(&frames(next, &bytes[next as usize..end], &[4_000])).await;
            next = end as i64;
        }
        link.reports_up_to(next).await;
        let (slave, master) = (&pair.slave.broker.store, &pair.master.broker.store);
        for queue_id in 0..3 {
            let offsets = master.queue_offsets("T", queue_id).unwrap();
            assert_eq!(slave.queue_offsets("T", queue_id).unwrap(), offsets, "queue {queue_id}, killed after {killed_after}");
            for offset in offsets {
                let unit = |store: &MessageStore| store.consume_queue_unit("T", queue_id, offset).unwrap();
                assert_eq!(unit(slave), unit(master), "queue {queue_id} at {offset}, killed after {killed_after}");
            }
        }
        pair.comes_to(|slave| slave.consumer_offsets.committed("G", "T", 0).is_none()).await;
        drop((client, link));
        pair.stop().await;
    }
}

/// A start knows nothing of what was gone before it.
#[tokio::test]
async fn the_queues_of_a_topic_that_is_gone_go_after_a_restart_too() {
    let mut pair = Pair::start(|_| ()).await;
    let mut link = pair.port.accept().await;
    link.report().await;
    pair.master.create_topic("T", 1);
    pair.master.create_topic("Other", 1);
    let mut client = pair.master.connect().await;
    client.send_many("T", 0, 3).await;
    pair.introduce().await;
    pair.send_missing(&mut link).await;
    client.send_many("Other", 0, 1).await;
    pair.master.broker.delete_topic("T").unwrap();
    pair.comes_to(|slave| !slave.topics.contains("T")).await;
    assert_eq!(pair.slave.broker.store.queue_ids("T"), [0], "its log has not come so far");
    drop(link);
    let setup = pair.slave.stop().await.with_small_files().with_clock(&pair.clock).config(as_slave_of(pair.port.addr));
    pair.slave = setup.config(|config| config.ha_housekeeping_interval = i32::MAX).start().await;
    let mut link = pair.port.accept_again(&pair.clock).await;
    link.resume(&pair.slave, &log_bytes_at(&pair.master_fs, pair.master.folder(), &pair.master.broker.store)).await;
    pair.send_missing(&mut link).await;
    pair.slave.broker.slave.learn_master(Some(pair.master.addr.to_string()), None);
    pair.comes_to(|slave| slave.store.queue_ids("T").is_empty()).await;
    drop((client, link));
    pair.stop().await;
}

/// A master that dies must leave nobody behind who believes that more was delivered than is in its own log.
#[tokio::test]
async fn how_far_delayed_messages_are_waits_for_the_log() {
    let pair = Pair::start(|_| ()).await;
    let (master, slave) = (&pair.master.broker, &pair.slave.broker);
    let mut link = pair.port.accept().await;
    link.report().await;
    pair.master.create_topic("T", 1);
    let mut client = pair.master.connect().await;
    let delayed = support::send_header("T", 0, &[("DELAY", "1")]);
    let delayed = RemotingCommand::request_with(request_code::SEND_MESSAGE, &delayed).with_body("delayed");
    assert_eq!(client.call(delayed).await.code, response_code::SUCCESS);
    pair.introduce().await;
    pair.comes_to(|_| master.store.max_offset("T", 0) == 1).await;
    let delivered =
        |broker: &Broker| broker.schedule.progress(&broker.store).iter().map(|level| level.delivered_offset).collect::<Vec<_>>();
    assert_eq!(delivered(master), [1]);
    for _ in 0..4 {
        pair.slave.advance(&pair.clock, Duration::from_secs(10)).await;
    }
    assert_eq!(delivered(slave), [] as [i64; 0], "its log has nothing of it");
    let info: KvTable =
        support::body(&pair.slave.connect().await.call(RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await);
    assert_eq!(info.table["masterLogMissingBytes"], master.store.max_phy_offset().to_string());
    pair.send_missing(&mut link).await;
    slave.store.flush_log();
    pair.comes_to(|slave| delivered(slave) == [1]).await;
    drop((client, link));
    pair.stop().await;
}

/// A master that has lost its log, or is another one, would overwrite what only the slave has.
#[tokio::test]
async fn a_slave_whose_log_is_longer_takes_nothing_of_its_master() {
    let pair = Pair::start(|_| ()).await;
    let mut link = pair.port.accept().await;
    link.report().await;
    let fuller = node(MemoryFs::new(), FlushDiskType::Async);
    fill(&fuller.store);
    let bytes = log_bytes(&fuller);
    link.write_all(&frames(0, &bytes[..20_000], &[1_000])).await;
    while link.report().await < 18_000 {}
    pair.slave.create_topic("Kept", 1);
    pair.slave.broker.slave.learn_master(Some(pair.master.addr.to_string()), None);
    // Its log has nothing.
    pair.comes_to(|slave| slave.slave.behind_bytes(-1) == Some(1)).await;
    pair.slave.advance(&pair.clock, Duration::from_secs(10)).await;
    let end = end_of(&pair.slave);
    let rest = &bytes[20_000..];
    let SlaveLink { read, mut write } = link;
    // The piece that was begun, and the next: it may be closed before all of it is written.
    let _ = write.write_all(&frames(20_000, rest, &[1_000])).await;
    SlaveLink { read, write }.closed("a slave ahead").await;
    assert_eq!(end_of(&pair.slave), end);
    assert!(pair.slave.broker.topics.contains("Kept"));
    pair.stop().await;
}

/// What a slave leaves to its master, with the original's codes and texts, and where it sends consumers.
#[tokio::test]
async fn a_slave_reads_and_leaves_the_rest_to_its_master() {
    let pair = Pair::start(|config| config.slave_read_enable = true).await;
    let mut link = pair.port.accept().await;
    link.report().await;
    pair.master.create_topic("T", 1);
    let mut producer = pair.master.connect().await;
    producer.send_many("T", 0, 3).await;
    pair.introduce().await;
    pair.send_missing(&mut link).await;
    let mut client = pair.slave.connect().await;
    client.consume("G", "c@1", &[("T", "*")]).await;
    let mut pull = async |offset: i64| {
        let response = client.call(support::pull_request(&support::pull_header("G", "T", 0, offset))).await;
        let header: PullMessageResponseHeader = response.header().unwrap();
        (response.code, header.suggest_which_broker_id, header.next_begin_offset, support::pulled(&response).2.len())
    };
    assert_eq!(pull(0).await, (response_code::SUCCESS, 0, 3, 3));
    // While the master is there nobody waits here, and nobody's offset is corrected.
    assert_eq!(pull(3).await, (response_code::PULL_RETRY_IMMEDIATELY, 0, 3, 0));
    assert_eq!(pull(9).await, (response_code::PULL_RETRY_IMMEDIATELY, 0, 9, 0));
    assert_eq!(pull(-1).await, (response_code::PULL_RETRY_IMMEDIATELY, 0, -1, 0));
    assert_eq!(client.commit("G", "T", 0, 2).await.code, response_code::SUCCESS);
    let refused = [
        (send_request("T", 0, "", "x"), response_code::SYSTEM_BUSY, "[REJECTREQUEST]system busy, start flow control for a while"),
        (
            RemotingCommand::request_with(request_code::CONSUMER_SEND_MSG_BACK, &ConsumerSendMsgBackRequestHeader::default()),
            response_code::SYSTEM_BUSY,
            "[REJECTREQUEST]system busy, start flow control for a while",
        ),
        (
            RemotingCommand::request_with(
                request_code::END_TRANSACTION,
                &EndTransactionRequestHeader { commit_or_rollback: 8, ..Default::default() },
            ),
            response_code::SLAVE_NOT_AVAILABLE,
            "not set any response code",
        ),
        (
            RemotingCommand::request_with(
                request_code::INVOKE_BROKER_TO_RESET_OFFSET,
                &ResetOffsetRequestHeader { topic: "T".into(), group: "G".into(), ..Default::default() },
            ),
            response_code::SYSTEM_ERROR,
            "Can not reset offset in slave broker",
        ),
    ];
    let end = end_of(&pair.slave);
    for (request, code, remark) in refused {
        let name = request.code;
        let response = client.call(request).await;
        assert_eq!((response.code, support::remark(&response)), (code, remark), "{name}");
    }
    assert_eq!(end_of(&pair.slave), end);

    // Without its master a consumer waits here, and is woken by what comes.
    drop(link);
    pair.slave.wait_until(|slave| !slave.slave.is_connected()).await;
    let waiting = client.begin(support::pull_request(&support::pull_header("G", "T", 0, 3))).await;
    assert!(!client.is_answered(waiting).await);
    producer.send_many("T", 0, 1).await;
    let mut link = pair.port.accept_again(&pair.clock).await;
    link.resume(&pair.slave, &log_bytes_at(&pair.master_fs, pair.master.folder(), &pair.master.broker.store)).await;
    pair.send_missing(&mut link).await;
    assert_eq!(client.response(waiting).await.code, response_code::SUCCESS);

    // Nobody reads from a slave that is not set so.
    let unread = Pair::start(|_| ()).await;
    let mut client = unread.slave.connect().await;
    let response = client.call(support::pull_request(&support::pull_header("G", "T", 0, 0))).await;
    assert_eq!(response.code, response_code::SYSTEM_BUSY);
    assert_eq!(support::remark(&response), "[REJECTREQUEST]system busy, start flow control for a while");
    drop((client, producer, link));
    unread.stop().await;
    pair.stop().await;
}

/// What came as a half message while it was a slave is asked about when it is master, at once or after a restart.
#[tokio::test]
async fn halves_of_a_masters_log_are_open_where_it_is_carried_on() {
    let pair = Pair::start(|_| ()).await;
    let mut link = pair.port.accept().await;
    link.report().await;
    pair.master.create_topic("T", 1);
    pair.introduce().await;
    let Pair { master, master_fs, mut slave, port, clock, .. } = pair;
    let mut producer = master.connect().await;
    for (life, keys) in [["a", "b"], ["c", "d"]].into_iter().enumerate() {
        for key in keys {
            let mut half = support::send_header("T", 0, &[("UNIQ_KEY", key), ("TRAN_MSG", "true"), ("PGROUP", "P")]);
            half.sys_flag = 4;
            let half = RemotingCommand::request_with(request_code::SEND_MESSAGE, &half).with_body(key);
            assert_eq!(producer.call(half).await.code, response_code::SUCCESS);
        }
        let start = end_of(&slave);
        let bytes = log_bytes_at(&master_fs, master.folder(), &master.broker.store);
        link.write_all(&frames(start, &bytes[start as usize..], &[500])).await;
        link.reports_up_to(bytes.len() as i64).await;
        assert_eq!(slave.broker.transactions.open_count(), 2 * life, "those of the start");
        // A slave that stops leaves no word about halves that it does not know.
        slave = slave.stop().await.with_small_files().with_clock(&clock).config(as_slave_of(port.addr)).start().await;
        assert_eq!(slave.broker.transactions.open_count(), 2 * (life + 1));
        link = port.accept_again(&clock).await;
        link.resume(&slave, &bytes).await;
    }
    drop((producer, link));
    slave.broker.change_role(Role::Master).unwrap();
    assert_eq!(slave.broker.transactions.open_count(), 4);
    let slave = slave.stop().await.with_small_files().with_clock(&clock).start().await;
    assert_eq!(slave.broker.transactions.open_count(), 4);
    slave.stop().await;
    master.stop().await;
}

/// A slave that was there from the start, one that comes late, and what a send under SYNC_MASTER waits for.
#[tokio::test]
async fn slaves_of_ours_follow_a_master_of_ours_and_one_carries_on() {
    let (master_fs, slave_fs, late_fs) = (MemoryFs::new(), MemoryFs::new(), MemoryFs::new());
    let (setup, clock) = Setup::new().on(&master_fs).with_small_files().manual_clock();
    let synchronous = |config: &mut BrokerConfig| {
        config.broker_role = BrokerRole::SyncMaster;
        config.in_sync_replicas = 2;
    };
    let master = setup.config(synchronous).start().await;
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, master.broker.config.load().ha_listen_port as u16));
    let slave_on = |fs: &MemoryFs| Setup::new().on(fs).with_small_files().with_clock(&clock).config(as_slave_of(port));
    let slave = slave_on(&slave_fs).start().await;
    slave.broker.slave.learn_master(Some(master.addr.to_string()), None);
    master.create_topic("T", 2);
    let mut client = master.connect().await;
    for number in 0..300 {
        let sent = client.send("T", number % 2, "A", &format!("message {number} {}", "x".repeat(100))).await;
        assert_eq!(sent.queue_offset, i64::from(number / 2));
        assert_eq!(end_of(&slave), end_of(&master), "an answered message is on both");
    }
    client.consume("G", "c@1", &[("T", "*")]).await;
    client.commit("G", "T", 1, 40).await;
    let log = |fs: &MemoryFs, broker: &TestBroker| log_bytes_at(fs, broker.folder(), &broker.broker.store);
    assert_eq!(log(&slave_fs, &slave), log(&master_fs, &master));

    let late = slave_on(&late_fs).start().await;
    late.wait_until(|late| late.store.max_phy_offset() == master.broker.store.max_phy_offset()).await;
    let start = late.broker.store.min_phy_offset();
    assert!(start > 0 && start % FILE_BYTES as i64 == 0, "the master's last file: {start}");
    assert_eq!(log(&late_fs, &late), log(&master_fs, &master)[start as usize..]);
    let status: HaRuntimeInfo = support::body(&client.call(RemotingCommand::request(request_code::GET_BROKER_HA_STATUS)).await);
    assert_eq!(status.ha_connection_info.len(), 2);
    let mut asking = slave.connect().await;
    let status: HaRuntimeInfo = support::body(&asking.call(RemotingCommand::request(request_code::GET_BROKER_HA_STATUS)).await);
    let of_link = (status.master, status.ha_client_runtime_info.master_addr, status.ha_client_runtime_info.max_offset);
    assert_eq!(of_link, (false, Some(port.to_string()), end_of(&slave)));
    let began = std::time::Instant::now();
    while slave.broker.consumer_offsets.committed("G", "T", 1) != Some(40) || !slave.broker.topics.contains("T") {
        assert!(began.elapsed() < PATIENCE, "the slave never copied the tables");
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop((client, asking));
    late.stop().await;
    master.stop().await;

    let promoted = slave.stop().await.with_small_files().with_clock(&clock).start().await;
    let mut client = promoted.connect().await;
    assert_eq!(client.send("T", 1, "A", "the next").await.queue_offset, 150);
    assert_eq!(promoted.broker.consumer_offsets.committed("G", "T", 1), Some(40));
    drop(client);
    promoted.stop().await;
}

/// The registration of a slave: it learns its master, and clients learn of both.
#[tokio::test]
async fn a_name_server_tells_a_slave_of_its_master_and_clients_of_both() {
    let (setup, clock) = Setup::new().manual_clock();
    let runtime = Runtime::current(Arc::new(clock.clone()));
    let kv = KvConfig::load(None, Box::new(|_: &[u8]| Ok(()))).unwrap();
    let config = Arc::new(NamesrvConfigCell::new(NamesrvConfig::default()));
    let server = NameServer::new(config, kv, AdvertiseRules::default(), &runtime);
    server.start();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any_port, Arc::clone(&server), Limits::default(), &runtime).await.unwrap();
    let namesrv = listener.local_addr();
    let registers = |config: &mut BrokerConfig| {
        config.namesrv_addr = namesrv.to_string();
        config.broker_ip2 = "127.0.0.1".to_owned();
    };
    let master = setup.config(registers).start().await;
    master.create_topic("T", 1);
    master.broker.announce();
    let as_slave = |config: &mut BrokerConfig| {
        config.broker_role = BrokerRole::Slave;
        config.broker_id = 1;
    };
    let slave = Setup::new().with_clock(&clock).config(registers).config(as_slave).start().await;
    let began = std::time::Instant::now();
    let ha_addr = format!("127.0.0.1:{}", master.broker.config.load().ha_listen_port);
    let knows = || slave.broker.slave.ha_addr(&slave.broker.config.load()).as_ref() == Some(&ha_addr);
    while !(knows() && slave.broker.topics.contains("T")) {
        assert!(began.elapsed() < PATIENCE, "the slave never learned its master");
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let header = GetRouteInfoRequestHeader { topic: "T".into(), ..Default::default() };
    let route: TopicRouteData =
        support::body(&Client::connect(namesrv).await.call_with(request_code::GET_ROUTEINFO_BY_TOPIC, &header).await);
    let addrs: Vec<(i64, String)> = route.broker_datas[0].broker_addrs.clone().into_iter().collect();
    assert_eq!(addrs, [(0, master.addr.to_string()), (1, slave.addr.to_string())]);
    slave.stop().await;
    master.stop().await;
    listener.close_all("the story ends");
}
