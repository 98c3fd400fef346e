// SPDX-License-Identifier: Apache-2.0
//! Deferred work: late answers that the requests of one read bring about (arrivals that end held pulls) are made when all of them are
//! handled: one answer holds everything that came with the read, and one write per peer all its answers.
//!
//! A read that brought little does that itself, which is the earliest that the peers can get them; its own answers wait for a few of them,
//! and leave before more. One that brought much leaves it to the tasks of their connections: until those run more will have come. Knows nothing
//! of what is answered.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::error;

use super::peer::Peer;
use super::work::BoxedWork;
use crate::runtime::sync::thread_local;

/// So many requests in one read, and the machine has more to do than this: a client that sends one after the other never has them.
const MANY_REQUESTS: usize = 4;

/// So much is done at once before others have their turn: by a read, by a connection's task before another task runs. A pull of a small
/// message takes some microseconds.
pub(super) const WORKS_AT_ONCE_MAX: usize = 32;

/// So much of it a read does before its own answers leave: a message mostly has one consumer, who need not wait for the producer's write.
const WORKS_FIRST_MAX: usize = 2;

/// What one read usually brings about at most; room for more is not kept.
const SPARE_WORKS_MAX: usize = 64;

/// What the read that a thread handles has brought about; its memory is the next read's.
struct Gathered {
    /// The thread handles a read.
    open: bool,
    works: Vec<(Arc<Peer>, Option<BoxedWork>)>,
}

thread_local! {
    static BATCH: RefCell<Gathered> = const { RefCell::new(Gathered { open: false, works: Vec::new() }) };
    /// This thread makes late answers and writes them afterwards.
    static WRITES_AFTER: Cell<bool> = const { Cell::new(false) };
}

/// The requests of one read. As long as this lives, what this thread defers waits for its end.
pub struct ReadBatch {
    /// So many were handled.
    pub(super) requests: usize,
}

impl ReadBatch {
    pub fn begin() -> Self {
        BATCH.with(|batch| batch.borrow_mut().open = true);
        Self { requests: 0 }
    }

    /// Whether the answers of the read itself are to leave before this ends.
    pub(super) fn comes_last(&self) -> bool {
        self.requests < MANY_REQUESTS && BATCH.with(|batch| batch.borrow().works.len() > WORKS_FIRST_MAX)
    }
}

impl Drop for ReadBatch {
    fn drop(&mut self) {
        let mut works = BATCH.with(|batch| {
            let mut batch = batch.borrow_mut();
            batch.open = false;
            std::mem::take(&mut batch.works)
        });
        if works.is_empty() {
            return;
        }
        let at_once = if self.requests >= MANY_REQUESTS { 0 } else { works.len().min(WORKS_AT_ONCE_MAX) };
        let (now, later) = works.split_at_mut(at_once);
        for (peer, work) in later {
            work.take().into_iter().for_each(|work| peer.outbound.push_work(work));
        }
        WRITES_AFTER.with(|after| after.set(true));
        for (peer, work) in &mut *now {
            // With little memory left each is written before the next is made.
            let here = !peer.outbound.account.is_tight();
            work.take().into_iter().for_each(|work| if here { run(peer, work) } else { peer.outbound.push_work(work) });
        }
        WRITES_AFTER.with(|after| after.set(false));
        for (at, (peer, _)) in now.iter().enumerate() {
            if !now[..at].iter().any(|(before, _)| Arc::ptr_eq(before, peer)) {
                peer.outbound.flush();
            }
        }
        works.clear();
        if works.capacity() <= SPARE_WORKS_MAX {
            BATCH.with(|batch| batch.borrow_mut().works = works);
        }
    }
}

impl Peer {
    /// Does this at the end of the read that brings it about (arrivals that end held pulls), or on the connection's task; what `answer`
    /// and `answer_with` say there leaves in one write. Dropped when the connection has ended.
    pub fn defer(self: Arc<Self>, work: BoxedWork) {
        let left = BATCH.with(|batch| {
            let mut batch = batch.borrow_mut();
            if batch.open {
                batch.works.push((self, Some(work)));
                return None;
            }
            Some((self, work))
        });
        if let Some((peer, work)) = left {
            peer.outbound.push_work(work);
        }
    }
}

