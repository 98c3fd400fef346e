// SPDX-License-Identifier: Apache-2.0
//! Encoded bytes on their way out: small frames share one buffer, big bodies travel as slices beside it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use ferrocket_protocol::RemotingCommand;

use super::limits::{COPIED_BODY_BYTES_MAX, READ_BYTES_MIN, WAITING_PIECE_BYTES, WRITE_SLICES_MAX};

/// The replies of one read, in the order in which they were given. They leave in one write after the last request of that read.
#[derive(Debug, Default)]
pub struct Replies {
    /// Closed pieces, before `open`.
    pieces: VecDeque<Bytes>,
    pieces_bytes: usize,
    open: BytesMut,
    /// What the socket has taken of the piece (or the buffer) that is in front. It is only freed as a whole.
    taken_bytes: usize,
}

impl Replies {
    pub(super) fn in_buffer(open: BytesMut) -> Self {
        Self { open, ..Self::default() }
    }

    /// The buffer that frames were gathered in.
    pub(super) fn into_buffer(self) -> BytesMut {
        self.open
    }

    /// Answers `request` with `response`: its opaque, its serialisation. A oneway request gets no answer.
    pub fn answer(&mut self, request: &RemotingCommand, response: RemotingCommand) {
        if !request.is_oneway() {
            self.push(response.answering(request));
        }
    }

    /// Appends a command as it is.
    pub(super) fn push(&mut self, command: RemotingCommand) {
        command.encode_header(command.body.len(), &mut self.open);
        self.body(command.body);
    }

    /// For writers of whole frames from templates: append here, nothing else.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Room for a frame at once: growing once is cheaper than growing for each part of it.
    pub fn reserve(&mut self, head_bytes: usize, body_bytes: usize) {
        let body_bytes = if body_bytes <= COPIED_BODY_BYTES_MAX { body_bytes } else { 0 };
        self.open.reserve(head_bytes + body_bytes);
    }

    /// Appends the body of a frame whose head was just written: a small one is copied beside it.
    pub fn body(&mut self, body: Bytes) {
        if body.len() <= COPIED_BODY_BYTES_MAX {
            self.open.extend_from_slice(&body);
        } else {
            self.chain(body);
        }
    }

    /// Appends bytes without copying them.
    pub fn chain(&mut self, bytes: Bytes) {
        if !self.open.is_empty() {
            let closed = self.open.split().freeze();
            self.pieces_bytes += closed.len();
            self.pieces.push_back(closed);
        }
        self.pieces_bytes += bytes.len();
        self.pieces.push_back(bytes);
    }

    pub fn len(&self) -> usize {
        self.pieces_bytes + self.open.len()
    }

    /// What is kept in memory for it.
    pub(super) fn held_bytes(&self) -> usize {
        self.len() + self.taken_bytes
    }

    /// How many pieces one more `append` of this brings.
    pub(super) fn pieces_count(&self) -> usize {
        self.pieces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.open.is_empty()
    }

    /// What waits for the peer keeps no buffer that is much too large for it: neither the open one nor, by a head that was written
    /// into it, one that others share. With little memory left a body waits in pieces of one size: those that are freed between others
    /// serve every next answer, whatever its size. `added`: so many pieces are new.
    pub(super) fn fit(&mut self, added: usize, is_tight: bool) {
        let known = self.pieces.len().saturating_sub(added);
        for piece in self.pieces.split_off(known) {
            if piece.len() > COPIED_BODY_BYTES_MAX && !is_tight {
                self.pieces.push_back(piece);
                continue;
            }
            if self.pieces.is_empty() {
                self.taken_bytes = 0;
            }
            self.pieces.extend(piece.chunks(WAITING_PIECE_BYTES).map(Bytes::copy_from_slice));
        }
        if self.open.capacity() > 2 * self.open.len() + READ_BYTES_MIN {
            self.open = BytesMut::from(&self.open[..]);
            if self.pieces.is_empty() {
                self.taken_bytes = 0;
            }
        }
    }

    /// Forgets what was added since the length was `len`; only possible while that is still in the open buffer.
    pub(super) fn rewind(&mut self, len: usize) -> bool {
        match len.checked_sub(self.pieces_bytes) {
            Some(open) => {
                self.open.truncate(open);
                true
            }
            None => false,
        }
    }

