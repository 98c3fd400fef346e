// SPDX-License-Identifier: Apache-2.0
//! The pull of one queue, encoded once: as a push consumer asks, held when nothing is there, committing what was read before.

use bytes::BytesMut;
use ferrocket_protocol::header::pull::{PullMessageRequestHeader, pull_flag};
use ferrocket_protocol::{RemotingCommand, request_code};

use super::HeaderForm;
use super::control::pull_header;
use super::frames::{only_position, write_digits};

/// How long a pull that finds nothing is held, as Java's push consumer asks.
const SUSPEND_MILLIS: i64 = 15_000;

/// Stand-ins: each occurs in the frame only where it is to be patched.
const OFFSET_MARK: i64 = 1_111_111_111_111_111_111;
const COMMIT_MARK: i64 = 1_222_222_222_222_222_222;
const OFFSET_DIGITS: usize = 19;

pub(super) struct PullFrame {
    frame: Box<[u8]>,
    offset_at: usize,
    commit_at: usize,
}

impl PullFrame {
    pub(super) fn new(header: HeaderForm, opaque: i32, group: &str, topic: &str, queue_id: i32, batch: i32) -> Self {
        let pull = PullMessageRequestHeader {
            consumer_group: group.to_owned().into(),
            sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND | pull_flag::COMMIT_OFFSET,
            commit_offset: COMMIT_MARK,
            suspend_timeout_millis: SUSPEND_MILLIS,
            ..pull_header(topic, queue_id, OFFSET_MARK, batch)
        };
        let mut request = RemotingCommand::request_with(request_code::PULL_MESSAGE, &pull);
        request.serialize_type = header.into();
        request.opaque = opaque;
        let mut frame = BytesMut::new();
        request.encode(&mut frame);
        Self {
            offset_at: only_position(&frame, OFFSET_MARK.to_string().as_bytes()),
            commit_at: only_position(&frame, COMMIT_MARK.to_string().as_bytes()),
            frame: frame.to_vec().into(),
        }
    }

    /// Appends the pull from `offset` on.
    pub(super) fn write(&mut self, out: &mut BytesMut, offset: i64) {
        for at in [self.offset_at, self.commit_at] {
            write_digits(&mut self.frame[at..at + OFFSET_DIGITS], offset as u64);
        }
        out.extend_from_slice(&self.frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrocket_protocol::header::PullFields;
    use ferrocket_protocol::split_frame;

    #[test]
    fn a_patched_pull_is_the_request_it_should_be() {
        for header in [HeaderForm::Json, HeaderForm::Binary] {
            let mut frame = PullFrame::new(header, 1_000_000_003, "G", "T", 6, 32);
            let mut out = BytesMut::new();
            frame.write(&mut out, 1_234);
            let request = RemotingCommand::decode(split_frame(&mut out).unwrap().unwrap()).unwrap();
            assert_eq!(request.opaque, 1_000_000_003);
            let PullFields { consumer_group, topic, numbers, .. } = PullFields::read(&request).unwrap();
            assert_eq!((consumer_group, topic, numbers.queue_id), ("G", "T", 6));
            assert_eq!((numbers.queue_offset, numbers.commit_offset, numbers.max_msg_nums), (1_234, 1_234, 32));
            assert!(numbers.may_suspend() && numbers.commits_offset() && numbers.has_subscription());
        }
    }
}
