// SPDX-License-Identifier: Apache-2.0
//! Each key that is honoured changes what the server does; in the process, as an operator sets it. Keys that other stories prove are
//! named there: ports, addresses and name servers in tests/server.rs, retention and flushing of the store in tests/store.rs,
//! rejectPullConsumerEnable in tests/pull.rs, useServerSideResetOffset in tests/consumers.rs, name servers, addresses and the forms
//! of registration in tests/routes.rs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a story that cannot go on ends")]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferrocket_protocol::body::{TopicConfig, TopicRouteData};
use ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader;
use ferrocket_protocol::header::send::SendMessageResponseHeader;
use ferrocket_protocol::header::{
    EndTransactionRequestHeader, GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetRouteInfoRequestHeader,
    GetTopicConfigRequestHeader, SendMessageRequestHeader,
};
use ferrocket_protocol::message::id::parse_offset_id;
use ferrocket_protocol::message::{properties, property, sys_flag};
use ferrocket_protocol::{RemotingCommand, fastjson, perm, request_code, response_code};
use support::process::{Server, failed_start, with_any_ports, write};
use support::{Client, pull_header, pull_request, pulled, send_request};

struct Story {
    folder: tempfile::TempDir,
    server: Server,
    namesrv: SocketAddr,
    broker: SocketAddr,
}

/// An all-in-one named `b` with these keys over the defaults.
fn with(settings: &[&str]) -> Story {
    let folder = tempfile::tempdir().unwrap();
    let mut args = with_any_ports(&["--set", "brokerName=b"]);
    for setting in settings {
        args.extend(["--set", *setting]);
    }
    let mut server = Server::start(folder.path(), &args);
    let namesrv = server.namesrv();
    let broker = server.broker("b");
    Story { folder, server, namesrv, broker }
}

impl Story {
    async fn client(&self) -> Client {
        Client::connect(self.broker).await
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("ferrocket-data").join(below)
    }

    fn end(self) {
        assert_eq!(self.server.stop("-TERM"), Some(0));
    }
}

/// The length of the first file in a directory.
fn first_length(dir: &Path) -> u64 {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    std::fs::metadata(files.first().unwrap_or_else(|| panic!("{} is empty", dir.display()))).unwrap().len()
}

async fn topic_of(client: &mut Client, topic: &'static str) -> Option<TopicConfig> {
    let header = GetTopicConfigRequestHeader { topic: topic.into(), ..GetTopicConfigRequestHeader::default() };
    let response = client.call_with(request_code::GET_TOPIC_CONFIG, &header).await;
    (response.code == response_code::SUCCESS).then(|| fastjson::from_slice(&response.body).unwrap())
}

fn keyed(topic: &str, key: &str) -> RemotingCommand {
    let mut header: SendMessageRequestHeader = SendMessageRequestHeader::from_request(&send_request(topic, 0, "", "x")).unwrap();
    let mut text = header.properties.as_bytes().to_vec();
    properties::set(&mut text, property::KEYS, key);
    header.properties = String::from_utf8(text).unwrap().into();
    RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body("x")
}

#[tokio::test]
async fn sizes_of_the_files() {
    let story = with(&["mappedFileSizeCommitLog=1048576", "mappedFileSizeConsumeQueue=2001", "maxHashSlotNum=10", "maxIndexNum=20"]);
    let mut client = story.client().await;
    assert_eq!(client.call(keyed("T", "k")).await.code, response_code::SUCCESS);
    drop(client);
    let (commit_log, queue, index) = (story.path("commitlog"), story.path("consumequeue/T/0"), story.path("index"));
    let folder = {
        let Story { folder, server, .. } = story;
        assert_eq!(server.stop("-TERM"), Some(0));
        folder
    };
    assert_eq!(first_length(&commit_log), 1_048_576);
    assert_eq!(first_length(&queue), 2_020, "rounded up to whole units");
    assert_eq!(first_length(&index), 40 + 4 * 10 + 20 * 20);
    drop(folder);
}

