// SPDX-License-Identifier: Apache-2.0
//! The broker for administrators: configuration (25, 26), runtime figures (28); and what is answered to codes that nobody serves.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use ferrocket::server::health;
use ferrocket::store::{MemoryFs, Operation};
use ferrocket_protocol::body::kv::KvTable;
use ferrocket_protocol::header::admin::broker::GetBrokerConfigResponseHeader;
use ferrocket_protocol::{RemotingCommand, fastjson, request_code, response_code};
use support::{Setup, TestBroker, remark, send_request};

fn update(text: &'static str) -> RemotingCommand {
    RemotingCommand::request(request_code::UPDATE_BROKER_CONFIG).with_body(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn the_configuration_is_changed_and_told() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let answer = client.call(update("maxMessageSize=100\nautoCreateTopicEnable=false\n")).await;
    assert_eq!((answer.code, remark(&answer)), (0, ""));
    assert!(!broker.broker.config.load().auto_create_topic_enable);
    let answer = client.call(RemotingCommand::request(request_code::GET_BROKER_CONFIG)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.lines().any(|line| line == "maxMessageSize=100") && text.lines().any(|line| line == "brokerName=broker-a"), "{text}");
    let header: GetBrokerConfigResponseHeader = answer.header().unwrap();
    assert!(header.version.starts_with("{\"counter\":1,\"stateVersion\":0,\"timestamp\":"), "{}", header.version);
    // Automatic creation is off from this moment on.
    let refused = client.call(support::send_request("orders", 0, "", "m")).await;
    assert_eq!(refused.code, response_code::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_as_a_whole() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let answer = client.call(update("fileReservedTime=1\nbrokerConfigPath=/x\n")).await;
    assert_eq!((answer.code, remark(&answer)), (response_code::NO_PERMISSION, "Can not update config in black list."));
    let answer = client.call(update("fileReservedTime=1\nmaxMessageSize=big\n")).await;
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    assert_eq!(broker.broker.config.load().file_reserved_time, 72);
    let answer = client.call(update("")).await;
    assert_eq!(answer.code, response_code::SUCCESS, "nothing to change");
}

/// Where files lie and how they are laid out is decided on the machine.
#[tokio::test]
async fn no_command_says_where_files_lie_or_how_large_they_are() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let listed = client.call(RemotingCommand::request(request_code::GET_BROKER_CONFIG)).await;
    let listed = String::from_utf8(listed.body.to_vec()).unwrap();
    let names_a_place = |key: &&str| {
        let key = key.to_lowercase();
        key.contains("storepath") || key.ends_with("path") || key.contains("filesize") || ["maxindexnum", "maxhashslotnum"].contains(&&*key)
    };
    let keys: Vec<&str> = listed.lines().filter_map(|line| Some(line.split_once('=')?.0)).filter(names_a_place).collect();
    assert!(keys.len() >= 20 && keys.contains(&"storePathRootDir") && keys.contains(&"readOnlyCommitLogStorePaths"), "{keys:?}");
    for key in keys {
        let answer = client.call_with_body(request_code::UPDATE_BROKER_CONFIG, format!("fileReservedTime=1\n{key}=1000\n")).await;
        let words = (response_code::NO_PERMISSION, "Can not update config in black list.");
        assert_eq!((answer.code, remark(&answer)), words, "{key}");
    }
    assert_eq!(broker.broker.config.load().file_reserved_time, 72);
}

#[tokio::test]
async fn a_changed_permission_is_a_new_version_of_the_topics() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let before = broker.broker.topics.data_version();
    assert_eq!(client.call(update("brokerPermission=4\n")).await.code, response_code::SUCCESS);
    assert_eq!(broker.broker.topics.data_version().counter, before.counter + 1);
}

