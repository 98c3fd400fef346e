// SPDX-License-Identifier: Apache-2.0
//! Questions about many topics and queues: over one connection, a window of them in flight.

use bytes::BytesMut;
use ferrocket_protocol::body::topic::TopicFilterType;
use ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader;
use ferrocket_protocol::header::offset::{GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader};
use ferrocket_protocol::{RemotingCommand, perm, request_code, response_code, topic_names};

use super::super::connection::LoadConnection;
use super::super::{BenchError, CommonArgs};

const QUESTIONS_MAX: usize = 256;

pub(super) async fn create_topics(common: &CommonArgs, names: &[String]) -> Result<(), BenchError> {
    let question = |at: usize| {
        let header = CreateTopicRequestHeader {
            topic: names[at].clone().into(),
            default_topic: topic_names::AUTO_CREATE.into(),
            read_queue_nums: common.queues as i32,
            write_queue_nums: common.queues as i32,
            perm: perm::READ_WRITE,
            topic_filter_type: TopicFilterType::SingleTag.name().into(),
            ..CreateTopicRequestHeader::default()
        };
        RemotingCommand::request_with(request_code::UPDATE_AND_CREATE_TOPIC, &header)
    };
    ask_all("create a topic", common, names.len(), question, |_, _| Ok(())).await
}

/// The ends of all queues: those of the first topic, then those of the next one.
pub(super) async fn max_offsets(common: &CommonArgs, names: &[String]) -> Result<Vec<i64>, BenchError> {
    let queues = common.queues as usize;
    let mut offsets = vec![0; names.len() * queues];
    let question = |at: usize| {
        let (topic, queue_id) = (names[at / queues].clone().into(), (at % queues) as i32);
        let header = GetMaxOffsetRequestHeader { topic, queue_id, ..GetMaxOffsetRequestHeader::default() };
        RemotingCommand::request_with(request_code::GET_MAX_OFFSET, &header)
    };
    let count = offsets.len();
    let answer = |at: usize, response: RemotingCommand| {
        let header: GetMaxOffsetResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
        offsets[at] = header.offset;
        Ok(())
    };
    ask_all("get max offset", common, count, question, answer).await?;
    Ok(offsets)
}

async fn ask_all(
    what: &'static str,
    common: &CommonArgs,
    count: usize,
    question: impl Fn(usize) -> RemotingCommand,
    mut answer: impl FnMut(usize, RemotingCommand) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let mut connection = LoadConnection::open(common.addr).await?;
    let mut out = BytesMut::new();
    let (mut asked, mut answered) = (0, 0);
    while answered < count {
        while asked < count && asked - answered < QUESTIONS_MAX {
            let mut request = question(asked);
            request.opaque = asked as i32;
            request.encode(&mut out);
            asked += 1;
        }
        connection.write(&out).await?;
        out.clear();
        connection.read().await?;
        while let Some(frame) = connection.next_frame()? {
            let response = RemotingCommand::decode(frame).map_err(|error| BenchError::Decode { what, error })?;
            if response.code != response_code::SUCCESS {
                let remark = response.remark.as_deref().unwrap_or_default().to_owned();
                return Err(BenchError::Refused { what, code: response.code, remark });
            }
            answer(response.opaque as usize, response)?;
            answered += 1;
        }
    }
    Ok(())
}