#[tokio::test]
async fn the_commit_log_lies_where_it_is_told() {
    let elsewhere = tempfile::tempdir().unwrap();
    let setting = format!("storePathCommitLog={}", elsewhere.path().join("log").display());
    let story = with(&[&setting, "mappedFileSizeCommitLog=1048576"]);
    let mut client = story.client().await;
    assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS);
    assert_eq!(first_length(&elsewhere.path().join("log")), 1_048_576);
    assert!(!story.path("commitlog").exists());
    story.end();
}

#[tokio::test]
async fn without_an_index_no_key_is_written() {
    let story = with(&["messageIndexEnable=false"]);
    let mut client = story.client().await;
    assert_eq!(client.call(keyed("T", "k")).await.code, response_code::SUCCESS);
    let index = story.path("index");
    let folder = {
        let Story { folder, server, .. } = story;
        assert_eq!(server.stop("-TERM"), Some(0));
        folder
    };
    assert!(std::fs::read_dir(&index).map_or(true, |mut files| files.next().is_none()), "no index file");
    drop(folder);
}

#[tokio::test]
async fn topics_and_groups_are_created_or_not() {
    let story = with(&["autoCreateTopicEnable=false", "autoCreateSubscriptionGroup=false"]);
    let mut client = story.client().await;
    assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::TOPIC_NOT_EXIST);
    let pull = client.call(pull_request(&pull_header("g", "T", 0, 0))).await;
    assert_eq!(pull.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST, "{:?}", pull.remark);
    story.end();

    let story = with(&["defaultTopicQueueNums=2"]);
    let mut client = story.client().await;
    assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS);
    let topic = topic_of(&mut client, "T").await.unwrap();
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums), (2, 2));
    assert_eq!(topic_of(&mut client, "TBW102").await.unwrap().write_queue_nums, 2);
    story.end();
}

#[tokio::test]
async fn topics_of_the_names_of_cluster_and_broker_and_of_traces() {
    let story = with(&["brokerClusterName=c", "clusterTopicEnable=true", "traceTopicEnable=true", "msgTraceTopicName=traces"]);
    let mut client = story.client().await;
    for topic in ["c", "b", "traces"] {
        assert!(topic_of(&mut client, topic).await.is_some(), "{topic}");
    }
    assert!(topic_of(&mut client, "RMQ_SYS_TRACE_TOPIC").await.is_none());
    story.end();
}

#[tokio::test]
async fn a_broker_that_may_not_be_written_or_read_says_so() {
    let story = with(&["brokerPermission=4"]);
    // Clients see it in the route and send elsewhere; a send that comes all the same is only refused for ordered topics.
    let mut client = Client::connect(story.namesrv).await;
    let header = GetRouteInfoRequestHeader { topic: "TBW102".into(), ..GetRouteInfoRequestHeader::default() };
    let route: TopicRouteData = fastjson::from_slice(&client.call_with(request_code::GET_ROUTEINFO_BY_TOPIC, &header).await.body).unwrap();
    assert_eq!(route.queue_datas[0].perm & perm::READ_WRITE, perm::READ);
    story.end();
    let story = with(&["brokerPermission=2"]);
    let mut client = story.client().await;
    assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS);
    assert_eq!(client.call(pull_request(&pull_header("g", "T", 0, 0))).await.code, response_code::NO_PERMISSION);
    story.end();
}

#[tokio::test]
async fn a_level_delays_as_long_as_it_is_told() {
    let story = with(&["messageDelayLevel=1s 1h"]);
    let mut client = story.client().await;
    let mut header = SendMessageRequestHeader::from_request(&send_request("T", 0, "", "x")).unwrap();
    let mut text = header.properties.as_bytes().to_vec();
    properties::set(&mut text, property::DELAY, "1");
    header.properties = String::from_utf8(text).unwrap().into();
    let request = RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body("x");
    assert_eq!(client.call(request).await.code, response_code::SUCCESS);
    client.consume("g", "c@1", &[("T", "*")]).await;
    let mut header = pull_header("g", "T", 0, 0);
    header.suspend_timeout_millis = 15_000;
    let begun = Instant::now();
    let (code, _, bodies) = pulled(&client.call(pull_request(&header)).await);
    assert_eq!((code, bodies), (response_code::SUCCESS, vec!["x".to_owned()]));
    assert!(begun.elapsed() > Duration::from_millis(500), "it was delayed");
    story.end();
}

