// SPDX-License-Identifier: Apache-2.0
//! Transactions: how one ended, and the question how it did.

use super::header;
use crate::error::HeaderError;
use crate::message::sys_flag;
use crate::str::Str;

header! {
    /// END_TRANSACTION (37).
    pub struct EndTransactionRequestHeader {
        "topic" => topic: Option<Str>,
        "producerGroup" => producer_group: Str!,
        "tranStateTableOffset" => tran_state_table_offset: i64! required,
        "commitLogOffset" => commit_log_offset: i64! required,
        "commitOrRollback" => commit_or_rollback: i32! required,
        "fromTransactionCheck" => from_transaction_check: bool,
        "msgId" => msg_id: Str!,
        "transactionId" => transaction_id: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }
    check one_of_three_ends;

    /// CHECK_TRANSACTION_STATE (39), broker to producer.
    pub struct CheckTransactionStateRequestHeader {
        "topic" => topic: Option<Str>,
        "tranStateTableOffset" => tran_state_table_offset: i64!,
        "commitLogOffset" => commit_log_offset: i64!,
        "msgId" => msg_id: Option<Str>,
        "transactionId" => transaction_id: Option<Str>,
        "offsetMsgId" => offset_msg_id: Option<Str>,
        "bname" => broker_name: Option<Str>,
    }

    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckHalfMessageRequestHeader {
        "topic" => topic: Option<Str>,
        "msgId" => msg_id: Option<Str>,
    }
}

fn one_of_three_ends(header: &EndTransactionRequestHeader) -> Result<(), HeaderError> {
    match header.commit_or_rollback {
        sys_flag::TRANSACTION_NOT | sys_flag::TRANSACTION_COMMIT | sys_flag::TRANSACTION_ROLLBACK => Ok(()),
        _ => Err(HeaderError("commitOrRollback field wrong".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::RemotingCommand;

    #[test]
    fn an_end_that_is_none_is_refused_unless_nothing_was_said() {
        let mut request = RemotingCommand::request(37);
        assert!(request.header::<EndTransactionRequestHeader>().is_ok(), "without fields nothing is checked");
        for (end, allowed) in [("0", true), ("8", true), ("12", true), ("4", false)] {
            request.ext_fields.insert("commitOrRollback", end);
            assert_eq!(request.header::<EndTransactionRequestHeader>().is_ok(), allowed, "{end}");
        }
    }
}
