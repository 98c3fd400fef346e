// SPDX-License-Identifier: Apache-2.0
//! A session for tests, in the shape of TLS: records of [kind, length, bytes under a key], a handshake before the first and again in
//! between, which each side must read before it may write on, and an end of its own.

use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf, BufMut, BytesMut};

use super::session::Session;

/// As the first byte of TLS.
pub(super) const HELLO: u8 = 0x16;
pub(super) const DONE: u8 = 0x14;
pub(super) const DATA: u8 = 0x17;
pub(super) const END: u8 = 0x15;

const HEAD_BYTES: usize = 3;
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// A client asks for another key after so much.
const BYTES_OF_A_KEY: usize = 100_000;

pub(super) struct Records {
    is_client: bool,
    has_begun: bool,
    /// Of a record.
    piece: BytesMut,
    must_read_first: bool,
    read_key: u8,
    write_key: u8,
    sealed_bytes: usize,
    pub(super) handshakes: usize,
}

impl Records {
    pub(super) fn client() -> Self {
        Self { is_client: true, ..Self::server() }
    }

    pub(super) fn server() -> Self {
        Self {
            is_client: false,
            has_begun: false,
            piece: BytesMut::new(),
            must_read_first: false,
            read_key: 0,
            write_key: 0,
            sealed_bytes: 0,
            handshakes: 0,
        }
    }

    /// As it is after a handshake that its owner has done by hand.
    pub(super) fn shaken_again(&self) -> Self {
        Self { has_begun: true, handshakes: 2, read_key: self.read_key + 1, write_key: self.write_key + 1, ..Self::client() }
    }

    fn put(&self, kind: u8, bytes: &[u8], output: &mut BytesMut) {
        output.put_u8(kind);
        output.put_u16(bytes.len() as u16);
        xor(bytes, self.write_key, output);
    }

    /// It writes nothing more until the other side has answered.
    fn ask(&mut self, output: &mut BytesMut) {
        self.put(HELLO, b"hello", output);
        self.must_read_first = true;
    }

    fn take(&mut self, kind: u8, bytes: &[u8], input: &mut BytesMut, output: &mut BytesMut) -> io::Result<bool> {
        match kind {
            // The server's answer comes before anything else that it writes, and it waits for the client's.
            HELLO if !self.is_client && !self.must_read_first => self.ask(output),
            HELLO if self.is_client && self.must_read_first => {
                self.put(DONE, b"done", output);
                (self.read_key, self.write_key) = (self.read_key.wrapping_add(1), self.write_key.wrapping_add(1));
                (self.must_read_first, self.sealed_bytes) = (false, 0);
                self.handshakes += 1;
            }
            DONE if !self.is_client && self.must_read_first => {
                (self.read_key, self.write_key) = (self.read_key.wrapping_add(1), self.write_key.wrapping_add(1));
                self.must_read_first = false;
                self.handshakes += 1;
            }
            DATA if self.handshakes > 0 => xor(bytes, self.read_key, input),
            END => return Ok(false),
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        Ok(true)
    }
}

/// These bytes under a key, behind others.
fn xor(bytes: &[u8], key: u8, to: &mut BytesMut) {
    let begin = to.len();
    to.extend_from_slice(bytes);
    to[begin..].iter_mut().for_each(|byte| *byte ^= key);
}

impl Session for Records {
    fn receive(&mut self, bytes: &[u8], input: &mut BytesMut, output: &mut BytesMut) -> io::Result<bool> {
        if self.is_client && !std::mem::replace(&mut self.has_begun, true) {
            self.ask(output);
        }
        self.piece.extend_from_slice(bytes);
        while let Some(&[kind, high, low]) = self.piece.first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if self.piece.len() < HEAD_BYTES + length {
                break;
            }
            self.piece.advance(HEAD_BYTES);
            let record = self.piece.split_to(length);
            if !self.take(kind, &record, input, output)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn seal(&mut self, bytes: &[IoSlice<'_>], output: &mut BytesMut) -> usize {
        if self.is_client && self.sealed_bytes > BYTES_OF_A_KEY {
            self.ask(output);
            return 0;
        }
        let mut record = Vec::new();
        for slice in bytes {
            record.extend_from_slice(&slice[..slice.len().min(RECORD_BYTES_MAX - record.len())]);
        }
        self.put(DATA, &record, output);
        self.sealed_bytes += record.len();
        record.len()
    }

    fn must_read_first(&self) -> bool {
        self.must_read_first
    }

    fn end(&mut self, output: &mut BytesMut) {
        if self.handshakes > 0 {
            self.put(END, &[], output);
        }
    }

    fn held_bytes(&self) -> usize {
        self.piece.capacity()
    }
}