#[tokio::test]
async fn without_long_polling_a_pull_waits_as_long_as_the_server_says() {
    let story = with(&["longPollingEnable=false", "shortPollingTimeMills=300"]);
    let mut client = story.client().await;
    client.call(send_request("T", 0, "", "x")).await;
    client.consume("g", "c@1", &[("T", "*")]).await;
    let mut header = pull_header("g", "T", 0, 1);
    header.suspend_timeout_millis = 15_000;
    let begun = Instant::now();
    assert_eq!(client.call(pull_request(&header)).await.code, response_code::PULL_NOT_FOUND);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(200) && took < Duration::from_secs(14), "{took:?}");
    story.end();
}

/// BrokerFastFailure.java: here a request waits behind others of the same read.
#[tokio::test]
async fn a_send_that_waited_longer_than_it_may_is_refused() {
    let busy_of = |settings: &'static [&'static str]| async move {
        let story = with(settings);
        let mut client = story.client().await;
        client.call(send_request("T", 0, "", "first")).await;
        let busy = busy_of_fifty(&mut client, &send_request("T", 0, "", "x")).await;
        story.end();
        busy
    };
    assert!(busy_of(&["waitTimeMillsInSendQueue=0"]).await > 0);
    assert_eq!(busy_of(&["waitTimeMillsInSendQueue=10000"]).await, 0);
    assert_eq!(busy_of(&["waitTimeMillsInSendQueue=0", "brokerFastFailureEnable=false"]).await, 0);
}

/// How many of fifty in one read are told that they waited too long.
async fn busy_of_fifty(client: &mut Client, request: &RemotingCommand) -> usize {
    let mut busy = 0;
    for opaque in client.begin_all((0..50).map(|_| request.clone())).await {
        let response = client.response(opaque).await;
        if response.code == response_code::SYSTEM_BUSY {
            let remark = support::remark(&response);
            assert!(remark.starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: "), "{remark}");
            busy += 1;
        }
    }
    busy
}

#[tokio::test]
async fn an_end_of_a_transaction_that_waited_longer_than_it_may_is_refused() {
    let header = EndTransactionRequestHeader {
        producer_group: "P".into(),
        commit_or_rollback: sys_flag::TRANSACTION_COMMIT,
        ..EndTransactionRequestHeader::default()
    };
    let request = RemotingCommand::request_with(request_code::END_TRANSACTION, &header);
    for (setting, is_refused) in [("waitTimeMillsInTransactionQueue=0", true), ("waitTimeMillsInTransactionQueue=10000", false)] {
        let story = with(&[setting, "waitTimeMillsInSendQueue=0"]);
        let busy = busy_of_fifty(&mut story.client().await, &request).await;
        assert_eq!(busy > 0, is_refused, "{setting}: {busy}");
        story.end();
    }
}

#[tokio::test]
async fn more_sends_than_may_wait_for_the_disk_are_refused() {
    let story = with(&["flushDiskType=SYNC_FLUSH", "sendThreadPoolQueueCapacity=1"]);
    let mut client = story.client().await;
    client.call(send_request("T", 0, "", "first")).await;
    let opaques = client.begin_all((0..50).map(|_| send_request("T", 0, "", "x"))).await;
    let mut refused = 0;
    for opaque in opaques {
        let response = client.response(opaque).await;
        if response.code == response_code::SYSTEM_BUSY {
            assert_eq!(support::remark(&response), "[OVERLOAD]system busy, start flow control for a while");
            refused += 1;
        }
    }
    assert!(refused > 0, "with SYNC_FLUSH a send waits for the disk, and only one may");
    story.end();
}

#[tokio::test]
async fn each_lane_waits_as_long_as_its_key_says() {
    let story = with(&[
        "waitTimeMillsInPullQueue=0",
        "waitTimeMillsInLitePullQueue=0",
        "waitTimeMillsInHeartbeatQueue=0",
        "waitTimeMillsInAdminBrokerQueue=0",
    ]);
    let mut client = story.client().await;
    client.call(send_request("T", 0, "", "first")).await;
    let mut lite = pull_request(&pull_header("g", "T", 0, 0));
    lite.code = request_code::LITE_PULL_MESSAGE;
    let lanes = [
        pull_request(&pull_header("g", "T", 0, 0)),
        lite,
        RemotingCommand::request(request_code::HEART_BEAT).with_body(fastjson::to_vec(&support::producer_heartbeat("p", "c@1"))),
        RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO),
    ];
    for lane in lanes {
        // Sends go before it in the same write, so that it waits behind them; theirs is another lane.
        let sends = (0..20).map(|_| send_request("T", 0, "", "x"));
        let opaques = client.begin_all(sends.chain([lane.clone()])).await;
        for opaque in &opaques[..20] {
            assert_eq!(client.response(*opaque).await.code, response_code::SUCCESS);
        }
        assert_eq!(client.response(opaques[20]).await.code, response_code::SYSTEM_BUSY, "code {}", lane.code);
    }
    story.end();
}

