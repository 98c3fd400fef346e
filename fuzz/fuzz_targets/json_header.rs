// SPDX-License-Identifier: Apache-2.0
//! A JSON header: the quick pass and the tolerant reader must agree on whatever the quick pass takes.
#![no_main]

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::header::pull::PullMessageRequestHeader;
use ferrocket_protocol::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use ferrocket_protocol::{RemotingCommand, split_frame};
use libfuzzer_sys::fuzz_target;

fn frame(header: &[u8]) -> Bytes {
    let mut frame = (header.len() as u32 & 0xFF_FFFF).to_be_bytes().to_vec();
    frame.extend_from_slice(header);
    frame.into()
}

fuzz_target!(|header: &[u8]| {
    let Ok(command) = RemotingCommand::decode(frame(header)) else { return };
    let _ = command.header::<SendMessageRequestHeader>();
    let _ = command.header::<SendMessageRequestHeaderV2>();
    let _ = command.header::<PullMessageRequestHeader>();
    let mut out = BytesMut::new();
    command.encode(&mut out);
    let written = split_frame(&mut out).expect("our own length").expect("a whole frame");
    assert_eq!(RemotingCommand::decode(written.clone()).expect("our own frame"), command);
    // A member that nobody knows sends the same header down the tolerant road.
    let mut header = written[4..written.len() - 1].to_vec();
    header.extend_from_slice(b",\"unknown\":[]}");
    assert_eq!(RemotingCommand::decode(frame(&header)).expect("one more member"), command);
});
