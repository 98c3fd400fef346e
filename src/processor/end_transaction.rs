// SPDX-License-Identifier: Apache-2.0
//! END_TRANSACTION (37) and RESUME_CHECK_HALF_MESSAGE (323).
//!
//! Order of checks follows EndTransactionProcessor.java. A repeated END_TRANSACTION is answered as the original answers it, but
//! nothing is done twice, and nothing that was rolled back is brought back.

use std::sync::Arc;

use ferrocket_protocol::header::{EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader};
use ferrocket_protocol::message::{MessageView, id, property, sys_flag};
use ferrocket_protocol::{RemotingCommand, response_code, topic_names};

use super::lane::Disk;
use super::put_refusal;
use super::reply::{Cold, Refusal, Reply};
use crate::broker::Broker;
use crate::broker::transaction::{Ended, half};
use crate::remoting::{Completion, Peer};
use crate::store::{PutMessageStatus, PutResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Commit,
    RollBack,
}

pub(super) fn end(broker: &Broker, peer: &Arc<Peer>, request: &RemotingCommand, disk: Disk) -> Result<Reply, Refusal> {
    let header: EndTransactionRequestHeader = request.header()?;
    if broker.is_slave() {
        // The original sets no remark here, and so sends its default.
        return Err(Refusal::new(response_code::SLAVE_NOT_AVAILABLE, "not set any response code"));
    }
    let end = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => End::Commit,
        sys_flag::TRANSACTION_ROLLBACK => End::RollBack,
        // The producer does not know yet, and expects no answer.
        _ => return Ok(Reply::Silent),
    };
    if disk == Disk::MustNotWait && !broker.store.is_hot(header.commit_log_offset) {
        return Ok(Reply::WouldBlock(Cold::Read));
    }
    match settle(broker, &header, end, disk)? {
        Settled::Put(put) if put.needs_wait() => {
            answer_when_durable(broker, peer.completion(request), &put);
            Ok(Reply::Later)
        }
        Settled::Put(_) | Settled::Done => Ok(Reply::success()),
        Settled::WouldBlock => Ok(Reply::WouldBlock(Cold::Read)),
    }
}

/// What came of an end that was right.
enum Settled {
    /// A commit put the message there.
    Put(PutResult),
    Done,
    /// Nothing was done: the message's own queue is not loaded.
    WouldBlock,
}

/// The message is in the log, so the transaction is committed, however the disk fares.
fn answer_when_durable(broker: &Broker, completion: Completion, put: &PutResult) {
    broker.store.when_durable(put, Box::new(move |_| completion.answer(RemotingCommand::response(response_code::SUCCESS))));
}

fn settle(broker: &Broker, header: &EndTransactionRequestHeader, end: End, disk: Disk) -> Result<Settled, Refusal> {
    let record = broker.store.look_message(header.commit_log_offset)?;
    let decoded = record.as_ref().and_then(|record| Some((record, MessageView::decode(record).ok()?)));
    let Some((record, view)) = decoded else {
        return Err(Refusal::system_error("Find prepared transaction message failed"));
    };
    require_in_time(broker, header, &view)?;
    require_the_half(header, &view)?;
    let is_loaded = || half::destination(&view).is_none_or(|(topic, queue_id)| broker.store.is_loaded(topic, queue_id));
    if disk == Disk::MustNotWait && !(broker.transactions.can_tell(&view) && (end == End::RollBack || is_loaded())) {
        return Ok(Settled::WouldBlock);
    }
    let ended = match end {
        End::Commit => broker.transactions.commit(record, &view, &broker.schedule),
        End::RollBack => broker.transactions.roll_back(&view),
    };
    match ended {
        Ended::Committed(put) => {
            let topic = half::destination(&view).map_or("", |(topic, _)| topic);
            broker.count_put_to(topic, put.message_count as u64, put.record_bytes as u64);
            Ok(Settled::Put(put))
        }
        Ended::RolledBack | Ended::Before => Ok(Settled::Done),
        Ended::Refused(status) => Err(commit_refusal(status, broker)),
    }
}