/// wire-protocol §10.1: the exporter leaves out the whole broker when one of these is missing or not a number.
#[tokio::test]
async fn the_runtime_figures_are_those_that_tools_parse() {
    let broker = TestBroker::start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    client.send("orders", 0, "", "m").await;
    let answer = client.call(RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await;
    let table = fastjson::from_slice::<KvTable>(&answer.body).unwrap().table;
    let text = |key: &str| table.get(key).unwrap_or_else(|| panic!("{key} is missing: {table:?}")).as_str();
    for key in [
        "msgPutTotalTodayNow",
        "msgPutTotalYesterdayMorning",
        "msgPutTotalTodayMorning",
        "msgGetTotalTodayNow",
        "msgGetTotalYesterdayMorning",
        "msgGetTotalTodayMorning",
        "sendThreadPoolQueueSize",
        "sendThreadPoolQueueCapacity",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "pullThreadPoolQueueSize",
        "pullThreadPoolQueueCapacity",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueSize",
        "queryThreadPoolQueueCapacity",
        "queryThreadPoolQueueHeadWaitTimeMills",
        "litePullThreadPoolQueueSize",
        "ackThreadPoolQueueSize",
        "EndTransactionQueueSize",
        "EndTransactionThreadPoolQueueCapacity",
        "bootTimestamp",
        "dispatchMaxBuffer",
        "brokerVersion",
        "pageCacheLockTimeMills",
        "commitLogMinOffset",
        "commitLogMaxOffset",
        "getMessageEntireTimeMax",
        "putMessageEntireTimeMax",
        "putMessageTimesTotal",
        "putMessageFailedTimes",
        "putMessageSizeTotal",
        "dispatchBehindBytes",
        "startAcceptSendRequestTimeStamp",
        "earliestMessageTimeStamp",
        "remainTransientStoreBufferNumbs",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
    ] {
        assert!(text(key).parse::<i64>().is_ok(), "{key}={}", text(key));
    }
    for key in [
        "putMessageAverageSize",
        "consumeQueueDiskRatio",
        "commitLogDiskRatio",
        "timerEnqueueTps",
        "timerDequeueTps",
        "putLatency99",
        "putLatency999",
    ] {
        assert!(text(key).parse::<f64>().is_ok(), "{key}={}", text(key));
    }
    for key in ["putTps", "getMissTps", "getTransferredTps", "getTransferedTps", "getTotalTps", "getFoundTps"] {
        let numbers: Vec<f64> = text(key).split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 3, "{key}={}", text(key));
    }
    assert_eq!(text("brokerVersionDesc"), "V5_5_0");
    assert_eq!(text("brokerActive"), "true");
    assert_eq!(text("msgPutTotalTodayNow"), "1");
    assert!(text("runtime").starts_with("[ 0 days, 0 hours, "));
    assert!(text("remainHowManyDataToFlush").split(' ').next().unwrap().parse::<f64>().is_ok());
    let capacity: Vec<&str> = text("commitLogDirCapacity").split(' ').collect();
    assert_eq!((capacity[0], capacity[1], capacity[4], capacity[5]), ("Total", ":", "Free", ":"));
    assert_eq!(text("putMessageDistributeTime").split(' ').filter(|part| part.starts_with('[')).count(), 13);
}

const RUNTIME_TEXTS: [&str; 61] = [
    "EndTransactionQueueSize=0",
    "EndTransactionThreadPoolQueueCapacity=100000",
    "ackThreadPoolQueueCapacity=100000",
    "ackThreadPoolQueueHeadWaitTimeMills=0",
    "ackThreadPoolQueueSize=0",
    "bootTimestamp=1795219808010",
    "brokerActive=true",
    "brokerVersion=513",
    "brokerVersionDesc=V5_5_0",
    "commitLogDirCapacity=Total : 1.0 TiB, Free : 1024.0 GiB.",
    "commitLogDiskRatio=0.01",
    "commitLogDiskRatio_/store/commitlog=0.01",
    "commitLogMaxOffset=865",
    "commitLogMinOffset=0",
    "consumeQueueDiskRatio=0.01",
    "dispatchBehindBytes=?",
    "dispatchMaxBuffer=0",
    "earliestMessageTimeStamp=1795219808010",
    "getFoundTps=0.0 0.0 0.0",
    "getMessageEntireTimeMax=0",
    "getMissTps=0.0 0.0 0.0",
    "getTotalTps=0.0 0.0 0.0",
    "getTransferedTps=0.0 0.0 0.0",
    "getTransferredTps=0.0 0.0 0.0",
    "litePullThreadPoolQueueCapacity=100000",
    "litePullThreadPoolQueueHeadWaitTimeMills=0",
    "litePullThreadPoolQueueSize=0",
    "msgGetTotalTodayMorning=0",
    "msgGetTotalTodayNow=2",
    "msgGetTotalYesterdayMorning=0",
    "msgPutTotalTodayMorning=0",
    "msgPutTotalTodayNow=3",
    "msgPutTotalYesterdayMorning=0",
    "pageCacheLockTimeMills=0",
    "pullThreadPoolQueueCapacity=100000",
    "pullThreadPoolQueueHeadWaitTimeMills=0",
    "pullThreadPoolQueueSize=0",
    "putLatency99=0.00",
    "putLatency999=0.00",
    "putMessageAverageSize=216.25",
    "putMessageDistributeTime=[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ",
    "putMessageEntireTimeMax=0",
    "putMessageFailedTimes=0",
    "putMessageSizeTotal=865",
    "putMessageTimesTotal=4",
    "putTps=0.0 0.0 0.0",
    "queryThreadPoolQueueCapacity=20000",
    "queryThreadPoolQueueHeadWaitTimeMills=0",
    "queryThreadPoolQueueSize=0",
    "remainHowManyDataToFlush=0 B",
    "remainTransientStoreBufferNumbs=2147483647",
    "runtime=[ 0 days, 0 hours, 0 minutes, 0 seconds ]",
    "sendThreadPoolQueueCapacity=10000",
    "sendThreadPoolQueueHeadWaitTimeMills=0",
    "sendThreadPoolQueueSize=0",
    "startAcceptSendRequestTimeStamp=0",
    "timerCongestNum=0",
    "timerDequeueTps=0.0",
    "timerEnqueueTps=0.0",
    "timerOffsetBehind=0",
    "timerReadBehind=0",
];

