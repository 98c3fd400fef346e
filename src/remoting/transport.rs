// SPDX-License-Identifier: Apache-2.0
//! What the bytes of a connection travel over: its socket as they are, or a session over it, as TLS is one.
//!
//! A session concerns both directions: what was read may have to be answered before more comes, and what is to be written may have to
//! wait until something was read. So it lies behind the outbound's lock, beside the writing half of the socket; the connection's task,
//! which alone reads the socket, hands it what has arrived. No session is served yet: outside tests `Served` has no value.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};

use super::limits::SEALED_BYTES_MAX;
use super::replies::Replies;
use super::session::Session;
use super::socket::OwnedWriteHalf;

/// Which sessions a listener accepts, or a client begins: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sessions {
    #[default]
    None,
    #[cfg(test)]
    Records,
}

#[cfg(not(test))]
pub(super) type Served = std::convert::Infallible;
#[cfg(test)]
pub(super) type Served = super::records::Records;

impl Sessions {
    /// For a peer that has asked for one by its first bytes.
    pub(super) fn accept(self) -> Option<Served> {
        match self {
            Self::None => None,
            #[cfg(test)]
            Self::Records => Some(Served::server()),
        }
    }

    /// For a connection of ours.
    pub(super) fn begin(self) -> Option<Served> {
        match self {
            Self::None => None,
            #[cfg(test)]
            Self::Records => Some(Served::client()),
        }
    }
}

/// The writing half, and what both directions share.
pub(super) struct Transport {
    /// `None` when the peer's socket takes nothing more; what it sent before is still read.
    socket: Option<OwnedWriteHalf>,
    secured: Option<Box<Secured>>,
}

struct Secured {
    session: Served,
    /// Not taken by the socket yet.
    sealed: BytesMut,
}

impl Transport {
    pub(super) fn plain(socket: OwnedWriteHalf) -> Self {
        Self { socket: Some(socket), secured: None }
    }

