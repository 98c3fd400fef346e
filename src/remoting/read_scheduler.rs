// SPDX-License-Identifier: Apache-2.0
//! Which connection is read next when more is asked than can be done at once: consumers that are behind have priority, the others are
//! read a few at a time.
//!
//! A consumer asks for its next 32 messages when it has the last ones; 64 senders with 16 requests in flight bring 1,024 in that
//! time. Read in the order of arrival, consumers would fall behind for as long as the senders go on. So while one is behind, only as
//! many others are read at a time as there are reactors: one that was read keeps its grant until everything that was ready then has
//! run, and passes it to the next that waits. Knows no request.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::outbound::Outbound;
use crate::runtime::sync::{AtomicUsize, Mutex, Ordering};

/// Reads that need a grant after a consumer was behind: more than are done until its next pull is there when nothing but sends
/// keeps the machine busy, and few enough that one which asks once in a while slows nobody down.
const GRANTED_READS_COUNT: usize = 1_024;

/// Clones share the grants, so that all listeners of a process keep one schedule.
#[derive(Clone)]
pub struct ReadScheduler(Arc<Shared>);

struct Shared {
    /// So many reads more need a grant; 0 and nobody has to wait.
    reads_left: AtomicUsize,
    grants: Mutex<Grants>,
}

/// Nobody waits while a grant is free.
struct Grants {
    free_count: usize,
    waiting: VecDeque<Arc<Outbound>>,
}

impl fmt::Debug for ReadScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grants = self.0.grants.lock();
        write!(f, "ReadScheduler({} free, {} waiting)", grants.free_count, grants.waiting.len())
    }
}

/// What one connection knows of its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadGrant {
    /// It needs none, or has not asked.
    Unscheduled,
    Waiting,
    /// Nothing was read with it yet.
    Granted,
    /// It was read.
    Used,
}

impl Default for ReadScheduler {
    /// As many at a time as a tokio runtime has threads unless it is told otherwise.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl ReadScheduler {
    /// So many connections at a time are read while one has priority.
    pub fn new(at_a_time: usize) -> Self {
        let grants = Grants { free_count: at_a_time, waiting: VecDeque::new() };
        Self(Arc::new(Shared { reads_left: AtomicUsize::new(0), grants: Mutex::new(grants) }))
    }

    /// Somebody has priority who will soon ask again.
    pub(super) fn begin(&self) {
        self.0.reads_left.store(GRANTED_READS_COUNT, Ordering::Relaxed);
    }

    /// A connection's task begins to run: what was ready when it was read has run meanwhile.
    pub(super) fn task_begins(&self, grant: &mut ReadGrant) {
        if *grant == ReadGrant::Used {
            self.pass_grant(grant);
        }
    }

    /// Takes the grant that was given meanwhile. Asked each time when the connection's task can be woken again: a grant that comes later
    /// wakes it, and one that came while it worked and could not be woken is seen here.
    pub(super) fn take_grant(&self, connection: &Outbound, grant: &mut ReadGrant) {
        if *grant == ReadGrant::Waiting && connection.take_grant() {
            *grant = ReadGrant::Granted;
        }
    }

    /// Whether bytes that have arrived may be read now. When not, the connection is woken as its grant comes.
    pub(super) fn may_read(&self, connection: &Arc<Outbound>, grant: &mut ReadGrant) -> bool {
        if *grant == ReadGrant::Unscheduled {
            let left = self.0.reads_left.load(Ordering::Relaxed);
            if left == 0 || connection.has_priority() {
                return true;
            }
            // Two at the same moment may count as one: it is not the number that matters, but that it ends.
            self.0.reads_left.store(left - 1, Ordering::Relaxed);
            let mut grants = self.0.grants.lock();
            if grants.free_count > 0 {
                grants.free_count -= 1;
                *grant = ReadGrant::Granted;
            } else {
                grants.waiting.push_back(Arc::clone(connection));
                *grant = ReadGrant::Waiting;
            }
        }
        *grant == ReadGrant::Granted
    }

