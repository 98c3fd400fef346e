// SPDX-License-Identifier: Apache-2.0
//! One connection, one task: read, handle every whole frame of that read, write all replies at once.
//!
//! Every frame that arrived is handled, also those in front of an end or a reset of the stream; only then is the peer told
//! closed. While idle a connection owns no buffer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use bytes::BytesMut;
use ferrocket_protocol::{RemotingCommand, frame, response_code};
use tokio_util::io::poll_read_buf;
use tracing::{debug, error, info, warn};

use super::buffers::{self, Buffers};
use super::deferred::{self, ReadBatch, WORKS_AT_ONCE_MAX};
use super::first_bytes::{self, Spoken};
use super::limits::{READ_BYTES_MAX, READ_BYTES_MIN};
use super::outbound::NextStep;
use super::peer::Peer;
use super::read_scheduler::ReadGrant;
use super::replies::Replies;
use super::socket::OwnedReadHalf;
use super::transport::Served;
use super::work::BoxedWork;
use crate::runtime::sync::{AtomicU32, Ordering};

/// What is done with the requests of a connection: NettyRequestProcessor and ChannelEventListener of the original.
pub trait RequestHandler: Send + Sync + 'static {
    /// One request, in the order of arrival on its connection. Must not block. Answer through `replies` (leaves with the
    /// other replies of this read), or take a `peer.completion(request)` and answer later. What is served elsewhere takes the request
    /// with it; what is left of it is used for the next one.
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies);

    fn connected(&self, peer: &Arc<Peer>);

    /// Comes once, after every frame that was received has been handled.
    fn closed(&self, peer: &Arc<Peer>);
}

/// A piece of a frame up to this size is moved out of its buffer when the connection goes idle.
const KEPT_BYTES_MAX: usize = 4096;

pub(super) struct Connection<H: ?Sized> {
    stream: OwnedReadHalf,
    peer: Arc<Peer>,
    handler: Arc<H>,
    /// Coarse time, moved by the listener's sweep.
    tick: Arc<AtomicU32>,
    grant: ReadGrant,
    /// What is done before the next read.
    works: vec::IntoIter<BoxedWork>,
    input: BytesMut,
    /// What of its memory the budget knows.
    counted_bytes: usize,
    read_bytes: usize,
    /// Whether frames may be left in `input` because a limit stopped us.
    stopped_short: bool,
    /// Whether the first bytes have told what the peer speaks.
    start_seen: bool,
    /// Through a session, which lies with the outbound.
    secured: bool,
    /// What has ended the session; told when all that came before it was handled.
    session_end: Option<ConnectionEnd>,
    /// When the last bytes were read, once more than one request came with them.
    read_nanos: Option<u64>,
}

impl<H: RequestHandler + ?Sized> Connection<H> {
    pub(super) fn new(stream: OwnedReadHalf, peer: Arc<Peer>, handler: Arc<H>, tick: Arc<AtomicU32>) -> Self {
        peer.touch(tick.load(Ordering::Relaxed));
        Self {
            stream,
            peer,
            handler,
            tick,
            grant: ReadGrant::Unscheduled,
            works: Vec::new().into_iter(),
            input: BytesMut::new(),
            counted_bytes: 0,
            read_bytes: READ_BYTES_MIN,
            stopped_short: false,
            start_seen: false,
            secured: false,
            session_end: None,
            read_nanos: None,
        }
    }

    /// From here on what is read and written goes through the session, which may have something to say at once.
    pub(super) fn secure(&mut self, session: Served) {
        self.peer.outbound.secure(session);
        self.secured = true;
        let begun = std::mem::take(&mut self.input);
        self.receive(&begun);
    }

    /// Runs the connection to its end.
    pub(super) async fn run(mut self) {
        self.handler.connected(&self.peer);
        let end = std::future::poll_fn(|context| self.poll_scheduled(context)).await;
        self.input = BytesMut::new();
        self.count_input();
        self.peer.end();
        self.handler.closed(&self.peer);
        let peer = &self.peer;
        match end {
            ConnectionEnd::Stream => debug!(%peer, "connection closed by the peer"),
            ConnectionEnd::Reset(error) => debug!(%peer, %error, "connection lost"),
            ConnectionEnd::Ours(reason) => info!(%peer, reason, "closed a connection"),
            ConnectionEnd::Unserved(feature) => peer.asked_in_vain(feature),
            ConnectionEnd::NotRocketMq(error) => warn!(%peer, %error, "closed a connection that does not speak RocketMQ"),
        }
    }