    /// From here on everything goes through the session.
    pub(super) fn secure(&mut self, session: Served) {
        self.secured = Some(Box::new(Secured { session, sealed: BytesMut::new() }));
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Gives the socket what waits until it takes no more; how many of these bytes are on their way.
    pub(super) fn write(&mut self, waiting: &mut Replies) -> io::Result<usize> {
        let Some(socket) = &self.socket else { return Ok(0) };
        let send = |slices: &[IoSlice<'_>]| match slices {
            [one] => socket.try_write(one),
            many => socket.try_write_vectored(many),
        };
        match &mut self.secured {
            None => waiting.write(send),
            Some(secured) => secured.write(waiting, send),
        }
    }

    /// What was read of the socket: see `Session::receive`.
    pub(super) fn receive(&mut self, bytes: &[u8], input: &mut BytesMut) -> io::Result<bool> {
        match &mut self.secured {
            None => {
                input.extend_from_slice(bytes);
                Ok(true)
            }
            Some(secured) => secured.session.receive(bytes, input, &mut secured.sealed),
        }
    }

    /// Ready when a write may do something: the socket has room, and a session that must read first has something of its own to say.
    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.socket {
            Some(_) if self.must_read_first() && self.sealed_bytes() == 0 => Poll::Pending,
            // An error shows at the next write.
            Some(socket) => socket.as_ref().poll_write_ready(context).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    pub(super) fn must_read_first(&self) -> bool {
        self.secured.as_ref().is_some_and(|secured| secured.session.must_read_first())
    }

    /// On their way, and not taken by the socket yet.
    pub(super) fn sealed_bytes(&self) -> usize {
        self.secured.as_ref().map_or(0, |secured| secured.sealed.len())
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.secured.as_ref().map_or(0, |secured| secured.sealed.capacity() + secured.session.held_bytes())
    }

    /// Has a session say that nothing more comes; one that has not begun says nothing.
    pub(super) fn end(&mut self) {
        if let Some(secured) = &mut self.secured {
            secured.session.end(&mut secured.sealed);
        }
    }

    pub(super) fn break_off(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Dropping would say "end of stream" to the peer although its requests are still being read.
            socket.forget();
        }
        if let Some(secured) = &mut self.secured {
            secured.sealed = BytesMut::new();
        }
    }
}

impl Secured {
    fn write(&mut self, waiting: &mut Replies, send: impl Fn(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            while !waiting.is_empty() && !self.session.must_read_first() && self.sealed.len() < SEALED_BYTES_MAX {
                taken += waiting.write(|slices| match self.sealed.len() < SEALED_BYTES_MAX {
                    true => Ok(self.session.seal(slices, &mut self.sealed)),
                    false => Ok(0),
                })?;
            }
            if self.sealed.is_empty() {
                self.sealed = BytesMut::new();
                return Ok(taken);
            }
            match send(&[IoSlice::new(&self.sealed)]) {
                Ok(sent) => self.sealed.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a thread that answers ends with its answer")]

    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use ferrocket_protocol::{RemotingCommand, frame, response_code};
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::remoting::records::{DATA, DONE, HELLO, Records};
    use crate::remoting::{Completion, Limits, Listener, Peer, RemotingClient, Replies, RequestHandler};
    use crate::runtime::{Runtime, SystemClock};

    /// The numbers in these are the sizes of the answers' bodies.
    const ANSWER: i32 = 1;
    const HOLD: i32 = 2;
    /// Answers what is held.
    const RELEASE: i32 = 3;
    /// Is answered by another thread.
    const LATER: i32 = 4;

    /// Long enough for a loaded machine; nothing waits for it when all is well.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[derive(Default)]
    struct Handler(Mutex<Vec<(Completion, i32)>>);

    fn answer(bytes: i32) -> RemotingCommand {
        RemotingCommand::response(response_code::SUCCESS).with_body(vec![bytes as u8; bytes as usize])
    }

    impl RequestHandler for Handler {
        fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
            let bytes = request.version;
            match request.code {
                ANSWER => replies.answer(request, answer(bytes)),
                HOLD => self.0.lock().push((peer.completion(request), bytes)),
                RELEASE => {
                    self.0.lock().drain(..).for_each(|(completion, bytes)| completion.answer_now(answer(bytes)));
                    replies.answer(request, answer(bytes));
                }
                _ => {
                    let completion = peer.completion(request);
                    drop(std::thread::spawn(move || completion.answer_now(answer(bytes))));
                }
            }
        }

        fn connected(&self, _peer: &Arc<Peer>) {}
        fn closed(&self, _peer: &Arc<Peer>) {}
    }

    fn request(code: i32, answer_bytes: i32) -> RemotingCommand {
        let mut request = RemotingCommand::request(code);
        request.version = answer_bytes;
        request
    }

    async fn listen(limits: &Limits) -> (Listener, Runtime) {
        let runtime = Runtime::current(SystemClock::shared());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        (Listener::bind(any, Arc::new(Handler::default()), limits.clone(), &runtime).await.unwrap(), runtime)
    }

    fn limits() -> Limits {
        Limits { sessions: Sessions::Records, ..Limits::default() }
    }

    /// A client whose every byte the test gives.
    struct Raw {
        stream: TcpStream,
        session: Records,
        input: BytesMut,
        output: BytesMut,
    }

    impl Raw {
        async fn connect(listener: &Listener) -> Self {
            let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
            let mut raw = Self { stream, session: Records::client(), input: BytesMut::new(), output: BytesMut::new() };
            raw.session.receive(&[], &mut raw.input, &mut raw.output).unwrap();
            raw
        }

        /// Reads until it may write.
        async fn shake_hands(&mut self) {
            self.flush().await;
            while self.session.must_read_first() {
                assert!(self.read().await);
            }
            self.flush().await;
        }

        fn seal(&mut self, requests: &[RemotingCommand]) {
            let mut frames = BytesMut::new();
            requests.iter().for_each(|request| request.clone().encode(&mut frames));
            while !frames.is_empty() {
                let sealed = self.session.seal(&[IoSlice::new(&frames)], &mut self.output);
                frames.advance(sealed);
            }
        }

        async fn flush(&mut self) {
            self.stream.write_all(&self.output.split()).await.unwrap();
        }

        /// False at the end of the stream.
        async fn read(&mut self) -> bool {
            let mut bytes = BytesMut::new();
            tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut bytes)).await.expect("the server says nothing").unwrap();
            self.session.receive(&bytes, &mut self.input, &mut self.output).unwrap();
            !bytes.is_empty()
        }

        async fn answer(&mut self) -> Option<Bytes> {
            loop {
                if let Some(bytes) = frame::split_frame(&mut self.input).unwrap() {
                    return Some(RemotingCommand::decode(bytes).unwrap().body);
                }
                if !self.read().await {
                    return None;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_session_may_come_in_any_pieces_and_half_closed_it_is_answered_to_the_end() {
        let (listener, _runtime) = listen(&limits()).await;
        let mut raw = Raw::connect(&listener).await;
        let begun = raw.output.split();
        raw.stream.write_all(&begun[..1]).await.unwrap();
        raw.stream.write_all(&begun[1..]).await.unwrap();
        while raw.session.handshakes == 0 {
            assert!(raw.read().await);
        }
        // The end of the handshake, requests, and the end of the session come together, and in pieces.
        raw.seal(&[request(ANSWER, 1), request(ANSWER, 70_000)]);
        raw.seal(&[request(ANSWER, 3)]);
        raw.session.end(&mut raw.output);
        for piece in raw.output.split().chunks(7) {
            raw.stream.write_all(piece).await.unwrap();
        }
        raw.stream.shutdown().await.unwrap();
        for expected in [1, 70_000, 3] {
            assert_eq!(raw.answer().await.map(|body| body.len()), Some(expected));
        }
        assert_eq!(raw.answer().await, None, "and then it is closed");
    }

    #[tokio::test]
    async fn what_came_before_a_broken_record_is_answered() {
        let (listener, _runtime) = listen(&limits()).await;
        let mut raw = Raw::connect(&listener).await;
        raw.shake_hands().await;
        raw.seal(&[request(ANSWER, 5)]);
        raw.output.extend_from_slice(&[0xFF, 0, 0]);
        raw.flush().await;
        assert_eq!(raw.answer().await.map(|body| body.len()), Some(5));
        assert_eq!(raw.answer().await, None);
    }

    #[tokio::test]
    async fn nothing_is_taken_before_the_handshake_and_no_session_where_none_is_served() {
        let (listener, _runtime) = listen(&limits()).await;
        let mut early = Raw::connect(&listener).await;
        early.output.extend_from_slice(&[DATA, 0, 1, 0]);
        early.flush().await;
        assert_eq!(early.answer().await, None);

        let (listener, _runtime) = listen(&Limits::default()).await;
        let mut raw = Raw::connect(&listener).await;
        raw.flush().await;
        assert!(!raw.read().await, "closed, as TLS is");
    }

    /// A handshake goes on although the connection has more to write than it may and is not read otherwise.
    #[tokio::test]
    async fn a_session_that_must_read_is_read_whatever_limit_is_reached() {
        let (listener, _runtime) = listen(&Limits { outbound_pause_bytes: 1_000, completions: 2, ..limits() }).await;
        let mut raw = Raw::connect(&listener).await;
        let mut other = Raw::connect(&listener).await;
        raw.shake_hands().await;
        other.shake_hands().await;
        // As many as it may hold, and in the midst of a second handshake.
        raw.seal(&[request(HOLD, 20_000), request(HOLD, 10)]);
        raw.output.extend_from_slice(&[HELLO, 0, 0]);
        raw.flush().await;
        while raw.stream.read_u8().await.unwrap() != HELLO {}
        let hello: usize = raw.stream.read_u16().await.unwrap().into();
        raw.stream.read_exact(&mut vec![0; hello]).await.unwrap();
        // Both answers wait for it now.
        other.seal(&[request(RELEASE, 1)]);
        other.flush().await;
        assert_eq!(other.answer().await.map(|body| body.len()), Some(1));
        raw.session = raw.session.shaken_again();
        raw.output.extend_from_slice(&[DONE, 0, 0]);
        raw.flush().await;
        for expected in [20_000, 10] {
            assert_eq!(raw.answer().await.map(|body| body.len()), Some(expected));
        }
    }

    #[tokio::test]
    async fn large_bodies_pass_while_neither_side_may_write_for_long() {
        let server = Limits { outbound_pause_bytes: 32 * 1024, completions: 4, ..limits() };
        let (listener, runtime) = listen(&server).await;
        let addr = listener.local_addr().to_string();
        // Many handshakes on the way up, and always more to write than it may have.
        let up = RemotingClient::with(&runtime, Limits { outbound_pause_bytes: 1, ..limits() }, |_| ());
        // And large answers on the way down, which come late and faster than they are taken.
        let down = RemotingClient::with(&runtime, limits(), |_| ());
        let mut calls = Vec::new();
        for at in 0..16 {
            let (up, down, addr) = (up.clone(), down.clone(), addr.clone());
            calls.push(runtime.spawn("call", async move {
                let body = vec![at as u8; at as usize * 30_000];
                let answer = up.invoke(&addr, request(ANSWER, at).with_body(body), PATIENCE).await.unwrap();
                assert_eq!(answer.body, vec![at as u8; at as usize]);
                let answer = down.invoke(&addr, request(LATER, at * 30_000).with_body(vec![0; 8_000]), PATIENCE).await;
                assert_eq!(answer.unwrap().body, vec![(at * 30_000) as u8; at as usize * 30_000]);
            }));
        }
        for call in calls {
            assert!(call.join().await.is_some(), "a call failed");
        }
    }
}