/// A half with an immunity of its own is decided by its producer within that time; later only when it is asked.
fn require_in_time(broker: &Broker, header: &EndTransactionRequestHeader, view: &MessageView<'_>) -> Result<(), Refusal> {
    let own = view.property(property::CHECK_IMMUNITY_TIME_IN_SECONDS).filter(|text| !text.is_empty());
    let Some(own) = own.filter(|_| !header.from_transaction_check) else { return Ok(()) };
    let timeout_millis = broker.config.load().transaction_time_out;
    let own_millis = own.parse::<i64>().unwrap_or(0).saturating_mul(1_000);
    if broker.clock.now_millis().saturating_sub(view.born_timestamp) > own_millis.max(timeout_millis) {
        return Err(Refusal::without_remark(response_code::ILLEGAL_OPERATION));
    }
    Ok(())
}

/// EndTransactionProcessor#checkPrepareMessage; what is no half message fails there by a null pointer.
fn require_the_half(header: &EndTransactionRequestHeader, view: &MessageView<'_>) -> Result<(), Refusal> {
    if view.property(property::PGROUP) != Some(&*header.producer_group) {
        return Err(Refusal::system_error("The producer group wrong"));
    }
    if view.queue_offset != header.tran_state_table_offset {
        return Err(Refusal::system_error("The transaction state table offset wrong"));
    }
    if !half::is_half(view) {
        return Err(Refusal::system_error("The message is no half message"));
    }
    Ok(())
}

/// EndTransactionProcessor#sendFinalMessage: the same cases as a send, some in other words.
fn commit_refusal(status: PutMessageStatus, broker: &Broker) -> Refusal {
    use PutMessageStatus as Status;
    match status {
        Status::CreateMappedFileFailed => Refusal::system_error("Create mapped file failed."),
        Status::MessageIllegal | Status::PropertiesSizeExceeded => {
            let limit = broker.config.load().max_message_size;
            let remark = format!(
                "The message is illegal, maybe msg body or properties length not matched. \
                 msg body length limit {limit}B, msg properties length limit 32KB."
            );
            Refusal::new(response_code::MESSAGE_ILLEGAL, remark)
        }
        Status::ServiceNotAvailable => Refusal::new(response_code::SERVICE_NOT_AVAILABLE, "Service not available now."),
        Status::OsPageCacheBusy => Refusal::system_error("OS page cache busy, please try another machine"),
        Status::PutToRemoteBrokerFail => Refusal::system_error("put to remote broker fail"),
        other => put_refusal(other, broker, &broker.config.load()),
    }
}

/// Takes up a half message again that was given up.
pub(super) fn resume_check(broker: &Broker, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Refusal> {
    let header: ResumeCheckHalfMessageRequestHeader = request.header()?;
    let put = resume(broker, header.msg_id.as_deref().unwrap_or_default())?;
    let completion = peer.completion(request);
    broker.store.when_durable(&put, Box::new(move |status| completion.answer(resumed(status))));
    Ok(Reply::Later)
}

fn resume(broker: &Broker, msg_id: &str) -> Result<PutResult, Refusal> {
    let record = match id::parse_offset_id(msg_id) {
        Some((_, offset)) => broker.store.look_message(offset)?,
        None => None,
    };
    let view = record.as_ref().and_then(|record| MessageView::decode(record).ok());
    // Any other message would become a half of its sender's making, who names any place he likes in its properties.
    let is_one = |view: &MessageView<'_>| (half::is_given_up(view) || half::is_half(view)) && half::destination(view).is_some();
    let given_up = record.as_ref().zip(view).filter(|(_, view)| is_one(view));
    let Some((record, view)) = given_up else {
        let remark = format!("Exception was thrown when putting message back to {}.", topic_names::TRANS_HALF);
        return Err(Refusal::system_error(remark));
    };
    let put = broker.transactions.put_half(&half::moved(record, &view, topic_names::TRANS_HALF, 0));
    if put.status.is_stored() { Ok(put) } else { Err(not_resumed()) }
}

fn resumed(status: PutMessageStatus) -> RemotingCommand {
    match status {
        PutMessageStatus::PutOk => RemotingCommand::response(response_code::SUCCESS),
        _ => not_resumed().into_response(),
    }
}

fn not_resumed() -> Refusal {
    Refusal::system_error(format!("Put message back to {} failed.", topic_names::TRANS_HALF))
}
