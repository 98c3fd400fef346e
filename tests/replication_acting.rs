// SPDX-License-Identifier: Apache-2.0
//! A slave that acts for its master, with the name server between them: what clients go on with, and what a master that comes back takes
//! over. BrokerController.java, BrokerPreOnlineService.java.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ferrocket::config::{AdvertiseRules, BrokerConfig, BrokerRole, NamesrvConfig, NamesrvConfigCell};
use ferrocket::namesrv::{KvConfig, NameServer};
use ferrocket::remoting::{Limits, Listener, Peer, Replies, RequestHandler};
use ferrocket::runtime::{ManualClock, Runtime};
use ferrocket_protocol::body::ha::HaRuntimeInfo;
use ferrocket_protocol::body::route::TopicRouteData;
use ferrocket_protocol::body::{LockBatchRequestBody, LockBatchResponseBody, MessageQueue};
use ferrocket_protocol::header::admin::broker::{ExchangeHaInfoHeader, ResetMasterFlushOffsetHeader};
use ferrocket_protocol::header::route::{GetRouteInfoRequestHeader, NotifyMinBrokerIdChangeRequestHeader, RegisterBrokerRequestHeader};
use ferrocket_protocol::header::{ConsumerSendMsgBackRequestHeader, PullMessageResponseHeader};
use ferrocket_protocol::{RemotingCommand, fastjson, request_code as code, response_code};
use parking_lot::Mutex;
use support::{Client, PATIENCE, Setup, TestBroker, send_request};

/// A name server that writes down what it is asked.
struct Recording {
    server: Arc<NameServer>,
    asked: Mutex<Vec<RemotingCommand>>,
}

impl RequestHandler for Recording {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        self.asked.lock().push(request.clone());
        self.server.handle(peer, request, replies);
    }

    fn connected(&self, _: &Arc<Peer>) {}

    fn closed(&self, peer: &Arc<Peer>) {
        self.server.closed(peer);
    }
}

struct Names {
    addr: SocketAddr,
    clock: ManualClock,
    recording: Arc<Recording>,
    listener: Listener,
}

impl Names {
    async fn start(change: impl FnOnce(&mut NamesrvConfig)) -> Self {
        let (_, clock) = Setup::new().manual_clock();
        let runtime = Runtime::current(Arc::new(clock.clone()));
        let mut config = NamesrvConfig::default();
        config.support_acting_master = true;
        change(&mut config);
        let kv = KvConfig::load(None, Box::new(|_: &[u8]| Ok(()))).unwrap();
        let server = NameServer::new(Arc::new(NamesrvConfigCell::new(config)), kv, AdvertiseRules::default(), &runtime);
        server.start();
        let recording = Arc::new(Recording { server, asked: Mutex::default() });
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // The clock moves on while nobody asks.
        let limits = Limits { idle: None, ..Limits::default() };
        let listener = Listener::bind(any_port, Arc::clone(&recording), limits, &runtime).await.unwrap();
        Self { addr: listener.local_addr(), clock, recording, listener }
    }

    /// A broker of the set: 0 is its master.
    fn member(&self, id: i64) -> Setup {
        self.again(Setup::new(), id)
    }

    /// On what another broker left.
    fn again(&self, setup: Setup, id: i64) -> Setup {
        setup.with_clock(&self.clock).config(|config| {
            config.namesrv_addr = self.addr.to_string();
            config.broker_ip2 = "127.0.0.1".to_owned();
            config.broker_id = id;
            config.broker_role = if id == 0 { BrokerRole::AsyncMaster } else { BrokerRole::Slave };
            (config.enable_slave_acting_master, config.total_replicas, config.slave_read_enable) = (true, 2, true);
            // The clock moves in leaps.
            (config.ha_housekeeping_interval, config.broker_not_active_timeout_millis) = (i32::MAX, 3_600_000);
        })
    }

    async fn route(&self, topic: &'static str) -> Option<(Vec<(i64, String)>, i32)> {
        let header = GetRouteInfoRequestHeader { topic: topic.into(), ..Default::default() };
        let answer = Client::connect(self.addr).await.call_with(code::GET_ROUTEINFO_BY_TOPIC, &header).await;
        let route = fastjson::from_slice::<TopicRouteData>(&answer.body).ok().filter(|route| !route.broker_datas.is_empty())?;
        Some((route.broker_datas[0].broker_addrs.clone().into_iter().collect(), route.queue_datas[0].perm))
    }