    /// A connection's task stops running. Whether it has to run again, to pass its grant on.
    pub(super) fn task_ends(&self, grant: &mut ReadGrant) -> bool {
        if *grant == ReadGrant::Granted {
            self.pass_grant(grant);
        }
        *grant == ReadGrant::Used
    }

    fn pass_grant(&self, grant: &mut ReadGrant) {
        *grant = ReadGrant::Unscheduled;
        let next = {
            let mut grants = self.0.grants.lock();
            let next = grants.waiting.pop_front();
            debug_assert!(next.is_none() || grants.free_count == 0, "somebody waits although a grant is free");
            match &next {
                Some(connection) => connection.grant_read(),
                None => grants.free_count += 1,
            }
            next
        };
        if let Some(connection) = next {
            connection.wake();
        }
    }

    /// The connection has ended, wherever it stood.
    pub(super) fn leave(&self, connection: &Arc<Outbound>, grant: &mut ReadGrant) {
        if *grant == ReadGrant::Waiting {
            let mut grants = self.0.grants.lock();
            if let Some(at) = grants.waiting.iter().position(|other| Arc::ptr_eq(other, connection)) {
                grants.waiting.remove(at);
                *grant = ReadGrant::Unscheduled;
            }
        }
        if *grant != ReadGrant::Unscheduled {
            self.pass_grant(grant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::connection::Connection;
    use crate::remoting::peer::Peer;
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
        async fn new(scheduler: &ReadScheduler) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let limits = Limits { read_scheduler: scheduler.clone(), completions: 1, ..Limits::default() };
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

    async fn peers(scheduler: &ReadScheduler, count: usize) -> Vec<Arc<Peer>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Limits { read_scheduler: scheduler.clone(), ..Limits::default() };
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
        let scheduler = ReadScheduler::new(1);
        let peers = peers(&scheduler, 4).await;
        let mut grants = [ReadGrant::Unscheduled; 4];
        assert!(
            scheduler.may_read(&peers[0].outbound, &mut grants[0]) && scheduler.may_read(&peers[1].outbound, &mut grants[1]),
            "nobody is behind"
        );
        assert_eq!(grants, [ReadGrant::Unscheduled; 4]);
        peers[0].set_priority(true);
        assert!(scheduler.may_read(&peers[1].outbound, &mut grants[1]));
        assert!(!scheduler.may_read(&peers[2].outbound, &mut grants[2]) && !scheduler.may_read(&peers[3].outbound, &mut grants[3]));
        assert!(scheduler.may_read(&peers[0].outbound, &mut grants[0]), "the consumer does not wait");
        grants[1] = ReadGrant::Used;
        assert!(scheduler.task_ends(&mut grants[1]), "it runs once more");
        scheduler.task_begins(&mut grants[1]);
        assert_eq!(grants[1], ReadGrant::Unscheduled);
        scheduler.take_grant(&peers[3].outbound, &mut grants[3]);
        assert!(!scheduler.may_read(&peers[3].outbound, &mut grants[3]), "the second that waits waits on");
        // The first that waits ends before it was read: its grant is the next one's.
        scheduler.leave(&peers[2].outbound, &mut grants[2]);
        scheduler.take_grant(&peers[3].outbound, &mut grants[3]);
        assert!(scheduler.may_read(&peers[3].outbound, &mut grants[3]));
        assert!(!scheduler.task_ends(&mut grants[3]), "a grant that was not used is passed on at once");
        assert_eq!(scheduler.0.grants.lock().free_count, 1);
    }

    #[tokio::test]
    async fn a_consumer_that_does_not_ask_again_is_soon_forgotten() {
        let scheduler = ReadScheduler::new(1);
        let peers = peers(&scheduler, 2).await;
        peers[0].set_priority(true);
        for _ in 0..GRANTED_READS_COUNT {
            let mut grant = ReadGrant::Unscheduled;
            assert!(scheduler.may_read(&peers[1].outbound, &mut grant));
            assert_eq!(grant, ReadGrant::Granted);
            scheduler.task_ends(&mut grant);
        }
        let mut grant = ReadGrant::Unscheduled;
        assert!(scheduler.may_read(&peers[1].outbound, &mut grant));
        assert_eq!(grant, ReadGrant::Unscheduled);
    }

    #[tokio::test]
    async fn a_grant_wakes_whoever_waits_for_it() {
        let scheduler = ReadScheduler::new(1);
        let peers = peers(&scheduler, 2).await;
        peers[0].set_priority(true);
        let mut grant = ReadGrant::Unscheduled;
        assert!(scheduler.may_read(&peers[1].outbound, &mut grant));
        let mut next = Ready::new(&scheduler).await;
        assert!(!next.run() && next.handled() == 0, "it waits");
        scheduler.task_ends(&mut grant);
        assert!(next.seen.woken.load(Ordering::SeqCst), "its grant has come");
        assert!(next.run() && next.handled() == 1, "it was read, and runs once more to pass the grant on");
        assert!(!next.run());
        assert_eq!(scheduler.0.grants.lock().free_count, 1);
    }

    #[tokio::test]
    async fn a_grant_that_comes_while_a_connection_works_is_taken() {
        let scheduler = ReadScheduler::new(1);
        let peers = peers(&scheduler, 2).await;
        peers[0].set_priority(true);
        let mut grant = ReadGrant::Unscheduled;
        assert!(scheduler.may_read(&peers[1].outbound, &mut grant));
        let mut next = Ready::new(&scheduler).await;
        assert!(!next.run() && next.handled() == 0, "it waits");
        // While it works it cannot be woken.
        let giver = scheduler.clone();
        next.peer.outbound.push_work(Box::new(move || assert!(!giver.task_ends(&mut grant))));
        assert!(next.run() && next.handled() == 1, "it sees the grant after its work");
        assert!(!next.run());
        assert_eq!(scheduler.0.grants.lock().free_count, 1);
    }

    #[tokio::test]
    async fn a_grant_that_comes_to_one_that_may_not_read_is_passed_on() {
        let scheduler = ReadScheduler::new(1);
        let peers = peers(&scheduler, 2).await;
        peers[0].set_priority(true);
        let mut grant = ReadGrant::Unscheduled;
        assert!(scheduler.may_read(&peers[1].outbound, &mut grant));
        let mut next = Ready::new(&scheduler).await;
        assert!(!next.run() && next.handled() == 0, "it waits");
        let held = next.peer.completion(&RemotingCommand::request(11));
        let giver = scheduler.clone();
        next.peer.outbound.push_work(Box::new(move || assert!(!giver.task_ends(&mut grant))));
        assert!(!next.run() && next.handled() == 0, "as many completions as it may have");
        assert_eq!(scheduler.0.grants.lock().free_count, 1, "others are read meanwhile");
        held.answer(RemotingCommand::response(response_code::SUCCESS));
        assert!(next.seen.woken.load(Ordering::SeqCst));
        next.run();
        assert_eq!(next.handled(), 1);
    }

    #[tokio::test]
    async fn with_little_memory_left_nobody_has_priority() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_client, (stream, addr)) = (client.unwrap(), server.unwrap());
        let scheduler = ReadScheduler::new(1);
        let budget = crate::remoting::Budget::new(16 * 1024 * 1024);
        let limits = Limits { read_scheduler: scheduler.clone(), budget: budget.clone(), ..Limits::default() };
        let peer = Peer::new(addr, addr, stream.into_split().1, &limits, SystemClock::shared());
        let kept = peer.outbound.keep(budget.bytes() * 5 / 8);
        peer.set_priority(true);
        assert!(!peer.outbound.has_priority());
        assert_eq!(scheduler.0.reads_left.load(Ordering::Relaxed), 0, "and nobody waits for it");
        peer.outbound.release(kept);
        peer.set_priority(true);
        assert!(peer.outbound.has_priority());
    }
}
