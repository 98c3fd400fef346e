// SPDX-License-Identifier: Apache-2.0
//! As much of a broker as brings the rooms together: a log of one queue, pulls that wait for it, serial work, deferred answers.
//!
//! Compiled twice: over the model's rooms and over the programme's (`rooms`).

use std::sync::Arc;

use ferrocket_protocol::{RemotingCommand, response_code};

use super::rooms::{
    AtomicU64, Completion, Hold, Mutex, Ordering, Peer, Piece, Replies, RequestHandler, Runtime, SerialQueue, SharedClock, Waiter, Waits,
    Wants, Work, subscription, tags_code,
};

/// Request codes; the number that a request carries is its version.
pub(super) const SEND: i32 = 1;
pub(super) const PULL: i32 = 2;
pub(super) const SERIAL: i32 = 3;
pub(super) const LATER: i32 = 4;

pub(super) const TOPIC: &str = "T";
/// In the place of a tag: whichever.
const ANY_TAG: i32 = 0xFF;

pub(super) fn pull_of(from: i64, tag: Option<i64>) -> (i32, i32) {
    (PULL, ((from as i32) << 8) | tag.map_or(ANY_TAG, |tag| tag as i32))
}

pub(super) struct Broker {
    pub(super) hold: Arc<Hold>,
    pub(super) serial: SerialQueue,
    /// The tags of one queue.
    log: Mutex<Vec<i64>>,
    /// How much of it may be read.
    shown: AtomicU64,
    pull_millis: i64,
    runtime: Runtime,
}

struct Pull {
    broker: Arc<Broker>,
    from: i64,
    tag: Option<i64>,
    completion: Completion,
    piece: Option<Piece>,
}

impl Broker {
    pub(super) fn new(clock: SharedClock, runtime: &Runtime, pull_millis: i64) -> Arc<Self> {
        let hold = Arc::new(Hold::new(clock));
        hold.start(runtime);
        let serial = SerialQueue::new("serial work", runtime);
        Arc::new(Self { hold, serial, log: Mutex::new(Vec::new()), shown: AtomicU64::new(0), pull_millis, runtime: runtime.clone() })
    }

    /// As in the store, the lock is left before the arrival is told.
    pub(super) fn put(&self, tag: i64) {
        let max_offset = {
            let mut log = self.log.lock();
            log.push(tag);
            self.shown.store(log.len() as u64, Ordering::Release);
            log.len() as i64
        };
        self.hold.arriving(TOPIC, 0, max_offset, tags_code(tag));
    }

    pub(super) fn max_offset(&self) -> i64 {
        self.shown.load(Ordering::Acquire) as i64
    }

    /// The offset behind the first that is wanted, or behind all when none is; `None` when nothing is there.
    fn search(&self, from: i64, tag: Option<i64>) -> Option<(i64, bool)> {
        let log = self.log.lock();
        let found = log.iter().skip(from as usize).position(|found| tag.is_none_or(|tag| tag == *found));
        match found {
            Some(at) => Some((from + at as i64 + 1, true)),
            None if (from as usize) < log.len() => Some((log.len() as i64, false)),
            None => None,
        }
    }
}

fn found((next, matched): (i64, bool)) -> RemotingCommand {
    let code = if matched { response_code::SUCCESS } else { response_code::PULL_RETRY_IMMEDIATELY };
    let mut answer = RemotingCommand::response(code);
    answer.version = next as i32;
    answer
}

impl Waits for Pull {
    fn wake(mut self: Box<Self>, piece: Option<Piece>) {
        self.piece = piece;
        let peer = Arc::clone(self.completion.peer());
        peer.defer(self);
    }
}

impl Work for Pull {
    fn run(mut self: Box<Self>) {
        let _piece = self.piece.take();
        let outcome = self.broker.search(self.from, self.tag).unwrap_or((self.from, false));
        self.completion.answer(found(outcome));
    }
}

pub(super) struct Handler(pub(super) Arc<Broker>);

impl RequestHandler for Handler {
    fn handle(&self, peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
        let broker = &self.0;
        match request.code {
            SEND => {
                broker.put(i64::from(request.version));
                replies.answer(request, RemotingCommand::response(response_code::SUCCESS));
            }
            PULL => {
                let (from, tag) = (i64::from(request.version >> 8), i64::from(request.version & 0xFF));
                let tag = (tag != i64::from(ANY_TAG)).then_some(tag);
                if let Some(outcome) = broker.search(from, tag) {
                    peer.set_priority(outcome.0 < broker.max_offset());
                    return replies.answer(request, found(outcome));
                }
                let completion = peer.completion(request);
                let who = Box::new(Pull { broker: Arc::clone(broker), from, tag, completion, piece: None });
                let timeout_millis = broker.pull_millis;
                let wants = Wants::Message { from_offset: from, subscription: subscription(tag) };
                let waiter = Waiter { wants, timeout_millis, who };
                if let Err(waiter) = broker.hold.register(TOPIC, Some(0), waiter, || broker.max_offset() > from) {
                    waiter.who.wake(None);
                }
            }
            SERIAL => {
                let completion = peer.completion(request);
                broker.serial.push(peer, move || completion.answer(RemotingCommand::response(response_code::SUCCESS)));
            }
            _ => {
                let completion = peer.completion(request);
                let now = request.version == 0;
                broker.runtime.spawn_blocking("later", move || {
                    let answer = RemotingCommand::response(response_code::SUCCESS);
                    if now { completion.answer_now(answer) } else { completion.answer(answer) }
                });
            }
        }
    }

    fn connected(&self, _peer: &Arc<Peer>) {}
    fn closed(&self, _peer: &Arc<Peer>) {}
}