    async fn comes_to(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let began = std::time::Instant::now();
        while !is_so().await {
            assert!(began.elapsed() < PATIENCE, "it never came to be: {what}");
            self.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn routes_to(&self, addrs: &[(i64, &TestBroker)], perm: i32) {
        let wanted: Vec<(i64, String)> = addrs.iter().map(|(id, broker)| (*id, broker.addr.to_string())).collect();
        self.comes_to(&format!("{wanted:?} with {perm}"), async || self.route("T").await == Some((wanted.clone(), perm))).await;
    }

    fn asked(&self, code: i32) -> Vec<RemotingCommand> {
        self.recording.asked.lock().iter().filter(|request| request.code == code).cloned().collect()
    }
}

/// The master with a topic of five messages, and a slave that has them and what a group consumed.
async fn pair(names: &Names) -> (TestBroker, TestBroker) {
    let master = names.member(0).start().await;
    master.create_topic("T", 1);
    names.comes_to("a master that clients know", async || names.route("TBW102").await.is_some()).await;
    master.broker.announce();
    let mut client = master.connect().await;
    client.send_many("T", 0, 5).await;
    client.consume("G", "c@0", &[("T", "*")]).await;
    client.commit("G", "T", 0, 2).await;
    let slave = names.member(1).start().await;
    let has_all = |slave: &TestBroker| {
        slave.broker.store.max_offset("T", 0) == 5
            && slave.broker.consumer_offsets.committed("G", "T", 0) == Some(2)
            && slave.broker.groups.contains("G")
    };
    names.comes_to("a slave that has it all", async || has_all(&slave)).await;
    names.routes_to(&[(0, &master), (1, &slave)], 6).await;
    (master, slave)
}

#[tokio::test]
async fn consumers_go_on_at_the_acting_slave_and_the_master_takes_over_what_they_consumed() {
    for (compatible, notify) in [(true, false), (false, true)] {
        let names = Names::start(|config| config.notify_min_broker_id_changed = notify).await;
        let (master, slave) = pair(&names).await;
        slave.broker.config.update(format!("compatibleWithOldNameSrv={compatible}").as_bytes(), 0).unwrap();
        let old_addr = master.addr;
        let setup = master.stop().await;
        names.routes_to(&[(0, &slave)], 4).await;
        names.comes_to("a slave that acts", async || slave.broker.members.smallest_id() == 1).await;

        // An ordered consumer: its lock, its messages, its wait and its offset.
        let mut client = slave.connect().await;
        client.consume("G", "c@1", &[("T", "*")]).await;
        let queue = MessageQueue { topic: "T".into(), broker_name: "broker-a".into(), queue_id: 0 };
        let lock = LockBatchRequestBody {
            consumer_group: "G".into(),
            client_id: "c@1".into(),
            mq_set: [queue.clone()].into_iter().collect(),
            ..Default::default()
        };
        let locked: LockBatchResponseBody = support::body(&client.call_with_body(code::LOCK_BATCH_MQ, fastjson::to_vec(&lock)).await);
        assert!(locked.lock_ok_mq_set.contains(&queue));
        let pulled = client.call(support::pull_request(&support::pull_header("G", "T", 0, 2))).await;
        assert_eq!((pulled.code, support::pulled(&pulled).2.len()), (response_code::SUCCESS, 3));
        let waiting = client.begin(support::pull_request(&support::pull_header("G", "T", 0, 5))).await;
        assert!(!client.is_answered(waiting).await, "nobody sends it to a master that is gone");
        assert_eq!(client.commit("G", "T", 0, 4).await.code, response_code::SUCCESS);
        // What only a master takes.
        let sent = client.call(send_request("T", 0, "", "x")).await;
        let text = "messages are put to the slave, message store has been shut down, etc.";
        assert_eq!((sent.code, support::remark(&sent).ends_with(text)), (response_code::SERVICE_NOT_AVAILABLE, true));
        let back = client.call_with(code::CONSUMER_SEND_MSG_BACK, &ConsumerSendMsgBackRequestHeader::default()).await;
        assert_eq!((back.code, support::remark(&back)), (response_code::SYSTEM_ERROR, "no master available along with 127.0.0.1"));

        let master = names.again(setup, 0).start().await;
        assert_ne!(master.addr, old_addr, "another address, so that nothing here rests on the old one");
        names.routes_to(&[(0, &master), (1, &slave)], 6).await;
        let committed = master.broker.consumer_offsets.committed("G", "T", 0);
        assert_eq!(committed, Some(4), "before clients are told of it the master has what was consumed at the slave");
        names
            .comes_to("a slave that acts no more", async || slave.broker.members.smallest_id() == 0 && slave.broker.slave.is_connected())
            .await;
        // A consumer is sent back by what it gets next.
        master.connect().await.send_many("T", 0, 1).await;
        names.comes_to("what the master has", async || slave.broker.store.max_offset("T", 0) == 6).await;
        let header: PullMessageResponseHeader = client.response(waiting).await.header().unwrap();
        assert_eq!(header.suggest_which_broker_id, 0);
        let told = names.asked(code::QUERY_DATA_VERSION).len();
        let said_904 = names.asked(code::BROKER_HEARTBEAT);
        assert_eq!((told > 0, !said_904.is_empty()), (true, !compatible), "in words of 4.x unless the key says otherwise");
        assert_eq!(names.asked(code::GET_BROKER_MEMBER_GROUP).is_empty(), compatible);
        drop(client);
        slave.stop().await;
        master.stop().await;
        names.listener.close_all("the story ends");
    }
}

/// A slave that is no further than its master changes nothing, and what the master's log has not is not taken.
#[tokio::test]
async fn the_higher_place_counts_when_a_master_comes_back() {
    let names = Names::start(|_| ()).await;
    let (master, slave) = pair(&names).await;
    let setup = master.stop().await;
    names.routes_to(&[(0, &slave)], 4).await;
    let offsets = &slave.broker.consumer_offsets;
    for (group, offset) in [("G", 1), ("New", 3), ("Beyond", 6), ("CID_RMQ_SYS_TRANS", 4)] {
        offsets.commit(group, "T", 0, offset, 1);
    }
    offsets.commit("New", "Unknown", 0, 0, 1);
    slave.broker.schedule.take_higher(br#"{"offsetTable":{3:0,4:7}}"#).unwrap();
    let master = names.again(setup, 0).start().await;
    names.routes_to(&[(0, &master), (1, &slave)], 6).await;
    let of = |group: &str| master.broker.consumer_offsets.committed(group, "T", 0);
    assert_eq!((of("G"), of("New"), of("Beyond"), of("CID_RMQ_SYS_TRANS")), (Some(2), Some(3), None, None));
    assert_eq!(master.broker.consumer_offsets.committed("New", "Unknown", 0), None);
    let levels: Vec<i32> = master.broker.schedule.progress(&master.broker.store).iter().map(|level| level.level).collect();
    assert_eq!(levels, [3, 4], "its places were taken over, and those outside their queues corrected");
    slave.stop().await;
    master.stop().await;
    names.listener.close_all("the story ends");
}

/// skipPreOnline, and a slave that lives and does not answer as it should.
#[tokio::test]
async fn a_master_is_not_kept_away_for_ever() {
    let names = Names::start(|_| ()).await;
    let (master, slave) = pair(&names).await;
    let setup = master.stop().await;
    names.routes_to(&[(0, &slave)], 4).await;
    slave.broker.consumer_offsets.commit("G", "T", 0, 5, 1);
    let setup = setup.config(|config| config.skip_pre_online = true);
    let master = names.again(setup, 0).start().await;
    names.routes_to(&[(0, &master), (1, &slave)], 6).await;
    assert_eq!(master.broker.consumer_offsets.committed("G", "T", 0), Some(2), "it did not wait for what the slave has");
    let setup = master.stop().await;
    names.routes_to(&[(0, &slave)], 4).await;

    // The name server goes on taking it for alive, and nobody listens there.
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut header: RegisterBrokerRequestHeader = names.asked(code::REGISTER_BROKER).last().unwrap().header().unwrap();
    (header.broker_addr, header.broker_id) = (silent.local_addr().unwrap().to_string().into(), 7);
    (header.heartbeat_timeout_millis, header.body_crc32) = (Some(i64::MAX / 2), 0);
    let mut stranger = Client::connect(names.addr).await;
    let body = names.asked(code::REGISTER_BROKER).last().unwrap().body.clone();
    let registers = RemotingCommand::request_with(code::REGISTER_BROKER, &header).with_body(body);
    assert_eq!(stranger.call(registers).await.code, response_code::SUCCESS);
    let master = names.again(setup, 0).start().await;
    let is_there = async || {
        names.clock.advance(Duration::from_secs(2));
        names.route("T").await.is_some_and(|(addrs, _)| addrs.len() == 3)
    };
    names.comes_to("a master in spite of it", is_there).await;
    assert_eq!(master.broker.consumer_offsets.committed("G", "T", 0), Some(5), "that of the slave that answers was taken");
    drop(stranger);
    slave.stop().await;
    master.stop().await;
    names.listener.close_all("the story ends");
}

/// What a registration says, and which key decides how often the rest is said.
#[tokio::test]
async fn name_servers_are_told_as_often_as_the_keys_say() {
    let names = Names::start(|_| ()).await;
    let quiet = |config: &mut BrokerConfig| {
        (config.compatible_with_old_name_srv, config.broker_not_active_timeout_millis) = (false, 12_345_678);
        (config.broker_heartbeat_interval, config.sync_broker_member_group_period) = (i32::MAX, 1_000);
    };
    let master = names.member(0).config(quiet).start().await;
    names.comes_to("questions", async || names.asked(code::GET_BROKER_MEMBER_GROUP).len() > 5).await;
    assert!(names.asked(code::BROKER_HEARTBEAT).is_empty(), "an interval that is not over");
    let registered: RegisterBrokerRequestHeader = names.asked(code::REGISTER_BROKER)[0].header().unwrap();
    assert_eq!((registered.enable_acting_master, registered.heartbeat_timeout_millis), (Some(true), Some(12_345_678)));
    let setup = master.stop().await;
    names.recording.asked.lock().clear();
    let master = names.again(setup, 0).config(quiet).config(|config| {
        (config.broker_heartbeat_interval, config.sync_broker_member_group_period) = (1_000, i32::MAX);
        config.total_replicas = 1;
    });
    let master = master.start().await;
    names.comes_to("signs of life", async || names.asked(code::BROKER_HEARTBEAT).len() > 5).await;
    assert!(names.asked(code::GET_BROKER_MEMBER_GROUP).is_empty(), "nobody is to be heard before a master of one replica is there");
    master.stop().await;

    names.recording.asked.lock().clear();
    let plain = names.member(0).config(|config| config.enable_slave_acting_master = false).start().await;
    names.comes_to("a registration", async || !names.asked(code::REGISTER_BROKER).is_empty()).await;
    let registered: RegisterBrokerRequestHeader = names.asked(code::REGISTER_BROKER)[0].header().unwrap();
    assert_eq!((registered.enable_acting_master, registered.heartbeat_timeout_millis), (Some(false), None));
    names.clock.advance(Duration::from_secs(5));
    assert!(names.asked(code::QUERY_DATA_VERSION).is_empty());
    plain.stop().await;
    names.listener.close_all("the story ends");
}

/// 905, 906 and 908, as AdminBrokerProcessor.java answers them.
#[tokio::test]
async fn masters_and_slaves_say_where_the_log_is() {
    let (setup, clock) = Setup::new().manual_clock();
    let acting = |config: &mut BrokerConfig| (config.enable_slave_acting_master, config.broker_ip2) = (true, "127.0.0.1".to_owned());
    let master = setup.config(acting).start().await;
    master.create_topic("T", 1);
    master.connect().await.send_many("T", 0, 3).await;
    let end = master.broker.store.max_phy_offset();
    let master = master.stop().await.with_clock(&clock).config(acting).start().await;
    let asked = master.connect().await.call(RemotingCommand::request(code::EXCHANGE_BROKER_HA_INFO)).await;
    let ha_addr = format!("127.0.0.1:{}", master.broker.config.load().ha_listen_port);
    let said: ExchangeHaInfoHeader = asked.header().unwrap();
    let (here, where_it_is) = (master.addr.to_string(), said.master_ha_address.as_deref());
    assert_eq!((where_it_is, said.master_flush_offset, said.master_address.as_deref()), (Some(&*ha_addr), Some(end), Some(&*here)));

    for notes in [false, true] {
        let as_slave = |config: &mut BrokerConfig| {
            (config.broker_role, config.broker_id) = (BrokerRole::Slave, 1);
            (config.sync_master_flush_offset_when_startup, config.slave_read_enable) = (notes, true);
        };
        let slave = Setup::new().with_clock(&clock).config(acting).config(as_slave).start().await;
        let mut client = slave.connect().await;
        let followed = || slave.broker.slave.ha_addr(&slave.broker.config.load());
        let asked = client.call(RemotingCommand::request(code::EXCHANGE_BROKER_HA_INFO)).await;
        assert_eq!((asked.code, asked.header::<ExchangeHaInfoHeader>().unwrap()), (response_code::SUCCESS, Default::default()));
        assert_eq!(client.call_with(code::EXCHANGE_BROKER_HA_INFO, &said).await.code, response_code::SUCCESS);
        slave.wait_until(|slave| slave.store.max_phy_offset() == end).await;
        let flushed = async |client: &mut Client| {
            let status = client.call(RemotingCommand::request(code::GET_BROKER_HA_STATUS)).await;
            support::body::<HaRuntimeInfo>(&status).ha_client_runtime_info.master_flush_offset
        };
        assert_eq!(flushed(&mut client).await, if notes { end } else { 0 });
        client.call_with(code::RESET_MASTER_FLUSH_OFFSET, &ResetMasterFlushOffsetHeader { master_flush_offset: 7 }).await;
        assert_eq!(flushed(&mut client).await, 7);

        let news = |id, addr: &str, offline: Option<&str>| NotifyMinBrokerIdChangeRequestHeader {
            min_broker_id: id,
            min_broker_addr: Some(addr.to_owned().into()),
            offline_broker_addr: offline.map(|addr| addr.to_owned().into()),
            ..Default::default()
        };
        slave.broker.slave.learn_master(Some(here.clone()), None);
        slave.wait_until(|slave| slave.topics.contains("T")).await;
        client.call_with(code::NOTIFY_MIN_BROKER_ID_CHANGE, &news(1, &slave.addr.to_string(), Some(&here))).await;
        slave.wait_until(|slave| slave.members.smallest_id() == 1).await;
        let began = std::time::Instant::now();
        while followed().is_some() {
            assert!(began.elapsed() < PATIENCE, "a master that left is followed no longer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Its connection may last a while. Nobody is sent to it.
        client.consume("G", "c@1", &[("T", "*")]).await;
        assert!(slave.broker.slave.is_connected());
        let waiting = client.begin(support::pull_request(&support::pull_header("G", "T", 0, 3))).await;
        assert!(!client.is_answered(waiting).await);
        // Nobody said where it replicates: it is asked.
        client.call_with(code::NOTIFY_MIN_BROKER_ID_CHANGE, &news(0, &here, None)).await;
        slave.wait_until(|slave| slave.members.smallest_id() == 0 && slave.slave.ha_addr(&slave.config.load()).is_some()).await;
        assert_eq!(followed(), Some(ha_addr.clone()));
        let nobody = client.call(RemotingCommand::request(code::NOTIFY_MIN_BROKER_ID_CHANGE)).await;
        assert_eq!(support::remark(&nobody), "the field minBrokerId is missing or no number");
        // A master of the original that comes back takes no refusal.
        let check_point = client.call(RemotingCommand::request(code::GET_TIMER_CHECK_POINT)).await;
        assert_eq!((check_point.code, &check_point.body[..]), (response_code::SUCCESS, &[0; 56][..]));
        drop(client);
        slave.stop().await;
    }
    master.stop().await;
}
