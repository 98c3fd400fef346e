// SPDX-License-Identifier: Apache-2.0
//! A generator's connection: raw frames out, whole frames in.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::split_frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ANSWER_MAX, BenchError};
use crate::runtime::SharedClock;

const READ_BYTES: usize = 64 * 1024;

pub(super) struct LoadConnection {
    stream: TcpStream,
    input: BytesMut,
    clock: SharedClock,
}

impl LoadConnection {
    pub(super) async fn open(addr: SocketAddr, clock: SharedClock) -> Result<Self, BenchError> {
        let io = |what| move |error| BenchError::Io { what, error };
        let stream = TcpStream::connect(addr).await.map_err(io("connect"))?;
        stream.set_nodelay(true).map_err(io("connect"))?;
        Ok(Self { stream, input: BytesMut::with_capacity(READ_BYTES), clock })
    }

    pub(super) async fn write(&mut self, frames: &[u8]) -> Result<(), BenchError> {
        self.stream.write_all(frames).await.map_err(|error| BenchError::Io { what: "write", error })
    }

    /// Waits for bytes; take the frames out of them with `next_frame`.
    pub(super) async fn read(&mut self) -> Result<(), BenchError> {
        self.input.reserve(READ_BYTES / 4);
        // The timer is made only when the answer is not there yet, and then once in this wait.
        let read = tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.input) => read,
            () = self.clock.sleep(ANSWER_MAX) => return Err(BenchError::Silent),
        };
        match read {
            Ok(0) => Err(BenchError::ConnectionClosed),
            Ok(_) => Ok(()),
            Err(error) => Err(BenchError::Io { what: "read", error }),
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Bytes>, BenchError> {
        split_frame(&mut self.input).map_err(|error| BenchError::Decode { what: "read", error })
    }
}
