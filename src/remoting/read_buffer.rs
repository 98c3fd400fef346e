// SPDX-License-Identifier: Apache-2.0
//! What connections read into: each thread keeps one small and one large buffer and lends them to whichever connection reads now.
//!
//! A buffer that comes back while a slice of it still lives somewhere is let go. Knows no connection and no frame.

use std::cell::RefCell;

use bytes::BytesMut;

use super::limits::{READ_BYTES_MAX, READ_BYTES_MIN};

#[derive(Default)]
struct Spares {
    small: BytesMut,
    large: BytesMut,
}

thread_local! {
    static SPARES: RefCell<Spares> = RefCell::default();
}

/// An empty buffer with room for so many bytes.
pub(super) fn take(room: usize) -> BytesMut {
    let (spare, bytes) = SPARES.with_borrow_mut(|spares| {
        if room <= READ_BYTES_MIN {
            (std::mem::take(&mut spares.small), READ_BYTES_MIN)
        } else if room <= READ_BYTES_MAX {
            (std::mem::take(&mut spares.large), READ_BYTES_MAX)
        } else {
            (BytesMut::new(), room)
        }
    });
    if spare.capacity() == 0 { BytesMut::with_capacity(bytes) } else { spare }
}

/// The end of a loan. What is in the buffer is forgotten.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.try_reclaim(READ_BYTES_MAX) {
        // One that grew for a long frame is too much to keep.
        if buffer.capacity() <= 2 * READ_BYTES_MAX {
            SPARES.with_borrow_mut(|spares| spares.large = buffer);
        }
    } else if buffer.try_reclaim(READ_BYTES_MIN) {
        SPARES.with_borrow_mut(|spares| spares.small = buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_lent_again_when_nothing_of_it_lives() {
        let mut buffer = take(READ_BYTES_MIN);
        let place = buffer.as_ptr();
        buffer.extend_from_slice(b"frame");
        let frame = buffer.split_to(5).freeze();
        drop(frame);
        give_back(buffer);
        let again = take(1);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= READ_BYTES_MIN);
    }

    #[test]
    fn a_frame_that_lives_on_keeps_its_bytes() {
        for room in [READ_BYTES_MIN, READ_BYTES_MAX] {
            let mut buffer = take(room);
            buffer.extend_from_slice(b"frame and a piece");
            let frame = buffer.split_to(5).freeze();
            give_back(buffer);
            let mut again = take(room);
            assert!(again.is_empty() && again.capacity() >= room);
            again.extend_from_slice(&vec![b'x'; room]);
            assert_eq!(&frame[..], b"frame");
        }
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        give_back(BytesMut::with_capacity(16 * READ_BYTES_MAX));
        assert!(take(READ_BYTES_MAX).capacity() <= 2 * READ_BYTES_MAX);
    }
}