pub(super) fn run(peer: &Peer, work: BoxedWork) {
    // What a panic leaves unanswered its completion answers.
    if catch_unwind(AssertUnwindSafe(|| work.run())).is_err() {
        error!(%peer, "answering a request late panicked");
    }
}

/// Whether what this thread answers is written by it a moment later.
pub(super) fn writes_after() -> bool {
    WRITES_AFTER.with(Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::Limits;
    use crate::remoting::outbound::NextStep;
    use crate::runtime::SystemClock;
    use ferrocket_protocol::{RemotingCommand, response_code};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn late_answers_of_one_read_leave_at_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, (stream, remote_addr)) = (client.unwrap(), server.unwrap());
        let local_addr = stream.local_addr().unwrap();
        let (_read, write) = stream.into_split();
        let peer = Arc::new(Peer::new(remote_addr, local_addr, write, &Limits::default(), SystemClock::shared()));
        let answer_deferred = || {
            let completion = peer.completion(&RemotingCommand::request(11));
            Arc::clone(&peer).defer(Box::new(move || completion.answer(RemotingCommand::response(response_code::SUCCESS))));
        };
        let mut batch = ReadBatch::begin();
        answer_deferred();
        Arc::clone(&peer).defer(Box::new(|| panic!("on purpose")));
        answer_deferred();
        assert_eq!((peer.unread_bytes(), peer.outstanding_count()), (0, 2), "nothing is answered while the read is handled");
        batch.requests = MANY_REQUESTS - 1;
        drop(batch);
        assert_eq!((peer.unread_bytes(), peer.outstanding_count()), (0, 0));
        assert!(!writes_after(), "what this thread answers from here on waits for no flush of its own");
        let both = client.read(&mut [0; 4096]).await.unwrap();

        let mut batch = ReadBatch::begin();
        answer_deferred();
        answer_deferred();
        batch.requests = MANY_REQUESTS;
        drop(batch);
        assert_eq!((peer.unread_bytes(), peer.outstanding_count()), (0, 2), "left to the connection's task");
        let works = peer.outbound.take_work();
        assert_eq!(works.len(), 2);
        works.into_iter().for_each(|work| run(&peer, work));
        assert_eq!((peer.unread_bytes(), peer.outstanding_count()), (both, 0), "which writes them in one go");
        answer_deferred();
        assert_eq!(peer.outstanding_count(), 1, "the batch is over");
        peer.end();
        assert_eq!(peer.outstanding_count(), 0, "what waited when the connection ended is dropped");
    }

    #[tokio::test]
    async fn a_small_read_does_not_answer_many() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_client, (stream, addr)) = (client.unwrap(), server.unwrap());
        let peer = Arc::new(Peer::new(addr, addr, stream.into_split().1, &Limits::default(), SystemClock::shared()));
        let mut batch = ReadBatch::begin();
        batch.requests = 1;
        for _ in 0..3 * WORKS_AT_ONCE_MAX {
            let completion = peer.completion(&RemotingCommand::request(11));
            Arc::clone(&peer).defer(Box::new(move || completion.answer(RemotingCommand::response(response_code::SUCCESS))));
        }
        drop(batch);
        assert_eq!(peer.outstanding_count(), 2 * WORKS_AT_ONCE_MAX);
        assert_eq!(peer.outbound.take_work().len(), 2 * WORKS_AT_ONCE_MAX, "left to the connections' tasks");
    }

    #[tokio::test]
    async fn one_that_was_paused_goes_on_when_its_answers_have_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_client, (stream, addr)) = (client.unwrap(), server.unwrap());
        let limits = Limits { completions: 1, outbound_pause_bytes: 10, ..Limits::default() };
        let peer = Arc::new(Peer::new(addr, addr, stream.into_split().1, &limits, SystemClock::shared()));
        let completion = peer.completion(&RemotingCommand::request(11));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(matches!(peer.outbound.next_step(&mut Context::from_waker(&waker)).0, NextStep::Pause));
        let batch = ReadBatch::begin();
        // More than it may leave unread, until it is written.
        Arc::clone(&peer).defer(Box::new(move || completion.answer(RemotingCommand::response(response_code::SUCCESS))));
        drop(batch);
        assert_eq!((peer.unread_bytes(), peer.outstanding_count()), (0, 0));
        assert!(woken.0.load(Ordering::SeqCst));
        assert!(matches!(peer.outbound.next_step(&mut Context::from_waker(&waker)).0, NextStep::Read));
    }
}
