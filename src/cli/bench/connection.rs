// SPDX-License-Identifier: Apache-2.0
//! A generator's connection: raw frames out, whole frames in.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use ferrocket_protocol::split_frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::BenchError;

const READ_BYTES: usize = 64 * 1024;

pub(super) struct LoadConnection {
    stream: TcpStream,
    input: BytesMut,
}

impl LoadConnection {
    pub(super) async fn open(addr: SocketAddr) -> Result<Self, BenchError> {
        let io = |what| move |error| BenchError::Io { what, error };
        let stream = TcpStream::connect(addr).await.map_err(io("connect"))?;
        stream.set_nodelay(true).map_err(io("connect"))?;
        Ok(Self { stream, input: BytesMut::with_capacity(READ_BYTES) })
    }

    pub(super) async fn write(&mut self, frames: &[u8]) -> Result<(), BenchError> {
        self.stream.write_all(frames).await.map_err(|error| BenchError::Io { what: "write", error })
    }

    /// Waits for bytes; take the frames out of them with `next_frame`. Without a time limit: `join_all` sees a silent server.
    pub(super) async fn read(&mut self) -> Result<(), BenchError> {
        self.input.reserve(READ_BYTES / 4);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(BenchError::ConnectionClosed),
            Ok(_) => Ok(()),
            Err(error) => Err(BenchError::Io { what: "read", error }),
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Bytes>, BenchError> {
        split_frame(&mut self.input).map_err(|error| BenchError::Decode { what: "read", error })
    }
}