    fn poll_scheduled(&mut self, context: &mut Context<'_>) -> Poll<ConnectionEnd> {
        self.peer.read_scheduler.task_begins(&mut self.grant);
        let end = self.poll(context);
        if self.input.is_empty() {
            // Whoever waits owns no buffer, whatever for.
            self.shrink();
        }
        self.count_input();
        if self.peer.read_scheduler.task_ends(&mut self.grant) {
            context.waker().wake_by_ref();
        }
        end
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ConnectionEnd> {
        loop {
            self.run_works();
            if self.works.len() > 0 {
                self.peer.outbound.flush();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let (step, progress) = self.peer.outbound.next_step(context);
            self.peer.read_scheduler.take_grant(&self.peer.outbound, &mut self.grant);
            if progress {
                self.touch();
            }
            match step {
                NextStep::Read => {}
                NextStep::Work(works) => {
                    self.peer.outbound.account.go_on();
                    self.works = works.into_iter();
                    continue;
                }
                NextStep::ReadLast => {
                    if let Err(end) = self.read_last(context) {
                        return Poll::Ready(end);
                    }
                    self.peer.outbound.read_out();
                    continue;
                }
                NextStep::Pause => {
                    self.shrink();
                    return Poll::Pending;
                }
                NextStep::PauseForRoom => {
                    self.pause_for_room();
                    return Poll::Pending;
                }
                NextStep::ReadSession => {
                    if let Err(end) = ready!(self.poll_read_session(context)) {
                        return Poll::Ready(end);
                    }
                    continue;
                }
                NextStep::Close(reason) => return Poll::Ready(ConnectionEnd::Ours(reason)),
            }
            if self.stopped_short {
                if !self.may_go_on() {
                    return Poll::Pending;
                }
                match self.handle_frames() {
                    Ok(()) => continue,
                    Err(end) => return Poll::Ready(end),
                }
            }
            if self.secured
                && let Some(end) = self.session_end.take()
            {
                return Poll::Ready(end);
            }
            // Asked first: nearly always there is nothing behind the bytes just read, and that needs no buffer.
            if self.stream.as_ref().poll_read_ready(context).is_pending() {
                self.peer.outbound.account.waits_for_peer();
                self.shrink();
                return Poll::Pending;
            }
            if !self.may_go_on() {
                return Poll::Pending;
            }
            if !self.peer.read_scheduler.may_read(&self.peer.outbound, &mut self.grant) {
                return Poll::Pending;
            }
            match ready!(self.poll_read(context)) {
                Ok(0) => return Poll::Ready(ConnectionEnd::Stream),
                Ok(_) => {
                    if let Err(end) = self.handle_read() {
                        return Poll::Ready(end);
                    }
                }
                Err(error) => return Poll::Ready(ConnectionEnd::Reset(error)),
            }
            if self.grant == ReadGrant::Granted {
                self.grant = ReadGrant::Used;
                return Poll::Pending;
            }
        }
    }

    /// Whether the budget lets it read or handle one more request; if not, it is woken when there is room.
    fn may_go_on(&mut self) -> bool {
        let outbound = &self.peer.outbound;
        if outbound.account.may_read() {
            outbound.account.go_on();
            return true;
        }
        self.pause_for_room();
        false
    }

    fn pause_for_room(&mut self) {
        self.shrink();
        let missing = self.frame_bytes().saturating_sub(self.input.len());
        self.peer.outbound.pause(self.peer.now_nanos(), missing);
    }

    /// Some of its works; what there is no room for goes back.
    fn run_works(&mut self) {
        for _ in 0..WORKS_AT_ONCE_MAX.min(self.works.len()) {
            self.works.next().into_iter().for_each(|work| deferred::run(&self.peer, work));
            if self.works.len() > 0 && !self.peer.outbound.account.may_answer() {
                self.peer.outbound.put_back(std::mem::take(&mut self.works).collect());
            }
        }
    }

    fn count_input(&mut self) {
        self.peer.outbound.count_input(&mut self.counted_bytes, self.input.capacity());
    }

    /// What one read has brought.
    fn handle_read(&mut self) -> Result<(), ConnectionEnd> {
        self.touch();
        self.read_nanos = None;
        self.peer.set_read_nanos(None);
        self.handle_frames()
    }

    /// The server stops: what has arrived is handled, up to one large read. A client that goes on asking asks another server.
    fn read_last(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        if self.stopped_short {
            return self.handle_frames();
        }
        let mut read = 0;
        while read < READ_BYTES_MAX && !self.stopped_short {
            match self.poll_read(context) {
                Poll::Ready(Ok(0)) => return Err(ConnectionEnd::Stream),
                Poll::Ready(Ok(bytes)) => {
                    read += bytes;
                    self.handle_read()?;
                }
                Poll::Ready(Err(error)) => return Err(ConnectionEnd::Reset(error)),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// What the session waits for; what comes with it stays in the buffer until it may be handled.
    fn poll_read_session(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionEnd>> {
        if self.input.len() > frame::FRAME_BYTES_MAX {
            return Poll::Ready(Err(ConnectionEnd::Ours("it sends on, and lets nothing be written")));
        }
        if let Some(end) = self.session_end.take() {
            return Poll::Ready(Err(end));
        }
        let read = ready!(self.poll_read(context));
        self.touch();
        self.stopped_short = true;
        Poll::Ready(match read {
            Ok(0) => Err(ConnectionEnd::Stream),
            Ok(_) => Ok(()),
            Err(error) => Err(ConnectionEnd::Reset(error)),
        })
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.secured {
            return self.poll_read_sealed(context);
        }
        let room = self.make_room();
        let read = poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input);
        self.have_read(read, room)
    }

    /// As `poll_read`, through the session. Counts the bytes of the socket.
    fn poll_read_sealed(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let mut sealed = buffers::take_input(self.read_bytes);
        let room = sealed.capacity();
        let read = poll_read_buf(Pin::new(&mut self.stream), context, &mut sealed);
        if !sealed.is_empty() {
            self.make_room();
            self.receive(&sealed);
        }
        buffers::give_back_input(sealed);
        self.have_read(read, room)
    }

    fn have_read(&mut self, read: Poll<std::io::Result<usize>>, room: usize) -> Poll<std::io::Result<usize>> {
        match &read {
            Poll::Pending => {
                self.peer.outbound.account.waits_for_peer();
                self.shrink();
            }
            Poll::Ready(Ok(bytes)) if *bytes == room => self.read_bytes = READ_BYTES_MAX,
            Poll::Ready(Ok(bytes)) if *bytes < READ_BYTES_MIN => self.read_bytes = READ_BYTES_MIN,
            Poll::Ready(_) => {}
        }
        read
    }

    /// Has the session take what was read of the socket.
    fn receive(&mut self, bytes: &[u8]) {
        if self.session_end.is_none() {
            self.session_end = match self.peer.outbound.receive(bytes, &mut self.input) {
                Ok(true) => None,
                Ok(false) => Some(ConnectionEnd::Stream),
                Err(error) => Some(ConnectionEnd::Reset(error)),
            };
        }
    }

    /// What the first bytes say that the peer speaks. False while more has to come to tell.
    fn see_start(&mut self) -> Result<bool, ConnectionEnd> {
        let Some(spoken) = first_bytes::spoken(&self.input) else { return Ok(false) };
        let accepted = if spoken == Spoken::Tls && !self.secured { self.peer.sessions.accept() } else { None };
        if let Some(session) = accepted {
            self.secure(session);
            // It may have brought something already.
            return self.see_start();
        }
        self.start_seen = spoken == Spoken::Remoting;
        if self.start_seen { Ok(true) } else { Err(ConnectionEnd::Unserved(spoken.feature())) }
    }

    /// Room for the next read behind what is in the buffer; how much it is.
    fn make_room(&mut self) -> usize {
        let left = self.input.capacity() - self.input.len();
        if left < READ_BYTES_MIN || self.input.is_empty() && !self.input.try_reclaim(self.read_bytes) {
            let piece = self.input.len();
            // A frame that is longer than what we would read grows the buffer as it comes, not when it is announced.
            let read_bytes = if self.peer.outbound.account.is_tight() { READ_BYTES_MIN } else { self.read_bytes };
            let wanted = if piece > READ_BYTES_MAX / 2 {
                (2 * piece).min(self.frame_bytes() + READ_BYTES_MIN)
            } else {
                read_bytes.max(piece + READ_BYTES_MIN)
            };
            let mut buffer = buffers::take_input(wanted);
            buffer.extend_from_slice(&self.input);
            buffers::give_back_input(std::mem::replace(&mut self.input, buffer));
            if piece > READ_BYTES_MAX / 2 {
                self.count_input();
            }
        }
        self.input.capacity() - self.input.len()
    }

    /// How long the frame is that begins the buffer, as far as that is known.
    fn frame_bytes(&self) -> usize {
        let length = self.input.first_chunk().map_or(0, |word| u32::from_be_bytes(*word) as usize);
        (length + frame::LENGTH_BYTES).min(frame::FRAME_BYTES_MAX)
    }

    /// Going idle: give the buffer back, keeping only the piece of a frame that is in it.
    fn shrink(&mut self) {
        let (room, piece) = (self.input.capacity(), self.input.len());
        if room > 0 && (piece <= KEPT_BYTES_MAX || room > 2 * piece && self.peer.outbound.account.is_tight()) {
            let piece = BytesMut::from(&self.input[..]);
            buffers::give_back_input(std::mem::replace(&mut self.input, piece));
        }
    }

    /// Every whole frame in the buffer, then one write; stops between two frames when the peer has to read first.
    fn handle_frames(&mut self) -> Result<(), ConnectionEnd> {
        self.stopped_short = false;
        if !self.start_seen && !self.see_start()? {
            return Ok(());
        }
        let mut batch = ReadBatch::begin();
        let Buffers { mut header, replies: buffer } = buffers::take();
        let mut replies = Replies::in_buffer(buffer);
        let mut failure = None;
        loop {
            match frame::split_frame(&mut self.input) {
                Ok(Some(bytes)) => match RemotingCommand::decode_with(bytes, &mut header) {
                    Ok(mut command) => {
                        // The clock is asked when the first request of a read is there, and again by the handler for those behind it.
                        let read_nanos = *self.read_nanos.get_or_insert_with(|| self.peer.now_nanos().max(1));
                        self.handle(&mut command, &mut replies);
                        command.give_back(&mut header);
                        batch.requests += 1;
                        self.peer.set_read_nanos(Some(read_nanos));
                    }
                    Err(error) => failure = Some(ConnectionEnd::NotRocketMq(error)),
                },
                Ok(None) => break,
                Err(error) => failure = Some(ConnectionEnd::NotRocketMq(error)),
            }
            if failure.is_some() {
                break;
            }
            let goes_on = match replies.len() > READ_BYTES_MAX {
                true => self.peer.outbound.reply(&mut replies),
                false => self.peer.outbound.account.may_read(),
            };
            if !goes_on {
                self.stopped_short = true;
                break;
            }
        }
        if batch.comes_last() && !replies.is_empty() {
            self.peer.outbound.reply(&mut replies);
        }
        drop(batch);
        if !replies.is_empty() {
            self.peer.outbound.reply(&mut replies);
        }
        buffers::give_back(Buffers { header, replies: replies.into_buffer() });
        failure.map_or(Ok(()), Err)
    }

    fn handle(&mut self, command: &mut RemotingCommand, replies: &mut Replies) {
        if command.is_response() {
            self.peer.responded(std::mem::take(command));
            return;
        }
        self.peer.saw(command);
        let (opaque, serialize_type, oneway) = (command.opaque, command.serialize_type, command.is_oneway());
        let code = command.code;
        let before = replies.len();
        let handled = catch_unwind(AssertUnwindSafe(|| self.handler.handle(&self.peer, command, replies)));
        if handled.is_err() {
            error!(peer = %self.peer, code, "handling a request panicked");
            if replies.rewind(before) && !oneway {
                let mut response = RemotingCommand::response(response_code::SYSTEM_ERROR).with_remark("internal error");
                response.opaque = opaque;
                response.serialize_type = serialize_type;
                replies.push(response);
            }
        }
    }

    fn touch(&self) {
        self.peer.touch(self.tick.load(Ordering::Relaxed));
    }
}

impl<H: ?Sized> Drop for Connection<H> {
    fn drop(&mut self) {
        self.peer.outbound.count_input(&mut self.counted_bytes, 0);
        self.peer.read_scheduler.leave(&self.peer.outbound, &mut self.grant);
    }
}

enum ConnectionEnd {
    Stream,
    Reset(std::io::Error),
    Ours(&'static str),
    /// It speaks something else that the original serves.
    Unserved(&'static str),
    NotRocketMq(ferrocket_protocol::DecodeError),
}
