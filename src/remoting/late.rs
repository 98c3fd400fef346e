// SPDX-License-Identifier: Apache-2.0
//! Late answers that the requests of one read bring about (arrivals that end held pulls) leave when all of them are handled:
//! one write per peer, however many of its pulls ended.
//!
//! A thread that handles no read writes each at once. Knows nothing of what is answered.

use std::cell::RefCell;
use std::sync::Arc;

use super::peer::Peer;

thread_local! {
    /// Peers whose late answers wait for the end of the read that this thread handles; `None` while it handles none.
    static WAITING: RefCell<Option<Vec<Arc<Peer>>>> = const { RefCell::new(None) };
}

/// As long as this lives, late answers of this thread wait for its end.
pub(super) struct Round(());

impl Round {
    pub(super) fn begin() -> Self {
        WAITING.with_borrow_mut(|waiting| {
            waiting.get_or_insert_with(Vec::new);
        });
        Self(())
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let peers = WAITING.take();
        for peer in peers.into_iter().flatten() {
            peer.flush();
        }
    }
}

/// Whether an answer to this peer may wait for the end of this thread's round, which then writes it.
pub(super) fn waits(peer: &Arc<Peer>) -> bool {
    WAITING.with_borrow_mut(|waiting| {
        let Some(peers) = waiting else { return false };
        if !peers.iter().any(|other| Arc::ptr_eq(other, peer)) {
            peers.push(Arc::clone(peer));
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::Limits;
    use crate::runtime::SystemClock;
    use ferrocket_protocol::{RemotingCommand, response_code};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn late_answers_of_one_read_leave_at_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, (stream, remote_addr)) = (client.unwrap(), server.unwrap());
        let local_addr = stream.local_addr().unwrap();
        let (_read, write) = stream.into_split();
        let peer = Arc::new(Peer::new(remote_addr, local_addr, write, &Limits::default(), SystemClock::shared()));
        let answer = || {
            let completion = peer.completion(&RemotingCommand::request(11));
            completion.answer_now(RemotingCommand::response(response_code::SUCCESS));
        };
        answer();
        let frame = client.read(&mut [0; 4096]).await.unwrap();
        assert_eq!(peer.unread_bytes(), 0, "without a round it leaves at once");
        let round = Round::begin();
        answer();
        answer();
        assert_eq!(peer.unread_bytes(), 2 * frame);
        drop(round);
        assert_eq!(peer.unread_bytes(), 0);
        assert_eq!(client.read(&mut [0; 4096]).await.unwrap(), 2 * frame, "in one write");
        answer();
        assert_eq!(peer.unread_bytes(), 0, "the round is over");
    }
}
