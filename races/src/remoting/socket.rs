// SPDX-License-Identifier: Apache-2.0
//! A socket in memory: takes so many bytes while its client reads none, and wakes the last one who asked for each direction.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use ferrocket_protocol::{RemotingCommand, frame};
use tokio::io::{AsyncRead, ReadBuf};

use crate::runtime::sync::Mutex;

pub struct Socket(Mutex<State>);

struct State {
    /// From the client.
    input: BytesMut,
    input_ended: bool,
    reader: Option<Waker>,
    /// To the client.
    output: BytesMut,
    room: usize,
    writer: Option<Waker>,
    /// The server has let go of it.
    ended: bool,
    client: Option<Waker>,
    /// What the client has read of an answer.
    read: BytesMut,
}

pub(super) struct OwnedReadHalf(Arc<Socket>);
pub(super) struct OwnedWriteHalf(Arc<Socket>);
#[derive(Clone)]
pub struct Client(Arc<Socket>);

pub(super) fn pair(room: usize) -> (Client, OwnedReadHalf, OwnedWriteHalf) {
    let state = State {
        input: BytesMut::new(),
        input_ended: false,
        reader: None,
        output: BytesMut::new(),
        room,
        writer: None,
        ended: false,
        client: None,
        read: BytesMut::new(),
    };
    let socket = Arc::new(Socket(Mutex::new(state)));
    (Client(Arc::clone(&socket)), OwnedReadHalf(Arc::clone(&socket)), OwnedWriteHalf(socket))
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Socket {
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if !state.input.is_empty() || state.input_ended {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.output.len() < state.room || state.input_ended {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsRef<Socket> for OwnedReadHalf {
    fn as_ref(&self) -> &Socket {
        &self.0
    }
}

impl AsRef<Socket> for OwnedWriteHalf {
    fn as_ref(&self) -> &Socket {
        &self.0
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.poll_read_ready(context).is_pending() {
            return Poll::Pending;
        }
        let mut state = self.0.0.lock();
        let bytes = state.input.len().min(buffer.remaining());
        let taken = state.input.split_to(bytes);
        buffer.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl Drop for OwnedReadHalf {
    fn drop(&mut self) {
        let client = {
            let mut state = self.0.0.lock();
            state.ended = true;
            state.client.take()
        };
        wake(client);
    }
}

impl OwnedWriteHalf {
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let (written, client) = {
            let mut state = self.0.0.lock();
            if state.input_ended {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let mut written = 0;
            for slice in slices {
                let bytes = slice.len().min(state.room.saturating_sub(state.output.len()));
                state.output.extend_from_slice(&slice[..bytes]);
                written += bytes;
            }
            if written == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            (written, state.client.take())
        };
        wake(client);
        Ok(written)
    }

    pub(super) fn forget(self) {}
}

impl Client {
    pub fn send(&self, bytes: &[u8]) {
        let reader = {
            let mut state = self.0.0.lock();
            state.input.extend_from_slice(bytes);
            state.reader.take()
        };
        wake(reader);
    }

    /// It reads and writes no more.
    pub fn close(&self) {
        let (reader, writer) = {
            let mut state = self.0.0.lock();
            state.input_ended = true;
            (state.reader.take(), state.writer.take())
        };
        wake(reader);
        wake(writer);
    }

    /// The next answer, or `None` when the server has closed.
    pub async fn answer(&self) -> Option<RemotingCommand> {
        let bytes = std::future::poll_fn(|context| {
            let (split, writer) = {
                let mut state = self.0.0.lock();
                let state = &mut *state;
                let writer = if state.output.is_empty() { None } else { state.writer.take() };
                state.read.extend_from_slice(&state.output);
                state.output.clear();
                let split = match frame::split_frame(&mut state.read) {
                    Ok(Some(bytes)) => Poll::Ready(Some(bytes)),
                    Ok(None) if state.ended => Poll::Ready(None),
                    Ok(None) => {
                        state.client = Some(context.waker().clone());
                        Poll::Pending
                    }
                    Err(error) => panic!("an answer that is no frame: {error}"),
                };
                (split, writer)
            };
            wake(writer);
            split
        })
        .await?;
        Some(RemotingCommand::decode(bytes).unwrap_or_else(|error| panic!("an answer that cannot be read: {error}")))
    }
}
