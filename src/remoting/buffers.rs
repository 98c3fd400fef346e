// SPDX-License-Identifier: Apache-2.0
//! What connections read into and write from: each thread keeps a few buffers and lends them to whichever connection reads now.
//!
//! A buffer that comes back while a slice of it still lives somewhere is let go. Knows no connection and no frame.

use std::cell::RefCell;

use bytes::BytesMut;
use ferrocket_protocol::ext_fields::Spare;

use super::limits::{READ_BYTES_MAX, READ_BYTES_MIN};

#[derive(Default)]
struct Inputs {
    small: BytesMut,
    large: BytesMut,
}

/// What the requests of one read are handled with.
#[derive(Default)]
pub(super) struct Buffers {
    /// Memory of the last header, for the next one.
    pub(super) header: Spare,
    pub(super) replies: BytesMut,
}

thread_local! {
    static INPUTS: RefCell<Inputs> = RefCell::default();
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

pub(super) fn take() -> Buffers {
    let mut buffers = BUFFERS.take();
    if buffers.replies.capacity() == 0 {
        buffers.replies = BytesMut::with_capacity(READ_BYTES_MIN);
    }
    buffers
}

/// The end of a loan. Replies that are still in their buffer are forgotten.
pub(super) fn give_back(mut buffers: Buffers) {
    buffers.replies.clear();
    // What was written in front of them has moved its begin. One that grew for many answers is too much to keep.
    if !buffers.replies.try_reclaim(READ_BYTES_MIN) || buffers.replies.capacity() > READ_BYTES_MAX {
        buffers.replies = BytesMut::new();
    }
    BUFFERS.set(buffers);
}

/// An empty buffer with room for so many bytes.
pub(super) fn take_input(room: usize) -> BytesMut {
    let (spare, bytes) = INPUTS.with_borrow_mut(|inputs| {
        if room <= READ_BYTES_MIN {
            (std::mem::take(&mut inputs.small), READ_BYTES_MIN)
        } else if room <= READ_BYTES_MAX {
            (std::mem::take(&mut inputs.large), READ_BYTES_MAX)
        } else {
            (BytesMut::new(), room)
        }
    });
    if spare.capacity() == 0 { BytesMut::with_capacity(bytes) } else { spare }
}

/// The end of a loan. What is in the buffer is forgotten.
pub(super) fn give_back_input(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.try_reclaim(READ_BYTES_MAX) {
        // One that grew for a long frame is too much to keep.
        if buffer.capacity() <= 2 * READ_BYTES_MAX {
            INPUTS.with_borrow_mut(|inputs| inputs.large = buffer);
        }
    } else if buffer.try_reclaim(READ_BYTES_MIN) {
        INPUTS.with_borrow_mut(|inputs| inputs.small = buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_lent_again_when_nothing_of_it_lives() {
        let mut buffer = take_input(READ_BYTES_MIN);
        let place = buffer.as_ptr();
        buffer.extend_from_slice(b"frame");
        let frame = buffer.split_to(5).freeze();
        drop(frame);
        give_back_input(buffer);
        let again = take_input(1);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= READ_BYTES_MIN);
    }

    #[test]
    fn replies_that_were_written_leave_their_buffer() {
        let mut buffers = take();
        let place = buffers.replies.as_ptr();
        buffers.replies.extend_from_slice(&[b'x'; 100]);
        bytes::Buf::advance(&mut buffers.replies, 100);
        give_back(buffers);
        let mut buffers = take();
        assert_eq!((buffers.replies.as_ptr(), buffers.replies.len()), (place, 0));
        buffers.replies.extend_from_slice(&[b'x'; 4 * READ_BYTES_MAX]);
        give_back(buffers);
        assert!(take().replies.capacity() <= READ_BYTES_MAX, "one that grew is let go");
    }

    #[test]
    fn a_frame_that_lives_on_keeps_its_bytes() {
        for room in [READ_BYTES_MIN, READ_BYTES_MAX] {
            let mut buffer = take_input(room);
            buffer.extend_from_slice(b"frame and a piece");
            let frame = buffer.split_to(5).freeze();
            give_back_input(buffer);
            let mut again = take_input(room);
            assert!(again.is_empty() && again.capacity() >= room);
            again.extend_from_slice(&vec![b'x'; room]);
            assert_eq!(&frame[..], b"frame");
        }
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        give_back_input(BytesMut::with_capacity(16 * READ_BYTES_MAX));
        assert!(take_input(READ_BYTES_MAX).capacity() <= 2 * READ_BYTES_MAX);
    }
}