/// All keys and texts of a broker whose clock stands still, so that one that is lost, or moved to another key, is seen.
#[tokio::test]
async fn the_runtime_figures_are_these_texts() {
    let fs = MemoryFs::new();
    let (setup, _clock) = Setup::new().on(&fs).sync_flush().manual_clock();
    let broker = setup.config(|config| config.message_delay_level = "1s 5s".to_owned()).start().await;
    broker.create_topic("orders", 1);
    let mut client = broker.connect().await;
    for body in ["m", "mm", "mmm"] {
        client.send("orders", 0, "", body).await;
    }
    let delayed = support::send_header("orders", 0, &[("DELAY", "2")]);
    let delayed = support::java_request(request_code::SEND_MESSAGE).with_header(&delayed).with_body(Bytes::from_static(b"later"));
    assert_eq!(client.call(delayed).await.code, response_code::SUCCESS);
    client.call(send_request("orders", 9, "", "a queue that is not there")).await;
    client.consume("G", "c", &[("orders", "*")]).await;
    let pull = support::pull_request(&support::pull_header("G", "orders", 0, 1));
    assert_eq!(client.call(pull).await.code, response_code::SUCCESS);
    let answer = client.call(RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await;
    let mut told = fastjson::from_slice::<KvTable>(&answer.body).unwrap();
    assert_eq!(answer.body, fastjson::to_vec(&told), "in the order of the keys");
    // The index follows when its thread comes to it.
    told.table.insert("dispatchBehindBytes".to_owned(), "?".to_owned());
    let folder = broker.folder().display().to_string();
    let told: Vec<String> = told.table.iter().map(|(key, text)| format!("{}={text}", key.replace(&folder, "/store"))).collect();
    assert_eq!(told, RUNTIME_TEXTS);
}

#[tokio::test]
async fn a_code_that_nobody_serves_is_answered_in_the_originals_words() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for code in [9_999, -1, 13] {
        let answer = client.call(RemotingCommand::request(code)).await;
        assert_eq!(answer.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
        assert_eq!(remark(&answer), format!(" request type {code} not supported"));
    }
}

/// What `ferrocket health --broker` says of it, on a thread of its own: it blocks.
async fn health_of(broker: &TestBroker) -> Result<String, String> {
    let addr = broker.addr.to_string();
    let asked = broker.runtime.spawn_blocking("health", move || health::ask(None, Some(&addr)));
    asked.join().await.unwrap().map_err(|error| error.to_string())
}

/// A broker that answers and takes nothing must not be called healthy: nobody would look.
#[tokio::test]
async fn a_broker_that_takes_no_messages_is_not_healthy() {
    let fs = MemoryFs::new();
    // Full by its own measure long before a start finds no room for its files.
    let wary = |setup: Setup| setup.config(|config| config.disk_space_warning_level_ratio = 35).sync_flush();
    let broker = wary(Setup::new()).on(&fs).start().await;
    let mut client = broker.connect().await;
    assert_eq!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS);
    assert_eq!(health_of(&broker).await.unwrap(), format!("broker broker-a at {} serves", broker.addr));
    assert_eq!(client.call(update("brokerPermission=4\n")).await.code, response_code::SUCCESS);
    let says = health_of(&broker).await.unwrap();
    assert!(says.ends_with("serves, but brokerPermission keeps messages away"), "{says}");

    fs.set_disk_bytes(fs.used_bytes() * 100 / 40);
    broker.broker.store.clean();
    let says = health_of(&broker).await.unwrap_err();
    assert_eq!(says, format!("the broker at {} does not serve: it takes no messages: its disk is full", broker.addr));
    // A start on such a disk finds it out by itself: a container that is started anew is not healthy for a minute.
    drop(client);
    let stopped = broker.stop().await;
    fs.set_disk_bytes(fs.used_bytes() * 100 / 40);
    let broker = wary(stopped).start().await;
    assert_eq!(broker.broker.store.unwritable_why(), Some("its disk is full"));
    let mut client = broker.connect().await;
    fs.heal();
    fs.set_disk_bytes(1 << 40);
    broker.broker.store.clean();
    assert!(health_of(&broker).await.is_ok());

    fs.fail(Operation::SyncData, "commitlog", std::io::ErrorKind::Other, usize::MAX);
    assert_ne!(client.call(send_request("T", 0, "", "x")).await.code, response_code::SUCCESS);
    let says = health_of(&broker).await.unwrap_err();
    assert!(says.contains("it takes no messages: a write or sync of its data failed"), "{says}");
}
