// SPDX-License-Identifier: Apache-2.0
//! The form of what may stand between the bytes of a socket and those of a connection, as TLS does. Knows neither of them.

use std::convert::Infallible;
use std::io::{self, IoSlice};

use bytes::BytesMut;

/// Stands between the bytes of a socket and those of its connection. Has no I/O of its own.
pub(super) trait Session: Send {
    /// Takes all that was read of the socket; with nothing it begins. What it means is put behind `input`, and what the session itself
    /// has to say behind `output`. False once the peer has said that nothing more comes. After an error the connection ends, but what is
    /// in `input` came before it.
    fn receive(&mut self, bytes: &[u8], input: &mut BytesMut, output: &mut BytesMut) -> io::Result<bool>;

    /// Puts the first of these bytes behind `output`, at least one unless it must read first; how many it took.
    fn seal(&mut self, bytes: &[IoSlice<'_>], output: &mut BytesMut) -> usize;

    /// Whether it seals nothing until more was received: it is in a handshake.
    fn must_read_first(&self) -> bool;

    /// Says that nothing more comes.
    fn end(&mut self, output: &mut BytesMut);

    /// What it keeps in memory, pieces of records for instance.
    fn held_bytes(&self) -> usize;
}

/// None.
impl Session for Infallible {
    fn receive(&mut self, _: &[u8], _: &mut BytesMut, _: &mut BytesMut) -> io::Result<bool> {
        match *self {}
    }

    fn seal(&mut self, _: &[IoSlice<'_>], _: &mut BytesMut) -> usize {
        match *self {}
    }

    fn must_read_first(&self) -> bool {
        match *self {}
    }

    fn end(&mut self, _: &mut BytesMut) {
        match *self {}
    }

    fn held_bytes(&self) -> usize {
        match *self {}
    }
}