#[tokio::test]
async fn region_and_trace_are_told_to_producers() {
    let story = with(&["regionId=north", "traceOn=false"]);
    let mut client = story.client().await;
    let sent = client.call(send_request("T", 0, "", "x")).await;
    let told = |key: &str| sent.ext_fields.get_str(key).map(str::to_owned);
    assert_eq!((told(property::MSG_REGION).as_deref(), told(property::TRACE_ON).as_deref()), (Some("north"), Some("false")));
    story.end();
}

#[tokio::test]
async fn sends_are_refused_before_the_moment_that_is_set() {
    let story = with(&["startAcceptSendRequestTimeStamp=4102444800000"]);
    let mut client = story.client().await;
    let refused = client.call(send_request("T", 0, "", "x")).await;
    assert_eq!(refused.code, response_code::SYSTEM_ERROR);
    assert!(support::remark(&refused).starts_with("broker unable to service, until "), "{:?}", refused.remark);
    story.end();
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed() {
    let story = with(&["serverChannelMaxIdleTimeSeconds=1"]);
    let mut idle = tokio::net::TcpStream::connect(story.broker).await.unwrap();
    let mut byte = [0; 1];
    let read = tokio::time::timeout(support::PATIENCE, tokio::io::AsyncReadExt::read(&mut idle, &mut byte)).await;
    assert_eq!(read.expect("closed long before").unwrap(), 0);
    story.end();
}

#[tokio::test]
async fn no_connection_is_closed_when_the_idle_time_is_off() {
    for setting in ["serverChannelMaxIdleTimeSeconds=0", "serverChannelMaxIdleTimeSeconds=-1"] {
        let story = with(&[setting]);
        let mut client = story.client().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS, "{setting}");
        story.end();
    }
}