    /// Moves everything out of `other` behind what is here.
    pub(super) fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        for piece in std::mem::take(&mut other.pieces) {
            self.chain(piece);
        }
        other.pieces_bytes = 0;
        self.open.extend_from_slice(&other.open);
        other.open.clear();
    }

    /// Gives everything to `write` until it takes less than it is offered.
    pub(super) fn write(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>) -> std::io::Result<usize> {
        let mut written = 0;
        while !self.is_empty() {
            let (offered, taken) = if self.pieces.is_empty() {
                (self.open.len(), write(&[IoSlice::new(&self.open)])?)
            } else {
                let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
                let mut count = 0;
                let mut offered = 0;
                for piece in self.pieces.iter().map(|piece| &piece[..]).chain([&self.open[..]]).take(WRITE_SLICES_MAX) {
                    slices[count] = IoSlice::new(piece);
                    count += 1;
                    offered += piece.len();
                }
                (offered, write(&slices[..count])?)
            };
            self.advance(taken);
            written += taken;
            if taken < offered {
                break;
            }
        }
        Ok(written)
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if bytes < piece.len() {
                piece.advance(bytes);
                self.pieces_bytes -= bytes;
                self.taken_bytes += bytes;
                return;
            }
            bytes -= piece.len();
            self.pieces_bytes -= piece.len();
            self.pieces.pop_front();
            self.taken_bytes = 0;
        }
        self.open.advance(bytes);
        // It may have moved to its begin meanwhile: it never keeps more than this for long.
        self.taken_bytes = if self.open.is_empty() { 0 } else { (self.taken_bytes + bytes).min(self.open.capacity()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(replies: &mut Replies, bytes_per_write: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !replies.is_empty() {
            let mut budget = bytes_per_write;
            replies
                .write(|slices| {
                    let before = out.len();
                    for slice in slices {
                        let take = slice.len().min(budget);
                        out.extend_from_slice(&slice[..take]);
                        budget -= take;
                    }
                    Ok(out.len() - before)
                })
                .unwrap();
        }
        out
    }

    #[test]
    fn pieces_and_buffer_leave_in_order_however_little_the_socket_takes() {
        for bytes_per_write in [1, 2, 3, 7, 1000] {
            let mut replies = Replies::default();
            replies.buffer().extend_from_slice(b"ab");
            replies.chain(Bytes::from_static(b"cdef"));
            replies.chain(Bytes::from_static(b"gh"));
            replies.buffer().extend_from_slice(b"ij");
            let mut more = Replies::default();
            more.buffer().extend_from_slice(b"kl");
            more.chain(Bytes::from_static(b"mn"));
            more.buffer().extend_from_slice(b"op");
            replies.append(&mut more);
            assert!(more.is_empty());
            assert_eq!(replies.len(), 16);
            assert_eq!(written(&mut replies, bytes_per_write), b"abcdefghijklmnop");
            assert_eq!(replies.len(), 0);
        }
    }

    #[test]
    fn what_is_taken_of_a_body_is_held_to_its_end() {
        let mut replies = Replies::default();
        replies.buffer().extend_from_slice(b"head");
        replies.chain(Bytes::from(vec![b'x'; 1000]));
        replies.buffer().extend_from_slice(b"head");
        let take = |replies: &mut Replies, bytes: usize| {
            replies.write(|slices| Ok(slices.iter().map(|slice| slice.len()).sum::<usize>().min(bytes))).unwrap();
            (replies.len(), replies.held_bytes())
        };
        assert_eq!(take(&mut replies, 2), (1006, 1008));
        assert_eq!(take(&mut replies, 902), (104, 1004), "the head is gone, the body is not");
        assert_eq!(take(&mut replies, 98), (6, 1004));
        assert_eq!(take(&mut replies, 3), (3, 4));
        assert_eq!(take(&mut replies, 3), (0, 0));
    }

    #[test]
    fn heads_that_wait_do_not_keep_the_buffer_that_they_share() {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        buffer.extend_from_slice(b"head");
        let mut replies = Replies::in_buffer(buffer);
        replies.chain(Bytes::from(vec![b'x'; 10_000]));
        let added = replies.pieces_count() + 1;
        let shared = replies.pieces[0].as_ptr();
        replies.fit(added, false);
        assert_eq!(replies.pieces.len(), 2);
        assert_ne!(replies.pieces[0].as_ptr(), shared);
        assert!(replies.open.capacity() < 64 * 1024);
        assert_eq!(written(&mut replies, 1000).len(), 10_004);

        let body: Vec<u8> = (0..3 * WAITING_PIECE_BYTES + 50).map(|at| at as u8).collect();
        replies.chain(Bytes::from(body.clone()));
        replies.write(|_| Ok(7)).unwrap();
        replies.fit(1, true);
        assert_eq!((replies.pieces.len(), replies.held_bytes()), (4, body.len() - 7), "what is taken is freed");
        assert_eq!(written(&mut replies, 1000), &body[7..]);
    }

    #[test]
    fn more_pieces_than_one_writev_holds() {
        let mut replies = Replies::default();
        for _ in 0..3 * WRITE_SLICES_MAX {
            replies.chain(Bytes::from_static(b"x"));
        }
        replies.buffer().extend_from_slice(b"y");
        let out = written(&mut replies, usize::MAX);
        assert_eq!(out.len(), 3 * WRITE_SLICES_MAX + 1);
        assert_eq!(out.last(), Some(&b'y'));
    }
}
