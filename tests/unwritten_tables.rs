// SPDX-License-Identifier: Apache-2.0
//! Tables that the disk does not take: the administrator hears of it, and they are written as soon as the disk takes them.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends")]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use ferrocket::broker::membership;
use ferrocket::runtime::ManualClock;
use ferrocket::store::{Crash, MemoryFs, Operation};
use ferrocket_protocol::body::{SubscriptionGroupConfig, TopicConfig};
use ferrocket_protocol::header::PullMessageRequestHeader;
use ferrocket_protocol::header::admin::topic::{CreateTopicRequestHeader, DeleteTopicRequestHeader};
use ferrocket_protocol::{RemotingCommand, fastjson, request_code, response_code};
use support::{Setup, TestBroker, pull_header, pull_request, remark, send_request};

const ONCE: usize = 1;
const EVER: usize = usize::MAX;

struct Story {
    fs: MemoryFs,
    clock: ManualClock,
    server: TestBroker,
}

impl Story {
    async fn begin() -> Self {
        let fs = MemoryFs::new();
        let (mut setup, clock) = Setup::new().manual_clock();
        setup.fs = fs.shared();
        Self { server: setup.start().await, fs, clock }
    }

    fn file(&self, name: &str) -> String {
        let path = self.server.folder().join("config").join(name);
        self.fs.shared().read(&path).map(|bytes| String::from_utf8(bytes).unwrap()).unwrap_or_default()
    }

    /// Lets the next turn come until the file holds `text`.
    async fn turns_until_written(&self, name: &str, text: &str) {
        for _ in 0..100 {
            if self.file(name).contains(text) {
                return;
            }
            self.server.advance(&self.clock, Duration::from_secs(5)).await;
        }
        panic!("{name} never got {text}: {}", self.file(name));
    }
}

fn create(topic: &str) -> RemotingCommand {
    let header = CreateTopicRequestHeader {
        topic: topic.to_owned().into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..CreateTopicRequestHeader::default()
    };
    RemotingCommand::request_with(request_code::UPDATE_AND_CREATE_TOPIC, &header)
}

fn is_unwritten(response: &RemotingCommand, table: &str) {
    assert_eq!(response.code, response_code::SYSTEM_ERROR);
    let remark = remark(response);
    assert!(remark.starts_with("the change holds, but it is lost if the broker is killed before it can be written: "), "{remark}");
    assert!(remark.contains(table), "{remark}");
}

#[tokio::test]
async fn a_topic_that_cannot_be_written_is_answered_so_and_written_with_a_later_turn() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    story.fs.fail(Operation::Create, "topics.json", ErrorKind::StorageFull, ONCE);
    is_unwritten(&client.call(create("orders")).await, "topics.json");
    assert!(!story.file("topics.json").contains("orders"));
    // It holds all the same.
    client.send("orders", 3, "", "hello").await;
    story.turns_until_written("topics.json", "orders").await;

    story.fs.fail(Operation::SyncData, "topics.json", ErrorKind::StorageFull, ONCE);
    let header = DeleteTopicRequestHeader { topic: "orders".into(), ..DeleteTopicRequestHeader::default() };
    is_unwritten(&client.call_with(request_code::DELETE_TOPIC_IN_BROKER, &header).await, "topics.json");
    story.fs.heal();
    assert_eq!(client.call(create("bills")).await.code, response_code::SUCCESS, "the next change takes it along");
    assert!(story.file("topics.json").contains("bills") && !story.file("topics.json").contains("orders"));
    story.server.stop().await;
}

/// The producer's message is in the log: its answer does not depend on the table.
#[tokio::test]
async fn a_topic_made_by_a_send_is_written_with_a_later_turn() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    story.fs.fail(Operation::Create, "topics.json", ErrorKind::StorageFull, ONCE);
    assert_eq!(client.call(send_request("made", 0, "", "hello")).await.code, response_code::SUCCESS);
    story.turns_until_written("topics.json", "made").await;
    story.server.stop().await;
}