/// A change by command that the next start would refuse is refused with the sentence of that start, and nothing is saved.
#[tokio::test]
async fn what_the_next_start_would_refuse_is_not_taken_by_command() {
    let story = with(&[]);
    let mut client = story.client().await;
    let no_host = "bindAddress=nowhere";
    let (no_name, not_ours) = ("brokerIP1=broker.invalid", "bindAddress=192.0.2.1");
    for change in
        ["maxMessageSize=0", "messageDelayLevel=1s 5x", "listenPort=70000", "namesrvAddr=ns1", "advertise=x", no_host, no_name, not_ours]
    {
        let elsewhere = tempfile::tempdir().unwrap();
        let said = failed_start(elsewhere.path(), &with_any_ports(&["--set", change]));
        let sentence = said.strip_prefix("command line, --set: ").unwrap();
        let refused = client.call_with_body(request_code::UPDATE_BROKER_CONFIG, format!("fileReservedTime=7\n{change}\n")).await;
        assert_eq!((refused.code, support::remark(&refused)), (response_code::SYSTEM_ERROR, sentence), "{change}");
    }
    let held = String::from_utf8(client.call(RemotingCommand::request(request_code::GET_BROKER_CONFIG)).await.body.to_vec()).unwrap();
    assert!(held.contains("maxMessageSize=4194304\n") && held.contains("fileReservedTime=72\n"), "{held}");
    assert!(!story.path("config/broker.properties").exists());
    let mut namesrv = Client::connect(story.namesrv).await;
    for change in ["listenPort=70000", "advertise=x", no_host, not_ours] {
        let refused = namesrv.call_with_body(request_code::UPDATE_NAMESRV_CONFIG, change).await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR, "{change}");
    }
    assert!(!story.path("namesrv/namesrv.properties").exists());
    story.end();
}

