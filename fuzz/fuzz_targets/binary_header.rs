// SPDX-License-Identifier: Apache-2.0
//! A compact header: every length in it may lie.
#![no_main]

use bytes::BytesMut;
use ferrocket_protocol::header::send::SendMessageRequestHeaderV2;
use ferrocket_protocol::{RemotingCommand, split_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| {
    let mut frame = (1 << 24 | header.len() as u32 & 0xFF_FFFF).to_be_bytes().to_vec();
    frame.extend_from_slice(header);
    let Ok(command) = RemotingCommand::decode(frame.into()) else { return };
    let _ = command.header::<SendMessageRequestHeaderV2>();
    let mut out = BytesMut::new();
    command.encode(&mut out);
    let again = RemotingCommand::decode(split_frame(&mut out).expect("our own length").expect("a whole frame")).expect("our own frame");
    assert_eq!((again.code, again.version, again.opaque, again.flag, &again.remark), (command.code, command.version, command.opaque, command.flag, &command.remark));
    assert!(again.ext_fields.iter().eq(command.ext_fields.iter()));
});