#[tokio::test]
async fn a_group_that_cannot_be_written_is_answered_so_and_written_with_a_later_turn() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    // Once for the command, once for the task that writes what was changed.
    story.fs.fail(Operation::Create, "subscriptionGroup.json", ErrorKind::StorageFull, ONCE + 1);
    let group = fastjson::to_vec(&SubscriptionGroupConfig::new("billing"));
    is_unwritten(&client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group).await, "subscriptionGroup.json");
    story.turns_until_written("subscriptionGroup.json", "billing").await;
    story.server.stop().await;
}

#[tokio::test]
async fn offsets_that_could_not_be_written_are_written_with_the_next_turn() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    client.send("T", 0, "", "hello").await;
    story.fs.fail(Operation::Create, "consumerOffset.json", ErrorKind::StorageFull, ONCE);
    client.consume("billing", "c@1", &[("T", "*")]).await;
    assert_eq!(client.commit("billing", "T", 0, 1).await.code, response_code::SUCCESS);
    story.turns_until_written("consumerOffset.json", "T@billing").await;
    story.server.stop().await;
}

/// Most offsets come with pulls: they are written like those that come alone.
#[tokio::test]
async fn an_offset_that_a_pull_commits_is_written() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    story.server.create_topic("T", 1);
    client.send_many("T", 0, 3).await;
    client.consume("billing", "c@1", &[("T", "*")]).await;
    let commits = PullMessageRequestHeader { sys_flag: 1, commit_offset: 2, ..pull_header("billing", "T", 0, 2) };
    assert_eq!(client.call(pull_request(&commits)).await.code, response_code::SUCCESS);
    story.turns_until_written("consumerOffset.json", "0:2").await;
    story.server.stop().await;
}

#[tokio::test]
async fn what_was_never_written_is_written_at_the_stop() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    story.fs.fail(Operation::Create, "/config/", ErrorKind::StorageFull, EVER);
    is_unwritten(&client.call(create("orders")).await, "topics.json");
    let group = fastjson::to_vec(&SubscriptionGroupConfig::new("billing"));
    is_unwritten(&client.call_with_body(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, group).await, "json");
    story.fs.heal();
    let folder = story.server.folder().to_owned();
    story.server.stop().await;
    let read = |name: &str| String::from_utf8(story.fs.shared().read(&folder.join("config").join(name)).unwrap()).unwrap();
    assert!(read("topics.json").contains("orders"));
    assert!(read("subscriptionGroup.json").contains("billing"));
}