/// A member and one that joins after it; whether the first one hears of that within a time.
async fn hears_of_a_newcomer(story: &Story, within: Duration) -> bool {
    let (mut member, mut newcomer) = (story.client().await, story.client().await);
    let is_told = async |member: &mut Client, within: Duration| {
        let began = Instant::now();
        while began.elapsed() < within {
            if member.has_pushed().await {
                member.pushed().await;
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    member.consume("g", "c@1", &[("T", "*")]).await;
    // It may hear of itself.
    is_told(&mut member, Duration::from_secs(1)).await;
    newcomer.consume("g", "c@2", &[("T", "*")]).await;
    is_told(&mut member, within).await
}

#[tokio::test]
async fn members_hear_of_a_newcomer_at_once_later_or_never() {
    for (setting, at_once) in
        [("brokerName=b", true), ("realTimeNotifyConsumerChange=false", false), ("notifyConsumerIdsChangedEnable=false", false)]
    {
        let story = with(&[setting]);
        let within = if at_once { support::PATIENCE } else { Duration::from_secs(1) };
        assert_eq!(hears_of_a_newcomer(&story, within).await, at_once, "{setting}");
        story.end();
    }
}

#[tokio::test]
async fn system_topics_are_guarded_unless_the_operator_says_so() {
    for (setting, code) in [
        ("validateSystemTopicWhenUpdateTopic=true", response_code::INVALID_PARAMETER),
        ("validateSystemTopicWhenUpdateTopic=false", response_code::SUCCESS),
    ] {
        let story = with(&[setting]);
        let mut client = story.client().await;
        let header = CreateTopicRequestHeader {
            topic: "SELF_TEST_TOPIC".into(),
            default_topic: "TBW102".into(),
            read_queue_nums: 5,
            write_queue_nums: 5,
            perm: 6,
            topic_filter_type: "SINGLE_TAG".into(),
            ..CreateTopicRequestHeader::default()
        };
        let answered = client.call_with(request_code::UPDATE_AND_CREATE_TOPIC, &header).await;
        assert_eq!(answered.code, code, "{setting}: {:?}", answered.remark);
        let queues = topic_of(&mut client, "SELF_TEST_TOPIC").await.unwrap().read_queue_nums;
        assert_eq!(queues == 5, code == response_code::SUCCESS, "{setting}: {queues}");
        drop(client);
        story.end();
    }
}

/// Log files are spread over the paths; one that holds no more than older files may be given read-only afterwards.
#[tokio::test]
async fn the_log_lies_in_several_directories_and_an_older_one_may_be_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let count = |dir: &str| std::fs::read_dir(folder.path().join(dir)).map_or(0, |files| files.count());
    let start = |paths: [&str; 2]| {
        let common = ["--set", "brokerName=b", "--set", "mappedFileSizeCommitLog=65536", "--set", paths[0], "--set", paths[1]];
        let mut server = Server::start(folder.path(), &with_any_ports(&common));
        server.namesrv();
        let broker = server.broker("b");
        (server, broker)
    };
    let body = "x".repeat(10_000);
    let (server, broker) = start(["storePathCommitLog=first,second", "readOnlyCommitLogStorePaths="]);
    let mut client = Client::connect(broker).await;
    // Seven to a file: the third one has begun.
    for _ in 0..15 {
        client.send("T", 0, "", &body).await;
    }
    drop(client);
    assert_eq!(server.stop("-TERM"), Some(0));
    assert!(count("first") > 0 && count("second") > 0, "{} and {}", count("first"), count("second"));

    let last = |dir: &str| std::fs::read_dir(folder.path().join(dir)).unwrap().map(|file| file.unwrap().file_name()).max();
    let (writable, read_only) = if last("first") > last("second") { ("first", "second") } else { ("second", "first") };
    let before = count(read_only);
    let (server, broker) = start([&format!("storePathCommitLog={writable}"), &format!("readOnlyCommitLogStorePaths={read_only}")]);
    let mut client = Client::connect(broker).await;
    for _ in 0..15 {
        client.send("T", 0, "", &body).await;
    }
    client.consume("g", "c@1", &[("T", "*")]).await;
    let mut offset = 0;
    while offset < 30 {
        let (code, next, bodies) = pulled(&client.call(pull_request(&pull_header("g", "T", 0, offset))).await);
        assert_eq!(code, response_code::SUCCESS, "at {offset}");
        assert!(bodies.iter().all(|pulled| *pulled == body));
        offset = next;
    }
    drop(client);
    assert_eq!(server.stop("-TERM"), Some(0));
    assert_eq!(count(read_only), before, "nothing is added to a path that is only read");
}

/// An empty table of offsets would have every group begin anew.
#[test]
fn a_table_that_cannot_be_understood_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ferrocket-data/config");
    std::fs::create_dir_all(&config).unwrap();
    for name in ["consumerOffset.json", "topics.json", "subscriptionGroup.json", "delayOffset.json"] {
        let path = write(config.join(name), "{half");
        for _ in 0..2 {
            let sentence = failed_start(folder.path(), &with_any_ports(&[]));
            assert!(sentence.contains(name) && sentence.contains("bring back a good copy, or move what is there away"), "{sentence}");
        }
        std::fs::remove_file(path).unwrap();
    }
}

/// A half message of the producer group P with this key; where it lies.
async fn prepare(client: &mut Client, key: &str) -> (i64, i64) {
    let mut header = support::send_header("T", 0, &[("UNIQ_KEY", key), ("TRAN_MSG", "true"), ("PGROUP", "P")]);
    // The server goes by the machine's clock: a half that was born days ago is given up without a question.
    header.born_timestamp = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let answer = client.call(RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body("x")).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let sent: SendMessageResponseHeader = answer.header().unwrap();
    (sent.queue_offset, parse_offset_id(&sent.msg_id).unwrap().1)
}

async fn roll_back(client: &mut Client, (queue_offset, physical_offset): (i64, i64)) {
    let header = EndTransactionRequestHeader {
        producer_group: "P".into(),
        tran_state_table_offset: queue_offset,
        commit_log_offset: physical_offset,
        commit_or_rollback: 12,
        msg_id: "k".into(),
        ..Default::default()
    };
    assert_eq!(client.call_with(request_code::END_TRANSACTION, &header).await.code, response_code::SUCCESS);
}

/// The message count of a queue as soon as it has one.
async fn max_offset_above_zero(client: &mut Client, topic: &'static str) -> i64 {
    let began = Instant::now();
    loop {
        let header = GetMaxOffsetRequestHeader { topic: topic.into(), queue_id: 0, ..Default::default() };
        let answer: GetMaxOffsetResponseHeader = client.call_with(request_code::GET_MAX_OFFSET, &header).await.header().unwrap();
        if answer.offset > 0 {
            return answer.offset;
        }
        assert!(began.elapsed() < support::PATIENCE, "nothing in {topic}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// transactionTimeOut, transactionCheckInterval, transactionCheckMax, transactionMetricFlushInterval.
#[tokio::test]
async fn questions_about_transactions() {
    let story =
        with(&["transactionTimeOut=200", "transactionCheckInterval=300", "transactionCheckMax=2", "transactionMetricFlushInterval=100"]);
    let mut client = story.client().await;
    client.heartbeat(&support::producer_heartbeat("P", "c")).await;
    let began = Instant::now();
    prepare(&mut client, "k").await;
    for earliest_millis in [200, 500] {
        assert_eq!(client.pushed().await.code, request_code::CHECK_TRANSACTION_STATE);
        assert!(began.elapsed() >= Duration::from_millis(earliest_millis), "{:?}", began.elapsed());
    }
    assert_eq!(max_offset_above_zero(&mut client, "TRANS_CHECK_MAX_TIME_TOPIC").await, 1);
    assert!(began.elapsed() >= Duration::from_millis(800) && began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(!client.has_pushed().await);
    let metrics = story.path("config/transactionMetrics");
    let began = Instant::now();
    while !std::fs::read_to_string(&metrics).is_ok_and(|text| text.contains("{\"T\":{\"count\":0,")) {
        assert!(began.elapsed() < support::PATIENCE, "{:?}", std::fs::read_to_string(&metrics));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    story.end();
}

#[tokio::test]
async fn op_messages_gather_for_a_time_or_until_they_are_large() {
    let story = with(&["transactionOpBatchInterval=500"]);
    let mut client = story.client().await;
    let began = Instant::now();
    let halves = [prepare(&mut client, "a").await, prepare(&mut client, "b").await];
    for half in halves {
        roll_back(&mut client, half).await;
    }
    assert_eq!(max_offset_above_zero(&mut client, "RMQ_SYS_TRANS_OP_HALF_TOPIC").await, 1, "both in one");
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    story.end();

    let story = with(&["transactionOpBatchInterval=3600000", "transactionOpMsgMaxSize=4"]);
    let mut client = story.client().await;
    for key in ["a", "b"] {
        let half = prepare(&mut client, key).await;
        roll_back(&mut client, half).await;
    }
    assert_eq!(max_offset_above_zero(&mut client, "RMQ_SYS_TRANS_OP_HALF_TOPIC").await, 1, "4 bytes are enough");
    story.end();
}

#[tokio::test]
async fn half_messages_can_be_refused() {
    let story = with(&["rejectTransactionMessage=true"]);
    let mut client = story.client().await;
    let header = support::send_header("T", 0, &[("TRAN_MSG", "true"), ("PGROUP", "P")]);
    let answer = client.call(RemotingCommand::request_with(request_code::SEND_MESSAGE, &header).with_body("x")).await;
    assert_eq!(answer.code, response_code::NO_PERMISSION);
    assert_eq!(client.call_with_body(request_code::UPDATE_BROKER_CONFIG, "rejectTransactionMessage=false").await.code, 0);
    prepare(&mut client, "k").await;
    story.end();
}

/// Whoever waits for a slave must not hear of success because of a command that has no effect yet.
#[tokio::test]
async fn a_role_by_command_frees_no_send_before_the_next_start() {
    let story = with(&["brokerRole=SYNC_MASTER", "inSyncReplicas=2", "slaveTimeout=50"]);
    let mut client = story.client().await;
    let send = || send_request("T", 0, "", "x");
    assert_eq!(client.call(send()).await.code, response_code::FLUSH_SLAVE_TIMEOUT);
    assert_eq!(client.call_with_body(request_code::UPDATE_BROKER_CONFIG, "brokerRole=ASYNC_MASTER").await.code, 0);
    assert_eq!(client.call(send()).await.code, response_code::FLUSH_SLAVE_TIMEOUT);
    assert_eq!(client.call_with_body(request_code::UPDATE_BROKER_CONFIG, "inSyncReplicas=1").await.code, 0);
    assert_eq!(client.call(send()).await.code, response_code::SUCCESS, "that key is obeyed at once");
    let (code, warnings) = story.server.stop_and_hear("-TERM");
    assert!(code == Some(0) && warnings.contains("brokerRole"), "{warnings}");
}
