// SPDX-License-Identifier: Apache-2.0
//! A stream of bytes as a connection gets it: whole frames, halves, lies. What can be read can be written and read again.
#![no_main]

use bytes::BytesMut;
use ferrocket_protocol::{FRAME_BYTES_MAX, RemotingCommand, SerializeType, split_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    let mut buffer = BytesMut::from(stream);
    while let Ok(Some(frame)) = split_frame(&mut buffer) {
        assert!(frame.len() + 4 <= FRAME_BYTES_MAX);
        let Ok(command) = RemotingCommand::decode(frame) else { return };
        let mut out = BytesMut::new();
        command.encode(&mut out);
        let again = RemotingCommand::decode(split_frame(&mut out).expect("our own length").expect("a whole frame")).expect("our own frame");
        assert_eq!((again.code as i16, again.opaque, again.flag), (command.code as i16, command.opaque, command.flag));
        assert_eq!(again.body, command.body);
        if command.serialize_type == SerializeType::Json {
            assert_eq!(again, command);
        }
    }
});
