// SPDX-License-Identifier: Apache-2.0
//! Questions about all queues of one or many topics: over one connection, a window of them in flight.

use bytes::BytesMut;
use ferrocket_protocol::body::topic::TopicFilterType;
use ferrocket_protocol::header::admin::topic::CreateTopicRequestHeader;
use ferrocket_protocol::header::offset::{GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader};
use ferrocket_protocol::{RemotingCommand, perm, request_code, response_code, topic_names};

use super::connection::LoadConnection;
use super::control::pull_header;
use super::{BenchError, CommonArgs};

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
    let what = "create a topic";
    ask_all(what, common, names.len(), question, |_, response| succeeded(what, &response)).await
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
    let (what, count) = ("get max offset", offsets.len());
    let answer = |at: usize, response: RemotingCommand| {
        succeeded(what, &response)?;
        let header: GetMaxOffsetResponseHeader = response.header().map_err(|error| BenchError::NotProven(error.to_string()))?;
        offsets[at] = header.offset;
        Ok(())
    };
    ask_all(what, common, count, question, answer).await?;
    Ok(offsets)
}

/// Those of the `wanted` queues, by their place in `ends`, whose last message cannot be pulled.
pub(super) async fn without_last(common: &CommonArgs, names: &[String], ends: &[i64], wanted: &[usize]) -> Result<Vec<usize>, BenchError> {
    let queues = common.queues as usize;
    let question = |at: usize| {
        let place = wanted[at];
        let header = pull_header(&names[place / queues], (place % queues) as i32, ends[place] - 1, 1);
        RemotingCommand::request_with(request_code::PULL_MESSAGE, &header)
    };
    let mut missing = Vec::new();
    let answer = |at: usize, response: RemotingCommand| {
        if response.code != response_code::SUCCESS {
            missing.push(wanted[at]);
        }
        Ok(())
    };
    ask_all("read the last message", common, wanted.len(), question, answer).await?;
    Ok(missing)
}

pub(super) fn succeeded(what: &'static str, response: &RemotingCommand) -> Result<(), BenchError> {
    if response.code == response_code::SUCCESS {
        return Ok(());
    }
    let remark = response.remark.as_deref().unwrap_or_default().to_owned();
    Err(BenchError::Refused { what, code: response.code, remark })
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
            answer(response.opaque as usize, response)?;
            answered += 1;
        }
    }
    Ok(())
}
