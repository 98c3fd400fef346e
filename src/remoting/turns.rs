// SPDX-License-Identifier: Apache-2.0
//! Who is read next when more is asked than can be done at once: consumers that are behind come first, the others take turns.
//!
//! A consumer asks for its next 32 messages when it has the last ones; 64 senders with 16 requests in flight bring 1,024 in that
//! time. Read in the order of arrival, consumers would fall behind for as long as the senders go on. So while one is behind, only as
//! many others are read at a time as there are reactors: one that was read keeps its turn until everything that was ready then has
//! run, and passes it to the next in line. Knows no request.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::peer::Peer;
use crate::runtime::sync::{AtomicUsize, Mutex, Ordering};

/// Reads that are done in turn after a consumer was behind: more than are done until its next pull is there when nothing but sends
/// keeps the machine busy, and few enough that one which asks once in a while slows nobody down.
const READS_IN_TURN: usize = 1_024;

/// Clones share the line, so that all listeners of a process keep one.
#[derive(Clone)]
pub struct Turns(Arc<Shared>);

struct Shared {
    /// So many reads more are done in turn; 0 and nobody has to wait.
    reads_left: AtomicUsize,
    line: Mutex<Line>,
}

struct Line {
    free_count: usize,
    waiting: VecDeque<Arc<Peer>>,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.0.line.lock();
        write!(f, "Turns({} free, {} waiting)", line.free_count, line.waiting.len())
    }
}

/// Where one connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Outside,
    InLine,
    /// Its turn has come; nothing was read in it yet.
    Called,
    /// It was read.
    Served,
}

impl Default for Turns {
    /// As many at a time as a tokio runtime has threads unless it is told otherwise.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Turns {
    pub fn new(at_a_time: usize) -> Self {
        let line = Line { free_count: at_a_time, waiting: VecDeque::new() };
        Self(Arc::new(Shared { reads_left: AtomicUsize::new(0), line: Mutex::new(line) }))
    }

    /// Somebody comes first who will soon ask again.
    pub(super) fn open(&self) {
        self.0.reads_left.store(READS_IN_TURN, Ordering::Relaxed);
    }

    /// A connection's task begins to run: what was ready when it was read has run meanwhile.
    pub(super) fn begin(&self, place: &mut Place) {
        if *place == Place::Served {
            self.pass_on(place);
        }
    }

    /// Whether the turn has come meanwhile. Asked each time when the connection's task can be woken again: a turn that comes later
    /// wakes it, and one that came while it worked and could not be woken is seen here.
    pub(super) fn look(&self, peer: &Peer, place: &mut Place) {
        if *place == Place::InLine && peer.take_turn() {
            *place = Place::Called;
        }
    }

    /// Whether bytes that have arrived may be read now. When not, the connection is woken as its turn comes.
    pub(super) fn may_read(&self, peer: &Arc<Peer>, place: &mut Place) -> bool {
        if *place == Place::Outside {
            let left = self.0.reads_left.load(Ordering::Relaxed);
            if left == 0 || peer.comes_first() {
                return true;
            }
            // Two at the same moment may count as one: it is not the number that matters, but that it ends.
            self.0.reads_left.store(left - 1, Ordering::Relaxed);
            let mut line = self.0.line.lock();
            if line.free_count > 0 {
                line.free_count -= 1;
                *place = Place::Called;
            } else {
                line.waiting.push_back(Arc::clone(peer));
                *place = Place::InLine;
            }
        }
        *place == Place::Called
    }

    /// A connection's task stops running. Whether it has to run again, to pass its turn on.
    pub(super) fn end(&self, place: &mut Place) -> bool {
        if *place == Place::Called {
            self.pass_on(place);
        }
        *place == Place::Served
    }

    fn pass_on(&self, place: &mut Place) {
        *place = Place::Outside;
        let next = {
            let mut line = self.0.line.lock();
            let next = line.waiting.pop_front();
            match &next {
                Some(peer) => peer.give_turn(),
                None => line.free_count += 1,
            }
            next
        };
        if let Some(peer) = next {
            peer.outbound.wake();
        }
    }

