// SPDX-License-Identifier: Apache-2.0
//! Questions beside the load: topics, offsets, samples.

use bytes::Bytes;
use ferrocket_protocol::body::topic::TopicFilterType;
use ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader;
use ferrocket_protocol::header::offset::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader, GetMinOffsetResponseHeader,
};
use ferrocket_protocol::header::pull::{PullMessageRequestHeader, pull_flag};
use ferrocket_protocol::{RemotingCommand, perm, request_code, topic_names};

use super::{ANSWER_MAX, BenchError, GROUP};
use crate::remoting::RemotingClient;
use crate::runtime::Runtime;

pub(super) struct Control {
    client: RemotingClient,
    addr: String,
}

impl Control {
    pub(super) fn new(addr: std::net::SocketAddr, runtime: &Runtime) -> Self {
        Self { client: RemotingClient::new(runtime), addr: addr.to_string() }
    }

    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    pub(super) async fn ask(&self, what: &'static str, request: RemotingCommand) -> Result<RemotingCommand, BenchError> {
        self.client.succeed(&self.addr, request, ANSWER_MAX).await.map_err(|error| BenchError::Ask { what, error })
    }

    pub(super) async fn create_topic(&self, topic: &str, queues: u32) -> Result<(), BenchError> {
        let header = CreateTopicRequestHeader {
            topic: topic.to_owned().into(),
            default_topic: topic_names::AUTO_CREATE.into(),
            read_queue_nums: queues as i32,
            write_queue_nums: queues as i32,
            perm: perm::READ_WRITE,
            topic_filter_type: TopicFilterType::SingleTag.name().into(),
            ..CreateTopicRequestHeader::default()
        };
        let request = RemotingCommand::request_with(request_code::UPDATE_AND_CREATE_TOPIC, &header);
        self.ask("create the topic", request).await.map(|_| ())
    }

    pub(super) async fn max_offset(&self, topic: &str, queue_id: i32) -> Result<i64, BenchError> {
        let header = GetMaxOffsetRequestHeader { topic: topic.to_owned().into(), queue_id, ..GetMaxOffsetRequestHeader::default() };
        let response = self.ask("get max offset", RemotingCommand::request_with(request_code::GET_MAX_OFFSET, &header)).await?;
        let header: GetMaxOffsetResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
        Ok(header.offset)
    }

    /// Of queues 0 to `queues`.
    pub(super) async fn max_offsets(&self, topic: &str, queues: u32) -> Result<Vec<i64>, BenchError> {
        let mut offsets = Vec::new();
        for queue_id in 0..queues as i32 {
            offsets.push(self.max_offset(topic, queue_id).await?);
        }
        Ok(offsets)
    }

    pub(super) async fn min_offset(&self, topic: &str, queue_id: i32) -> Result<i64, BenchError> {
        let header = GetMinOffsetRequestHeader { topic: topic.to_owned().into(), queue_id, ..GetMinOffsetRequestHeader::default() };
        let response = self.ask("get min offset", RemotingCommand::request_with(request_code::GET_MIN_OFFSET, &header)).await?;
        let header: GetMinOffsetResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
        Ok(header.offset)
    }

    /// The pull answer's body that begins with the message at an offset, whole and unread.
    pub(super) async fn pull_one(&self, topic: &str, queue_id: i32, queue_offset: i64) -> Result<Bytes, BenchError> {
        let request = RemotingCommand::request_with(request_code::PULL_MESSAGE, &pull_header(topic, queue_id, queue_offset, 1));
        Ok(self.ask("read a message", request).await?.body)
    }
}

/// A pull of at most `count` messages of every tag, which does not wait for them.
pub(super) fn pull_header(topic: &str, queue_id: i32, queue_offset: i64, count: i32) -> PullMessageRequestHeader {
    PullMessageRequestHeader {
        consumer_group: GROUP.into(),
        topic: topic.to_owned().into(),
        queue_id,
        queue_offset,
        max_msg_nums: count,
        sys_flag: pull_flag::SUBSCRIPTION,
        subscription: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..PullMessageRequestHeader::default()
    }
}
