// SPDX-License-Identifier: Apache-2.0
//! Cuts whole frames out of the bytes of a connection. Knows the length word and its limit, not what a frame says.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::DecodeError;

/// The longest frame, its length word included: the original's `com.rocketmq.remoting.frameMaxLength`.
pub const FRAME_BYTES_MAX: usize = 16_777_216;

/// The length word in front of a frame.
pub const LENGTH_BYTES: usize = 4;

/// The next whole frame, without its length word and without copying; `None` asks for more bytes.
///
/// A length that cannot be true is told at once, before any of its bytes are waited for.
pub fn split_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, DecodeError> {
    let Some(word) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*word);
    if length < 4 {
        return Err(DecodeError::FrameLength { length });
    }
    let whole = LENGTH_BYTES + length as usize;
    if whole > FRAME_BYTES_MAX {
        return Err(DecodeError::FrameTooLong { length: whole, limit: FRAME_BYTES_MAX });
    }
    if buffer.len() < whole {
        return Ok(None);
    }
    let mut frame = buffer.split_to(whole);
    frame.advance(LENGTH_BYTES);
    Ok(Some(frame.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    #[test]
    fn two_frames_and_a_half_give_two() {
        let mut buffer = fed(b"\0\0\0\x04abcd\0\0\0\x05efghi\0\0\0\x06jk");
        assert_eq!(split_frame(&mut buffer), Ok(Some(Bytes::from_static(b"abcd"))));
        assert_eq!(split_frame(&mut buffer), Ok(Some(Bytes::from_static(b"efghi"))));
        assert_eq!(split_frame(&mut buffer), Ok(None));
        assert_eq!(&buffer[..], b"\0\0\0\x06jk", "what is not whole stays");
    }

    #[test]
    fn a_length_that_cannot_be_true_is_refused_before_its_bytes_come() {
        assert_eq!(split_frame(&mut fed(b"\xff\xff\xff\xff")), Err(DecodeError::FrameLength { length: -1 }));
        assert_eq!(split_frame(&mut fed(b"\0\0\0\x03")), Err(DecodeError::FrameLength { length: 3 }));
        let over = FRAME_BYTES_MAX - LENGTH_BYTES + 1;
        assert!(matches!(split_frame(&mut fed(&(over as u32).to_be_bytes())), Err(DecodeError::FrameTooLong { .. })));
        assert_eq!(split_frame(&mut fed(&(over as u32 - 1).to_be_bytes())), Ok(None), "the limit itself is allowed");
    }
}