    /// The connection has ended, wherever it stood.
    pub(super) fn leave(&self, peer: &Arc<Peer>, place: &mut Place) {
        if *place == Place::InLine {
            let mut line = self.0.line.lock();
            if let Some(at) = line.waiting.iter().position(|other| Arc::ptr_eq(other, peer)) {
                line.waiting.remove(at);
                *place = Place::Outside;
            }
        }
        if *place != Place::Outside {
            self.pass_on(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::connection::Connection;
    use crate::remoting::{Limits, Replies, RequestHandler};
    use crate::runtime::SystemClock;
    use ferrocket_protocol::{RemotingCommand, response_code};
    use std::pin::Pin;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Wake, Waker};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    /// Whether a task was woken, and how many requests it has handled.
    #[derive(Default)]
    struct Seen {
        woken: AtomicBool,
        handled: AtomicUsize,
    }

    impl Wake for Seen {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::SeqCst);
        }
    }

    impl RequestHandler for Seen {
        fn handle(&self, _peer: &Arc<Peer>, request: &mut RemotingCommand, replies: &mut Replies) {
            self.handled.fetch_add(1, Ordering::SeqCst);
            replies.answer(request, RemotingCommand::response(response_code::SUCCESS));
        }
        fn connected(&self, _peer: &Arc<Peer>) {}
        fn closed(&self, _peer: &Arc<Peer>) {}
    }

    /// A connection whose request has arrived, and whose task runs when the test polls it.
    struct Ready {
        _client: TcpStream,
        peer: Arc<Peer>,
        task: Pin<Box<dyn Future<Output = ()>>>,
        seen: Arc<Seen>,
    }

    impl Ready {
        async fn new(turns: &Turns) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let limits = Limits { turns: turns.clone(), completions: 1, ..Limits::default() };
            let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (mut client, (stream, addr)) = (client.unwrap(), server.unwrap());
            let mut request = bytes::BytesMut::new();
            RemotingCommand::request(11).encode(&mut request);
            client.write_all(&request).await.unwrap();
            stream.readable().await.unwrap();
            let (read, write) = stream.into_split();
            let peer = Arc::new(Peer::new(addr, addr, write, &limits, SystemClock::shared()));
            let seen = Arc::new(Seen::default());
            let task = Box::pin(Connection::new(read, Arc::clone(&peer), Arc::clone(&seen), Arc::default()).run());
            Self { _client: client, peer, task, seen }
        }