/// The file is made of the table as it was when the write began; what changes until it ends is another write.
#[tokio::test]
async fn what_changes_while_its_table_is_written_is_written_after_it() {
    let story = Story::begin().await;
    let broker = &story.server.broker;
    type Step<'a> = &'a (dyn Fn() + Sync);
    let topic = |name: &str| drop(broker.topics.update(TopicConfig::new(name, 4, 4, 6)).unwrap());
    let group = |name: &str| broker.groups.update(SubscriptionGroupConfig::new(name)).unwrap();
    let commit = |offset: i64| broker.consumer_offsets.commit("G", "T", 0, offset, 1);
    let tables: [(&str, &str, Step<'_>, Step<'_>, Step<'_>); 3] = [
        ("topics.json", "second", &|| topic("first"), &|| topic("second"), &|| broker.topics.persist().unwrap()),
        ("subscriptionGroup.json", "second", &|| group("first"), &|| group("second"), &|| broker.groups.persist().unwrap()),
        ("consumerOffset.json", "0:22", &|| commit(11), &|| commit(22), &|| broker.consumer_offsets.persist().unwrap()),
    ];
    for (file, second, change, change_again, persist) in tables {
        let stall = story.fs.stall(file);
        change();
        std::thread::scope(|scope| {
            scope.spawn(persist);
            while stall.waiting_count() == 0 {
                std::thread::yield_now();
            }
            change_again();
            drop(stall);
        });
        persist();
        assert!(story.file(file).contains(second), "{file}: {}", story.file(file));
    }
    story.server.stop().await;
}

/// Whoever gives a message back hears "success" when the topic that it went to is on the disk as well.
#[tokio::test]
async fn a_message_goes_to_no_dead_letter_topic_that_a_kill_would_forget() {
    let story = Story::begin().await;
    let mut client = story.server.connect().await;
    client.send("T", 0, "", "hello").await;
    client.consume("billing", "c@1", &[("T", "*")]).await;
    let mut dead = RemotingCommand::request(request_code::CONSUMER_SEND_MSG_BACK);
    [("offset", "0"), ("group", "billing"), ("delayLevel", "-1")].iter().for_each(|(name, value)| dead.ext_fields.insert(name, *value));
    story.fs.fail(Operation::Create, "topics.json", ErrorKind::StorageFull, EVER);
    is_unwritten(&client.call(dead.clone()).await, "topics.json");
    assert_eq!(story.server.broker.store.max_offset("%DLQ%billing", 0), 0, "the consumer keeps it");
    story.fs.heal();
    story.turns_until_written("topics.json", "%DLQ%billing").await;
    assert_eq!(client.call(dead).await.code, response_code::SUCCESS);
    assert_eq!(story.server.broker.store.max_offset("%DLQ%billing", 0), 1);
    story.server.stop().await;
}

/// Each answered change of offsets is on the disk: a kill at that moment does not bring back what was before it.
#[tokio::test]
async fn offsets_after_an_answered_change_survive_a_kill() {
    let fs = MemoryFs::new();
    let broker = Setup::new().on(&fs).start().await;
    let mut client = broker.connect().await;
    for topic in ["Deleted", "Reset", "Kept"] {
        broker.create_topic(topic, 1);
        client.consume("G", "c", &[(topic, "*")]).await;
        client.send_many(topic, 0, 3).await;
        assert_eq!(client.commit("G", topic, 0, 3).await.code, response_code::SUCCESS);
    }
    client.consume("Gone", "c", &[("Kept", "*")]).await;
    client.commit("Gone", "Kept", 0, 2).await;
    membership::persist_all(&broker.broker).unwrap();
    // The change, and what group `.1` has consumed of topic `.2` after it.
    let changes = [
        (request_code::DELETE_TOPIC_IN_BROKER, &[("topic", "Deleted")][..], "G", "Deleted", None),
        (
            request_code::INVOKE_BROKER_TO_RESET_OFFSET,
            &[("topic", "Reset"), ("group", "G"), ("timestamp", "0"), ("isForce", "true")],
            "G",
            "Reset",
            Some(0),
        ),
        (
            request_code::CLONE_GROUP_OFFSET,
            &[("srcGroup", "G"), ("destGroup", "H"), ("topic", "Kept"), ("offline", "true")],
            "H",
            "Kept",
            Some(3),
        ),
        (request_code::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "Gone"), ("cleanOffset", "true")], "Gone", "Kept", None),
    ];
    let mut killed = Vec::new();
    for (code, fields, ..) in changes {
        let mut request = RemotingCommand::request(code);
        fields.iter().for_each(|(name, value)| request.ext_fields.insert(name, *value));
        let response = client.call(request).await;
        assert_eq!(response.code, response_code::SUCCESS, "{code}: {:?}", response.remark);
        killed.push(fs.crashed(Crash::Killed));
    }
    let mut setup = broker.stop().await;
    for ((code, _, group, topic, offset), fs) in changes.into_iter().zip(killed) {
        let broker = setup.on(&fs).start().await;
        assert_eq!(broker.broker.consumer_offsets.committed(group, topic, 0), offset, "{code}");
        assert_eq!(broker.broker.consumer_offsets.committed("G", "Kept", 0), Some(3));
        setup = broker.stop().await;
    }
}

/// Also when the queue is one of an earlier start that nothing has loaded yet.
#[tokio::test]
async fn a_late_commit_of_a_deleted_topic_is_refused_after_a_restart_too() {
    let broker = TestBroker::start().await;
    broker.create_topic("T", 1);
    let mut client = broker.connect().await;
    client.consume("G", "c", &[("T", "*")]).await;
    client.send_many("T", 0, 3).await;
    let broker = broker.stop().await.start().await;
    let mut client = broker.connect().await;
    assert_eq!(client.commit("G", "T", 0, 100).await.code, response_code::INVALID_PARAMETER);
    assert_eq!(broker.broker.consumer_offsets.committed("G", "T", 0), None);
    assert_eq!(client.commit("G", "T", 0, 3).await.code, response_code::SUCCESS);
    broker.stop().await;
}