        /// Whether it has to run again.
        fn run(&mut self) -> bool {
            self.seen.woken.store(false, Ordering::SeqCst);
            assert!(self.task.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.seen)))).is_pending());
            self.seen.woken.load(Ordering::SeqCst)
        }

        fn handled(&self) -> usize {
            self.seen.handled.load(Ordering::SeqCst)
        }
    }

    async fn peers(turns: &Turns, count: usize) -> Vec<Arc<Peer>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Limits { turns: turns.clone(), ..Limits::default() };
        let mut peers = Vec::new();
        for _ in 0..count {
            let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (stream, addr) = server.unwrap();
            drop(client.unwrap());
            peers.push(Arc::new(Peer::new(addr, addr, stream.into_split().1, &limits, SystemClock::shared())));
        }
        peers
    }

    #[tokio::test]
    async fn while_a_consumer_is_behind_the_others_are_read_one_after_the_other() {
        let turns = Turns::new(1);
        let peers = peers(&turns, 4).await;
        let mut places = [Place::Outside; 4];
        assert!(turns.may_read(&peers[0], &mut places[0]) && turns.may_read(&peers[1], &mut places[1]), "nobody is behind");
        assert_eq!(places, [Place::Outside; 4]);
        peers[0].come_first(true);
        assert!(turns.may_read(&peers[1], &mut places[1]));
        assert!(!turns.may_read(&peers[2], &mut places[2]) && !turns.may_read(&peers[3], &mut places[3]));
        assert!(turns.may_read(&peers[0], &mut places[0]), "the consumer does not wait");
        places[1] = Place::Served;
        assert!(turns.end(&mut places[1]), "it runs once more");
        turns.begin(&mut places[1]);
        assert_eq!(places[1], Place::Outside);
        turns.look(&peers[3], &mut places[3]);
        assert!(!turns.may_read(&peers[3], &mut places[3]), "the second in line still waits");
        // The first in line ends before it was read: its turn is the next one's.
        turns.leave(&peers[2], &mut places[2]);
        turns.look(&peers[3], &mut places[3]);
        assert!(turns.may_read(&peers[3], &mut places[3]));
        assert!(!turns.end(&mut places[3]), "a turn that was not used is passed on at once");
        assert_eq!(turns.0.line.lock().free_count, 1);
    }

    #[tokio::test]
    async fn a_consumer_that_does_not_ask_again_is_soon_forgotten() {
        let turns = Turns::new(1);
        let peers = peers(&turns, 2).await;
        peers[0].come_first(true);
        for _ in 0..READS_IN_TURN {
            let mut place = Place::Outside;
            assert!(turns.may_read(&peers[1], &mut place));
            assert_eq!(place, Place::Called);
            turns.end(&mut place);
        }
        let mut place = Place::Outside;
        assert!(turns.may_read(&peers[1], &mut place));
        assert_eq!(place, Place::Outside);
    }

    #[tokio::test]
    async fn a_turn_wakes_whoever_waits_for_it() {
        let turns = Turns::new(1);
        let peers = peers(&turns, 2).await;
        peers[0].come_first(true);
        let mut place = Place::Outside;
        assert!(turns.may_read(&peers[1], &mut place));
        let mut next = Ready::new(&turns).await;
        assert!(!next.run() && next.handled() == 0, "in line");
        turns.end(&mut place);
        assert!(next.seen.woken.load(Ordering::SeqCst), "its turn has come");
        assert!(next.run() && next.handled() == 1, "it was read, and runs once more to pass the turn on");
        assert!(!next.run());
        assert_eq!(turns.0.line.lock().free_count, 1);
    }

    #[tokio::test]
    async fn a_turn_that_comes_while_a_connection_works_is_taken() {
        let turns = Turns::new(1);
        let peers = peers(&turns, 2).await;
        peers[0].come_first(true);
        let mut place = Place::Outside;
        assert!(turns.may_read(&peers[1], &mut place));
        let mut next = Ready::new(&turns).await;
        assert!(!next.run() && next.handled() == 0, "in line");
        // While it works it cannot be woken.
        let giver = turns.clone();
        next.peer.outbound.push_work(Box::new(move || assert!(!giver.end(&mut place))));
        assert!(next.run() && next.handled() == 1, "it sees the turn after its work");
        assert!(!next.run());
        assert_eq!(turns.0.line.lock().free_count, 1);
    }

    #[tokio::test]
    async fn a_turn_that_comes_to_one_that_may_not_read_is_passed_on() {
        let turns = Turns::new(1);
        let peers = peers(&turns, 2).await;
        peers[0].come_first(true);
        let mut place = Place::Outside;
        assert!(turns.may_read(&peers[1], &mut place));
        let mut next = Ready::new(&turns).await;
        assert!(!next.run() && next.handled() == 0, "in line");
        let held = next.peer.completion(&RemotingCommand::request(11));
        let giver = turns.clone();
        next.peer.outbound.push_work(Box::new(move || assert!(!giver.end(&mut place))));
        assert!(!next.run() && next.handled() == 0, "as many completions as it may have");
        assert_eq!(turns.0.line.lock().free_count, 1, "others are read meanwhile");
        held.answer(RemotingCommand::response(response_code::SUCCESS));
        assert!(next.seen.woken.load(Ordering::SeqCst));
        next.run();
        assert_eq!(next.handled(), 1);
    }
    #[tokio::test]
    async fn with_little_memory_left_nobody_comes_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_client, (stream, addr)) = (client.unwrap(), server.unwrap());
        let turns = Turns::new(1);
        let budget = crate::remoting::Budget::new(16 * 1024 * 1024);
        let limits = Limits { turns: turns.clone(), budget: budget.clone(), ..Limits::default() };
        let peer = Peer::new(addr, addr, stream.into_split().1, &limits, SystemClock::shared());
        let kept = peer.outbound.keep(budget.bytes() * 5 / 8);
        peer.come_first(true);
        assert!(!peer.comes_first());
        assert_eq!(turns.0.reads_left.load(Ordering::Relaxed), 0, "and nobody waits for it");
        peer.outbound.release(kept);
        peer.come_first(true);
        assert!(peer.comes_first());
    }
}
